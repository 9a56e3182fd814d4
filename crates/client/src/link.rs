//! One server's connection, and the requests on it that wait for their answers, in order.
//!
//! A link is *quiet* while something waits and no byte goes in or out. What to do about it is the business of
//! [`run`](crate::run); here it is only noticed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Fault};

/// How long a link may be quiet before somebody else is asked whether its server still has its place: many times what
/// a sync takes, and a fraction of the second in which a crashed server's place is taken.
pub(crate) const QUIET_MIN: Duration = Duration::from_millis(200);

/// The shortest and longest time between two such questions: in between, a quarter of the time it has been quiet, so that
/// what the map says by then is learned at most a quarter late.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_millis(800);

/// What waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An operation, by its number; and whether it was sent with a request id.
    Op {
        /// Its number.
        op: u64,
        /// Whether the server can tell a repetition.
        has_id: bool,
    },
    /// `keyrange_read`.
    Map,
    /// `ecs`: whether the servers make up a cluster, and so take request ids.
    Ecs,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) asked: Asked,
    /// Where it ends in what the connection has queued.
    pub(crate) end: u64,
}

/// A connection with what waits on it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) connection: Option<Connection>,
    pub(crate) in_flight: VecDeque<InFlight>,
    /// A request with an id was sent to this server at some time.
    pub(crate) had_ids: bool,
    /// Bytes moved when that was last looked at, and when it last changed.
    moved: (u64, Option<Instant>),
    /// How long it may be quiet before it is noticed again.
    patience: Duration,
}

impl Link {
    /// Queues a request.
    pub(crate) fn ask(&mut self, asked: Asked, now: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        if self.in_flight.is_empty() {
            self.moved = (0, Some(now));
            self.patience = QUIET_MIN;
        }
        if let Some(connection) = &mut self.connection {
            let end = connection.queue(write);
            self.in_flight.push_back(InFlight { asked, end });
        }
    }

    /// Returns whether nothing waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Returns whether an operation waits for an answer.
    pub(crate) fn has_ops(&self) -> bool {
        self.in_flight.iter().any(|waited| matches!(waited.asked, Asked::Op { .. }))
    }

    /// Returns how many bytes wait to be sent.
    pub(crate) fn unsent_len(&self) -> usize {
        self.connection.as_ref().map_or(0, Connection::unsent_len)
    }

    /// Looks whether bytes moved; returns since when none did.
    pub(crate) fn quiet_since(&mut self, now: Instant) -> Instant {
        let moved_total = self.connection.as_ref().map_or(0, Connection::moved_total);
        match self.moved {
            (total, Some(since)) if total == moved_total => since,
            _ => {
                self.moved = (moved_total, Some(now));
                self.patience = QUIET_MIN;
                now
            }
        }
    }

    /// Returns when the link will have been quiet for too long, if nothing moves.
    pub(crate) fn patience_ends_at(&mut self, now: Instant) -> Instant {
        self.quiet_since(now) + self.patience
    }

    /// Takes note that its quiet was noticed.
    pub(crate) fn noticed(&mut self, now: Instant) {
        let quiet = now.saturating_duration_since(self.quiet_since(now));
        self.patience = quiet + (quiet / 4).clamp(AGAIN_MIN, AGAIN_MAX);
    }

    /// Gives up the connection; returns what waited, each with whether the server can have got it.
    pub(crate) fn lose(&mut self) -> Vec<(Asked, bool)> {
        let connection = self.connection.take();
        let is_sent = |end| connection.as_ref().is_some_and(|c| c.is_handed_over(end));
        self.in_flight.drain(..).map(|waited| (waited.asked, is_sent(waited.end))).collect()
    }

    /// Takes in what has arrived.
    pub(crate) fn fill(&mut self) -> Result<(), Fault> {
        self.connection.as_mut().map_or(Ok(()), Connection::fill_without_waiting)
    }
}
