//! The clock of leases: it never goes back, and goes on while the machine is suspended.
//!
//! A clock that stood still with the machine would let a lease look young that has long run out. Linux counts so in
//! `CLOCK_BOOTTIME`. Only differences of its times mean anything.

use cluster::Time;
use rustix::time::{ClockId, clock_gettime};

/// Returns the present moment.
pub(super) fn now() -> Time {
    let at = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(at.tv_nsec).unwrap_or(0);
    Time(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
