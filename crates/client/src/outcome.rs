//! The three outcomes of a write (rule R11): done, refused, unknown.

use crate::Error;

/// What became of a write.
///
/// A reply says what happened, never more: *refused* means that nothing was done and nothing will be;
/// *unknown* means that it was done, or will be, or will not.
#[derive(Debug)]
#[must_use = "a write may have been refused, or its outcome may be unknown"]
pub enum Outcome<T> {
    /// The write was done, and is as durable as the server's policy makes it.
    Done(T),
    /// Nothing was done.
    Refused(Error),
    /// The write may or may not take effect.
    Unknown(Error),
}

impl<T> Outcome<T> {
    /// Returns what the server said of the write, if it was done.
    #[must_use]
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }

    /// Returns what went wrong, if anything did.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Done(_) => None,
            Self::Refused(error) | Self::Unknown(error) => Some(error),
        }
    }

    /// Returns whether the write was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Returns whether the write may or may not take effect.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The key was not there before.
    New,
    /// The key had another value.
    Replaced,
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// How many files it has.
    pub file_count: u64,
    /// How long they are together, in bytes.
    pub len: u64,
}

/// Some of the entries, as a scan returns them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// The cursor from which the next page begins; none when this is the last.
    pub next: Option<String>,
}
