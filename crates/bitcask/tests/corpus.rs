//! Replays the fuzzer's corpora of the engine's readers, as they are and with a few bytes changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use std::fs;
use std::path::Path;

use bitcask::probe;

/// Changed copies of each input that are tried: a minute of a fuzzer in a second.
const CHANGED_COUNT: u64 = 64;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "only {} inputs: is the corpus there?", paths.len());
    for path in paths {
        let data = fs::read(&path).unwrap();
        for seed in 0..=CHANGED_COUNT {
            let changed = if seed == 0 { data.clone() } else { change(&data, seed) };
            if std::panic::catch_unwind(|| check(&changed)).is_err() {
                panic!("{}, changed by seed {seed}: {}", path.display(), changed.escape_ascii());
            }
        }
    }
}

/// Returns `data` with some bytes replaced and, now and then, cut or repeated.
fn change(data: &[u8], seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut changed = data.to_vec();
    for _ in 0..random.usize(1..4) {
        if let Some(byte) = random.choice(&mut changed) {
            *byte = random.u8(..);
        }
    }
    match random.u8(..8) {
        0 => changed.truncate(random.usize(..=changed.len())),
        1 => changed.extend_from_slice(data),
        _ => {}
    }
    changed
}

#[test]
fn the_corpus_of_the_record_reader_breaks_nothing() {
    replay("record", probe::record);
}

#[test]
fn the_corpus_of_the_hint_reader_breaks_nothing() {
    replay("hint", probe::hint);
}

#[test]
fn the_corpus_of_the_manifest_reader_breaks_nothing() {
    replay("manifest", probe::manifest);
}
