//! The pauses between two tries of an operation that was refused for the moment.
//!
//! Each pause is twice the one before, from [`PAUSE_MIN`] to [`PAUSE_MAX`], and is then drawn at random from
//! its upper half, so that clients refused together do not come back together ("full jitter" keeps some
//! of them from waiting at all, which hammers a server that is starting).

use std::time::Duration;

/// The first pause: half the time that a slot's writes wait at a hand-over.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The longest pause: short beside the second or so in which a crashed server's place is taken.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(320);

/// The state of one operation's retries.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
}

impl Backoff {
    /// Returns the state before the first retry.
    pub(crate) fn new() -> Self {
        Self { pause: PAUSE_MIN }
    }

    /// Returns how long to pause before the next try.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_keep_their_upper_half() {
        let mut backoff = Backoff::new();
        let mut full = PAUSE_MIN;
        for _ in 0..10 {
            let pause = backoff.next_pause();
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
            full = (full * 2).min(PAUSE_MAX);
        }
        assert_eq!(full, PAUSE_MAX);
    }
}
