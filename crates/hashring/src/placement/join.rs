//! A join: which pieces of others' arcs the new server takes.
//!
//! ```text
//! before   | A A A A A A | B B B B | C C C C C C | A A |
//! after    | A A A A|J J | B B B B | C C|J J|C C | A A |      slots move to J only
//! ```
//!
//! 1. **Take.** While it gets better, J takes the best of all pieces that the servers with most to spare could give:
//!    heads, tails, middles or whole runs, of about what J lacks over the arcs it has left.
//! 2. **Trim.** J's arcs grow and shrink at their ends; what J gives back goes to whom it came from.
//! 3. **Try elsewhere.** If some server still stands out, J gives one arc back and takes again. The choice was
//!    greedy and may have used up J's arcs before the fullest server was met.
//!
//! Each step is taken only if the whole ring is better for it, by [`Score`]; J never has more than
//! [`fair_max`] unless a single slot is more, never more than `tokens` arcs, and no server its last slot taken.

use super::board::{Board, Seat, Span};
use super::change::Change;
use super::cut;
use super::score::{Best, GAIN_MIN, Score};

/// Servers whose arcs are looked at for one piece: more than arcs are taken, so that there is a choice.
const DONOR_COUNT: usize = 12;
/// Steps of trimming: by then each end has moved several times.
const TRIM_COUNT: usize = 50;
/// Arcs given back to try elsewhere.
const RETRY_COUNT: usize = 4;
/// Gains below this are not worth a try elsewhere.
const RETRY_GAIN_MIN: f64 = 1e-3;

/// Lets the server at `joiner`, which has nothing, take its share.
pub(super) fn join(board: &mut Board, joiner: Seat, tokens: usize) {
    let score = Score::new(board, tokens);
    let givers = (0..board.slot_count()).map(|slot| board.owner(slot)).collect();
    let join = Join { joiner, score, givers };
    join.take(board, usize::MAX);
    join.trim(board);
    for _ in 0..RETRY_COUNT {
        if !join.try_elsewhere(board) {
            break;
        }
        join.trim(board);
    }
}

/// Returns what a joiner shall have at most, given its fair share.
fn fair_max(fair: i64) -> i64 {
    fair.saturating_add(fair / 20)
}

struct Join {
    joiner: Seat,
    score: Score,
    /// By slot, who owned it before.
    givers: Vec<Seat>,
}

impl Join {
    /// Takes up to `count` pieces, and returns what it gained.
    fn take(&self, board: &mut Board, count: usize) -> f64 {
        let mut sum = 0.0;
        // Each piece is a slot or more.
        for _ in 0..count.min(board.slot_count()) {
            let Some((gain, span)) = self.best_piece(board) else { break };
            if gain <= GAIN_MIN && board.hand(self.joiner).own > 0 {
                break;
            }
            board.give(span, self.joiner);
            sum += gain;
        }
        sum
    }

    /// Returns the best piece to take next. A first slot must be taken even if it is too much, or the joiner
    /// would not be on the ring; but not if there is another.
    fn best_piece(&self, board: &Board) -> Option<(f64, Span)> {
        let hand = board.hand(self.joiner);
        let lack = (self.score.fair - hand.own).max(0);
        let want = lack / (self.score.tokens - hand.arcs).max(1);
        let donors = self.donors(board);
        let (mut best, mut too_much) = (Best::default(), Best::default());
        for run in board.runs().iter().filter(|run| donors.contains(&run.owner)) {
            let excess = (board.hand(run.owner).own - self.score.fair).clamp(0, lack);
            for span in cut::pieces(board, *run, &[want, want * 3 / 2, want * 2 / 3, excess]) {
                let load = board.load_of(span);
                if hand.own + load <= fair_max(self.score.fair) {
                    self.offer(board, span, &mut best);
                } else if hand.own == 0 && span.count == 1 {
                    self.offer(board, span, &mut too_much);
                }
            }
        }
        let (gain, span, _) = best.found().or(too_much.found())?;
        Some((gain, span))
    }

    fn offer(&self, board: &Board, span: Span, best: &mut Best) {
        let change = Change::of(board, span, self.joiner);
        if let (true, Some(gain)) =
            (self.has_arcs_for(board, &change), self.score.gain_of(board, &change))
        {
            best.offer(gain, span, self.joiner);
        }
    }

    fn has_arcs_for(&self, board: &Board, change: &Change) -> bool {
        let more = change.hands().find(|(seat, _)| *seat == self.joiner);
        let arcs = board.hand(self.joiner).arcs;
        more.is_none_or(|(_, delta)| delta.arcs <= 0 || arcs + delta.arcs <= self.score.tokens)
    }

