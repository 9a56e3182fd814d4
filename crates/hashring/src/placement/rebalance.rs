//! A rebalance: the fewest bytes that bring every share into the dead band.
//!
//! ```text
//!               fair - 5 %      fair      fair + 5 %
//!  too little ------|------ dead band ------|------ too much
//!       taker  >>>>>|                       |<<<<<  donor
//! ```
//!
//! The band is *dead* so that a ring that was brought into it stays as it is while loads change a little. What lies
//! outside of it is the *stray* load; each move takes a piece of one server's arcs to another so that less is
//! stray, and no more is moved than has to be: the best move is that with the most stray load gone and the fewest
//! bytes moved in vain. Among moves that do as well by that, the [`Score`] decides. It ends when the stray load is
//! gone, or when whole slots allow no move that makes it less. Shares need not be of bytes: what a move costs is said apart
//! ([`Costs`]), each in means of its own.
//!
//! Nothing moves only for the sake of backups or of the number of arcs.

use super::board::{Board, SLOT_LOAD_MAX, SLOT_LOAD_MIN, Seat, Span};
use super::cut;
use super::score::{Best, Score};

/// A share may be off by one part in so many.
const DEAD_BAND_PART: i64 = 20;
/// Servers on either side that are looked at for one move.
const SIDE_COUNT: usize = 4;
/// What a gain in score counts against moving one fair share in vain.
const SCORE_COST: f64 = 0.05;

/// What it costs to move slots: bytes, whatever the shares are of.
#[derive(Debug)]
pub(super) struct Costs {
    /// Of all slots before each, and at the end of all.
    before: Vec<i64>,
}

impl Costs {
    /// Returns what slots that store so much cost to move; a slot costs something even if it is empty.
    pub(super) fn new(costs: &[u64]) -> Self {
        let mut before = vec![0];
        before.extend(costs.iter().scan(0_i64, |sum, cost| {
            let cost = SLOT_LOAD_MIN + cost.min(&SLOT_LOAD_MAX);
            *sum += i64::try_from(cost).unwrap_or_default();
            Some(*sum)
        }));
        Self { before }
    }

    fn at(&self, slot: usize) -> i64 {
        self.before.get(slot).copied().unwrap_or_default()
    }

    fn total(&self) -> i64 {
        self.at(self.before.len() - 1)
    }

    fn of(&self, span: Span) -> i64 {
        let (slot_count, end) = (self.before.len() - 1, span.first + span.count);
        let wrapped =
            if end > slot_count { self.total() + self.at(end - slot_count) } else { self.at(end) };
        wrapped - self.at(span.first)
    }
}

/// Moves as little as is needed to bring all shares into the dead band.
pub(super) fn rebalance(board: &mut Board, costs: &Costs, tokens: usize) {
    assert_eq!(costs.before.len(), board.slot_count() + 1, "one cost for each slot");
    let score = Score::new(board, tokens);
    let fair_cost = (costs.total() / i64::try_from(board.seats().count()).unwrap_or(1)).max(1);
    let price = |span| costs.of(span) as f64 / fair_cost as f64;
    // Each move makes the stray load less, by a byte at the least; there are never as many as that.
    while let Some((_, span, to)) = best_move(board, &score, &price) {
        board.give(span, to);
    }
}

/// Returns how much of a share of `own` lies outside of the dead band.
fn stray(own: i64, fair: i64) -> i64 {
    let band = fair / DEAD_BAND_PART;
    (own - (fair + band)).max(fair - band - own).max(0)
}

fn best_move(
    board: &Board,
    score: &Score,
    price: &impl Fn(Span) -> f64,
) -> Option<(f64, Span, Seat)> {
    let mut seats: Vec<Seat> = board.seats().collect();
    seats.sort_by_key(|seat| (board.hand(*seat).own, *seat));
    let is_all_in = seats.iter().all(|seat| stray(board.hand(*seat).own, score.fair) == 0);
    if is_all_in {
        return None;
    }
    // The fullest and the emptiest, and if these cannot help each other, as one slot may be more than a share, the
    // next of them.
    let donors: Vec<&[Seat]> = seats.rchunks(SIDE_COUNT).collect();
    let takers: Vec<&[Seat]> = seats.chunks(SIDE_COUNT).collect();
    donors
        .iter()
        .flat_map(|from| takers.iter().map(move |to| (from, to)))
        .find_map(|(from, to)| best_between(board, (from, to), score, price).found())
}

fn best_between(
    board: &Board,
    (donors, takers): (&[Seat], &[Seat]),
    score: &Score,
    price: &impl Fn(Span) -> f64,
) -> Best {
    let mut best = Best::default();
    let can_help = |from: Seat, to: Seat| {
        let (from, to) = (board.hand(from).own, board.hand(to).own);
        from > to && stray(from, score.fair) + stray(to, score.fair) > 0
    };
    for run in board.runs().iter().filter(|run| donors.contains(&run.owner)) {
        for to in takers.iter().filter(|to| can_help(run.owner, **to)) {
            let (from, own) = (board.hand(run.owner).own, board.hand(*to).own);
            let needed = stray(from, score.fair).max(stray(own, score.fair));
            let room = (from - own) / 2;
            for span in cut::pieces(board, *run, &[needed.min(room), room]) {
                offer(board, (span, *to), score, price, &mut best);
            }
        }
    }
    best
}

fn offer(
    board: &Board,
    (span, to): (Span, Seat),
    score: &Score,
    price: &impl Fn(Span) -> f64,
    best: &mut Best,
) {
    let (load, fair) = (board.load_of(span), score.fair);
    let (from, own) = (board.hand(span.owner).own, board.hand(to).own);
    let before = stray(from, fair) + stray(own, fair);
    let settled = before - stray(from - load, fair) - stray(own + load, fair);
    if settled <= 0 {
        return;
    }
    if let Some(gain) = score.gain(board, span, to) {
        // A byte that leaves one end of the band may settle one at the other end too: hence twice.
        let value = (2 * settled) as f64 / fair as f64 - price(span);
        best.offer(value + SCORE_COST * gain, span, to);
    }
}
