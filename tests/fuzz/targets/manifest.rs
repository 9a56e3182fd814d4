//! Fuzz target of the engine's reader of manifests: `bitcask::probe` says what must hold of any input.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bitcask::probe::manifest(data));