    /// Returns the servers that have most to spare: above their fair share, and beside their heaviest slot, which
    /// no move can make lighter.
    fn donors(&self, board: &Board) -> Vec<Seat> {
        let mut heaviest = vec![0_i64; board.seats().count()];
        for slot in 0..board.slot_count() {
            if let Some(heaviest) = heaviest.get_mut(board.owner(slot)) {
                *heaviest = (*heaviest).max(board.load(slot, 1));
            }
        }
        let spare = |(seat, heaviest): (Seat, i64)| {
            let own = board.hand(seat).own;
            ((own - self.score.fair).min(own - heaviest), seat)
        };
        let mut donors: Vec<(i64, Seat)> = heaviest.into_iter().enumerate().map(spare).collect();
        donors.retain(|(_, seat)| *seat != self.joiner);
        donors.sort_by_key(|(spare, seat)| (-spare, *seat));
        donors.into_iter().take(DONOR_COUNT).map(|(_, seat)| seat).collect()
    }

    /// Moves the ends of the joiner's arcs while that makes the ring better.
    fn trim(&self, board: &mut Board) {
        for _ in 0..TRIM_COUNT {
            let mut best = Best::default();
            for run in self.own_runs(board) {
                for count in
                    (0..).map(|bits| 1 << bits).take_while(|count| *count <= run.count.max(4))
                {
                    self.offer_ends(board, run, count, &mut best);
                }
            }
            match best.found() {
                Some((gain, span, to)) if gain > GAIN_MIN => board.give(span, to),
                Some(_) | None => break,
            }
        }
    }

    /// Offers to take `count` slots more at either end of `run`, and to give so many back.
    fn offer_ends(&self, board: &Board, run: Span, count: usize, best: &mut Best) {
        let slot_count = board.slot_count();
        if count < slot_count {
            let room = fair_max(self.score.fair) - board.hand(self.joiner).own;
            for at in [run.first + slot_count - count, run.first + run.count] {
                let first = board.wrap(at);
                let span = Span { first, count, owner: board.owner(first) };
                let is_one = board.is_inside_a_run(first, count);
                if is_one && span.owner != self.joiner && board.load_of(span) <= room {
                    self.offer(board, span, best);
                }
            }
        }
        if count < run.count {
            for at in [run.first, run.first + run.count - count] {
                let back = self.givers_of(board, at, count);
                if let [(span, giver)] = back.as_slice()
                    && let Some(gain) = self.score.gain(board, *span, *giver)
                {
                    best.offer(gain, *span, *giver);
                }
            }
        }
    }

    /// Gives back one of the joiner's arcs and takes others, if that makes the ring better.
    fn try_elsewhere(&self, board: &mut Board) -> bool {
        if board.seats().all(|seat| board.hand(seat).own <= fair_max(self.score.fair)) {
            return false;
        }
        let runs = self.own_runs(board);
        let mut best: Option<(f64, Board)> = None;
        for run in runs.iter().filter(|_| runs.len() > 1) {
            let mut tried = board.clone();
            let Some(given) = self.give_back(&mut tried, *run) else { continue };
            let gain = given + self.take(&mut tried, 2);
            if gain > RETRY_GAIN_MIN && best.as_ref().is_none_or(|(most, _)| gain > *most) {
                best = Some((gain, tried));
            }
        }
        let is_found = best.is_some();
        best.into_iter().for_each(|(_, tried)| *board = tried);
        is_found
    }

    /// Gives back `run`, and returns what that gains, most often less than nothing; `None` if it must not be.
    fn give_back(&self, board: &mut Board, run: Span) -> Option<f64> {
        let mut sum = 0.0;
        for (span, giver) in self.givers_of(board, run.first, run.count) {
            sum += self.score.gain(board, span, giver)?;
            board.give(span, giver);
        }
        Some(sum)
    }

    fn own_runs(&self, board: &Board) -> Vec<Span> {
        board.runs().iter().filter(|run| run.owner == self.joiner).copied().collect()
    }

    /// Returns the joiner's `count` slots from `first` by whom they were taken from.
    fn givers_of(&self, board: &Board, first: usize, count: usize) -> Vec<(Span, Seat)> {
        let mut pieces: Vec<(Span, Seat)> = Vec::new();
        for slot in (first..first + count).map(|at| board.wrap(at)) {
            let giver = self.givers.get(slot).copied().unwrap_or(self.joiner);
            match pieces.last_mut() {
                Some((span, before)) if *before == giver => span.count += 1,
                Some(_) | None => {
                    pieces.push((Span { first: slot, count: 1, owner: self.joiner }, giver));
                }
            }
        }
        pieces
    }
}
