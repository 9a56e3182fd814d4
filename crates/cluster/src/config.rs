//! The times and limits of a server's machines, and the relations that keep them safe.
//!
//! ```text
//! P sends a beacon   t ─────────────── t+L          P may serve reads until here
//! B receives it        r ─────────────────── r+G    B asks for P's removal only after here; r ≥ t
//! P's last grant of a read lease, at t+L at the latest, answers a message sent before: it ends before t+L+L'
//! ```
//!
//! So G ≥ L + L' + margin lets every lease end before anybody else can serve. Clocks may run 1 % fast or slow, which the
//! margin covers, as it covers the time between checking a lease and acting on it.

use std::time::Duration;

/// Settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Time between two beacons to a peer.
    pub beacon_every: Duration,
    /// L: how long a primary may serve reads on a backup's beacon.
    pub lease: Duration,
    /// L': how long a backup may serve reads on its primary's beacon.
    pub read_lease: Duration,
    /// G: how long a backup waits in silence before it asks for its primary's removal.
    pub grace: Duration,
    /// How long a primary waits in silence before it asks for a backup's removal.
    pub silence_max: Duration,
    /// How long a backup may leave a prepare unacknowledged before its primary asks for its removal (R16).
    pub prepare_max: Duration,
    /// How long the disk may leave a sync unanswered before beacons stop (R16).
    pub sync_max: Duration,
    /// How long to wait before a request to the coordinator, or a connection to a peer, is tried again.
    pub retry_every: Duration,
    /// Bytes a second that all transfers of this server send together.
    pub move_rate: u64,
    /// Slots this server transfers to learners at the same time.
    pub transfer_count_max: usize,
    /// Bytes of one chunk of a transfer, about.
    pub chunk_len: usize,
    /// Writes of one slot that wait for their commit; more are refused.
    pub pending_count_max: usize,
    /// Bytes of those writes; more are refused. What is begun below the limit is taken, whatever its length.
    pub pending_len_max: usize,
    /// How long a client may be silent in a slot before its last request there is forgotten (R24).
    pub request_age: Duration,
    /// How long tombstones are kept at least after their commit, for members that come back.
    pub tombstone_age: Duration,
}

impl Config {
    /// The least of what must lie between a lease's end and anybody's acting on it: a hundredth of the longest
    /// interval for clocks, the rest for scheduling.
    pub const MARGIN_MIN: Duration = Duration::from_millis(50);

    /// Returns the time that L, L' and G leave for drift and scheduling.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.grace.saturating_sub(self.lease + self.read_lease)
    }

    /// Checks the relations that the leases' safety rests on.
    ///
    /// # Errors
    /// Names the relation that does not hold.
    pub fn check(&self) -> Result<(), ConfigError> {
        let margin_min = Self::MARGIN_MIN.max(self.grace / 20);
        if self.beacon_every.is_zero() || self.beacon_every * 2 > self.lease.min(self.read_lease) {
            return Err(ConfigError::Beacon);
        }
        if self.margin() < margin_min {
            return Err(ConfigError::Grace { margin_min });
        }
        if self.silence_max < self.read_lease + margin_min {
            return Err(ConfigError::Silence { margin_min });
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            beacon_every: Duration::from_millis(100),
            lease: Duration::from_millis(400),
            read_lease: Duration::from_millis(400),
            grace: Duration::from_millis(1000),
            silence_max: Duration::from_millis(600),
            prepare_max: Duration::from_millis(1000),
            sync_max: Duration::from_millis(300),
            retry_every: Duration::from_millis(100),
            move_rate: 64 << 20,
            transfer_count_max: 64,
            chunk_len: 64 << 10,
            pending_count_max: 16_384,
            // Four values of the greatest length; all of it may be read at once for a learner.
            pending_len_max: 64 << 20,
            request_age: Duration::from_secs(3600),
            tombstone_age: Duration::from_secs(600),
        }
    }
}

/// A relation between the times that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Two beacons must fit into each lease.
    Beacon,
    /// The grace must outlast both leases and a margin.
    Grace {
        /// The margin asked for.
        margin_min: Duration,
    },
    /// The silence before a backup's removal must outlast its read lease and a margin.
    Silence {
        /// The margin asked for.
        margin_min: Duration,
    },
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Beacon => {
                f.write_str("the beacon time must be at most half of each lease, and not zero")
            }
            Self::Grace { margin_min } => {
                write!(f, "the grace must be at least lease + read lease + {margin_min:?}")
            }
            Self::Silence { margin_min } => {
                write!(f, "the silence allowed must be at least read lease + {margin_min:?}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_times_are_safe_and_shorter_graces_are_refused() {
        let config = Config::default();
        assert_eq!(config.check(), Ok(()));
        let short = Config { grace: Duration::from_millis(849), ..config.clone() };
        assert!(matches!(short.check(), Err(ConfigError::Grace { .. })));
        let just = Config { grace: Duration::from_millis(850), ..config.clone() };
        assert_eq!(just.check(), Ok(()));
        let short = Config { silence_max: Duration::from_millis(449), ..config.clone() };
        assert!(matches!(short.check(), Err(ConfigError::Silence { .. })));
        let slow = Config { beacon_every: Duration::from_millis(201), ..config };
        assert_eq!(slow.check(), Err(ConfigError::Beacon));
    }
}
