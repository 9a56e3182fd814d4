//! Own pauses: a silence while this server itself did not run is not its peers' (R15).
//!
//! ```text
//! ticks   | | | | |          | | | |        a gap longer than a beacon's time is a pause:
//!                 └──────────┘              what is beyond that time counts for no silence
//! ```
//!
//! A process that stops for a second has not heard its peers either, though their beacons lie in its sockets. So a silence is
//! counted in the time in which ticks came. One that stutters waits longer by the length of its pauses, no more:
//! a slow server still finds out who is gone.
//!
//! Leases do not look here: they run by the clock, and a silence counted like this is never longer than it really was.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Config;
use crate::types::Time;

/// The pauses of late.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    ticked_at: Option<Time>,
    /// When each ended, and how long it was.
    pauses: VecDeque<(Time, Duration)>,
}

impl Pauses {
    /// Notes a tick.
    pub(crate) fn tick(&mut self, now: Time, config: &Config) {
        let gap = self.ticked_at.replace(now).map_or(Duration::ZERO, |at| now.since(at));
        let pause = gap.saturating_sub(config.beacon_every);
        if pause.is_zero() {
            return;
        }
        // Each pause has a beacon's time before it that counts: a silence with more of them than fit is long enough already.
        let longest = config.grace.max(config.silence_max).max(config.prepare_max);
        let count_max = longest.as_nanos() / config.beacon_every.as_nanos().max(1) + 1;
        self.pauses.push_back((now, pause));
        while self.pauses.len() as u128 > count_max {
            self.pauses.pop_front();
        }
    }

    /// Returns how long ago `since` was, own pauses not counted.
    pub(crate) fn awake(&self, since: Time, now: Time) -> Duration {
        let later = self.pauses.iter().rev().take_while(|(end, _)| *end > since);
        let paused: Duration = later.map(|(end, len)| end.since(since).min(*len)).sum();
        now.since(since).saturating_sub(paused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn after(ticks: impl IntoIterator<Item = u64>) -> Pauses {
        let mut pauses = Pauses::default();
        for at in ticks {
            pauses.tick(ms(at), &Config::default());
        }
        pauses
    }

    #[test]
    fn ticks_up_to_a_beacon_s_time_apart_are_no_pause() {
        let pauses = after((0..=20).map(|index| index * 100));
        assert_eq!(pauses.awake(ms(0), ms(2000)), Duration::from_millis(2000));
    }

    #[test]
    fn a_pause_counts_for_no_silence_but_for_a_beacon_s_time() {
        let pauses = after([0, 100, 5100, 5200]);
        assert_eq!(pauses.awake(ms(0), ms(5200)), Duration::from_millis(300));
        assert_eq!(pauses.awake(ms(5100), ms(5200)), Duration::from_millis(100));
        let within = pauses.awake(ms(4000), ms(5200));
        assert_eq!(within, Duration::from_millis(100), "heard in the pause, as its clock says");
    }

    #[test]
    fn a_server_that_stutters_each_second_counts_a_second_of_silence_in_little_more() {
        let ticks = (0..1560).step_by(10).filter(|at| at % 1000 >= 150);
        let pauses = after(ticks);
        assert_eq!(pauses.awake(ms(500), ms(1560)), Duration::from_millis(1000));
    }

    #[test]
    fn one_that_ticks_too_rarely_all_the_time_still_counts_most_of_it() {
        let pauses = after((0..1000).map(|index| index * 120));
        let awake = pauses.awake(ms(118_680), ms(119_880));
        assert_eq!(awake, Duration::from_millis(1000));
        let kept = pauses.awake(ms(0), ms(119_880));
        assert!(kept >= Config::default().grace, "what is forgotten only makes a silence longer");
    }
}
