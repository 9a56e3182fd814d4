//! Gossip on its lines, and the two lines about the map that go with it on the same connection.
//!
//! ```text
//! ping <number> <life> <version> <rumours> <reports>              pong and silent are alike
//! ask <number> <server> <life> <version> <rumours> <reports>
//! news <life> <version> <rumours> <reports>
//! pull <version>                                                  asks for what changed in the map since
//! push <json>                                                     brings it
//!
//! <life>      <incarnation>.<refutation>
//! <rumours>   items with commas between them, or -
//!             <server>:<life>:alive:<version>:<address>           the address escaped as a key, a comma as \x2c
//!             <server>:<life>:suspect:<server>/<server>…          accusers, rising
//!             <server>:<life>:dead    <server>:<life>:left
//! <reports>   <server>:<incarnation>:<beat>:<version>:<keys>:<bytes>:<operations a second>,… or -
//! ```
//!
//! A server that idles among ten says about 130 bytes in a line: what is always there takes 30, a report 80.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::{Fault, LineError};
use super::limits::{ADDRESS_LEN_MAX, GOSSIP_LEN_MAX};
use super::message::told;
use super::words::Words;
use super::{delta, text};
use crate::gossip::{
    ACCUSER_COUNT_MAX, Kind, Life, Load, Message, REPORT_COUNT_MAX, RUMOR_COUNT_MAX, Report, Rumor,
    Status,
};
use crate::map::Delta;
use crate::types::{ServerId, Version};

/// Bytes of a message's line without rumours and reports, at most: verb, number, target, life, version, two dashes, spaces, LF.
pub(crate) const GOSSIP_HEAD_LEN_MAX: usize = 128;

/// What a connection of gossip carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GossipLine {
    /// For the gossip machine.
    Message(Message),
    /// Asks for what changed since a version of the map.
    Pull {
        /// The version that the asker has.
        version: Version,
    },
    /// Brings what changed.
    Push(Delta),
}

/// Appends a line of gossip with its end (LF).
pub fn write_gossip(out: &mut Vec<u8>, line: &GossipLine) {
    match line {
        GossipLine::Message(message) => write_message(out, message),
        GossipLine::Pull { version } => {
            out.extend_from_slice(b"pull");
            text::number(out, version.0);
        }
        GossipLine::Push(delta) => {
            out.extend_from_slice(b"push");
            delta::write(out, delta);
        }
    }
    out.push(b'\n');
}

fn write_message(out: &mut Vec<u8>, message: &Message) {
    let (verb, number, target): (&[u8], _, _) = match message.kind {
        Kind::Ping { number } => (b"ping", Some(number), None),
        Kind::Pong { number } => (b"pong", Some(number), None),
        Kind::Ask { number, target } => (b"ask", Some(number), Some(target)),
        Kind::Silent { number } => (b"silent", Some(number), None),
        Kind::News => (b"news", None, None),
    };
    out.extend_from_slice(verb);
    if let Some(number) = number {
        text::number(out, number);
    }
    if let Some(target) = target {
        text::server(out, target);
    }
    out.push(b' ');
    write_life(out, message.life);
    text::number(out, message.version.0);
    text::list(out, &message.rumors, write_rumor);
    text::list(out, &message.reports, |out, report| write_report(out, *report));
}

fn write_life(out: &mut Vec<u8>, life: Life) {
    text::digits(out, life.incarnation.0);
    out.push(b'.');
    text::digits(out, u64::from(life.refutation));
}

fn write_rumor(out: &mut Vec<u8>, rumor: &Rumor) {
    text::id(out, rumor.server);
    out.push(b':');
    write_life(out, rumor.life);
    match &rumor.status {
        Status::Alive { version, address } => {
            out.extend_from_slice(b":alive:");
            text::digits(out, version.0);
            out.push(b':');
            text::item(out, address.as_bytes());
        }
        Status::Suspect { by } => {
            out.extend_from_slice(b":suspect");
            for (index, accuser) in by.iter().enumerate() {
                out.push(if index == 0 { b':' } else { b'/' });
                text::id(out, *accuser);
            }
        }
        Status::Dead => out.extend_from_slice(b":dead"),
        Status::Left => out.extend_from_slice(b":left"),
    }
}

fn write_report(out: &mut Vec<u8>, report: Report) {
    text::id(out, report.server);
    let Load { key_count, stored_len, op_rate } = report.load;
    let numbers = [report.incarnation.0, report.beat, report.version.0];
    for number in numbers.into_iter().chain([key_count, stored_len, op_rate]) {
        out.push(b':');
        text::digits(out, number);
    }
}

/// Returns the bytes of a rumour in a line, with its comma.
pub(crate) fn rumor_len(rumor: &Rumor) -> usize {
    let mut out = Vec::with_capacity(GOSSIP_HEAD_LEN_MAX);
    write_rumor(&mut out, rumor);
    out.len() + 1
}

/// Returns the bytes of a report in a line, with its comma.
pub(crate) fn report_len(report: &Report) -> usize {
    let mut out = Vec::with_capacity(GOSSIP_HEAD_LEN_MAX);
    write_report(&mut out, *report);
    out.len() + 1
}

