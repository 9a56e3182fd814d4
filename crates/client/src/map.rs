//! The map as a client sees it: which servers may serve the reads of which arc, and which of them takes its writes.
//!
//! It is made from the list that `keyrange_read` answers with: one range for each arc and server, the primary of each arc
//! first. Servers are numbers here, those that [`Router`](crate::router::Router) gave them.

use std::collections::BTreeSet;

use hashring::{Arc, Token};
use protocol::Range;

/// Arcs with their servers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    /// By rising last position.
    arcs: Vec<Served>,
}

/// An arc, and who serves it.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    arc: Arc,
    /// The primary first, then the backups; at least one.
    members: Vec<usize>,
}

impl Map {
    /// Returns the map that a server told; `number` gives a server's number.
    pub(crate) fn new(ranges: &[Range], mut number: impl FnMut(&Range) -> usize) -> Self {
        let mut arcs: Vec<Served> = Vec::new();
        for range in ranges {
            let server = number(range);
            match arcs.last_mut() {
                Some(served) if served.arc == range.arc => served.members.push(server),
                _ => arcs.push(Served { arc: range.arc, members: vec![server] }),
            }
        }
        arcs.sort_by_key(|served| served.arc.last);
        Self { arcs }
    }

    /// Returns the servers that may serve reads of `token`, the primary first; none where the map has a hole.
    pub(crate) fn members(&self, token: Token) -> &[usize] {
        let index = self.arcs.partition_point(|served| served.arc.last < token);
        // Beyond the last end there is only the arc that wraps, and that one ends first.
        let served = self.arcs.get(index).or_else(|| self.arcs.first());
        served
            .filter(|served| served.arc.contains(token))
            .map_or(&[], |served| served.members.as_slice())
    }

    /// Returns the server that takes writes of `token`.
    pub(crate) fn primary(&self, token: Token) -> Option<usize> {
        self.members(token).first().copied()
    }

    /// Returns whether any arc is served by `server`.
    pub(crate) fn has(&self, server: usize) -> bool {
        self.arcs.iter().any(|served| served.members.contains(&server))
    }

    /// Returns all servers.
    pub(crate) fn servers(&self) -> BTreeSet<usize> {
        self.arcs.iter().flat_map(|served| &served.members).copied().collect()
    }

    /// Returns the servers that are primary of anything, each once, by rising number.
    pub(crate) fn primaries(&self) -> Vec<usize> {
        let mut primaries: Vec<usize> =
            self.arcs.iter().filter_map(|served| served.members.first().copied()).collect();
        primaries.sort_unstable();
        primaries.dedup();
        primaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u128, last: u128, server: &str) -> Range {
        let arc = Arc { first: Token(first), last: Token(last) };
        Range { arc, server: server.parse().unwrap() }
    }

    #[test]
    fn a_token_finds_the_members_of_its_arc_the_primary_first() {
        let ranges = [
            range(100, 199, "10.0.0.1:1"),
            range(100, 199, "10.0.0.2:1"),
            range(200, u128::MAX - 9, "10.0.0.2:1"),
            range(u128::MAX - 8, 99, "10.0.0.3:1"),
            range(u128::MAX - 8, 99, "10.0.0.1:1"),
        ];
        let map = Map::new(&ranges, |range| {
            usize::from(range.server.ip().to_string().ends_with('2'))
                + usize::from(range.server.ip().to_string().ends_with('3')) * 2
        });
        for (token, members) in [
            (100, &[0, 1][..]),
            (199, &[0, 1]),
            (200, &[1]),
            (u128::MAX - 9, &[1]),
            (u128::MAX - 8, &[2, 0]),
            (u128::MAX, &[2, 0]),
            (0, &[2, 0]),
            (99, &[2, 0]),
        ] {
            assert_eq!(map.members(Token(token)), members, "{token}");
        }
        assert_eq!(map.primaries(), [0, 1, 2]);
        assert!(map.has(2) && !map.has(3));
    }

    #[test]
    fn a_map_with_a_hole_has_no_members_there() {
        let map = Map::new(&[range(100, 199, "10.0.0.1:1")], |_| 0);
        for token in [0, 99, 200, u128::MAX] {
            assert_eq!(map.primary(Token(token)), None, "{token}");
        }
        assert_eq!(map.primary(Token(150)), Some(0));
        assert_eq!(Map::default().members(Token(1)), &[] as &[usize]);
    }

    #[test]
    fn one_server_has_the_whole_ring() {
        let map = Map::new(&[range(0, u128::MAX, "10.0.0.1:1")], |_| 7);
        assert_eq!(map.members(Token(0)), [7]);
        assert_eq!(map.members(Token(u128::MAX)), [7]);
    }
}
