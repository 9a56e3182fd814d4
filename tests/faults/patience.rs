//! Waiting for conditions that may not come.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, for `limit` at most; returns whether it does.
pub(crate) fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun_at = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun_at.elapsed() >= limit {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}
