//! A bound on the bytes a second that merges read and write.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::inner::Inner;

/// The longest wait in one go, so that closing the store is noticed.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// A token bucket that starts empty and holds one wait's worth.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the bytes taken so far are paid for.
    paid_until: Mutex<Option<Instant>>,
    stopped: Condvar,
}

impl Pace {
    /// Takes `len` bytes, waiting until the rate allows it; gives up when the store is closed. Without background
    /// threads there is no clock either, and no wait.
    pub(crate) fn take(&self, len: u64, store: &Inner) -> Result<()> {
        if !store.config.has_background {
            return Ok(());
        }
        let rate = store.config.merge.rate.max(1) as f64 * store.haste();
        let cost = Duration::from_secs_f64(len as f64 / rate);
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let due =
            paid_until.map_or_else(Instant::now, |at| at.max(Instant::now() - WAIT_MAX)) + cost;
        *paid_until = Some(due);
        loop {
            if store.is_stopping() {
                return Err(Error::Closed);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let waited = self.stopped.wait_timeout(paid_until, left.min(WAIT_MAX));
            paid_until = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the waits of a store that is being closed.
    pub(crate) fn stop(&self) {
        self.stopped.notify_all();
    }
}
