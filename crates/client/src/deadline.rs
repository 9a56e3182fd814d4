//! Deadlines: one for each operation, from the moment it is asked for to the moment its outcome is told.

use std::time::{Duration, Instant};

/// A moment by which an operation must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    began_at: Instant,
    limit: Duration,
}

impl Deadline {
    /// Returns the deadline that lies `limit` from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { began_at: Instant::now(), limit }
    }

    /// Returns how long is left, or `None` when the moment has come.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.limit.checked_sub(self.began_at.elapsed()).filter(|left| !left.is_zero())
    }

    /// Returns the moment; none if it lies beyond what clocks can tell.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.began_at.checked_add(self.limit)
    }

    /// Returns the length of time the operation was given.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_future_leaves_time_and_one_of_zero_leaves_none() {
        let left = Deadline::after(Duration::from_secs(60)).remaining();
        assert!(left.is_some_and(|left| left <= Duration::from_secs(60)));
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), None);
    }
}
