//! Writes with more to them: a request id, a condition, a time to live.
//!
//! ```text
//!   with [id=<client>:<number>] [if=absent | if=<version>] [ttl=<ms>] put <key> <value>
//!   with [id=<client>:<number>] delete <key>
//! ```
//!
//! Options come in any order, each at most once, and are written in the order above. Numbers are decimal, of 64 bits, and
//! hold digits only. What follows the options is a plain `put` or `delete`, and is read like one: `put <key>` without
//! a value deletes, and a delete takes no condition and no time to live.

use std::borrow::Cow;

use crate::escape::{Place, escape_into};
use crate::request::{Parser, push_token, split_token};
use crate::{Error, Fault, Request, Verb};

/// A put or delete with options; one without any is the plain request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct With<'a> {
    /// The client and the number of its request: servers remember for each slot and client what came of the
    /// last one, so that it is not done twice.
    pub id: Option<(u64, u64)>,
    /// What must hold for a put to be done.
    pub condition: Option<Condition>,
    /// Milliseconds after which the value is gone, at least 1; none stays.
    pub ttl_ms: Option<u64>,
    /// The key.
    pub key: Cow<'a, [u8]>,
    /// The value to put; none deletes, and is without condition and time to live.
    pub value: Option<Cow<'a, [u8]>>,
}

/// What a key must be for a put to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has no value.
    Absent,
    /// It has the value of this version, as `read` tells it.
    Version(u64),
}

impl With<'_> {
    /// Appends what follows the word `with`.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        let mut option = |text: String| out.extend_from_slice(text.as_bytes());
        if let Some((client, number)) = self.id {
            option(format!(" id={client}:{number}"));
        }
        if self.value.is_some() {
            match self.condition {
                Some(Condition::Absent) => option(" if=absent".to_owned()),
                Some(Condition::Version(version)) => option(format!(" if={version}")),
                None => {}
            }
            if let Some(ttl_ms) = self.ttl_ms {
                option(format!(" ttl={ttl_ms}"));
            }
        }
        let verb = if self.value.is_some() { Verb::Put } else { Verb::Delete };
        out.push(b' ');
        out.extend_from_slice(verb.name().as_bytes());
        push_token(&self.key, out);
        if let Some(value) = &self.value {
            out.push(b' ');
            escape_into(value, Place::Value, out);
        }
    }
}

/// Reads what follows the word `with`.
pub(crate) fn parse<'a>(
    parser: &Parser<'a, '_>,
    rest: Option<&'a [u8]>,
) -> Result<Request<'a>, Error<'a>> {
    let mut with = With::default();
    let mut rest = parser.some(rest, Fault::MissingArgument)?;
    let (verb, rest) = loop {
        let (word, behind) = split_token(rest);
        if !take_option(parser, &mut with, word)? {
            break (word, behind);
        }
        rest = parser.some(behind, Fault::MissingArgument)?;
    };
    let inner = match Verb::from_word(verb) {
        Some(Verb::Put) => parser.as_verb(Verb::Put).put(rest)?,
        Some(Verb::Delete) => Request::Delete { key: parser.as_verb(Verb::Delete).only_key(rest)? },
        _ => return Err(parser.malformed(Fault::UnknownVerb, verb)),
    };
    match inner {
        Request::Put { key, value } => {
            (with.key, with.value) = (key, Some(value));
        }
        Request::Delete { key } if with.condition.is_none() && with.ttl_ms.is_none() => {
            with.key = key;
        }
        _ => return Err(parser.malformed(Fault::BadOption, verb)),
    }
    Ok(Request::With(with))
}

/// Takes `word` if it is an option; returns whether it is one.
fn take_option<'a>(
    parser: &Parser<'a, '_>,
    with: &mut With<'_>,
    word: &'a [u8],
) -> Result<bool, Error<'a>> {
    let Some(equals) = memchr::memchr(b'=', word) else { return Ok(false) };
    let (name, value) = word.split_at(equals);
    let value = value.get(1..).unwrap_or_default();
    let number = |text: &'a [u8]| {
        let number = decimal(text);
        number.ok_or_else(|| parser.malformed(Fault::BadNumber, text))
    };
    match name {
        b"id" if with.id.is_none() => {
            let colon = memchr::memchr(b':', value);
            let Some((client, rest)) = colon.and_then(|at| value.split_at_checked(at)) else {
                return Err(parser.malformed(Fault::BadNumber, value));
            };
            with.id = Some((number(client)?, number(rest.get(1..).unwrap_or_default())?));
        }
        b"if" if with.condition.is_none() => {
            with.condition = Some(match value {
                b"absent" => Condition::Absent,
                version => Condition::Version(number(version)?),
            });
        }
        b"ttl" if with.ttl_ms.is_none() => match number(value)? {
            0 => return Err(parser.malformed(Fault::BadNumber, value)),
            ttl_ms => with.ttl_ms = Some(ttl_ms),
        },
        _ => return Err(parser.malformed(Fault::BadOption, word)),
    }
    Ok(true)
}

/// Returns the number that `digits`, and nothing but digits, stand for.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}