/// Reads a line of gossip, without its end.
///
/// # Errors
/// [`LineError`] for a line that makes no sense.
pub fn read_gossip(line: &[u8]) -> Result<GossipLine, LineError> {
    let mut words = Words::new(line);
    let before = words;
    let verb = words.word("message")?;
    if verb == b"push" {
        let delta = delta::read(&mut words)?;
        words.end("message")?;
        return Ok(GossipLine::Push(delta));
    }
    if line.len() > GOSSIP_LEN_MAX {
        let fault = Fault::TooLong { len: line.len(), len_max: GOSSIP_LEN_MAX };
        return Err(before.error(fault, "line"));
    }
    let kind = match verb {
        b"ping" => Kind::Ping { number: words.number("number")? },
        b"pong" => Kind::Pong { number: words.number("number")? },
        b"silent" => Kind::Silent { number: words.number("number")? },
        b"ask" => Kind::Ask { number: words.number("number")?, target: words.server("server")? },
        b"news" => Kind::News,
        b"pull" => {
            let version = words.version()?;
            words.end("message")?;
            return Ok(GossipLine::Pull { version });
        }
        b"error" => return Err(before.error(Fault::Told { what: told(line) }, "line")),
        _ => return Err(before.error(Fault::Unknown, "message")),
    };
    let message = read_message(words, kind)?;
    Ok(GossipLine::Message(message))
}

fn read_message(mut words: Words<'_>, kind: Kind) -> Result<Message, LineError> {
    let life = read_life(&mut words)?;
    words.close("life")?;
    let version = words.version()?;
    let (mut rumors, mut reports) = (Vec::new(), Vec::new());
    words.list("rumours", RUMOR_COUNT_MAX, |words| {
        rumors.push(read_rumor(words)?);
        Ok(())
    })?;
    words.list("reports", REPORT_COUNT_MAX, |words| {
        reports.push(read_report(words)?);
        Ok(())
    })?;
    words.end("message")?;
    Ok(Message { kind, life, version, rumors, reports })
}

fn read_life(words: &mut Words<'_>) -> Result<Life, LineError> {
    const PART: &str = "life";
    let incarnation = words.incarnation()?;
    words.mark(b'.', PART)?;
    let refutation = words.digits(PART, u64::from(Life::REFUTATION_MAX))?;
    let refutation = u32::try_from(refutation).unwrap_or(Life::REFUTATION_MAX);
    Ok(Life { incarnation, refutation })
}

fn read_rumor(words: &mut Words<'_>) -> Result<Rumor, LineError> {
    const PART: &str = "rumour";
    let server = words.id("server")?;
    words.mark(b':', PART)?;
    let life = read_life(words)?;
    words.mark(b':', PART)?;
    let before = *words;
    let status = match words.name() {
        b"alive" => {
            words.mark(b':', PART)?;
            let version = Version(words.digits("version of the map", u64::MAX)?);
            words.mark(b':', PART)?;
            Status::Alive { version, address: read_address(words)? }
        }
        b"suspect" => {
            words.mark(b':', PART)?;
            Status::Suspect { by: read_accusers(words)? }
        }
        b"dead" => Status::Dead,
        b"left" => Status::Left,
        b"" => return Err(before.error(Fault::Missing, "status")),
        _ => return Err(before.error(Fault::Unknown, "status")),
    };
    Ok(Rumor { server, life, status })
}

fn read_address(words: &mut Words<'_>) -> Result<Arc<str>, LineError> {
    let before = *words;
    let address = words.item("address", ADDRESS_LEN_MAX)?;
    let address = std::str::from_utf8(&address).map(Arc::from);
    address.or(Err(before.error(Fault::NotText, "address")))
}

fn read_accusers(words: &mut Words<'_>) -> Result<BTreeSet<ServerId>, LineError> {
    const PART: &str = "accusers";
    let mut by = BTreeSet::new();
    loop {
        let before = *words;
        if by.len() == ACCUSER_COUNT_MAX {
            return Err(before.error(Fault::TooMany { count_max: ACCUSER_COUNT_MAX }, PART));
        }
        let accuser = words.id(PART)?;
        if by.last().is_some_and(|last| *last >= accuser) {
            return Err(before.error(Fault::OutOfOrder, PART));
        }
        by.insert(accuser);
        if !words.is_next(b'/') {
            return Ok(by);
        }
    }
}

fn read_report(words: &mut Words<'_>) -> Result<Report, LineError> {
    let server = words.id("server")?;
    words.mark(b':', "report")?;
    let incarnation = words.incarnation()?;
    let mut number = |part| {
        words.mark(b':', part)?;
        words.digits(part, u64::MAX)
    };
    let beat = number("beat")?;
    let version = Version(number("version of the map")?);
    let key_count = number("keys")?;
    let (stored_len, op_rate) = (number("bytes")?, number("operations")?);
    let load = Load { key_count, stored_len, op_rate };
    Ok(Report { server, incarnation, beat, version, load })
}
