//! What a run counted: per thread while it runs, merged at its end.
//!
//! Latencies go into histograms of 0.1 % resolution, but not finer than half a microsecond, up to 60 s; longer
//! ones count as 60 s (a connection is given up for silent after half of that).

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::proto::{Kind, Outcome};

/// Shortest and longest latency told apart, nanoseconds, and significant digits.
const LATENCY_MIN: u64 = 1_000;
const LATENCY_MAX: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Longest part of a server's words that is kept, bytes.
const WORDS_LEN_MAX: usize = 120;

/// Counters of requests answered in the measured window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) gets: u64,
    pub(crate) sets: u64,
    /// Bytes of values, read and put.
    pub(crate) value_bytes: u64,
    pub(crate) not_found: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// Values that belong to no put of their key, and replies to another key.
    pub(crate) wrong: u64,
}

impl Counts {
    /// Returns all requests.
    pub(crate) fn ops(&self) -> u64 {
        self.gets + self.sets
    }

    fn add(&mut self, other: &Self) {
        self.gets += other.gets;
        self.sets += other.sets;
        self.value_bytes += other.value_bytes;
        self.not_found += other.not_found;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.wrong += other.wrong;
    }
}

/// Everything counted by one thread, or by all of a run.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) get_latency: Histogram<u32>,
    pub(crate) set_latency: Histogram<u32>,
    /// The first reply that was wrong, refused or unknown, in words.
    pub(crate) first_bad: Option<String>,
    /// When the last reply came.
    pub(crate) ended_at: Option<Instant>,
}

impl Tally {
    /// Returns an empty tally.
    pub(crate) fn new() -> Self {
        Self {
            counts: Counts::default(),
            get_latency: histogram(),
            set_latency: histogram(),
            first_bad: None,
            ended_at: None,
        }
    }

    /// Counts `count` replies of one kind that all came at once to requests sent at once.
    pub(crate) fn record(&mut self, kind: Kind, latency: Duration, count: u32) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let (total, histogram) = match kind {
            Kind::Get => (&mut self.counts.gets, &mut self.get_latency),
            Kind::Set => (&mut self.counts.sets, &mut self.set_latency),
        };
        *total += u64::from(count);
        histogram.saturating_record_n(nanos, count);
    }

    /// Counts a reply that is neither a right value nor a stored one. These count outside the measured
    /// window too: a wrong value is one whenever it comes.
    pub(crate) fn record_bad(&mut self, key: &[u8], outcome: Outcome<'_>) {
        let (what, words) = match outcome {
            Outcome::Stored => return,
            Outcome::NotFound => {
                self.counts.not_found += 1;
                return;
            }
            Outcome::Value(value) => {
                self.counts.wrong += 1;
                ("a wrong value of", value)
            }
            Outcome::OtherKey(words) => {
                self.counts.wrong += 1;
                ("another key in reply to", words)
            }
            Outcome::Refused(words) => {
                self.counts.refused += 1;
                ("a refusal of", words)
            }
            Outcome::Unknown(words) => {
                self.counts.unknown += 1;
                ("an unknown outcome of", words)
            }
        };
        if self.first_bad.is_none() {
            let key = String::from_utf8_lossy(key);
            self.first_bad = Some(format!("{what} {key}: \"{}\"", shortened(words)));
        }
    }

    /// Adds what another thread counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        // Both were made by `histogram`, so that the other's values fit.
        self.get_latency.add(&other.get_latency).ok();
        self.set_latency.add(&other.set_latency).ok();
        if self.first_bad.is_none() {
            self.first_bad.clone_from(&other.first_bad);
        }
        self.ended_at = self.ended_at.max(other.ended_at);
    }

    /// Returns the latencies of both kinds together.
    pub(crate) fn latency(&self) -> Histogram<u32> {
        let mut all = self.get_latency.clone();
        all.add(&self.set_latency).ok();
        all
    }
}

/// Returns the printable beginning of a server's words.
pub(crate) fn shortened(words: &[u8]) -> String {
    let front = words.get(..WORDS_LEN_MAX).unwrap_or(words);
    let dots = if front.len() < words.len() { "…" } else { "" };
    format!("{}{dots}", front.escape_ascii())
}

fn histogram() -> Histogram<u32> {
    match Histogram::new_with_bounds(LATENCY_MIN, LATENCY_MAX, DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("constant bounds: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_kept_to_a_thousandth_and_the_longest_is_not_lost() {
        let mut tally = Tally::new();
        tally.record(Kind::Get, Duration::from_micros(500), 99);
        tally.record(Kind::Set, Duration::from_secs(3600), 1);
        let all = tally.latency();
        assert_eq!(all.len(), 100);
        assert!(all.value_at_quantile(0.5).abs_diff(500_000) <= 1_000);
        assert!(all.max() >= LATENCY_MAX);
        assert_eq!((tally.counts.gets, tally.counts.sets), (99, 1));
    }

    #[test]
    fn merging_adds_counters_and_keeps_the_first_bad_reply() {
        let mut total = Tally::new();
        for words in ["one", "two"] {
            let mut tally = Tally::new();
            tally.record(Kind::Get, Duration::from_micros(10), 3);
            tally.record_bad(b"key", Outcome::Refused(words.as_bytes()));
            tally.record_bad(b"key", Outcome::NotFound);
            total.merge(&tally);
        }
        assert_eq!((total.counts.ops(), total.counts.refused, total.counts.not_found), (6, 2, 2));
        assert_eq!(total.first_bad.as_deref(), Some("a refusal of key: \"one\""));
    }

    #[test]
    fn a_servers_words_are_cut_and_made_printable() {
        assert_eq!(shortened(b"a\r\nb\xff"), "a\\r\\nb\\xff");
        assert_eq!(shortened(&[b'x'; 500]).chars().count(), WORDS_LEN_MAX + 1);
    }
}
