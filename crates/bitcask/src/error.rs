//! What can go wrong, sorted by what the caller can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::SlotId;

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation of the engine failed.
#[derive(Debug)]
pub enum Error {
    /// Another process has the store open. Nothing was done.
    Busy {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The disk is full up to the reserve that deletes and merges need. Nothing was done; later it may work.
    Full {
        /// The store's folder.
        folder: PathBuf,
        /// Bytes free on its disk when last seen.
        free_len: u64,
    },
    /// An earlier write or sync failed, so the store takes no writes until it is opened again. Nothing was done.
    Poisoned {
        /// The failure that did it.
        cause: String,
    },
    /// The store was closed. Nothing was done.
    Closed,
    /// Something is longer than allowed. Nothing was done.
    Limit {
        /// What is too long.
        what: &'static str,
        /// How long it is, in bytes.
        len: u64,
        /// How long it may be, in bytes.
        max: u64,
    },
    /// The slot was not created, or was dropped. Nothing was done.
    NoSlot {
        /// The slot asked for.
        slot: SlotId,
    },
    /// Bytes on disk are not what was written. The rest of the store stays readable.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A file that the store needs is not there, or is not one of this store's.
    Missing {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The disk said no. A write may have happened in part.
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// Returns whether certainly nothing was done, so that the outcome is *refused*, not *unknown*.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Full { .. }
            | Self::Poisoned { .. }
            | Self::Closed
            | Self::Limit { .. }
            | Self::NoSlot { .. }
            | Self::Missing { .. } => true,
            Self::Corrupt { .. } | Self::Io { .. } => false,
        }
    }

    /// Returns whether the same call may succeed later without anybody's help but free space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { folder } => {
                write!(f, "{} is in use by another process", folder.display())
            }
            Self::Full { folder, free_len } => {
                write!(f, "disk full: {free_len} bytes free at {}", folder.display())
            }
            Self::Poisoned { cause } => {
                write!(f, "no writes until restart, after a disk failure: {cause}")
            }
            Self::Closed => f.write_str("the store is closed"),
            Self::Limit { what, len, max } => {
                write!(f, "{what} too long: {len} bytes, at most {max}")
            }
            Self::NoSlot { slot } => write!(f, "slot {} is not here", slot.index()),
            Self::Corrupt { path, offset, what } => {
                write!(f, "{} is damaged at byte {offset}: {what}", path.display())
            }
            Self::Missing { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Io { op, path, source } => write!(f, "cannot {op} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Busy { .. }
            | Self::Full { .. }
            | Self::Poisoned { .. }
            | Self::Closed
            | Self::Limit { .. }
            | Self::NoSlot { .. }
            | Self::Corrupt { .. }
            | Self::Missing { .. } => None,
        }
    }
}

/// Adds what was tried, and on what, to a failure of the disk.
pub(crate) trait Context<T> {
    /// Makes an [`Error::Io`] of the failure.
    fn context(self, op: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, op: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T> {
        self.map_err(|source| Error::Io { op, path: path(), source })
    }
}

/// Returns whether the disk refused for want of space.
pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
