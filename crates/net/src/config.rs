//! What can be set about a listener, with its defaults and their reasons.

use std::time::Duration;

/// Connections served at once: each costs a thread with [`STACK_LEN`] of stack and 16 KiB of buffer.
const CONNECTION_COUNT_MAX: usize = 4096;

/// Bytes of one line without its LF: a key and a value of everyday size.
const LINE_LEN_MAX: usize = 64 * 1024;

/// How long a connection may ask nothing: longer than any pool's pause, short enough to find dead peers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How long a request may take from its first byte to its LF: stops clients that drip bytes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the kernel may refuse to take a reply's bytes because the peer does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of replies a connection may owe its peer before it is read again.
const OUTBOX_LEN_MAX: usize = 1024 * 1024;

/// Bytes of lines on their way in beyond ordinary buffers, of all connections: four of the largest, thousands of large ones.
const INPUT_LEN_MAX: usize = 256 * 1024 * 1024;

/// Bytes of large replies under way, and of replies ready for readers that are behind, of all connections.
const OWED_LEN_MAX: usize = 256 * 1024 * 1024;

/// Tickets a connection may have open before it is read again.
const TICKET_COUNT_MAX: usize = 256;

/// Bytes that may wait at a [`crate::Sender`]: four of the largest values, seconds of a fast network.
const QUEUE_LEN_MAX: usize = 64 * 1024 * 1024;

/// Stack of a connection's thread: far above what a request needs, small enough for thousands.
pub(crate) const STACK_LEN: usize = 256 * 1024;

/// The limits of a listener and of each of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Connections served at once; one more is refused with a line, unless a reserved place is for it.
    pub connection_count_max: usize,
    /// Places beyond `connection_count_max` for connections that open with a line which the service calls privileged.
    pub reserved_count: usize,
    /// Bytes of a line, its LF not counted.
    pub line_len_max: usize,
    /// How long a connection may ask nothing; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a request may take from its first byte to its LF.
    pub request_timeout: Duration,
    /// How long a peer may take nothing of what it is sent.
    pub write_timeout: Duration,
    /// Bytes of unsent replies from which on a connection is not read.
    pub outbox_len_max: usize,
    /// Bytes that all connections together hold for lines which do not fit into their ordinary buffers.
    pub input_len_max: usize,
    /// Bytes of large replies that all connections together may have under way, and of replies that they may have ready.
    pub owed_len_max: usize,
    /// Open tickets from which on a connection is not read.
    pub ticket_count_max: usize,
    /// Bytes that may wait at a connection's sender; one more closes it.
    pub queue_len_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connection_count_max: CONNECTION_COUNT_MAX,
            reserved_count: 0,
            line_len_max: LINE_LEN_MAX,
            idle_timeout: Some(IDLE_TIMEOUT),
            request_timeout: REQUEST_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            outbox_len_max: OUTBOX_LEN_MAX,
            input_len_max: INPUT_LEN_MAX,
            owed_len_max: OWED_LEN_MAX,
            ticket_count_max: TICKET_COUNT_MAX,
            queue_len_max: QUEUE_LEN_MAX,
        }
    }
}
