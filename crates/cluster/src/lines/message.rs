//! Messages between servers, as lines: writing all of them, and reading the first line of each.
//!
//! The table of the lines is in [`super`].

use protocol::Limits;

use super::error::{Fault, LineError};
use super::limits::{RECORD_COUNT_MAX, TOLD_LEN_MAX};
use super::words::Words;
use super::{beacon, delta, record, text};
use crate::message::{Message, SlotMessage, State};
use crate::types::{Epoch, Incarnation, Record, Session, SlotId};

/// Appends a message: one line, and one more for each record of a chunk or a statement, each with its end (LF).
pub fn write_message(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Slot { slot, epoch, body } => return write_slot(out, *slot, *epoch, body),
        Message::Ack { upto } => {
            out.extend_from_slice(b"ack");
            text::number(out, *upto);
        }
        Message::Beacon(beacon) => {
            out.extend_from_slice(b"beacon");
            beacon::write(out, beacon);
        }
        Message::Hello { session, version } => {
            out.extend_from_slice(b"hello");
            text::number(out, session.incarnation.0);
            text::number(out, session.number);
            text::number(out, version.0);
        }
        Message::Pull { version } => {
            out.extend_from_slice(b"pull");
            text::number(out, version.0);
        }
        Message::Push(delta) => {
            out.extend_from_slice(b"push");
            delta::write(out, delta);
        }
    }
    out.push(b'\n');
}

fn write_slot(out: &mut Vec<u8>, slot: SlotId, epoch: Epoch, body: &SlotMessage) {
    out.extend_from_slice(verb(body));
    text::number(out, slot.index());
    text::number(out, epoch.0);
    let mut records: &[Record] = &[];
    match body {
        SlotMessage::Prepare { commit, record } => {
            match commit {
                Some(commit) => text::lsn(out, *commit),
                None => text::none(out),
            }
            record::write(out, record);
        }
        SlotMessage::Open { commit, is_learner, above } => {
            text::lsn(out, *commit);
            text::lsn(out, *above);
            text::flags(out, [("learner", *is_learner)]);
        }
        SlotMessage::Chunk { records: all, upto } => {
            text::lsn(out, *upto);
            text::count(out, all.len());
            records = all;
        }
        SlotMessage::Commit { commit, floor, request_floor, has_reads } => {
            text::lsn(out, *commit);
            text::lsn(out, *floor);
            text::lsn(out, *request_floor);
            text::flags(out, [("reads", *has_reads)]);
        }
        SlotMessage::State(state) => {
            text::lsn(out, state.commit);
            text::lsn(out, state.held);
            text::flags(out, [("empty", state.is_empty), ("last", state.is_last)]);
            text::count(out, state.records.len());
            records = &state.records;
        }
        SlotMessage::Refused { known } => text::number(out, known.0),
        SlotMessage::Fresh | SlotMessage::StopReads | SlotMessage::ReadsStopped => {}
    }
    out.push(b'\n');
    for record in records {
        out.extend_from_slice(b"record");
        record::write(out, record);
        out.push(b'\n');
    }
}

fn verb(body: &SlotMessage) -> &'static [u8] {
    match body {
        SlotMessage::Open { .. } => b"open",
        SlotMessage::Prepare { .. } => b"prepare",
        SlotMessage::Chunk { .. } => b"chunk",
        SlotMessage::Fresh => b"fresh",
        SlotMessage::Commit { .. } => b"commit",
        SlotMessage::StopReads => b"stop_reads",
        SlotMessage::State(_) => b"state",
        SlotMessage::ReadsStopped => b"reads_stopped",
        SlotMessage::Refused { .. } => b"refused",
    }
}

/// What the first line of a message gives.
#[derive(Debug)]
pub(super) enum Begun {
    /// The message.
    Whole(Message),
    /// The message without its records, of which this many follow.
    Owing(Message, usize),
}

