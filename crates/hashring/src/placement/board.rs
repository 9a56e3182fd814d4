//! The board on which placement tries its moves: who has which slots, and how much each server has.
//!
//! Servers sit at *seats*, counted from 0; slots are counted from 0 clockwise. Neighbouring slots of one owner are a
//! [`Span`], and the ring is a circle of such runs. A *move* gives a span, all of it inside one run, to another seat:
//!
//! ```text
//! runs      | 2   2   2 | 0   0   0   0   0 | 1   1 |          a circle: the run of 2 may wrap
//!                             [span ]  give to 1
//! after     | 2   2   2 | 0 | 1   1 | 0   0 | 1   1 |          seat 0 has two arcs now, and so has seat 1
//! ```
//!
//! What a seat has, its [`Hand`], is kept up to date move by move. Loads are bytes; a slot counts its stored bytes
//! and [`SLOT_LOAD_MIN`]. *Arcs* are counted by their ends, so that a server that owns the whole ring has none.

#![expect(
    clippy::indexing_slicing,
    reason = "seats, slots and runs are numbers this board gives out itself; one beyond its vectors is a bug"
)]

use super::change::{Change, members};
use crate::{Ring, ServerId, SlotId};

/// Bytes added to what each slot stores, so that empty slots count: while there is little data, slots are shared out
/// by number.
pub(super) const SLOT_LOAD_MIN: u64 = 64 * 1024;
/// Bytes a slot counts at most, 256 TiB, so that sums over all slots and their copies fit 63 bits.
pub(super) const SLOT_LOAD_MAX: u64 = 1 << 48;

/// A server on the board, counted from 0.
pub(super) type Seat = usize;

/// A run of slots of one owner; it may wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first slot.
    pub(super) first: usize,
    /// How many slots it has, from 1.
    pub(super) count: usize,
    /// Whose they are.
    pub(super) owner: Seat,
}

/// What a seat has, or how that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hand {
    /// Load of the slots that it owns.
    pub(super) own: i64,
    /// Load of the slots of which it is an ideal member, the owner or another.
    pub(super) held: i64,
    /// Its arcs.
    pub(super) arcs: i64,
}

impl Hand {
    /// Returns this hand with `change` made to it.
    pub(super) fn plus(self, change: Self) -> Self {
        Self {
            own: self.own + change.own,
            held: self.held + change.held,
            arcs: self.arcs + change.arcs,
        }
    }
}

/// Who has which slots.
#[derive(Clone, Debug)]
pub(super) struct Board {
    servers: Vec<ServerId>,
    /// By slot.
    owners: Vec<Seat>,
    /// Load of all slots before each, and at the end of all.
    before: Vec<i64>,
    /// By seat.
    hands: Vec<Hand>,
    /// Clockwise; neighbours have different owners unless there is only one run.
    runs: Vec<Span>,
    /// By slot, which run it is in.
    run_of: Vec<usize>,
}

impl Board {
    /// Returns the board with `servers` at its seats, on which each slot has the owner of `ring`, or what `heir`
    /// says for a slot whose owner has no seat.
    pub(super) fn new(
        ring: &Ring,
        servers: Vec<ServerId>,
        loads: &[u64],
        heir: impl Fn(SlotId) -> Seat,
    ) -> Self {
        assert_eq!(loads.len(), usize::from(ring.slot_count()), "one load for each slot");
        let seat = |server| servers.binary_search(&server).ok();
        let owner = |slot| ring.owner(slot).and_then(seat).unwrap_or_else(|| heir(slot));
        let owners: Vec<Seat> = ring.slots().map(owner).collect();
        let mut before = vec![0];
        before.extend(loads.iter().scan(0, |sum, stored| {
            *sum += SLOT_LOAD_MIN + stored.min(&SLOT_LOAD_MAX);
            i64::try_from(*sum).ok()
        }));
        let hands = vec![Hand::default(); servers.len()];
        let run_of = vec![0; owners.len()];
        let mut board = Self { servers, owners, before, hands, runs: Vec::new(), run_of };
        board.find_runs();
        board.deal();
        board
    }

    /// Returns the ring that the board shows.
    pub(super) fn ring(&self, like: &Ring) -> Ring {
        let owners = self.owners.iter().map(|seat| self.servers[*seat]);
        let ring = Ring::from_tokens(like.slot_count(), like.slots().zip(owners));
        debug_assert!(ring.is_ok(), "every slot has one owner");
        ring.unwrap_or_else(|_| like.clone())
    }

