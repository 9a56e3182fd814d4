//! Where to cut a run, so that a piece of a wanted load comes off.
//!
//! ```text
//! run        | ................................. |
//! head       |[piece] .......................... |     the owner keeps one arc
//! tail       | ..........................[piece] |     likewise, and the next on the ring loses a neighbour
//! middle     | .............[piece]............. |     the owner has one arc more
//! ```
//!
//! Pieces are whole slots: what is nearest to the wanted load, one slot at least.

use super::board::{Board, Span};

/// Returns the pieces of `run` worth trying for each load in `wants`, and the whole run; each once.
pub(super) fn pieces(board: &Board, run: Span, wants: &[i64]) -> Vec<Span> {
    let mut pieces = vec![run];
    for want in wants {
        let middle = tail(board, run, (board.load_of(run) + want) / 2);
        for piece in [head(board, run, *want), tail(board, run, *want), head(board, middle, *want)]
        {
            if !pieces.contains(&piece) {
                pieces.push(piece);
            }
        }
    }
    pieces
}

/// Returns the first slots of `run`, with a load nearest to `want`.
pub(super) fn head(board: &Board, run: Span, want: i64) -> Span {
    let count = nearest(run.count, want, |count| board.load(run.first, count));
    Span { count, ..run }
}

/// Returns the last slots of `run`, with a load nearest to `want`.
pub(super) fn tail(board: &Board, run: Span, want: i64) -> Span {
    let first = |count| board.wrap(run.first + run.count - count);
    let count = nearest(run.count, want, |count| board.load(first(count), count));
    Span { first: first(count), count, ..run }
}

/// Returns the number from 1 to `count_max` at which `load`, which rises, is nearest to `want`.
fn nearest(count_max: usize, want: i64, load: impl Fn(usize) -> i64) -> usize {
    let (mut low, mut high) = (1, count_max);
    while low < high {
        let middle = low.midpoint(high);
        // One more is nearer, or as near, if `want` is not below the middle between the two.
        if load(middle) + load(middle + 1) <= 2 * want {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_number_of_slots_is_found_and_never_none() {
        let loads = [0, 5, 6, 7, 20, 30];
        for (want, count) in [(-9, 1), (0, 1), (5, 1), (7, 3), (13, 3), (14, 4), (24, 4), (99, 5)] {
            assert_eq!(nearest(5, want, |count| loads[count]), count, "{want}");
        }
        assert_eq!(nearest(1, 99, |count| loads[count]), 1);
    }
}
