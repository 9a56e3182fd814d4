//! What can be wrong with a line, and what is answered.
//!
//! | | means | answer |
//! |---|---|---|
//! | [`Error::Malformed`] | the line makes no sense | `error <what> at column <n>`; the connection goes on |
//! | [`Error::TooLong`] | it makes sense, but a part passes a limit | `<verb>_error <key> <reason>`; the connection goes on |
//! | [`Error::LineTooLong`] | it passes the limit before it ends | `error line too long …`; the connection closes |
//!
//! Columns count bytes from 1, the line's end not included. No text of an error contains a value.

use std::fmt;

use crate::{Dialect, Reply, Verb};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error<'a> {
    /// The line makes no sense.
    Malformed {
        /// What is wrong.
        fault: Fault,
        /// Where, in bytes from 1.
        column: usize,
    },
    /// A part of a request is longer than allowed.
    TooLong {
        /// What was asked.
        verb: Verb,
        /// The key (or path) as the client spelled it.
        key: &'a [u8],
        /// Which part.
        part: Part,
        /// Its length in bytes, unescaped.
        len: usize,
        /// The longest that is taken.
        len_max: usize,
    },
    /// The line is longer than any request can be; its end was not awaited.
    LineTooLong {
        /// The longest line that is taken, in bytes.
        len_max: usize,
    },
}

/// What makes a line senseless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is on the line.
    Empty,
    /// The first word is no verb.
    UnknownVerb,
    /// The verb's key (or path) is not there.
    MissingKey,
    /// The verb's second argument is not there.
    MissingArgument,
    /// Something follows where the line should end.
    TrailingText,
    /// A backslash is not followed by what makes it an escape.
    BadEscape,
    /// A number is none, or zero where it must not be.
    BadNumber,
    /// An option is none that is known, is there twice, or does not go with the request.
    BadOption,
    /// A carriage return stands where this dialect could not show it again.
    CarriageReturn,
    /// The verb is not part of this dialect.
    NotInDialect,
}

impl Fault {
    const fn text(self) -> &'static str {
        match self {
            Self::Empty => "empty line",
            Self::UnknownVerb => "unknown request",
            Self::MissingKey => "key missing",
            Self::MissingArgument => "argument missing",
            Self::TrailingText => "unexpected text",
            Self::BadEscape => "bad escape",
            Self::BadNumber => "bad number",
            Self::BadOption => "bad option",
            Self::CarriageReturn => "carriage return not allowed",
            Self::NotInDialect => "request not spoken in this dialect",
        }
    }
}

/// A part of a request that has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
    /// The path of a backup.
    Path,
}

impl Error<'_> {
    /// Returns whether the connection must be closed after the answer: where the next line begins is
    /// not known.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::LineTooLong { .. })
    }

    /// Appends the line that answers such a request.
    pub fn encode_into(&self, dialect: Dialect, out: &mut Vec<u8>) {
        let text = self.to_string();
        match *self {
            Self::TooLong { verb, key, .. } => {
                crate::reply::encode_refusal(dialect, verb, key, &text, out);
            }
            Self::Malformed { .. } | Self::LineTooLong { .. } => {
                Reply::Error { what: text.into() }.encode_into(dialect, out);
            }
        }
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { fault, column } => write!(f, "{} at column {column}", fault.text()),
            Self::TooLong { part, len, len_max, .. } => {
                let part = match part {
                    Part::Key => "key",
                    Part::Value => "value",
                    Part::Path => "path",
                };
                write!(f, "{part} too long: {len} bytes, the limit is {len_max}")
            }
            Self::LineTooLong { len_max } => {
                write!(f, "line too long: the limit is {len_max} bytes")
            }
        }
    }
}

impl std::error::Error for Error<'_> {}
