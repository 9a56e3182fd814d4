//! What a program gives to a listener: a [`Service`] that makes a [`Session`] for each connection.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Replies;

/// What lines mean: shared by all connections of a listener.
pub trait Service: Send + Sync + 'static {
    /// The state of one connection.
    type Session: Session;

    /// Begins a connection; a greeting may be put into `replies`.
    fn open(&self, peer: &Peer, replies: &mut Replies) -> Self::Session;

    /// Returns whether `line`, the first of a connection (without its LF), may take a reserved place.
    ///
    /// Asked only when the ordinary places are taken; see `Config::reserved_count`.
    fn is_privileged(&self, _line: &[u8]) -> bool {
        false
    }

    /// Returns the line, its ending included, that tells a peer why it is cut off.
    fn refusal(&self, refusal: Refusal) -> Vec<u8>;
}

/// One connection's side of a [`Service`]; lives on that connection's thread.
pub trait Session {
    /// Answers `lines`: one or more whole lines, the last byte an LF. No line is longer than the limit.
    ///
    /// What is put into `replies` goes out when this returns, in one write.
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next;

    /// Returns whether memory is held that only large requests need.
    fn is_large(&self) -> bool {
        false
    }

    /// Gives back memory that only large requests need; called when the connection has gone quiet.
    fn rest(&mut self) {}
}

/// What becomes of a connection after its lines were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is read again.
    Continue,
    /// It closes once everything owed has been sent.
    Close,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The far end.
    pub remote: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
}

/// Why a connection is cut off; `Display` says it in words for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The limit of connections is reached.
    TooManyConnections {
        /// The limit.
        limit: usize,
    },
    /// The machine has no thread for one more connection.
    NoThread,
    /// A line is longer than allowed.
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// There was no memory for the line's bytes until its time was over, because of other connections' large lines.
    TooMuchInput {
        /// What all connections together may hold, in bytes.
        limit: usize,
    },
    /// A request was begun and not finished in time.
    RequestTimedOut {
        /// The time allowed.
        limit: Duration,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyConnections { limit } => {
                write!(f, "too many connections (limit {limit})")
            }
            Self::NoThread => f.write_str("too many connections (no thread left)"),
            Self::LineTooLong { limit } => write!(f, "line too long (limit {limit} bytes)"),
            Self::TooMuchInput { limit } => {
                write!(f, "too many large requests at once (limit {limit} bytes), try again")
            }
            Self::RequestTimedOut { limit } => {
                write!(f, "request not finished in time (limit {} ms)", limit.as_millis())
            }
        }
    }
}
