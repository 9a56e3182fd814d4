//! When the values of a data file end: how many bytes a merge would win back of those that have.
//!
//! The keydir knows of a record that it ends in time, and not when, so what is overwritten or deleted cannot be taken out of
//! the moment that it was counted for. Kept are the bytes that were ever counted, by the time of their end, and the bytes of
//! ending records to which the keydir points. At least their difference has ended and is still there:
//!
//! ```text
//! pointed to = ended and pointed to + not ended and pointed to ≤ ended and pointed to + counted for a later end
//! ```
//!
//! So no merge is made for what is not there. What is overwritten before its end makes it too little until that end comes; those
//! bytes are dead by then, and counted as such.
//!
//! Times are rounded up, to minutes at first; when there are more than [`END_COUNT_MAX`] the two closest become the later one.
//! So values that end within a month are noticed half a day late at most, in 1 KiB a file.

use crate::data_file::has_ended;

/// Times that are told apart.
const END_COUNT_MAX: usize = 64;

/// What ends are rounded up to, in milliseconds: a value is kept that much longer anyway.
const GRAIN_MS: u64 = 60_000;

/// Bytes by the time of their end.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Milliseconds since 1970, rising, and bytes.
    by_end: Vec<(u64, u64)>,
    /// Bytes of those that the keydir points to. For a moment below zero where two threads count a record's coming and its going
    /// in the other order.
    pointed_len: i128,
}

impl Ends {
    /// Counts a record to which the keydir points now.
    pub(crate) fn add(&mut self, end_ms: u64, len: u64) {
        self.pointed_len += i128::from(len);
        let end_ms = end_ms.div_ceil(GRAIN_MS).saturating_mul(GRAIN_MS);
        match self.by_end.binary_search_by_key(&end_ms, |(end_ms, _)| *end_ms) {
            Ok(index) => {
                if let Some((_, counted_len)) = self.by_end.get_mut(index) {
                    *counted_len += len;
                }
            }
            Err(index) => self.by_end.insert(index, (end_ms, len)),
        }
        if self.by_end.len() > END_COUNT_MAX {
            self.join_closest();
        }
    }

    /// Counts that the keydir points to a record no more.
    pub(crate) fn remove(&mut self, len: u64) {
        self.pointed_len -= i128::from(len);
    }

    /// Returns the bytes that the keydir points to and that have certainly ended by `now_ms`.
    pub(crate) fn ended_len(&self, now_ms: u64) -> u64 {
        let later = self.by_end.iter().filter(|(end_ms, _)| !has_ended(*end_ms, now_ms));
        let later_len =
            later.filter(|_| !mutant!("value counted as ended before its end")).map(|(_, len)| len);
        u64::try_from(self.pointed_len - i128::from(later_len.sum::<u64>())).unwrap_or(0)
    }

    fn join_closest(&mut self) {
        let gap = |pair: &[(u64, u64)]| match pair {
            [(end_ms, _), (next_ms, _)] => next_ms - end_ms,
            _ => u64::MAX,
        };
        let closest = (0_usize..).zip(self.by_end.windows(2)).min_by_key(|(_, pair)| gap(pair));
        let Some((index, _)) = closest else { return };
        let (_, len) = self.by_end.remove(index);
        if let Some((_, later_len)) = self.by_end.get_mut(index) {
            *later_len += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    #[test]
    fn what_has_ended_is_told_though_other_values_end_later() {
        let mut ends = Ends::default();
        ends.add(10 * MINUTE_MS, 100);
        ends.add(1_000_000 * MINUTE_MS, 7);
        ends.add(10 * MINUTE_MS - 1, 20);
        assert_eq!(ends.ended_len(11 * MINUTE_MS - 1), 0);
        assert_eq!(ends.ended_len(11 * MINUTE_MS), 120);
        assert_eq!(ends.ended_len(1_000_001 * MINUTE_MS), 127);
        // Which one it was is not known: the one that ends later may be gone, or one that has ended.
        ends.remove(7);
        assert_eq!(ends.ended_len(11 * MINUTE_MS), 113);
        assert_eq!(ends.ended_len(1_000_001 * MINUTE_MS), 120);
        ends.add(u64::MAX, 1);
        assert_eq!(ends.ended_len(1_000_001 * MINUTE_MS), 120);
    }

    #[test]
    fn as_many_times_as_the_limit_are_told_apart_and_one_more_joins_the_two_closest() {
        let mut ends = Ends::default();
        // 64 times, an hour apart but for the last two.
        (1..64).for_each(|hour| ends.add(hour * 60 * MINUTE_MS, 1));
        ends.add(63 * 60 * MINUTE_MS + 2 * MINUTE_MS, 1);
        assert_eq!(ends.by_end.len(), END_COUNT_MAX);
        let last_but_one = 63 * 60 * MINUTE_MS;
        assert_eq!(ends.ended_len(last_but_one + MINUTE_MS), 63);
        ends.add(1_000 * 60 * MINUTE_MS, 1);
        assert_eq!(ends.by_end.len(), END_COUNT_MAX);
        assert_eq!(ends.ended_len(last_but_one + MINUTE_MS), 62, "noticed a little late");
        assert_eq!(ends.ended_len(last_but_one + 3 * MINUTE_MS), 64);
    }

    #[test]
    fn never_is_more_told_than_has_ended_and_is_there() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let (mut ends, mut there) = (Ends::default(), Vec::new());
            for _ in 0..300 {
                if rng.u8(..3) == 0 && !there.is_empty() {
                    let (_, len) = there.swap_remove(rng.usize(..there.len()));
                    ends.remove(len);
                } else {
                    let record =
                        (rng.u64(..1_000) * MINUTE_MS + rng.u64(..MINUTE_MS), rng.u64(1..99));
                    ends.add(record.0, record.1);
                    there.push(record);
                }
                let now_ms = rng.u64(..1_200) * MINUTE_MS;
                let ended = there.iter().filter(|(end_ms, _)| has_ended(*end_ms, now_ms));
                assert!(ends.ended_len(now_ms) <= ended.map(|(_, len)| len).sum());
            }
            let all: u64 = there.iter().map(|(_, len)| len).sum();
            assert_eq!(ends.ended_len(2_000 * MINUTE_MS), all, "in the end all is told");
        }
    }
}
