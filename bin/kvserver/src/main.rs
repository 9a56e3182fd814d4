//! The program `kvserver`; all of it is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvserver::main(std::env::args_os())
}