/// Reads the first line of a message.
#[inline]
pub(super) fn read_first(line: &[u8], limits: &Limits) -> Result<Begun, LineError> {
    let mut words = Words::new(line);
    let before = words;
    let message = match words.word("message")? {
        b"prepare" => {
            let (slot, epoch) = slot(&mut words)?;
            let commit = words.option("commit point", |words| words.lsn("commit point"))?;
            let record = record::read(&mut words, limits)?;
            Message::Slot { slot, epoch, body: SlotMessage::Prepare { commit, record } }
        }
        b"ack" => Message::Ack { upto: words.number("position")? },
        b"beacon" => Message::Beacon(beacon::read(&mut words)?),
        b"hello" => {
            let incarnation = Incarnation(words.number("incarnation")?);
            let session = Session { incarnation, number: words.number("session")? };
            Message::Hello { session, version: words.version()? }
        }
        b"pull" => Message::Pull { version: words.version()? },
        b"push" => Message::Push(delta::read(&mut words)?),
        b"error" => return Err(before.error(Fault::Told { what: told(line) }, "line")),
        verb => return read_slot(verb, before, words),
    };
    words.end("message")?;
    Ok(Begun::Whole(message))
}

/// Reads the rest of a line about a slot that holds no record.
fn read_slot(verb: &[u8], before: Words<'_>, mut words: Words<'_>) -> Result<Begun, LineError> {
    type Body = fn(&mut Words<'_>) -> Result<(SlotMessage, usize), LineError>;
    let read: Body = match verb {
        b"open" => read_open,
        b"chunk" => read_chunk,
        b"fresh" => |_| Ok((SlotMessage::Fresh, 0)),
        b"commit" => read_commit,
        b"stop_reads" => |_| Ok((SlotMessage::StopReads, 0)),
        b"state" => read_state,
        b"reads_stopped" => |_| Ok((SlotMessage::ReadsStopped, 0)),
        b"refused" => read_refused,
        _ => return Err(before.error(Fault::Unknown, "message")),
    };
    let (slot, epoch) = slot(&mut words)?;
    let (body, count) = read(&mut words)?;
    words.end("message")?;
    let message = Message::Slot { slot, epoch, body };
    Ok(if count == 0 { Begun::Whole(message) } else { Begun::Owing(message, count) })
}

#[inline]
fn slot(words: &mut Words<'_>) -> Result<(SlotId, Epoch), LineError> {
    let slot = words.slot()?;
    words.close("slot")?;
    let epoch = words.epoch()?;
    words.close("epoch")?;
    Ok((slot, epoch))
}

fn read_open(words: &mut Words<'_>) -> Result<(SlotMessage, usize), LineError> {
    let commit = words.lsn("commit point")?;
    let above = words.lsn("lsn")?;
    let [is_learner] = words.flags("mark", ["learner"])?;
    Ok((SlotMessage::Open { commit, is_learner, above }, 0))
}

fn read_chunk(words: &mut Words<'_>) -> Result<(SlotMessage, usize), LineError> {
    let upto = words.lsn("lsn")?;
    let count = words.count("records", RECORD_COUNT_MAX)?;
    Ok((SlotMessage::Chunk { records: Vec::new(), upto }, count))
}

fn read_commit(words: &mut Words<'_>) -> Result<(SlotMessage, usize), LineError> {
    let commit = words.lsn("commit point")?;
    let floor = words.lsn("tombstone floor")?;
    let request_floor = words.lsn("request floor")?;
    let [has_reads] = words.flags("mark", ["reads"])?;
    Ok((SlotMessage::Commit { commit, floor, request_floor, has_reads }, 0))
}

fn read_state(words: &mut Words<'_>) -> Result<(SlotMessage, usize), LineError> {
    let commit = words.lsn("commit point")?;
    let held = words.lsn("lsn")?;
    let [is_empty, is_last] = words.flags("mark", ["empty", "last"])?;
    let count = words.count("records", RECORD_COUNT_MAX)?;
    let state = State { commit, held, is_empty, records: Vec::new(), is_last };
    Ok((SlotMessage::State(state), count))
}

fn read_refused(words: &mut Words<'_>) -> Result<(SlotMessage, usize), LineError> {
    let known = words.epoch()?;
    words.close("epoch")?;
    Ok((SlotMessage::Refused { known }, 0))
}

/// Returns the text of an `error` line, fit for a log.
pub(super) fn told(line: &[u8]) -> String {
    let text = line.strip_prefix(b"error ").unwrap_or(line);
    let text = text.get(..TOLD_LEN_MAX).unwrap_or(text);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(text).chars().map(plain).collect()
}
