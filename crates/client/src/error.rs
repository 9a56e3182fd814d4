//! What can go wrong, sorted by what the caller can do about it.
//!
//! | variant | what happened | what the caller can do |
//! |---|---|---|
//! | [`Unreachable`](Error::Unreachable) | no connection could be made | start the server, try another or later |
//! | [`NotNow`](Error::NotNow) | the server refused for the moment | try again later |
//! | [`Rejected`](Error::Rejected) | the server refused and said why | change what it names |
//! | [`Conflict`](Error::Conflict) | the condition of a put does not hold | read again, then decide |
//! | [`Complaint`](Error::Complaint) | the server cannot take the request, or any | see what it says |
//! | [`Limit`](Error::Limit), [`Empty`](Error::Empty) | the request is no legal one, and was not sent | change the request |
//! | [`Doubt`](Error::Doubt) | the server itself does not know the outcome | read, then decide |
//! | [`Broken`](Error::Broken), [`Late`](Error::Late) | the connection, or the time, ended before the answer came | a read: again; a write: read, then decide |
//! | [`Interrupted`](Error::Interrupted) | whoever asked did not want to wait any longer | the same |
//! | [`Nonsense`](Error::Nonsense) | the answer is none that the request can have | look at what is listening there |
//!
//! Whether a *write* met with an error was definitely not done is said by [`Outcome`](crate::Outcome), not here: a
//! connection may break before or after the request was handed over.

use std::fmt;
use std::io;
use std::time::Duration;

/// Bytes of a nonsensical answer that are kept for the report.
const FOUND_LEN_MAX: usize = 120;

/// Why an operation was not done, or may not have been.
#[derive(Debug)]
pub enum Error {
    /// No connection to the server could be made; nothing was sent.
    Unreachable {
        /// The server's address as it was given.
        server: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server refuses for the moment; nothing was done.
    NotNow {
        /// The server's address.
        server: String,
        /// Why it refuses.
        state: ServerState,
    },
    /// The server refused; nothing was done.
    Rejected {
        /// The server's address.
        server: String,
        /// The reason it gave.
        reason: String,
    },
    /// The condition of a put does not hold; nothing was done.
    Conflict {
        /// The version the key has; none if it has no value.
        found: Option<u64>,
    },
    /// The server could make nothing of the request, or cannot take any from us; nothing was done.
    Complaint {
        /// The server's address.
        server: String,
        /// What it said.
        what: String,
    },
    /// A part of the request is longer than allowed; it was not sent.
    Limit {
        /// Which part.
        part: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The longest that is sent.
        len_max: usize,
    },
    /// A part of the request that must not be empty is; it was not sent.
    Empty {
        /// Which part.
        part: &'static str,
    },
    /// The server answered that the write may or may not take effect.
    Doubt {
        /// The server's address.
        server: String,
        /// The reason it gave.
        reason: String,
    },
    /// The connection ended before the answer came.
    Broken {
        /// The server's address.
        server: String,
        /// What the operating system said; none when the server closed the connection in good order.
        source: Option<io::Error>,
    },
    /// The answer did not come in time.
    Late {
        /// The server's address.
        server: String,
        /// How long the operation was given.
        limit: Duration,
    },
    /// Whoever asked did not want to wait any longer: see [`Interrupt`](crate::Interrupt).
    Interrupted {
        /// The server's address.
        server: String,
    },
    /// The answer is not one that the request can have.
    Nonsense {
        /// The server's address.
        server: String,
        /// The beginning of what came, unprintable bytes escaped.
        found: String,
    },
    /// The answer is longer than this client takes.
    ReplyTooLong {
        /// The server's address.
        server: String,
        /// The longest line taken, in bytes.
        len_max: usize,
    },
}

/// Why a server refuses every request of a kind for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It serves nothing now.
    Stopped,
    /// The key's slot is being handed over: reads go on.
    WriteLock,
    /// Another server answers for the key.
    NotResponsible,
}

