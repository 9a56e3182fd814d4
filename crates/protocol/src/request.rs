//! Requests: a line into what it asks, and back.
//!
//! | line | request |
//! |---|---|
//! | `put <key> <value>` | [`Request::Put`]; the value is the rest of the line and may be empty |
//! | `put <key>`, `delete <key>` | [`Request::Delete`] |
//! | `get <key>` | [`Request::Get`] |
//! | `keyrange`, `keyrange_read`, `info`, `ping`, `quit` | the request of that name |
//! | `scan <cursor> <count>` | [`Request::Scan`]; the cursor `-` is the beginning |
//! | `backup <path>` | [`Request::Backup`] |
//! | `with <options> put …`, `with <options> delete …` | [`Request::With`] |
//! | `read <key>`, `forget <client>`, `ecs` | the request of that name |
//!
//! Tokens are separated by exactly one space. In the dialects without escapes `get`, `delete` and
//! `backup` take the rest of the line, `scan` and what follows `backup` above are not spoken, and bytes that could never be shown
//! again (a CR in a key or at a value's end) are refused.

use std::borrow::Cow;

use memchr::memchr;

use crate::escape::{Place, Refusal, escape_into, unescape};
use crate::with::{self, decimal};
use crate::{Dialect, Error, Fault, Limits, PATH_LEN_MAX, Part, SCAN_COUNT_MAX, Verb, With};

/// The cursor from which a scan begins.
const CURSOR_START: &[u8] = b"-";

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store `value` under `key`.
    Put {
        /// The key, 1 to `key_len_max` bytes.
        key: Cow<'a, [u8]>,
        /// The value, 0 to `value_len_max` bytes.
        value: Cow<'a, [u8]>,
    },
    /// Read the value of `key`.
    Get {
        /// The key, 1 to `key_len_max` bytes.
        key: Cow<'a, [u8]>,
    },
    /// Remove `key`.
    Delete {
        /// The key, 1 to `key_len_max` bytes.
        key: Cow<'a, [u8]>,
    },
    /// Which server is primary for which arc.
    Keyrange,
    /// Which servers may serve reads of which arc.
    KeyrangeRead,
    /// The server's figures.
    Info,
    /// Some of the entries.
    Scan {
        /// Where to go on, as the server said; `None` is the beginning. Without spaces.
        cursor: Option<&'a [u8]>,
        /// Most entries to answer with, 1 to [`SCAN_COUNT_MAX`].
        count: u32,
    },
    /// A snapshot of the data into a folder on the server's machine.
    Backup {
        /// The folder, 1 to [`PATH_LEN_MAX`] bytes.
        path: Cow<'a, [u8]>,
    },
    /// A put or delete with options.
    With(With<'a>),
    /// Read the value of `key` and its version.
    Read {
        /// The key, 1 to `key_len_max` bytes.
        key: Cow<'a, [u8]>,
    },
    /// The client needs its request ids no more.
    Forget {
        /// The client, as in the ids of its requests.
        client: u64,
    },
    /// Where the cluster's configuration service is.
    Ecs,
    /// Is anybody there.
    Ping,
    /// Close the connection.
    Quit,
}

/// Returns the verb of `line` and its first argument as spelled, without looking at the rest.
#[must_use]
pub fn peek(line: &[u8]) -> Option<(Verb, &[u8])> {
    let (word, rest) = split_token(line);
    let (argument, _) = split_token(rest.unwrap_or_default());
    Some((Verb::from_word(word)?, argument))
}

