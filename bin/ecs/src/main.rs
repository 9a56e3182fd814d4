//! The program `ecs`; all of it is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    ecs::main(std::env::args_os())
}
