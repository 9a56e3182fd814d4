//! Fuzz target of the line parser: see `checks/line.rs` for what must hold of any input.

#![no_main]

#[path = "../checks/line.rs"]
mod line;

libfuzzer_sys::fuzz_target!(|data: &[u8]| line::check(data));