impl<'a> Request<'a> {
    /// Returns what `line`, a line without its end, asks.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if it makes no sense, [`Error::TooLong`] if a part passes its limit.
    #[inline]
    pub fn parse(line: &'a [u8], dialect: Dialect, limits: &Limits) -> Result<Self, Error<'a>> {
        let (word, rest) = split_token(line);
        let Some(verb) = Verb::from_word(word) else {
            let fault = if line.is_empty() { Fault::Empty } else { Fault::UnknownVerb };
            return Err(Error::Malformed { fault, column: 1 });
        };
        let parser = Parser { line, verb, dialect, limits };
        match verb {
            Verb::Put => parser.put(rest),
            Verb::Get => Ok(Self::Get { key: parser.only_key(rest)? }),
            Verb::Delete => Ok(Self::Delete { key: parser.only_key(rest)? }),
            Verb::Scan => parser.scan(rest),
            Verb::Backup => {
                let path = parser.only(rest)?;
                Ok(Self::Backup { path: parser.bytes(path, path, Part::Path)? })
            }
            Verb::With | Verb::Read | Verb::Forget | Verb::Ecs if !dialect.has_escapes() => {
                Err(parser.malformed(Fault::NotInDialect, line))
            }
            Verb::With => with::parse(&parser, rest),
            Verb::Read => Ok(Self::Read { key: parser.only_key(rest)? }),
            Verb::Forget => parser.forget(rest),
            Verb::Ecs => parser.nothing_more(rest, Self::Ecs),
            Verb::Keyrange => parser.nothing_more(rest, Self::Keyrange),
            Verb::KeyrangeRead => parser.nothing_more(rest, Self::KeyrangeRead),
            Verb::Info => parser.nothing_more(rest, Self::Info),
            Verb::Ping => parser.nothing_more(rest, Self::Ping),
            Verb::Quit => parser.nothing_more(rest, Self::Quit),
        }
    }

    /// Appends this request as a line of the native dialect, its end (LF) included.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.verb().name().as_bytes());
        match self {
            Self::Put { key, value } => {
                push_token(key, out);
                out.push(b' ');
                escape_into(value, Place::Value, out);
            }
            Self::Get { key }
            | Self::Delete { key }
            | Self::Read { key }
            | Self::Backup { path: key } => push_token(key, out),
            Self::With(with) => with.encode_into(out),
            Self::Forget { client } => {
                out.push(b' ');
                out.extend_from_slice(client.to_string().as_bytes());
            }
            Self::Scan { cursor, count } => {
                out.push(b' ');
                out.extend_from_slice(cursor.unwrap_or(CURSOR_START));
                out.push(b' ');
                out.extend_from_slice(count.to_string().as_bytes());
            }
            Self::Keyrange
            | Self::KeyrangeRead
            | Self::Info
            | Self::Ecs
            | Self::Ping
            | Self::Quit => {}
        }
        out.push(b'\n');
    }

    /// Returns the word this request begins with.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Put { .. } => Verb::Put,
            Self::Get { .. } => Verb::Get,
            Self::Delete { .. } => Verb::Delete,
            Self::Keyrange => Verb::Keyrange,
            Self::KeyrangeRead => Verb::KeyrangeRead,
            Self::Info => Verb::Info,
            Self::Scan { .. } => Verb::Scan,
            Self::Backup { .. } => Verb::Backup,
            Self::With(_) => Verb::With,
            Self::Read { .. } => Verb::Read,
            Self::Forget { .. } => Verb::Forget,
            Self::Ecs => Verb::Ecs,
            Self::Ping => Verb::Ping,
            Self::Quit => Verb::Quit,
        }
    }
}

/// A line whose verb is known.
pub(crate) struct Parser<'a, 'l> {
    line: &'a [u8],
    verb: Verb,
    dialect: Dialect,
    limits: &'l Limits,
}

