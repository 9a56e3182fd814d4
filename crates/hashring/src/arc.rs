//! Arcs: runs of ring positions, and the text in which clients see them.

use std::fmt;

use crate::Token;

/// A run of ring positions, both ends included; it wraps past the largest token when `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arc {
    /// The first position of the run.
    pub first: Token,
    /// The last position of the run.
    pub last: Token,
}

impl Arc {
    /// The whole ring.
    pub const WHOLE: Self = Self { first: Token(0), last: Token(u128::MAX) };

    /// Returns whether `token` lies in this run.
    #[must_use]
    pub fn contains(self, token: Token) -> bool {
        if self.first <= self.last {
            self.first <= token && token <= self.last
        } else {
            token >= self.first || token <= self.last
        }
    }
}

impl fmt::Display for Arc {
    /// Writes `<first>,<last>` as `keyrange` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_inside() {
        let arc = Arc { first: Token(10), last: Token(20) };
        for (token, is_inside) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(arc.contains(Token(token)), is_inside, "{token}");
        }
    }

    #[test]
    fn an_arc_may_wrap_past_the_largest_token() {
        let arc = Arc { first: Token(u128::MAX - 1), last: Token(2) };
        for (token, is_inside) in [(u128::MAX - 2, false), (u128::MAX, true), (0, true), (3, false)]
        {
            assert_eq!(arc.contains(Token(token)), is_inside, "{token}");
        }
    }

    #[test]
    fn the_whole_ring_reads_as_zeros_to_fs() {
        let text = Arc::WHOLE.to_string();
        assert_eq!(text, format!("{},{}", "0".repeat(32), "f".repeat(32)));
        assert!(Arc::WHOLE.contains(Token(0)) && Arc::WHOLE.contains(Token(u128::MAX)));
    }
}
