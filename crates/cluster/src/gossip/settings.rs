//! Times and numbers of the gossip, with the reason for each.
//!
//! | | default | why |
//! |---|---|---|
//! | period | 200 ms | one probe each: a server that dies is suspected in about two periods, as fast as leases end; ten servers that idle send 1.5 KB/s each |
//! | probe time-out | 80 ms | many round trips on a local network, and time for the helpers within the period |
//! | helpers | 3 | SWIM's k: a lost message or one bad path accuses nobody |
//! | suspicion | 15 to 30 periods, times log10 of the members | 3 s at least: pauses of 2 s are suspected and never called deaths |
//! | last word | 400 ms | before its death is told a suspect is pinged once more by each who would tell it |
//! | independent accusers that shorten it | 3 | Lifeguard's K |
//! | health | 0 to 8 | Lifeguard's S: an ill server probes up to nine times slower |
//! | transmissions of a rumour | 3 × log2 of the members | SWIM's λ log N: each rumour reaches all with a probability of 1 − 1/N³ |
//! | message | 1,400 bytes | what one Ethernet frame carries |
//!
//! Suspicion's bounds and its shortening, the health and its scores are Lifeguard's (Dadgar, Phillips and Currey, 2018,
//! sections IV.A to IV.C), the rest SWIM's (Das, Gupta and Motivala, 2002, sections 3 and 4).

use std::time::Duration;

/// Accusers that a suspicion names at most. More say nothing more: one and [`CONFIRMATION_COUNT_MAX`] that confirm it.
pub const ACCUSER_COUNT_MAX: usize = 4;

/// Confirmations after which a suspicion is as short as it can be.
pub const CONFIRMATION_COUNT_MAX: usize = 3;

/// Members that are known at most, as many servers as the coordinator registers. Each takes about 300 bytes.
pub const MEMBER_COUNT_MAX: usize = 4096;

/// Rumours in one message: what fits into [`MESSAGE_LEN_MAX`] when each is as short as it can be.
pub const RUMOR_COUNT_MAX: usize = 32;

/// Reports in one message, for the same reason.
pub const REPORT_COUNT_MAX: usize = 32;

/// Bytes of a message as a line: an Ethernet frame without its headers, with room for a few.
pub const MESSAGE_LEN_MAX: usize = 1400;

/// Probes in other servers' place at the same time; who asks for more is told that there is silence.
pub const RELAY_COUNT_MAX: usize = 64;

/// Members that wait to be probed out of turn.
pub const URGENT_COUNT_MAX: usize = 8;

/// Servers that one doubts at most, as it tells the coordinator; who doubts more of a cluster cannot hear it.
pub const DOUBT_COUNT_MAX: usize = 64;

/// The worst health.
pub const HEALTH_MAX: u32 = 8;

/// Times and numbers that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between two probes of a healthy server.
    pub period: Duration,
    /// How long a probe waits for its answer before others are asked to help.
    pub probe_timeout: Duration,
    /// How many are asked to help.
    pub helper_count: usize,
    /// The shortest suspicion of up to ten members, in periods.
    pub suspicion_periods: u32,
    /// The longest suspicion, in shortest ones.
    pub suspicion_stretch: u32,
    /// How long a suspect has to answer a last ping, at the end of its suspicion.
    pub last_word: Duration,
    /// Transmissions of a rumour, times log2 of the members.
    pub rumor_factor: u32,
    /// Servers that are told at once of a newer map.
    pub news_count: usize,
    /// Time between two such tellings of one server: how many changes a second there may be does not matter.
    pub news_every: Duration,
    /// How long a pull may take before another server is asked.
    pub pull_timeout: Duration,
    /// Time between two reports of a server, when there are so few that it is not stretched.
    pub report_every: Duration,
    /// With more members than this many a second of `report_every`, reports come less often instead of costing more.
    pub report_rate: u32,
    /// Transmissions of a report by each server, besides log2 of the members.
    pub report_factor: u32,
    /// Bytes of reports in one message.
    pub report_len_max: usize,
    /// Time between two tries to reach a member that is taken for dead: how a partition is found to have healed.
    pub revive_every: Duration,
    /// A tick that comes later than this tells that this process stood still.
    pub late_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let period = Duration::from_millis(200);
        Self {
            period,
            probe_timeout: Duration::from_millis(80),
            helper_count: 3,
            suspicion_periods: 15,
            suspicion_stretch: 2,
            last_word: period * 2,
            rumor_factor: 3,
            news_count: 3,
            news_every: period / 4,
            pull_timeout: period,
            report_every: Duration::from_secs(4),
            report_rate: 16,
            report_factor: 1,
            report_len_max: 400,
            revive_every: period * 4,
            late_max: period / 2,
        }
    }
}

