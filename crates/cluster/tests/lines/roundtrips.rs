//! Whatever is written is read back the same, and is as many lines as it should be.

use std::fmt::Debug;

use cluster::lines::{
    LineError, Opening, Secret, read_from_ecs, read_gossip, read_opening, read_to_ecs,
    write_from_ecs, write_gossip, write_message, write_opening, write_to_ecs,
};
use cluster::{Message, SlotMessage, State};
use fastrand::Rng;
use protocol::{Framer, Limits};

use crate::random::Maker;
use crate::{read_all, server};

/// Messages of each kind that are tried.
const COUNT: u64 = 5_000;

/// Returns how many lines the framer of a connection finds in `text`.
fn line_count(text: &[u8]) -> usize {
    let mut framer = Framer::new(usize::MAX);
    let mut lines = framer.lines(text);
    let count = lines.by_ref().count();
    assert_eq!(lines.consumed_len(), text.len(), "the last line has its end");
    count
}

fn record_count(message: &Message) -> usize {
    match message {
        Message::Slot {
            body: SlotMessage::Chunk { records, .. } | SlotMessage::State(State { records, .. }),
            ..
        } => records.len(),
        _ => 0,
    }
}

#[test]
fn messages_between_servers_come_back_as_they_were_written() {
    for seed in 0..COUNT {
        let message = Maker(Rng::with_seed(seed)).message();
        let mut text = Vec::new();
        write_message(&mut text, &message);
        assert_eq!(line_count(&text), 1 + record_count(&message), "seed {seed}");
        assert_eq!(read_all(&text, Limits::default()), Ok(vec![message]), "seed {seed}");
    }
}

fn assert_comes_back<T: Debug + PartialEq>(
    message: T,
    write: impl Fn(&mut Vec<u8>, &T),
    read: impl Fn(&[u8]) -> Result<T, LineError>,
) {
    let mut text = Vec::new();
    write(&mut text, &message);
    assert_eq!(line_count(&text), 1);
    assert_eq!(read(text.strip_suffix(b"\n").unwrap()), Ok(message));
}

#[test]
fn messages_to_and_of_the_coordinator_come_back_as_they_were_written() {
    for seed in 0..COUNT {
        let mut maker = Maker(Rng::with_seed(seed));
        assert_comes_back(maker.said_to_ecs(), write_to_ecs, read_to_ecs);
        assert_comes_back(maker.said_by_ecs(), write_from_ecs, read_from_ecs);
    }
}

#[test]
fn gossip_comes_back_as_it_was_written() {
    for seed in 0..COUNT {
        assert_comes_back(Maker(Rng::with_seed(seed)).gossip(), write_gossip, read_gossip);
    }
}

#[test]
fn openings_come_back_with_any_secret() {
    for seed in 0..COUNT / 10 {
        let secret = Secret::new(&Maker(Rng::with_seed(seed)).secret());
        assert!(secret.is_some());
        let peer = Opening::Peer { from: server(1), to: server(2), secret };
        assert_comes_back(peer, write_opening, |line| read_opening(line).unwrap());
    }
}

#[test]
fn every_byte_goes_through_in_key_and_value() {
    for byte in 0..=u8::MAX {
        let mut message = crate::samples::messages().swap_remove(0).0;
        let Message::Slot { body: SlotMessage::Prepare { record, .. }, .. } = &mut message else {
            panic!("the first sample is a prepare");
        };
        record.key = [byte].into();
        record.value = Some([byte, b'v', byte].into());
        let mut text = Vec::new();
        write_message(&mut text, &message);
        assert_eq!(line_count(&text), 1, "byte {byte}");
        assert_eq!(read_all(&text, Limits::default()), Ok(vec![message]), "byte {byte}");
    }
}

#[test]
#[should_panic(expected = "a request id alone is all that it has")]
fn a_record_without_key_that_has_more_than_a_request_id_is_a_bug() {
    let mut message = crate::samples::messages().swap_remove(0).0;
    if let Message::Slot { body: SlotMessage::Prepare { record, .. }, .. } = &mut message {
        record.key = [].into();
    }
    write_message(&mut Vec::new(), &message);
}
