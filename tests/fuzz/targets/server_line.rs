//! Fuzz target of the readers of what servers and the coordinator say: see `checks/server_line.rs` for what must hold of any
//! input.

#![no_main]

#[path = "../checks/server_line.rs"]
mod server_line;

libfuzzer_sys::fuzz_target!(|data: &[u8]| server_line::check(data));
