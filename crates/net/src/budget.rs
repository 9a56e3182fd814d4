//! The memory that all connections of a listener together may hold for lines that are on their way in.
//!
//! Each connection has a small buffer of its own, which holds many everyday requests and is never counted. Only a line
//! that does not fit *claims* more, as its bytes come, up to [`Config::input_len_max`](crate::Config) for all. A claim
//! that finds too little left *waits*: its connection is not read, so the network holds the peer back, and it
//! goes on as soon as others are answered. It is refused only when the time of its request is over. Waiting is better
//! than refusing at once: clients that together send more than fits are slowed down and all of them served. Requests
//! that fit into the small buffers never ask here, so they are never held up by large ones.
//!
//! Lines that hold memory and wait for more could wait for each other for ever. So claims have *turns*: each gets
//! a number when its line first needs more, and the one with the lowest number is always granted, even beyond
//! the limit. It ends within the time of a request, and the next has the turn. At most one line at a time goes beyond:
//! what is held is at most the limit and one line.
//!
//! ```text
//!                 fits, or has the turn                       answered
//!   line grows ──────────────────────────▶ granted ──────────────────────▶ kept for the next line
//!       │                                     ▲                                 │ half is held, or the
//!       └─ else ─▶ waits, is not read ────────┘ others gave back                ▼ connection is quiet
//!                      └─ time is over: refused                               given back
//! ```
//!
//! Who drips many large lines to keep others from sending such must send them within the time of a request, again and
//! again: it pays for each held byte with at least half a byte sent. Left out: shares for each peer's address.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::Counters;

/// What may be held, and who holds or waits.
#[derive(Debug)]
pub(crate) struct Budget {
    len_max: usize,
    counters: Arc<Counters>,
    state: Mutex<State>,
    /// Tells those who wait that less is held, that the turn passed, or that it is over.
    less: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held_len: usize,
    /// Turns of the lines that hold or wait; the lowest is granted everything.
    turns: BTreeSet<u64>,
    next_turn: u64,
    waiting_count: usize,
    is_over: bool,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Granted,
    /// There was too little for too long.
    Late,
    /// The listener stops, and nobody waits any more.
    Over,
}

/// One connection's part of a budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Claim {
    /// `None` takes what it likes and is not counted.
    budget: Option<Arc<Budget>>,
    len: usize,
    turn: Option<u64>,
}

impl Budget {
    /// Returns a budget of which nothing is held.
    pub(crate) fn new(len_max: usize, counters: Arc<Counters>) -> Arc<Self> {
        let (state, less) = (Mutex::default(), Condvar::new());
        Arc::new(Self { len_max, counters, state, less })
    }

    /// Returns the limit in bytes.
    pub(crate) fn len_max(&self) -> usize {
        self.len_max
    }

    /// Ends all waiting: the listener stops.
    pub(crate) fn close(&self) {
        self.lock().is_over = true;
        self.less.notify_all();
    }

    /// Notes that `len` bytes more are held.
    fn take(&self, state: &mut State, len: usize) {
        state.held_len += len;
        self.counters.input_held.store(state.held_len as u64, Relaxed);
    }