impl<'a> Parser<'a, '_> {
    #[inline]
    pub(crate) fn put(&self, rest: Option<&'a [u8]>) -> Result<Request<'a>, Error<'a>> {
        let arguments = self.some(rest, Fault::MissingKey)?;
        let (token, value) = split_token(arguments);
        let Some(value) = value.filter(|value| !self.is_deletion(value)) else {
            let key = self.as_verb(Verb::Delete).bytes(token, token, Part::Key)?;
            return Ok(Request::Delete { key });
        };
        let key = self.bytes(token, token, Part::Key)?;
        Ok(Request::Put { key, value: self.bytes(value, token, Part::Value)? })
    }

    /// Returns a parser of the same line as a request of `verb`.
    pub(crate) const fn as_verb(&self, verb: Verb) -> Self {
        Self { verb, ..*self }
    }

    /// Returns whether a put of `value` is the dialect's way to delete.
    fn is_deletion(&self, value: &[u8]) -> bool {
        self.dialect == Dialect::Toronto && (value.is_empty() || value == b"null")
    }

    pub(crate) fn only_key(&self, rest: Option<&'a [u8]>) -> Result<Cow<'a, [u8]>, Error<'a>> {
        let token = self.only(rest)?;
        self.bytes(token, token, Part::Key)
    }

    /// Returns the only argument: a token, or in the dialects without escapes the rest of the line.
    fn only(&self, rest: Option<&'a [u8]>) -> Result<&'a [u8], Error<'a>> {
        let argument = self.some(rest, Fault::MissingKey)?;
        if self.dialect.has_escapes()
            && let (_, Some(behind)) = split_token(argument)
        {
            return Err(self.malformed(Fault::TrailingText, behind));
        }
        Ok(argument)
    }

    fn scan(&self, rest: Option<&'a [u8]>) -> Result<Request<'a>, Error<'a>> {
        if !self.dialect.has_escapes() {
            return Err(self.malformed(Fault::NotInDialect, self.line));
        }
        let arguments = self.some(rest, Fault::MissingArgument)?;
        let (cursor, rest) = split_token(arguments);
        let number = self.some(rest, Fault::MissingArgument)?;
        let count = std::str::from_utf8(number).ok().and_then(|number| number.parse::<u32>().ok());
        match count {
            None | Some(0) => Err(self.malformed(Fault::BadNumber, number)),
            Some(count) => Ok(Request::Scan {
                cursor: (cursor != CURSOR_START).then_some(cursor),
                count: count.min(SCAN_COUNT_MAX),
            }),
        }
    }

    fn forget(&self, rest: Option<&'a [u8]>) -> Result<Request<'a>, Error<'a>> {
        let arguments = self.some(rest, Fault::MissingArgument)?;
        let (number, behind) = split_token(arguments);
        match (decimal(number), behind) {
            (None, _) => Err(self.malformed(Fault::BadNumber, number)),
            (Some(_), Some(behind)) => Err(self.malformed(Fault::TrailingText, behind)),
            (Some(client), None) => Ok(Request::Forget { client }),
        }
    }

    fn nothing_more(
        &self,
        rest: Option<&'a [u8]>,
        request: Request<'a>,
    ) -> Result<Request<'a>, Error<'a>> {
        match rest {
            None => Ok(request),
            Some(rest) => Err(self.malformed(Fault::TrailingText, rest)),
        }
    }

    /// Returns the arguments, which must begin with a token.
    pub(crate) fn some(&self, rest: Option<&'a [u8]>, fault: Fault) -> Result<&'a [u8], Error<'a>> {
        match rest {
            Some(rest) if !rest.is_empty() && !rest.starts_with(b" ") => Ok(rest),
            Some(rest) => Err(self.malformed(fault, rest)),
            None => Err(Error::Malformed { fault, column: self.line.len() + 1 }),
        }
    }

    /// Returns what `text`, a part of the line, stands for. `key` is what a refusal is about.
    #[inline]
    fn bytes(&self, text: &'a [u8], key: &'a [u8], part: Part) -> Result<Cow<'a, [u8]>, Error<'a>> {
        let (place, len_max) = match part {
            Part::Key => (Place::Key, self.limits.key_len_max),
            Part::Value => (Place::Value, self.limits.value_len_max),
            Part::Path => (Place::Key, PATH_LEN_MAX),
        };
        let bytes = if self.dialect.has_escapes() {
            unescape(text, place, len_max)
        } else {
            self.check_showable(text, part)?;
            if text.len() > len_max {
                Err(Refusal::TooLong(text.len()))
            } else {
                Ok(Cow::Borrowed(text))
            }
        };
        bytes.map_err(|refusal| match refusal {
            Refusal::TooLong(len) => Error::TooLong { verb: self.verb, key, part, len, len_max },
            Refusal::BadEscape(offset) => {
                self.malformed(Fault::BadEscape, text.get(offset..).unwrap_or_default())
            }
        })
    }

    /// Checks that a dialect without escapes can give `text` back.
    fn check_showable(&self, text: &'a [u8], part: Part) -> Result<(), Error<'a>> {
        let at = match part {
            Part::Key | Part::Path => memchr(b'\r', text),
            Part::Value => text.strip_suffix(b"\r").map(<[u8]>::len),
        };
        match at {
            None => Ok(()),
            Some(at) => {
                Err(self.malformed(Fault::CarriageReturn, text.get(at..).unwrap_or_default()))
            }
        }
    }

    /// Returns the error that `fault` is where `at`, a part of the line, begins.
    pub(crate) fn malformed(&self, fault: Fault, at: &[u8]) -> Error<'a> {
        Error::Malformed { fault, column: offset_in(self.line, at) + 1 }
    }
}

/// Returns how many bytes of `line` are before `part`, a slice of it.
pub(crate) fn offset_in(line: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().saturating_sub(line.as_ptr().addr()).min(line.len())
}

/// Returns the token at the front of `text`, and what follows its space if there is one.
#[inline]
pub(crate) fn split_token(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b' ', text) {
        Some(at) => {
            let (token, rest) = text.split_at(at);
            (token, rest.get(1..))
        }
        None => (text, None),
    }
}

/// Appends a space and `bytes` as a token.
pub(crate) fn push_token(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b' ');
    escape_into(bytes, Place::Key, out);
}