impl Settings {
    /// Returns how often a rumour is sent on by one server that knows `count` members.
    #[must_use]
    pub fn rumor_transmissions(&self, count: usize) -> u32 {
        self.rumor_factor.saturating_mul(log2(count))
    }

    /// Returns how often a report is sent on by one server that knows `count` members.
    #[must_use]
    pub fn report_transmissions(&self, count: usize) -> u32 {
        self.report_factor.saturating_add(log2(count))
    }

    /// Returns the time between two reports of a server that knows `count` members.
    #[must_use]
    pub fn report_interval(&self, count: usize) -> Duration {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let second = Duration::from_secs(1);
        self.report_every.max(second.saturating_mul(count) / self.report_rate.max(1))
    }

    /// Returns how long a suspicion lasts that `confirmations` independent others share, of at most `expected`.
    #[must_use]
    pub fn suspicion(&self, count: usize, confirmations: usize, expected: usize) -> Duration {
        let shortest = self.period * self.suspicion_periods * log10_percent(count) / 100;
        let longest = shortest * self.suspicion_stretch.max(1);
        (longest - (longest - shortest) * shortening(confirmations, expected) / 1000).max(shortest)
    }
}

/// Returns the logarithm of `count`, rounded up, at least one.
fn log2(count: usize) -> u32 {
    count.max(2).next_power_of_two().trailing_zeros()
}

/// Returns a hundred times the decimal logarithm of `count`, at least a hundred.
fn log10_percent(count: usize) -> u32 {
    (count.max(1).ilog2() * 30).max(100)
}

/// Returns log(c + 1) / log(k + 1) in thousandths, for `c` confirmations of `k` expected. In whole numbers, so that all
/// machines count alike.
fn shortening(confirmations: usize, expected: usize) -> u32 {
    match (confirmations, expected.min(CONFIRMATION_COUNT_MAX)) {
        (c, k) if c >= k => 1000,
        (0, _) => 0,
        (1, 2) => 631,
        (1, _) => 500,
        _ => 792,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspicion_is_shorter_the_more_confirm_it_and_longer_the_more_members_there_are() {
        let settings = Settings::default();
        let seconds = |count, c, k| settings.suspicion(count, c, k).as_secs_f64();
        for (count, c, k, expected) in [
            (3, 0, 1, 6.0),
            (3, 1, 1, 3.0),
            (10, 0, 3, 6.0),
            (10, 1, 3, 4.5),
            (10, 2, 3, 3.624),
            (10, 3, 3, 3.0),
            (10, 4, 3, 3.0),
            (2, 0, 0, 3.0),
            (1000, 3, 3, 8.1),
            (1000, 0, 3, 16.2),
        ] {
            assert_eq!(seconds(count, c, k), expected, "{count} members, {c} of {k}");
        }
    }

    #[test]
    fn counts_grow_with_the_logarithm_and_reports_do_not_come_faster_than_they_can_be_told() {
        let settings = Settings::default();
        let rumors = [1, 2, 3, 10, 1000].map(|count| settings.rumor_transmissions(count));
        assert_eq!(rumors, [3, 3, 6, 12, 30]);
        let seconds = [10, 64, 160].map(|count| settings.report_interval(count).as_secs());
        assert_eq!(seconds, [4, 4, 10]);
    }
}
