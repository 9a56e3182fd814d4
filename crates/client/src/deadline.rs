//! Deadlines: one for each operation, from the moment it is asked for to the moment its outcome is told.

use std::time::{Duration, Instant};

use crate::Interrupt;

/// The longest wait in one piece of somebody who may be interrupted by other means than a signal.
const PIECE_MAX: Duration = Duration::from_secs(1);

/// A moment by which an operation must have ended.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    began_at: Instant,
    limit: Duration,
    interrupt: Option<Interrupt>,
}

impl Deadline {
    /// Returns the deadline that lies `limit` from now, or comes when `interrupt` is raised.
    pub(crate) fn after(limit: Duration, interrupt: Option<&Interrupt>) -> Self {
        Self { began_at: Instant::now(), limit, interrupt: interrupt.cloned() }
    }

    /// Returns how long is left, or `None` when the moment has come.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        if self.is_interrupted() {
            return None;
        }
        self.limit.checked_sub(self.began_at.elapsed()).filter(|left| !left.is_zero())
    }

    /// Returns how long to wait in one piece before looking again, or `None` when the moment has come.
    pub(crate) fn piece(&self) -> Option<Duration> {
        let left = self.remaining()?;
        Some(if self.interrupt.is_some() { left.min(PIECE_MAX) } else { left })
    }

    /// Returns whether the moment has come because nobody wants to wait any longer.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Interrupt::is_raised)
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
        let left = Deadline::after(Duration::from_secs(60), None).remaining();
        assert!(left.is_some_and(|left| left <= Duration::from_secs(60)));
        assert_eq!(Deadline::after(Duration::ZERO, None).remaining(), None);
    }

    #[test]
    fn a_deadline_comes_at_once_while_it_is_interrupted() {
        let interrupt = Interrupt::default();
        let deadline = Deadline::after(Duration::from_secs(60), Some(&interrupt));
        assert!(deadline.piece().is_some_and(|piece| piece <= PIECE_MAX));
        interrupt.raise();
        assert_eq!((deadline.remaining(), deadline.is_interrupted()), (None, true));
        interrupt.clear();
        assert!(deadline.remaining().is_some());
    }
}
