//! What servers and the coordinator say to each other, as lines. The table of the lines is in [`super`].

use std::collections::BTreeSet;

use super::error::{Fault, LineError};
use super::limits::{ADDRESS_LEN_MAX, CHANGE_COUNT_MAX, LOAD_COUNT_MAX};
use super::message::told;
use super::words::Words;
use super::{delta, text};
use crate::gossip::DOUBT_COUNT_MAX;
use crate::message::{Change, FromEcs, ToEcs};
use crate::types::{Epoch, Incarnation, Number, ServerId, SlotId, SlotLoad};

/// Appends what a server says to the coordinator: a line with its end (LF).
pub fn write_to_ecs(out: &mut Vec<u8>, message: &ToEcs) {
    match message {
        ToEcs::Register { server, address, life, is_complete, is_standby, version } => {
            out.extend_from_slice(b"register");
            text::server(out, *server);
            text::number(out, *life);
            text::number(out, version.0);
            text::flags(out, [("complete", *is_complete), ("standby", *is_standby)]);
            text::token(out, address.as_bytes());
        }
        ToEcs::Doubts { server, incarnation, doubted } => {
            out.extend_from_slice(b"doubts");
            text::server(out, *server);
            text::number(out, incarnation.0);
            text::list(out, doubted, |out, server| text::id(out, *server));
        }
        ToEcs::Request { server, incarnation, number, version, is_full, changes, loads } => {
            out.extend_from_slice(b"request");
            text::server(out, *server);
            text::number(out, incarnation.0);
            text::number(out, number.0);
            text::number(out, version.0);
            text::flags(out, [("full", *is_full)]);
            text::list(out, changes, |out, change| write_change(out, *change));
            text::list(out, loads, |out, (slot, load)| {
                text::digits(out, u64::from(slot.index()));
                for number in [load.stored_len, load.op_rate] {
                    out.push(b':');
                    text::digits(out, number);
                }
            });
        }
    }
    out.push(b'\n');
}

fn write_change(out: &mut Vec<u8>, change: Change) {
    let (name, slot, epoch, who): (&[u8], _, _, _) = match change {
        Change::Depose { slot, epoch } => (b"depose:", slot, epoch, None),
        Change::Remove { slot, epoch, member } => (b"remove:", slot, epoch, Some((member, None))),
        Change::Promote { slot, epoch, learner: (server, life) } => {
            (b"promote:", slot, epoch, Some((server, Some(life))))
        }
        Change::HandOver { slot, epoch, to } => (b"hand_over:", slot, epoch, Some((to, None))),
        Change::Resign { slot, epoch } => (b"resign:", slot, epoch, None),
        Change::Fail => return out.extend_from_slice(b"fail"),
        Change::Leave => return out.extend_from_slice(b"leave"),
    };
    out.extend_from_slice(name);
    text::digits(out, u64::from(slot.index()));
    out.push(b':');
    text::digits(out, u64::from(epoch.0));
    let Some((server, life)) = who else { return };
    out.push(b':');
    text::id(out, server);
    let Some(life) = life else { return };
    out.push(b':');
    text::digits(out, life.0);
}

/// Reads what a server says to the coordinator, from a line without its end.
///
/// # Errors
/// [`LineError`] for a line that makes no sense.
pub fn read_to_ecs(line: &[u8]) -> Result<ToEcs, LineError> {
    let mut words = Words::new(line);
    let before = words;
    let message = match words.word("message")? {
        b"register" => {
            let server = words.server("server")?;
            let life = words.number("life")?;
            let version = words.version()?;
            let [is_complete, is_standby] = words.flags("mark", ["complete", "standby"])?;
            let address = read_address(&mut words)?;
            ToEcs::Register { server, address, life, is_complete, is_standby, version }
        }
        b"doubts" => {
            let server = words.server("server")?;
            let incarnation = Incarnation(words.number("incarnation")?);
            let mut doubted = BTreeSet::new();
            words.list("doubts", DOUBT_COUNT_MAX, |words| {
                let before = *words;
                let next = words.id("server")?;
                if doubted.last().is_some_and(|last| *last >= next) {
                    return Err(before.error(Fault::OutOfOrder, "doubts"));
                }
                doubted.insert(next);
                Ok(())
            })?;
            ToEcs::Doubts { server, incarnation, doubted }
        }
        b"request" => {
            let server = words.server("server")?;
            let incarnation = Incarnation(words.number("incarnation")?);
            let number = Number(words.number("number")?);
            let version = words.version()?;
            let [is_full] = words.flags("mark", ["full"])?;
            let changes = read_changes(&mut words)?;
            let loads = read_loads(&mut words)?;
            ToEcs::Request { server, incarnation, number, version, is_full, changes, loads }
        }
        b"error" => return Err(before.error(Fault::Told { what: told(line) }, "line")),
        _ => return Err(before.error(Fault::Unknown, "message")),
    };
    words.end("message")?;
    Ok(message)
}