impl Error {
    /// Returns whether the same request may succeed a little later, or on another connection, without
    /// anybody's doing.
    ///
    /// This says nothing about whether it is *safe* to repeat: a write whose outcome is
    /// unknown must not be repeated blindly.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotNow { .. } | Self::Broken { .. } => true,
            Self::Rejected { .. }
            | Self::Conflict { .. }
            | Self::Complaint { .. }
            | Self::Limit { .. }
            | Self::Empty { .. }
            | Self::Doubt { .. }
            | Self::Late { .. }
            | Self::Interrupted { .. }
            | Self::Nonsense { .. }
            | Self::ReplyTooLong { .. } => false,
        }
    }

    /// Returns whether the connection on which this happened is of no further use.
    ///
    /// A server that complains may be about to close the connection; finding out later would make a
    /// write's outcome unknown.
    pub(crate) fn is_connection_lost(&self) -> bool {
        match self {
            Self::Complaint { .. }
            | Self::Broken { .. }
            | Self::Late { .. }
            | Self::Interrupted { .. }
            | Self::Nonsense { .. }
            | Self::ReplyTooLong { .. } => true,
            Self::Unreachable { .. }
            | Self::NotNow { .. }
            | Self::Rejected { .. }
            | Self::Conflict { .. }
            | Self::Limit { .. }
            | Self::Empty { .. }
            | Self::Doubt { .. } => false,
        }
    }

    /// Returns the same error for another request that met it.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Unreachable { server, source } => {
                Self::Unreachable { server: server.clone(), source: copy(source) }
            }
            Self::NotNow { server, state } => {
                Self::NotNow { server: server.clone(), state: *state }
            }
            Self::Rejected { server, reason } => {
                Self::Rejected { server: server.clone(), reason: reason.clone() }
            }
            Self::Conflict { found } => Self::Conflict { found: *found },
            Self::Complaint { server, what } => {
                Self::Complaint { server: server.clone(), what: what.clone() }
            }
            Self::Limit { part, len, len_max } => {
                Self::Limit { part, len: *len, len_max: *len_max }
            }
            Self::Empty { part } => Self::Empty { part },
            Self::Doubt { server, reason } => {
                Self::Doubt { server: server.clone(), reason: reason.clone() }
            }
            Self::Broken { server, source } => {
                Self::Broken { server: server.clone(), source: source.as_ref().map(copy) }
            }
            Self::Late { server, limit } => Self::Late { server: server.clone(), limit: *limit },
            Self::Interrupted { server } => Self::Interrupted { server: server.clone() },
            // What made no sense was the answer to another request: to this one the connection ended.
            Self::Nonsense { server, .. } | Self::ReplyTooLong { server, .. } => {
                Self::Broken { server: server.clone(), source: None }
            }
        }
    }

    /// Returns a report of an answer that makes no sense.
    pub(crate) fn nonsense(server: &str, line: &[u8]) -> Self {
        let start = line.get(..FOUND_LEN_MAX).unwrap_or(line);
        let dots = if start.len() < line.len() { "…" } else { "" };
        Self::Nonsense {
            server: server.to_owned(),
            found: format!("{}{dots}", start.escape_ascii()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { server, source } => {
                write!(f, "cannot reach {server}: {}", plain(source))
            }
            Self::NotNow { server, state } => write!(f, "{server} {state}"),
            Self::Rejected { server, reason } => write!(f, "{server} refused: {reason}"),
            Self::Conflict { found: Some(version) } => {
                write!(f, "the condition does not hold: the version is {version}")
            }
            Self::Conflict { found: None } => {
                f.write_str("the condition does not hold: the key has no value")
            }
            Self::Complaint { server, what } => write!(f, "{server} answered: {what}"),
            Self::Limit { part, len, len_max } => {
                write!(f, "the {part} has {len} bytes; {len_max} are allowed")
            }
            Self::Empty { part } => write!(f, "the {part} is empty"),
            Self::Doubt { server, reason } => {
                write!(f, "{server} does not know whether it was done: {reason}")
            }
            Self::Broken { server, source: Some(source) } => {
                write!(f, "the connection to {server} broke: {}", plain(source))
            }
            Self::Broken { server, source: None } => {
                write!(f, "{server} closed the connection without an answer")
            }
            Self::Late { server, limit } => {
                write!(f, "{server} did not answer within {:.1} s", limit.as_secs_f64())
            }
            Self::Interrupted { server } => write!(f, "gave up waiting for {server}"),
            Self::Nonsense { server, found } => {
                write!(f, "{server} answered what makes no sense here: \"{found}\"")
            }
            Self::ReplyTooLong { server, len_max } => {
                write!(f, "{server} answered with a line longer than {len_max} bytes")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            Self::Broken { source, .. } => source.as_ref().map(|source| source as _),
            Self::NotNow { .. }
            | Self::Rejected { .. }
            | Self::Conflict { .. }
            | Self::Complaint { .. }
            | Self::Limit { .. }
            | Self::Empty { .. }
            | Self::Doubt { .. }
            | Self::Late { .. }
            | Self::Interrupted { .. }
            | Self::Nonsense { .. }
            | Self::ReplyTooLong { .. } => None,
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "is stopped",
            Self::WriteLock => "is handing the key's slot over and takes no writes",
            Self::NotResponsible => "is not responsible for the key",
        })
    }
}

/// Returns the same error once more.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Returns what the operating system said, in its own words, lower case and without the error's number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
