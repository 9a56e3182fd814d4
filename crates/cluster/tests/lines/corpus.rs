//! Replays the fuzzer's corpus of these lines through the fuzzer's own check, as it is and with a few bytes changed.

use std::fs;
use std::path::Path;

use fastrand::Rng;

#[path = "../../../../tests/fuzz/checks/server_line.rs"]
pub(crate) mod server_line;

/// Changed copies of each input that are tried.
const CHANGED_COUNT: u64 = 16;

fn change(data: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(seed);
    let mut changed = data.to_vec();
    for _ in 0..random.usize(..4) {
        if let Some(byte) = random.choice(&mut changed) {
            *byte = random.u8(..);
        }
    }
    changed
}

#[test]
fn the_corpus_of_the_readers_of_servers_lines_breaks_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/server_line");
    let paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 20, "only {} inputs: is the corpus there?", paths.len());
    for path in paths {
        let data = fs::read(&path).unwrap();
        for seed in 0..=CHANGED_COUNT {
            let changed = if seed == 0 { data.clone() } else { change(&data, seed) };
            if std::panic::catch_unwind(|| server_line::check(&changed)).is_err() {
                panic!("{}, changed by seed {seed}: {}", path.display(), changed.escape_ascii());
            }
        }
    }
}
