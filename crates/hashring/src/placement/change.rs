//! What a move would change, without making it.
//!
//! A move changes the shares of two seats, the arcs at the span's two ends, and who *holds* the slots of the span and
//! of the runs before it, up to where three distinct servers lie between:
//!
//! ```text
//!     unaffected |      affected       | span | who holds the affected is decided here
//!  ...  B    C   |  A A A    D    A A  |  A   |  D D    B B    C   ...
//!       B, C, A     A, D, +  D, A, +               three distinct seats met: far enough
//! ```
//!
//! So it is priced in some dozens of steps, however long the ring. Where few servers are on the ring the walk comes
//! around; the same code serves, as pieces are counted clockwise from the span, and modulo their number.

use super::board::{Board, Hand, Seat, Span};

/// Servers that hold a slot: its owner and the next two distinct ones clockwise.
pub(super) const REPLICA_COUNT: usize = 3;

/// What a move would change.
#[derive(Debug)]
pub(super) struct Change {
    /// Each seat at most once.
    hands: Vec<(Seat, Hand)>,
    /// What is added to the sum of the squared loads of all runs.
    pub(super) squares: f64,
}

impl Change {
    /// Returns what would change if `span`, which lies inside one run and is not the whole ring, were given to `to`.
    pub(super) fn of(board: &Board, span: Span, to: Seat) -> Self {
        let mut change = Self { hands: Vec::with_capacity(8), squares: 0.0 };
        let (load, ends) = (board.load_of(span), board.neighbours(span));
        let ends_at = |seat| ends.iter().map(|end| i64::from(*end == seat)).sum::<i64>();
        change.add(span.owner, Hand { own: -load, arcs: ends_at(span.owner) - 1, held: 0 });
        change.add(to, Hand { own: load, arcs: 1 - ends_at(to), held: 0 });
        let around = Around::new(board, span);
        change.squares = around.squares(to);
        for index in around.affected().chain([0]) {
            let load = around.piece(index).1;
            change.add_held(&around.holders(index, span.owner), -load);
            change.add_held(&around.holders(index, to), load);
        }
        change
    }

    /// Returns each seat whose hand changes, and how.
    pub(super) fn hands(&self) -> impl Iterator<Item = (Seat, Hand)> {
        self.hands.iter().copied()
    }

    fn add(&mut self, seat: Seat, change: Hand) {
        match self.hands.iter_mut().find(|(other, _)| *other == seat) {
            Some((_, hand)) => *hand = hand.plus(change),
            None => self.hands.push((seat, change)),
        }
    }

    fn add_held(&mut self, (holders, count): &([Seat; REPLICA_COUNT], usize), held: i64) {
        for seat in holders.iter().take(*count) {
            self.add(*seat, Hand { held, ..Hand::default() });
        }
    }
}

/// Returns the first distinct seats among `seats`, and how many of them there are.
pub(super) fn members(seats: impl Iterator<Item = Seat>) -> ([Seat; REPLICA_COUNT], usize) {
    let (mut found, mut count) = ([Seat::MAX; REPLICA_COUNT], 0);
    for seat in seats {
        if found.contains(&seat) {
            continue;
        }
        if let Some(place) = found.get_mut(count) {
            *place = seat;
            count += 1;
        }
        if count == REPLICA_COUNT {
            break;
        }
    }
    (found, count)
}

/// The pieces of the ring, counted clockwise from a span, which is number 0 and cuts the run it lies in.
struct Around<'a> {
    board: &'a Board,
    span: Span,
    /// The run the span lies in, as an index.
    run: usize,
    /// What of that run lies before the span, and behind it; maybe nothing.
    rest: [Span; 2],
    /// How many pieces there are.
    count: usize,
}

impl<'a> Around<'a> {
    fn new(board: &'a Board, span: Span) -> Self {
        let index = board.run_of(span.first);
        let run = board.runs().get(index).copied().unwrap_or(span);
        let before = board.wrap(span.first + board.slot_count() - run.first);
        let behind = run.count.saturating_sub(before + span.count);
        let first = board.wrap(span.first + span.count);
        let rest = [Span { count: before, ..run }, Span { first, count: behind, ..run }];
        let rest_count = rest.iter().filter(|rest| rest.count > 0).count();
        Self { board, span, run: index, rest, count: board.runs().len() + rest_count }
    }

    /// Returns the owner and the load of piece `index`, which is below `count`.
    fn piece(&self, index: usize) -> (Seat, i64) {
        let [before, behind] = self.rest;
        let span = if index == 0 {
            self.span
        } else if index == 1 && behind.count > 0 {
            behind
        } else if index == self.count - 1 && before.count > 0 {
            before
        } else {
            self.run(index - usize::from(behind.count > 0))
        };
        (span.owner, self.board.load_of(span))
    }

    /// Returns the run that is `ahead` runs clockwise of the one the span lies in.
    fn run(&self, ahead: usize) -> Span {
        let runs = self.board.runs();
        runs.get((self.run + ahead) % runs.len()).copied().unwrap_or(self.span)
    }

    /// Returns the pieces before the span whose holders may change.
    fn affected(&self) -> std::ops::Range<usize> {
        let (mut begin, mut seen) = (self.count, [Seat::MAX; REPLICA_COUNT]);
        let mut seen_count = 0;
        while begin > 1 {
            let owner = self.piece(begin - 1).0;
            if !seen.contains(&owner) {
                if let Some(place) = seen.get_mut(seen_count) {
                    *place = owner;
                }
                seen_count += 1;
            }
            if seen_count == REPLICA_COUNT {
                break;
            }
            begin -= 1;
        }
        begin..self.count
    }

    /// Returns who holds piece `index` while `owner` owns the span.
    fn holders(&self, index: usize, owner: Seat) -> ([Seat; REPLICA_COUNT], usize) {
        let owner_of = |at: usize| if at == 0 { owner } else { self.piece(at).0 };
        members((index..self.count).chain(0..index).map(owner_of))
    }

    /// Returns what is added to the sum of the squared loads of all runs when `to` gets the span.
    fn squares(&self, to: Seat) -> f64 {
        let square = |load: i64| load as f64 * load as f64;
        let rest = self.rest.map(|rest| self.board.load_of(rest));
        let mut merged = self.board.load_of(self.span);
        let whole = merged + rest.iter().sum::<i64>();
        if self.board.runs().len() == 1 {
            return square(merged) + square(whole - merged) - square(whole);
        }
        let mut added = rest.map(square).iter().sum::<f64>() - square(whole);
        let [before, behind] = self.rest.map(|rest| rest.count == 0);
        let (left, right) = (self.run(self.board.runs().len() - 1), self.run(1));
        let neighbours = [(before, left), (behind && !(before && left == right), right)];
        for (is_open, run) in neighbours {
            if is_open && run.owner == to {
                let load = self.board.load_of(run);
                merged += load;
                added -= square(load);
            }
        }
        added + square(merged)
    }
}
