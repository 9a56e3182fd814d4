//! What can go wrong with a measurement, sorted by what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::plan::{Protocol, Target};

/// A result with this crate's error.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why there are no figures, or why they are not to be trusted.
#[derive(Debug)]
pub(crate) enum Error {
    /// The arguments contradict each other or ask for what a protocol cannot do.
    Usage(String),
    /// No connection could be made: the server is not there or refuses.
    Connect { address: SocketAddr, source: io::Error },
    /// The server closed a connection while replies were due.
    Closed { address: SocketAddr },
    /// No byte came for this long while replies were due.
    Silent { address: SocketAddr, after: Duration },
    /// A read or write failed otherwise.
    Io { address: SocketAddr, source: io::Error },
    /// The bytes are no reply of this protocol: most likely another kind of server.
    Nonsense { address: SocketAddr, protocol: Protocol, found: String },
    /// Nobody says which server of a cluster has which keys.
    Routes { target: Target, what: String },
    /// The client library could not do what a measurement needs.
    Client { source: client::Error },
    /// The cluster did not keep its word while it changed; the figures are above.
    Outage { lost: u64, stale: u64, failed: u64 },
    /// A thread for a connection could not be started.
    Thread { source: io::Error },
    /// The report could not be written.
    Report { source: io::Error },
    /// The figures are above, but replies were wrong, refused or of unknown outcome.
    Replies { wrong: u64, refused: u64, unknown: u64, first: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "{what}; see kvbench --help"),
            Self::Connect { address, source } => {
                write!(f, "cannot connect to {address}: {source}; is the server running there?")
            }
            Self::Closed { address } => {
                write!(f, "{address} closed the connection while replies were due")
            }
            Self::Silent { address, after } => {
                write!(f, "{address} sent nothing for {} s while replies were due", after.as_secs())
            }
            Self::Io { address, source } => write!(f, "connection to {address} failed: {source}"),
            Self::Nonsense { address, protocol, found } => write!(
                f,
                "{address} does not speak {protocol}: it answered \"{found}\"; check -s and --proto"
            ),
            Self::Routes { target, what } => write!(
                f,
                "cannot learn which server of {} at {} has which keys: {what}",
                target.protocol,
                target.addresses()
            ),
            Self::Client { source } => write!(f, "{source}"),
            Self::Outage { lost, stale, failed } => write!(
                f,
                "{lost} acknowledged writes lost, {stale} stale reads, {failed} requests refused, unknown or failed"
            ),
            Self::Thread { source } => write!(f, "cannot start a thread: {source}"),
            Self::Report { source } => write!(f, "cannot write the report: {source}"),
            Self::Replies { wrong, refused, unknown, first } => write!(
                f,
                "{wrong} wrong, {refused} refused and {unknown} unknown replies; the first: {first}"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. }
            | Self::Io { source, .. }
            | Self::Thread { source }
            | Self::Report { source } => Some(source),
            Self::Client { source } => Some(source),
            Self::Usage(_)
            | Self::Closed { .. }
            | Self::Silent { .. }
            | Self::Nonsense { .. }
            | Self::Routes { .. }
            | Self::Outage { .. }
            | Self::Replies { .. } => None,
        }
    }
}
