//! The answer to a command, and errors in words that say what to do next.

use std::io;

use client::Error;

use crate::show;
use crate::status::Status;

/// The answer to a command.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What to show, at least one line.
    pub(crate) lines: Vec<String>,
    /// What to write where an answer is one line, if that is not the lines.
    pub(crate) short: Option<String>,
    /// What became of the command.
    pub(crate) status: Status,
    /// Whether the lines tell of an error, rather than of a result.
    pub(crate) is_error: bool,
}

impl Answer {
    /// Returns a result.
    pub(crate) fn done(line: impl Into<String>) -> Self {
        Self::table(vec![line.into()], None)
    }

    /// Returns a result of several lines, and its short form.
    pub(crate) fn table(lines: Vec<String>, short: Option<String>) -> Self {
        Self { lines, short, status: Status::Done, is_error: false }
    }

    /// Returns that the key is not there.
    pub(crate) fn not_found(key: &[u8]) -> Self {
        let line = format!("not found: {}", show::key(key));
        Self { status: Status::Refused, ..Self::done(line) }
    }

    /// Returns an error.
    pub(crate) fn failed(status: Status, message: impl Into<String>) -> Self {
        Self { status, is_error: true, ..Self::done(message) }
    }

    /// Returns what a definite failure looks like to a person.
    pub(crate) fn refused(error: &Error) -> Self {
        Self::failed(Status::Refused, explain(error))
    }

    /// Returns what an unknown outcome looks like to a person; `advice` says how to find out.
    pub(crate) fn unknown(error: &Error, advice: &str) -> Self {
        let message = format!("{error}; it may or may not take effect: {advice}");
        Self::failed(Status::Unknown, message)
    }
}

/// Returns what happened and what can be done about it.
pub(crate) fn explain(error: &Error) -> String {
    let advice = match error {
        Error::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            "is a server running? start one with scripts/cluster.sh up"
        }
        Error::Unreachable { .. } => "check the address, and that its machine can be reached",
        Error::NotNow { .. } => "nothing was done; try again in a moment",
        Error::Late { .. } => "try again, or give it more time with --timeout",
        Error::Broken { .. } => "try again; if it goes on, look at the server's log",
        Error::Nonsense { .. } => "is it a Ringcask server that speaks the native dialect?",
        Error::Rejected { .. }
        | Error::Conflict { .. }
        | Error::Complaint { .. }
        | Error::Limit { .. }
        | Error::Empty { .. }
        | Error::Doubt { .. }
        | Error::Interrupted { .. }
        | Error::ReplyTooLong { .. } => return error.to_string(),
    };
    format!("{error}; {advice}")
}
