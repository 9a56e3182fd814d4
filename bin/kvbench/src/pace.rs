//! When requests are due at a fixed rate.
//!
//! ```text
//!   due      │    │    │    │    │    │         every 1 / rate seconds, whatever happens
//!   sent     │    │         ││││    │           a reply took long: what fell due meanwhile goes at once,
//!   latency       ├─────────┤                   and counts from when it was due
//! ```
//!
//! A closed loop waits for a reply before it sends again, and so leaves out the very requests that a stall
//! would have made wait ("coordinated omission", G. Tene). Here the times are laid down beforehand. Each
//! connection has its share of the rate, and the connections are staggered.

use std::time::{Duration, Instant};

/// The times at which one connection's requests are due.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    origin: Instant,
    /// Requests a second.
    rate: f64,
    /// Requests taken so far.
    taken: u64,
}

impl Pace {
    /// Returns the times of connection `index` of `connections`, which share `rate` requests a second.
    pub(crate) fn new(start: Instant, rate: u64, index: usize, connections: usize) -> Self {
        let origin = start + Duration::from_secs_f64(index as f64 / rate as f64);
        Self { origin, rate: rate as f64 / connections as f64, taken: 0 }
    }

    /// Returns when the next request is due.
    pub(crate) fn next_at(&self) -> Instant {
        self.origin + Duration::from_secs_f64(self.taken as f64 / self.rate)
    }

    /// Takes the next request if it is due, and returns when it was.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let at = self.next_at();
        if at > now {
            return None;
        }
        self.taken += 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, now: Instant) -> Vec<Instant> {
        std::iter::from_fn(|| pace.take(now)).collect()
    }

    #[test]
    fn requests_fall_due_evenly_and_each_once() {
        let start = Instant::now();
        let ms = Duration::from_millis(1);
        let mut pace = Pace::new(start, 1000, 0, 1);
        assert_eq!(taken(&mut pace, start), [start]);
        assert_eq!(taken(&mut pace, start + ms / 2), []);
        assert_eq!(taken(&mut pace, start + ms), [start + ms]);
    }

    #[test]
    fn after_a_stall_all_that_fell_due_goes_with_the_time_it_was_due() {
        let start = Instant::now();
        let ms = Duration::from_millis(1);
        let mut pace = Pace::new(start, 1000, 0, 1);
        let late = taken(&mut pace, start + 100 * ms);
        assert_eq!(late.len(), 101);
        assert_eq!(late[40], start + 40 * ms);
        assert_eq!(pace.next_at(), start + 101 * ms);
    }

    #[test]
    fn connections_share_the_rate_and_take_turns() {
        let start = Instant::now();
        let second = start + Duration::from_secs(1) - Duration::from_micros(1);
        let mut times: Vec<Instant> =
            (0..4).flat_map(|index| taken(&mut Pace::new(start, 100, index, 4), second)).collect();
        times.sort_unstable();
        assert_eq!(times.len(), 100);
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(
            gaps.into_iter()
                .all(|gap| gap.abs_diff(Duration::from_millis(10)) < Duration::from_micros(1))
        );
    }
}