fn read_address(words: &mut Words<'_>) -> Result<String, LineError> {
    let before = *words;
    let address = words.token("address", ADDRESS_LEN_MAX)?.into_owned();
    String::from_utf8(address).or(Err(before.error(Fault::NotText, "address")))
}

fn read_changes(words: &mut Words<'_>) -> Result<Vec<Change>, LineError> {
    let mut changes = Vec::new();
    words.list("changes", CHANGE_COUNT_MAX, |words| {
        changes.push(read_change(words)?);
        Ok(())
    })?;
    Ok(changes)
}

fn read_change(words: &mut Words<'_>) -> Result<Change, LineError> {
    let before = *words;
    let place = |words: &mut Words<'_>| -> Result<(SlotId, Epoch), LineError> {
        words.mark(b':', "slot")?;
        let slot = words.slot()?;
        words.mark(b':', "epoch")?;
        Ok((slot, words.epoch()?))
    };
    let who = |words: &mut Words<'_>| -> Result<ServerId, LineError> {
        words.mark(b':', "server")?;
        words.id("server")
    };
    match words.name() {
        b"depose" => place(words).map(|(slot, epoch)| Change::Depose { slot, epoch }),
        b"remove" => {
            let (slot, epoch) = place(words)?;
            Ok(Change::Remove { slot, epoch, member: who(words)? })
        }
        b"promote" => {
            let (slot, epoch) = place(words)?;
            let server = who(words)?;
            words.mark(b':', "incarnation")?;
            Ok(Change::Promote { slot, epoch, learner: (server, words.incarnation()?) })
        }
        b"hand_over" => {
            let (slot, epoch) = place(words)?;
            Ok(Change::HandOver { slot, epoch, to: who(words)? })
        }
        b"resign" => place(words).map(|(slot, epoch)| Change::Resign { slot, epoch }),
        b"fail" => Ok(Change::Fail),
        b"leave" => Ok(Change::Leave),
        b"" => Err(before.error(Fault::Missing, "change")),
        _ => Err(before.error(Fault::Unknown, "change")),
    }
}

fn read_loads(words: &mut Words<'_>) -> Result<Vec<(SlotId, SlotLoad)>, LineError> {
    let mut loads = Vec::new();
    words.list("loads", LOAD_COUNT_MAX, |words| {
        let slot = words.slot()?;
        words.mark(b':', "load")?;
        let stored_len = words.digits("load", u64::MAX)?;
        words.mark(b':', "operations")?;
        let op_rate = words.digits("operations", u64::MAX)?;
        loads.push((slot, SlotLoad { stored_len, op_rate }));
        Ok(())
    })?;
    Ok(loads)
}

/// Appends what the coordinator says to a server: a line with its end (LF).
pub fn write_from_ecs(out: &mut Vec<u8>, message: &FromEcs) {
    match message {
        FromEcs::Registered { life, incarnation, delta } => {
            out.extend_from_slice(b"registered");
            text::number(out, *life);
            text::number(out, incarnation.0);
            delta::write(out, delta);
        }
        FromEcs::Answer { number, delta } => {
            out.extend_from_slice(b"answer");
            text::number(out, number.0);
            delta::write(out, delta);
        }
        FromEcs::Push(delta) => {
            out.extend_from_slice(b"push");
            delta::write(out, delta);
        }
        FromEcs::Superseded => out.extend_from_slice(b"superseded"),
    }
    out.push(b'\n');
}

/// Reads what the coordinator says to a server, from a line without its end.
///
/// # Errors
/// [`LineError`] for a line that makes no sense.
pub fn read_from_ecs(line: &[u8]) -> Result<FromEcs, LineError> {
    let mut words = Words::new(line);
    let before = words;
    let message = match words.word("message")? {
        b"registered" => {
            let life = words.number("life")?;
            let incarnation = Incarnation(words.number("incarnation")?);
            FromEcs::Registered { life, incarnation, delta: delta::read(&mut words)? }
        }
        b"answer" => {
            let number = Number(words.number("number")?);
            FromEcs::Answer { number, delta: delta::read(&mut words)? }
        }
        b"push" => FromEcs::Push(delta::read(&mut words)?),
        b"superseded" => FromEcs::Superseded,
        b"error" => return Err(before.error(Fault::Told { what: told(line) }, "line")),
        _ => return Err(before.error(Fault::Unknown, "message")),
    };
    words.end("message")?;
    Ok(message)
}
