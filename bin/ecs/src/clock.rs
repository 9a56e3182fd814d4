//! The machine's clock: it never goes back, and goes on while the computer is suspended (`CLOCK_BOOTTIME`).

use cluster::Time;
use rustix::time::{ClockId, clock_gettime};

/// Returns the present moment.
pub(crate) fn now() -> Time {
    let at = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(at.tv_nsec).unwrap_or(0);
    Time(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
