//! What can be wrong with a line of a server or the coordinator.
//!
//! Whoever gets one closes the connection and says why: messages are counted on both sides, so none can be passed
//! over. The session that follows begins again with what is not acknowledged. Columns count bytes from 1. No text
//! of an error contains a key, a value or a secret.

use std::fmt;

/// What is wrong with a line, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// What is wrong.
    pub fault: Fault,
    /// With which part of the line.
    pub part: &'static str,
    /// Where, in bytes from 1; one past the end for what is missing there.
    pub column: usize,
}

/// What makes a line senseless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The part is not there.
    Missing,
    /// Something follows the part that does not belong to it.
    Unexpected,
    /// The word is none of those that can stand there.
    Unknown,
    /// It is not a number in decimal digits, without zeros in front.
    NotANumber,
    /// It is a number, but too large.
    TooLarge {
        /// The largest that is taken.
        max: u64,
    },
    /// It is not 32 lower-case hexadecimal digits.
    NotAnId,
    /// A backslash is not followed by what makes it an escape.
    BadEscape,
    /// It is not UTF-8.
    NotText,
    /// It is not the JSON of such a thing.
    NotJson,
    /// It does not come after the one before it.
    OutOfOrder,
    /// It stands for too many bytes.
    TooLong {
        /// How many.
        len: usize,
        /// The most that is taken.
        len_max: usize,
    },
    /// There are too many.
    TooMany {
        /// The most that are taken.
        count_max: usize,
    },
    /// The line is of another version of the protocol.
    Version {
        /// Which.
        found: u64,
    },
    /// The line is the other side's refusal of what was sent to it.
    Told {
        /// What it said, the beginning of it if it was long, without control characters.
        what: String,
    },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, column) = (self.part, self.column);
        match &self.fault {
            Fault::Missing => write!(f, "{part} missing"),
            Fault::Unexpected => write!(f, "unexpected text behind {part}"),
            Fault::Unknown => write!(f, "unknown {part}"),
            Fault::NotANumber => write!(f, "{part} not a number"),
            Fault::TooLarge { max } => write!(f, "{part} above {max}"),
            Fault::NotAnId => write!(f, "{part} not 32 hexadecimal digits"),
            Fault::BadEscape => write!(f, "bad escape in {part}"),
            Fault::NotText => write!(f, "{part} not in UTF-8"),
            Fault::NotJson => write!(f, "{part} not as JSON"),
            Fault::OutOfOrder => write!(f, "{part} out of order"),
            Fault::TooLong { len, len_max } => {
                write!(f, "{part} too long: {len} bytes, the limit is {len_max}")
            }
            Fault::TooMany { count_max } => write!(f, "too many {part}: the limit is {count_max}"),
            Fault::Version { found } => write!(f, "version {found} of the protocol not spoken"),
            Fault::Told { what } => return write!(f, "refused by the other side: {what}"),
        }?;
        write!(f, " at column {column}")
    }
}

impl std::error::Error for LineError {}
