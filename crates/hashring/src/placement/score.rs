//! What a placement is worth: one number that says how far a ring is from the ring one would wish for.
//!
//! Each server pays for what it has, in units of the mean; a move is good if afterwards all together pay less.
//!
//! | paid for | why | how |
//! |---|---|---|
//! | its share | shares shall be level | x², and steeply above [`SHARE_SOFT_MAX`] |
//! | what it holds, as owner or backup | every write is on three servers | x² / 2, and steeply above [`HELD_SOFT_MAX`] |
//! | arcs above `tokens` | long lists; room below the bound | the excess squared |
//! | long runs | a short run is lost to one heir, a long one too: many, even runs spread a loss | each run squared |
//!
//! Two things are not for sale: a server's last slot, and an arc more than `2 × tokens`.
//!
//! The squares pull towards the mean from wherever a ring is; the steep parts matter more than all the rest as soon
//! as one server stands out, and so keep the maximum down and not only the average. The long runs are what makes
//! the second row attainable: what a server backs up are the runs before its own, so if all runs are of a length,
//! and all servers have about as many, all hold alike.
//!
//! Sums are of `f64`, by additions and multiplications only, in one order; so the same ring and loads give the same
//! result on every machine.

use super::board::{Board, Hand, Seat, Span};
use super::change::{Change, REPLICA_COUNT};

/// Share, in means, above which it costs steeply: half-way to the promised 1.10, as later steps need the rest.
const SHARE_SOFT_MAX: f64 = 1.04;
/// What a share above that costs, squared, against one below.
const SHARE_STEEP: f64 = 200.0;
/// What being a holder costs against being the owner.
const HELD_COST: f64 = 0.5;
/// Held load, in means, above which it costs steeply.
const HELD_SOFT_MAX: f64 = 1.15;
/// What held load above that costs, squared.
const HELD_STEEP: f64 = 10.0;
/// What an arc above `tokens` costs, squared.
const ARC_COST: f64 = 0.02;
/// What a run of one whole mean costs. One of `tokens` even runs costs 1/64 of it.
const RUN_COST: f64 = 3.0;
/// Gains below this are not worth a move.
pub(super) const GAIN_MIN: f64 = 1e-6;

/// What hands are worth on one board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    /// The fair share of each server, in bytes.
    pub(super) fair: i64,
    /// The fair load to hold.
    fair_held: i64,
    /// Arcs a server shall have.
    pub(super) tokens: i64,
}

impl Score {
    /// Returns the score for all servers of `board`, who shall have about `tokens` arcs each.
    pub(super) fn new(board: &Board, tokens: usize) -> Self {
        let server_count = board.seats().count();
        let part = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        let copies = board.total() * part(REPLICA_COUNT.min(server_count));
        Self {
            fair: (board.total() / part(server_count)).max(1),
            fair_held: (copies / part(server_count)).max(1),
            tokens: part(tokens.max(1)),
        }
    }

    /// Returns how much better it would be to give `span` to `to`, or `None` if that must not be.
    pub(super) fn gain(&self, board: &Board, span: Span, to: Seat) -> Option<f64> {
        if span.owner == to {
            return None;
        }
        self.gain_of(board, &Change::of(board, span, to))
    }

    /// Returns how much better a change would make the board, or `None` if it must not be.
    pub(super) fn gain_of(&self, board: &Board, change: &Change) -> Option<f64> {
        let fair = self.fair as f64;
        let mut gain = -RUN_COST * change.squares / (fair * fair);
        for (seat, delta) in change.hands() {
            let before = board.hand(seat);
            let after = before.plus(delta);
            let is_last_slot = before.own > 0 && after.own <= 0;
            if is_last_slot || (delta.arcs > 0 && after.arcs > 2 * self.tokens) {
                return None;
            }
            gain += self.cost(before) - self.cost(after);
        }
        Some(gain)
    }

    fn cost(&self, hand: Hand) -> f64 {
        let own = hand.own as f64 / self.fair as f64;
        let held = hand.held as f64 / self.fair_held as f64;
        let arcs = (hand.arcs - self.tokens).max(0) as f64;
        let above = |value: f64, soft_max: f64| {
            let over = (value - soft_max).max(0.0);
            over * over
        };
        own * own
            + SHARE_STEEP * above(own, SHARE_SOFT_MAX)
            + HELD_COST * held * held
            + HELD_STEEP * above(held, HELD_SOFT_MAX)
            + ARC_COST * arcs * arcs
    }
}

/// The best of the moves offered so far: the first of those with the greatest gain.
#[derive(Debug, Default)]
pub(super) struct Best(Option<(f64, Span, Seat)>);

impl Best {
    /// Keeps this move if it is better than those before.
    pub(super) fn offer(&mut self, gain: f64, span: Span, to: Seat) {
        if self.0.is_none_or(|(best, ..)| gain > best) {
            self.0 = Some((gain, span, to));
        }
    }

    /// Returns the best move and what it gains, if any was offered.
    pub(super) fn found(self) -> Option<(f64, Span, Seat)> {
        self.0
    }
}
