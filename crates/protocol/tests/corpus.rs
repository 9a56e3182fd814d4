//! Replays the fuzzer's corpus of the line parser through the fuzzer's own check.

#![allow(
    clippy::expect_used,
    reason = "the fuzzer's check, included here, says what it expects by failing"
)]

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/checks/line.rs"]
mod line;

#[test]
fn the_corpus_of_the_line_parser_breaks_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/line");
    let paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 20, "only {} inputs: is the corpus there?", paths.len());
    for path in paths {
        let data = fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| line::check(&data)).is_err() {
            panic!("{} breaks the check", path.display());
        }
    }
}
