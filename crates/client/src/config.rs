//! What a client is told once, with the limits it keeps.

use std::time::Duration;

use protocol::Limits;

use crate::Interrupt;

/// How long an operation may take by default, retries included: several times the second or so in which a cluster
/// replaces a crashed server.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How long one attempt to connect may take by default: a server that is there answers in milliseconds, and
/// there may be others to try.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// How long one attempt may take by default while nothing moves on its connection: longer than a disk stalls now and
/// then. Where the map names another server meanwhile, or a read has another copy to go to, it ends sooner.
pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Settings of a [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct Config {
    /// How long an operation may take, from the call to its outcome.
    pub timeout: Duration,
    /// How long one attempt to connect to one address may take; never longer than what is left of `timeout`.
    pub connect_timeout: Duration,
    /// How long one attempt may take while nothing moves on its connection, if the request can be sent again.
    pub attempt_timeout: Duration,
    /// Whether reads go to all copies of a key in turn; otherwise to its primary.
    pub spreads_reads: bool,
    /// The longest key and value that are sent; the server has limits of its own.
    pub limits: Limits,
    /// The longest line taken from a server, in bytes.
    pub reply_len_max: usize,
    /// What ends operations before their time, if anything does.
    pub interrupt: Option<Interrupt>,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            timeout: TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            attempt_timeout: ATTEMPT_TIMEOUT_DEFAULT,
            spreads_reads: true,
            limits,
            reply_len_max: limits.line_len_max(),
            interrupt: None,
        }
    }
}