    /// Notes that `len` bytes were given back, or a turn was, and tells those who wait.
    fn give(&self, state: &mut State, len: usize) {
        state.held_len -= len;
        self.counters.input_held.store(state.held_len as u64, Relaxed);
        if state.waiting_count > 0 {
            self.less.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Its changes are single steps that cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_granted(&self, turn: u64, more: usize, len_max: usize) -> bool {
        self.turns.first() == Some(&turn) || self.held_len.saturating_add(more) <= len_max
    }
}

impl Claim {
    /// Returns a claim of nothing; without a budget it is never refused.
    pub(crate) fn new(budget: Option<Arc<Budget>>) -> Self {
        Self { budget, len: 0, turn: None }
    }

    /// Raises the claim to `len` bytes, waiting for that until `until` at most.
    pub(crate) fn grow_to(&mut self, len: usize, until: Option<Instant>) -> Grant {
        let Some(budget) = &self.budget else { return Grant::Granted };
        let more = len.saturating_sub(self.len);
        let mut state = budget.lock();
        let turn = *self.turn.get_or_insert_with(|| {
            state.next_turn += 1;
            state.next_turn
        });
        state.turns.insert(turn);
        while !state.is_granted(turn, more, budget.len_max) {
            if state.is_over {
                return Grant::Over;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Grant::Late;
            }
            state.waiting_count += 1;
            budget.counters.input_waiting.store(state.waiting_count as u64, Relaxed);
            state = match left {
                Some(left) => {
                    let outcome = budget.less.wait_timeout(state, left);
                    outcome.unwrap_or_else(PoisonError::into_inner).0
                }
                None => budget.less.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.waiting_count -= 1;
            budget.counters.input_waiting.store(state.waiting_count as u64, Relaxed);
        }
        budget.take(&mut state, more);
        self.len += more;
        Grant::Granted
    }

    /// Lowers the claim to `len` bytes.
    pub(crate) fn shrink_to(&mut self, len: usize) {
        if let Some(budget) = &self.budget
            && len < self.len
        {
            budget.give(&mut budget.lock(), self.len - len);
            self.len = len;
        }
    }

    /// Gives up the turn, because its line was answered; returns whether the memory should be given back too.
    pub(crate) fn end_turn(&mut self) -> bool {
        let Some(budget) = &self.budget else { return false };
        let mut state = budget.lock();
        if let Some(turn) = self.turn.take() {
            state.turns.remove(&turn);
            budget.give(&mut state, 0);
        }
        state.waiting_count > 0 || state.held_len > budget.len_max / 2
    }

    /// Stops counting: the connection is one that must not wait for others.
    pub(crate) fn exempt(&mut self) {
        self.end_turn();
        self.shrink_to(0);
        self.budget = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.exempt();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn grow(claim: &mut Claim, len: usize, wait: Option<Duration>) -> Grant {
        claim.grow_to(len, wait.map(|wait| Instant::now() + wait))
    }

    fn budget(len_max: usize) -> (Arc<Budget>, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (Budget::new(len_max, Arc::clone(&counters)), counters)
    }

    #[test]
    fn the_limit_is_granted_and_one_byte_more_waits() {
        let (budget, counters) = budget(100);
        let [mut first, mut second, mut third] =
            [0; 3].map(|_| Claim::new(Some(Arc::clone(&budget))));
        assert_eq!(grow(&mut first, 40, NOW), Grant::Granted);
        assert_eq!(grow(&mut second, 60, NOW), Grant::Granted);
        assert_eq!(counters.read().input_held_len, 100);
        assert_eq!(grow(&mut third, 1, NOW), Grant::Late);
        second.shrink_to(59);
        assert_eq!(grow(&mut third, 1, NOW), Grant::Granted);
        drop((first, second, third));
        assert_eq!(counters.read().input_held_len, 0);
    }

    #[test]
    fn lines_that_wait_for_each_other_are_finished_one_after_the_other() {
        let (budget, counters) = budget(100);
        let mut claims: Vec<_> =
            [0; 4].map(|_| Claim::new(Some(Arc::clone(&budget)))).into_iter().collect();
        for claim in &mut claims {
            assert_eq!(grow(claim, 25, NOW), Grant::Granted);
        }
        for index in 0..4 {
            for later in &mut claims[index + 1..] {
                let is_first = index == 0;
                assert!(!is_first || grow(later, 50, NOW) == Grant::Late, "it is not its turn");
            }
            assert_eq!(grow(&mut claims[index], 50, NOW), Grant::Granted, "it is its turn");
            assert!(counters.read().input_held_len <= 125, "one line at most goes beyond");
            let is_scarce = counters.read().input_held_len > 50;
            assert_eq!(
                claims[index].end_turn(),
                is_scarce,
                "an answered line may keep what is left"
            );
            claims[index].shrink_to(0);
        }
        assert_eq!(counters.read().input_held_len, 0);
    }

    #[test]
    fn who_waits_goes_on_when_memory_is_given_back_and_gives_up_when_the_listener_stops() {
        let (budget, counters) = budget(10);
        let mut first = Claim::new(Some(Arc::clone(&budget)));
        assert_eq!(grow(&mut first, 10, NOW), Grant::Granted);
        let wait = || {
            let mut claim = Claim::new(Some(Arc::clone(&budget)));
            thread::spawn(move || (grow(&mut claim, 5, None), claim))
        };
        let until_waiting = || {
            while counters.read().input_waiting < 1 {
                thread::yield_now();
            }
        };
        let waiting = wait();
        until_waiting();
        first.shrink_to(5);
        let (grant, second) = waiting.join().unwrap();
        assert_eq!(grant, Grant::Granted);
        let waiting = wait();
        until_waiting();
        budget.close();
        assert_eq!(waiting.join().unwrap().0, Grant::Over);
        drop((first, second));
        let mut last = Claim::new(Some(Arc::clone(&budget)));
        assert_eq!(grow(&mut last, 10, NOW), Grant::Granted, "what fits is granted to the end");
    }

    #[test]
    fn who_is_exempt_is_neither_counted_nor_held_up() {
        let (budget, counters) = budget(10);
        let mut claim = Claim::new(Some(Arc::clone(&budget)));
        assert_eq!(grow(&mut claim, 10, NOW), Grant::Granted);
        claim.exempt();
        assert_eq!(counters.read().input_held_len, 0);
        assert_eq!(grow(&mut claim, 1000, NOW), Grant::Granted);
        assert_eq!(counters.read().input_held_len, 0);
    }
}
