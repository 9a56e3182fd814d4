//! The lines that servers say to each other and to the coordinator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the whole crate is a test, and a test says what it expects by failing"
)]

mod corpus;
mod damage;
mod document;
mod errors;
mod golden;
mod limits;
mod random;
mod roundtrips;
mod samples;

use cluster::lines::{LineError, Reader, write_message};
use cluster::{Message, ServerId};
use protocol::Limits;

/// Returns the text of a message.
fn written(message: &Message) -> String {
    let mut out = Vec::new();
    write_message(&mut out, message);
    String::from_utf8(out).unwrap()
}

/// Reads all lines of `text`, which ends in LF.
fn read_all(text: &[u8], limits: Limits) -> Result<Vec<Message>, LineError> {
    let mut reader = Reader::new(limits);
    let lines = text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
    lines.filter_map(|line| reader.read(line).transpose()).collect()
}

/// Returns the server of this number.
fn server(number: u128) -> ServerId {
    ServerId(number)
}
