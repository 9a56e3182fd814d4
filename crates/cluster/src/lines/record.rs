//! A record on its line: its place and particulars first, then what it does to its key.
//!
//! ```text
//! <lsn> <expires> <request> put <key> <value>        a value, which is the rest of the line
//! <lsn> <expires> <request> delete <key>             a tombstone
//! <lsn> - <request> request                          nothing but a request id
//!
//! <expires>   milliseconds since 1970-01-01 UTC, or -
//! <request>   <client>:<number>:<outcome>, or -
//! ```

use protocol::Limits;

use super::error::{Fault, LineError};
use super::text;
use super::words::Words;
use crate::types::{Bytes, Record, Request};

/// Appends a record, the space in front included.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, record: &Record) {
    text::lsn(out, record.lsn);
    match record.expires_at_ms {
        Some(at) => text::number(out, at),
        None => text::none(out),
    }
    match record.request {
        Some(request) => write_request(out, request),
        None => text::none(out),
    }
    match &record.value {
        Some(value) if !record.is_request_only() => {
            out.extend_from_slice(b" put");
            text::token(out, &record.key);
            text::rest(out, value);
        }
        None if !record.is_request_only() => {
            out.extend_from_slice(b" delete");
            text::token(out, &record.key);
        }
        value => {
            let is_alone = value.is_none() && record.expires_at_ms.is_none();
            assert!(is_alone && record.request.is_some(), "a request id alone is all that it has");
            out.extend_from_slice(b" request");
        }
    }
}

fn write_request(out: &mut Vec<u8>, request: Request) {
    text::number(out, request.client);
    out.push(b':');
    text::digits(out, request.number);
    out.push(b':');
    text::digits(out, u64::from(request.outcome));
}

/// Reads a record, which is the rest of the line.
#[inline]
pub(super) fn read(words: &mut Words<'_>, limits: &Limits) -> Result<Record, LineError> {
    let lsn = words.lsn("lsn")?;
    let before_expiry = *words;
    let expires_at_ms = words.option("expiry", |words| words.number("expiry"))?;
    let before_request = *words;
    let request = words.option("request id", read_request)?;
    let before_kind = *words;
    let kind = words.word("kind of record")?;
    let (key, value) = match kind {
        b"put" => {
            let key = Bytes::from(&*words.token("key", limits.key_len_max)?);
            (key, Some(Bytes::from(&*words.value("value", limits.value_len_max)?)))
        }
        b"delete" => (Bytes::from(&*words.token("key", limits.key_len_max)?), None),
        b"request" if expires_at_ms.is_some() => {
            return Err(before_expiry.error(Fault::Unexpected, "lsn"));
        }
        b"request" if request.is_none() => {
            return Err(before_request.error(Fault::Missing, "request id"));
        }
        b"request" => (Bytes::from([]), None),
        _ => return Err(before_kind.error(Fault::Unknown, "kind of record")),
    };
    words.end("record")?;
    Ok(Record { lsn, key, value, expires_at_ms, request })
}

fn read_request(words: &mut Words<'_>) -> Result<Request, LineError> {
    const PART: &str = "request id";
    let client = words.digits(PART, u64::MAX)?;
    words.mark(b':', PART)?;
    let number = words.digits(PART, u64::MAX)?;
    words.mark(b':', PART)?;
    let before = *words;
    let outcome = words.digits(PART, u64::from(u8::MAX))?;
    words.close(PART)?;
    let outcome = u8::try_from(outcome)
        .or(Err(before.error(Fault::TooLarge { max: u64::from(u8::MAX) }, PART)))?;
    Ok(Request { client, number, outcome })
}
