//! Lines that are cut or changed anywhere: they are read as something or are an error, and nothing gives up.

use std::panic::catch_unwind;

use crate::corpus::server_line;
use crate::samples;

/// What the fuzz target calls its readers.
const KINDS: [u8; 5] = [0, 1, 2, 3, 4];

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = samples::messages().into_iter().map(|(_, text)| text).collect();
    texts.extend(samples::to_ecs().into_iter().map(|(_, text)| text.to_owned()));
    texts.extend(samples::from_ecs().into_iter().map(|(_, text)| text));
    texts.extend(samples::gossip().into_iter().map(|(_, text)| text));
    texts.extend(samples::openings().into_iter().map(|(_, text)| text.to_owned()));
    texts
}

fn check(kind: u8, text: &[u8]) {
    let data = [&[kind], text].concat();
    if catch_unwind(|| server_line::check(&data)).is_err() {
        panic!("reader {kind} breaks its promises on {}", text.escape_ascii());
    }
}

#[test]
fn a_line_cut_anywhere_is_read_or_refused_by_every_reader() {
    for text in texts() {
        for len in 0..=text.len() {
            KINDS.iter().for_each(|kind| check(*kind, &text.as_bytes()[..len]));
        }
    }
}

#[test]
fn a_line_with_any_byte_changed_is_read_or_refused() {
    for text in texts() {
        for at in 0..text.len() {
            for change in [0x01, 0x02, 0x10, 0x20, 0x80, text.as_bytes()[at] ^ b' '] {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= change;
                KINDS.iter().for_each(|kind| check(*kind, &changed));
            }
        }
    }
}

#[test]
fn a_line_with_any_byte_missing_or_doubled_is_read_or_refused() {
    for text in texts() {
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            let byte = changed.remove(at);
            KINDS.iter().for_each(|kind| check(*kind, &changed));
            changed.splice(at..at, [byte, byte]);
            KINDS.iter().for_each(|kind| check(*kind, &changed));
        }
    }
}
