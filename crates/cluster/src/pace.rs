//! How often a server gives the coordinator a sign of life: each second, and less often where that would be more than a hundred a
//! second of all servers together. So what the coordinator is told when nothing happens does not grow with their number,
//! and it is as much more patient before it misses one.

use std::time::Duration;

/// The time between two signs of life of a server, at the least.
const SIGN_EVERY_MIN: Duration = Duration::from_secs(1);
/// The time between two signs of life of any two servers of a large cluster.
const SIGN_STEP: Duration = Duration::from_millis(10);
/// Signs of life in a row that may be lost or late before a server is missed.
const LOST_COUNT_MAX: u32 = 3;

/// Returns the time after which one of `server_count` servers that has nothing to say gives a sign of life.
pub(crate) fn sign_every(server_count: usize) -> Duration {
    let count = u32::try_from(server_count).unwrap_or(u32::MAX);
    SIGN_STEP.saturating_mul(count).max(SIGN_EVERY_MIN)
}

/// Returns how much longer than a server of a small cluster one of `server_count` may be silent before it is missed.
pub(crate) fn patience(server_count: usize) -> Duration {
    (sign_every(server_count) - SIGN_EVERY_MIN) * LOST_COUNT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_servers_together_give_a_hundred_signs_a_second_at_most() {
        for (count, seconds) in [(0, 1), (1, 1), (3, 1), (100, 1), (300, 3), (1000, 10), (4096, 40)]
        {
            let every = sign_every(count);
            assert_eq!(every.as_secs(), seconds, "{count} servers");
            assert!(count as f64 / every.as_secs_f64() <= 100.0, "{count} servers");
        }
    }

    #[test]
    fn small_clusters_are_missed_as_soon_as_ever_and_large_ones_after_three_signs() {
        let (missed, usual) = (|count| usual_after() + patience(count), usual_after());
        assert_eq!([missed(0), missed(3), missed(100)], [usual; 3]);
        for count in [101, 300, 1000, 4096] {
            assert!(missed(count) >= sign_every(count) * LOST_COUNT_MAX, "{count} servers");
        }
    }

    fn usual_after() -> Duration {
        crate::coordinator::Settings::default().unseen_after
    }
}
