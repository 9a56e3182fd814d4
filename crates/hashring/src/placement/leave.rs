//! A leave: who gets the arcs of a server that goes.
//!
//! ```text
//! before   | A A A | L L L L | B B B | C C | L L L | D D D |
//! heirs    | A A A | B B B B   B B B | C C | D D D   D D D |      the successor: it has the data already
//! after    | A A A   A|B B B   B B B | C C | E E E | D D D |      only slots that were L's move
//! ```
//!
//! All goes to the successors first. Then each of the former arcs is gone through: a piece of it may go to the
//! neighbour on either side, which costs nobody an arc, or to one of the least loaded servers, which gets an arc
//! more; the best of these moves is made as long as the whole ring is better for it, by [`Score`]. Going through all
//! arcs is repeated until nothing changes.
//!
//! Who inherits makes no difference to how much is copied: each slot that the leaver held needs one copy more, and
//! gets it at the heir or at the next distinct server.

use super::board::{Board, Seat, Span};
use super::cut;
use super::score::{Best, GAIN_MIN, Score};

/// Least loaded servers that are looked at for one piece.
const TAKER_COUNT: usize = 8;
/// Moves in one arc before the next has its turn, so that not one arc uses up those who have room.
const MOVE_COUNT: usize = 4;
/// Times all arcs are gone through.
const PASS_COUNT: usize = 6;

/// Shares out the slots of `arcs`, which are with the successors.
pub(super) fn leave(board: &mut Board, arcs: &[Span], tokens: usize) {
    let score = Score::new(board, tokens);
    for _ in 0..PASS_COUNT {
        let mut is_changed = false;
        for arc in arcs {
            is_changed |= share_out(board, *arc, &score);
        }
        if !is_changed {
            break;
        }
    }
}

fn share_out(board: &mut Board, arc: Span, score: &Score) -> bool {
    let mut is_changed = false;
    for _ in 0..MOVE_COUNT {
        match best_move(board, arc, score).found() {
            Some((gain, span, to)) if gain > GAIN_MIN => board.give(span, to),
            Some(_) | None => break,
        }
        is_changed = true;
    }
    is_changed
}

fn best_move(board: &Board, arc: Span, score: &Score) -> Best {
    let mut takers: Vec<Seat> = board.seats().collect();
    takers.sort_by_key(|seat| (board.hand(*seat).own, *seat));
    takers.truncate(TAKER_COUNT);
    let mut best = Best::default();
    for piece in board.pieces(arc.first, arc.count) {
        let half = board.load_of(piece) / 2;
        let [left, right] = board.neighbours(piece);
        let others = takers.iter().copied().filter(|seat| ![left, right].contains(seat));
        let ends = [left, right].into_iter().take(if left == right { 1 } else { 2 });
        for to in ends.chain(others).filter(|seat| *seat != piece.owner) {
            let room = score.fair - board.hand(to).own;
            offer(board, piece, to, &[room, half], score, &mut best);
        }
    }
    best
}

/// Offers to give `to` all of `piece`, one or two slots, or `wants`, from either end.
fn offer(board: &Board, piece: Span, to: Seat, wants: &[i64], score: &Score, best: &mut Best) {
    let slot = board.load(piece.first, 1);
    let mut tried = vec![];
    for want in wants.iter().chain(&[0, 2 * slot, i64::MAX / 4]) {
        for span in [cut::head(board, piece, *want), cut::tail(board, piece, *want)] {
            if tried.contains(&span) {
                continue;
            }
            tried.push(span);
            if let Some(gain) = score.gain(board, span, to) {
                best.offer(gain, span, to);
            }
        }
    }
}