    /// Returns every seat.
    pub(super) fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        0..self.servers.len()
    }

    /// Returns what `seat` has.
    pub(super) fn hand(&self, seat: Seat) -> Hand {
        self.hands[seat]
    }

    /// Returns the runs clockwise.
    pub(super) fn runs(&self) -> &[Span] {
        &self.runs
    }

    /// Returns which run `slot` is in.
    pub(super) fn run_of(&self, slot: usize) -> usize {
        self.run_of[slot]
    }

    /// Returns how many slots there are.
    pub(super) fn slot_count(&self) -> usize {
        self.owners.len()
    }

    /// Returns the slot that `at` is when one goes on counting past the last: slots are a power of two.
    pub(super) fn wrap(&self, at: usize) -> usize {
        at & (self.owners.len() - 1)
    }

    /// Returns who owns the slot that `at` is.
    pub(super) fn owner(&self, at: usize) -> Seat {
        self.owners[self.wrap(at)]
    }

    /// Returns who owns the slot before `span`, and who the one behind it.
    pub(super) fn neighbours(&self, span: Span) -> [Seat; 2] {
        [self.owner(span.first + self.owners.len() - 1), self.owner(span.first + span.count)]
    }

    /// Returns the load of all slots.
    pub(super) fn total(&self) -> i64 {
        self.load(0, self.owners.len())
    }

    /// Returns the load of `count` slots from `first`.
    pub(super) fn load(&self, first: usize, count: usize) -> i64 {
        let (slot_count, end) = (self.owners.len(), first + count);
        if end <= slot_count {
            self.before[end] - self.before[first]
        } else {
            self.total() - self.before[first] + self.before[end - slot_count]
        }
    }

    /// Returns the load of `span`.
    pub(super) fn load_of(&self, span: Span) -> i64 {
        self.load(span.first, span.count)
    }

    /// Returns whether `count` slots from `first` are all of one run.
    pub(super) fn is_inside_a_run(&self, first: usize, count: usize) -> bool {
        let run = self.runs[self.run_of[first]];
        self.wrap(first + self.owners.len() - run.first) + count <= run.count
    }

    /// Returns the pieces of `count` slots from `first`, each the slots of one owner.
    pub(super) fn pieces(&self, first: usize, count: usize) -> Vec<Span> {
        let mut pieces: Vec<Span> = Vec::new();
        for at in first..first + count {
            let owner = self.owner(at);
            match pieces.last_mut() {
                Some(piece) if piece.owner == owner => piece.count += 1,
                Some(_) | None => pieces.push(Span { first: self.wrap(at), count: 1, owner }),
            }
        }
        pieces
    }

    /// Gives `span` to `to`.
    pub(super) fn give(&mut self, span: Span, to: Seat) {
        for (seat, change) in Change::of(self, span, to).hands() {
            self.hands[seat] = self.hands[seat].plus(change);
        }
        for at in span.first..span.first + span.count {
            let slot = self.wrap(at);
            self.owners[slot] = to;
        }
        self.find_runs();
    }

    fn find_runs(&mut self) {
        let count = self.owners.len();
        let is_begin = |at: &usize| self.owner(at + count - 1) != self.owner(*at);
        let begin = (0..count).find(is_begin).unwrap_or(0);
        self.runs = self.pieces(begin, count);
        for (index, run) in self.runs.iter().enumerate() {
            for at in run.first..run.first + run.count {
                self.run_of[at & (count - 1)] = index;
            }
        }
    }

    /// Counts anew what each seat has.
    fn deal(&mut self) {
        for (index, run) in self.runs.iter().enumerate() {
            let load = self.load_of(*run);
            let hand = &mut self.hands[run.owner];
            hand.own += load;
            hand.arcs += i64::from(self.runs.len() > 1);
            let (before, after) = self.runs.split_at(index);
            let (holders, count) = members(after.iter().chain(before).map(|run| run.owner));
            holders.iter().take(count).for_each(|seat| self.hands[*seat].held += load);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the board of one server a character, with `loads` of one unit a slot.
    pub(in crate::placement) fn board(owners: &str) -> Board {
        let slot_count = u16::try_from(owners.len()).unwrap();
        let ids = owners.bytes().map(|name| ServerId(u128::from(name)));
        let ring =
            Ring::from_tokens(slot_count, SlotId::all().take(owners.len()).zip(ids)).unwrap();
        let servers = ring.servers().into_iter().collect();
        Board::new(&ring, servers, &vec![0; owners.len()], |_| 0)
    }

    #[test]
    fn a_board_counted_move_by_move_is_the_board_counted_anew() {
        let mut random = 1_u64;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % below
        };
        for owners in ["ab", "abcdabcd", "aaaabbbb", "abcabdaaefgabcde", &"abcdefgh".repeat(8)] {
            let mut board = board(owners);
            for _ in 0..400 {
                let run = board.runs()[draw(board.runs().len())];
                // The whole ring is never given away: it holds somebody's last slot.
                let count = draw(run.count.min(owners.len() - 1)) + 1;
                let first = board.wrap(run.first + draw(run.count - count + 1));
                board.give(Span { first, count, owner: run.owner }, draw(board.hands.len()));
                let mut anew = board.clone();
                anew.hands.fill(Hand::default());
                anew.deal();
                assert_eq!(board.hands, anew.hands, "{owners}: {:?}", board.owners);
            }
        }
    }

    #[test]
    fn loads_wrap_and_every_slot_counts_something() {
        let board = board("aabbaaaa");
        let unit = i64::try_from(SLOT_LOAD_MIN).unwrap();
        assert_eq!(board.runs().len(), 2, "the run that wraps is one");
        assert_eq!((board.load(6, 4), board.total()), (4 * unit, 8 * unit));
        assert_eq!(board.hand(0), Hand { own: 6 * unit, held: 8 * unit, arcs: 1 });
    }

    #[test]
    fn a_load_beyond_all_bounds_does_not_overflow() {
        let ring = Ring::from_tokens(4096, [(SlotId::FIRST, ServerId(1))]).unwrap();
        let board = Board::new(&ring, vec![ServerId(1)], &[u64::MAX; 4096], |_| 0);
        assert!(board.total() > 0 && board.total().checked_mul(3).is_some());
    }
}
