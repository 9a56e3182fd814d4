//! The `kvbench` command: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvbench::run(std::env::args_os())
}
