//! How a run ended, as the shell sees it.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | everything was done |
//! | 1 | something was refused, not found, or failed; nothing was done by it |
//! | 2 | wrong usage |
//! | 3 | a write may or may not have taken effect |
//! | 130 | ended by Ctrl-C (by the signal, which shells call that); what is known of the outcome is told first |
//!
//! Of several commands, the worst outcome counts: the largest code.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Writes what went wrong to standard error. If that cannot be written, the exit code must do.
pub(crate) fn complain(message: &dyn Display) {
    drop(writeln!(io::stderr(), "kvclient: {message}"));
}

/// The outcome of one command or of a whole run, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// Done.
    #[default]
    Done,
    /// Refused, not found or failed.
    Refused,
    /// Wrong usage.
    Usage,
    /// May or may not have been done.
    Unknown,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Done => 0,
            Status::Refused => 1,
            Status::Usage => 2,
            Status::Unknown => 3,
        })
    }
}
