//! Fuzz target of the engine's readers of records and data files: `bitcask::probe` says what must hold of any input.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bitcask::probe::record(data));
