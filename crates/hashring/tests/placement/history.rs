//! Rings that live through many changes, drawn from a seed, and what is measured on them.

use std::collections::BTreeMap;

use hashring::placement::{self, Settings};
use hashring::{Ring, ServerId, SlotId};

/// Bytes that placement adds to each slot.
pub(crate) const SLOT_LOAD_MIN: u64 = 64 * 1024;
/// Servers that hold a slot.
pub(crate) const REPLICA_COUNT: usize = 3;

/// Numbers that look drawn at random: splitmix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn server(&mut self) -> ServerId {
        ServerId(u128::from(self.next()) << 64 | u128::from(self.next()))
    }
}

/// A ring and its past.
pub(crate) struct History {
    pub(crate) draw: Draw,
    pub(crate) loads: Vec<u64>,
    pub(crate) ring: Ring,
    pub(crate) servers: Vec<ServerId>,
    pub(crate) settings: Settings,
}

/// One change of a ring.
pub(crate) enum Change {
    Join(ServerId),
    Leave(ServerId),
}

impl History {
    pub(crate) fn new(seed: u64, loads: Vec<u64>) -> Self {
        let ring = Ring::new(u16::try_from(loads.len()).unwrap());
        let settings = Settings::default();
        Self { draw: Draw(seed), loads, ring, servers: Vec::new(), settings }
    }

    /// Lets a new server join, and returns it.
    pub(crate) fn join(&mut self) -> Change {
        let server = self.draw.server();
        self.servers.push(server);
        self.ring = placement::join(&self.ring, server, &self.loads, self.settings);
        Change::Join(server)
    }

    /// Lets one of the servers leave, and returns it.
    pub(crate) fn leave(&mut self) -> Change {
        let index = self.draw.below(self.servers.len());
        let server = self.servers.swap_remove(index);
        self.ring = placement::leave(&self.ring, server, &self.loads, self.settings);
        Change::Leave(server)
    }

    /// Lets servers join until there are `count`.
    pub(crate) fn grow(&mut self, count: usize) {
        while self.servers.len() < count {
            self.join();
        }
    }

    /// Joins or leaves, as drawn, with 1 to `count_max` servers.
    pub(crate) fn step(&mut self, count_max: usize) -> Change {
        let is_join = self.draw.below(2) == 0;
        match self.servers.len() {
            0 | 1 => self.join(),
            count if is_join && count < count_max => self.join(),
            _ => self.leave(),
        }
    }
}

/// What each server has.
#[derive(Default)]
pub(crate) struct Measured {
    /// Load of its own slots.
    pub(crate) own: BTreeMap<ServerId, u64>,
    /// Load of the slots it is an ideal member of.
    pub(crate) held: BTreeMap<ServerId, u64>,
    /// Its arcs.
    pub(crate) arcs: BTreeMap<ServerId, usize>,
    /// Load of the whole ring.
    pub(crate) total: u64,
}

impl Measured {
    pub(crate) fn new(ring: &Ring, loads: &[u64]) -> Self {
        let mut measured = Self::default();
        for (slot, stored) in ring.slots().zip(loads) {
            let load = stored + SLOT_LOAD_MIN;
            measured.total += load;
            let members = ring.ideal(slot, REPLICA_COUNT);
            *measured.own.entry(members[0]).or_insert(0) += load;
            for member in members {
                *measured.held.entry(member).or_insert(0) += load;
            }
        }
        ring.arcs().for_each(|(_, owner)| *measured.arcs.entry(owner).or_insert(0) += 1);
        measured
    }

    /// Returns the fair share of a server.
    pub(crate) fn fair(&self) -> f64 {
        self.total as f64 / self.own.len() as f64
    }

    /// Returns the busiest server's share, in fair shares.
    pub(crate) fn busiest(&self) -> f64 {
        *self.own.values().max().unwrap() as f64 / self.fair()
    }

    /// Returns what the server that holds most holds, in means.
    pub(crate) fn holds_most(&self) -> f64 {
        let copies = REPLICA_COUNT.min(self.own.len()) as f64;
        *self.held.values().max().unwrap() as f64 / (self.fair() * copies)
    }

    pub(crate) fn arcs_max(&self) -> usize {
        self.arcs.values().copied().max().unwrap()
    }
}

/// Returns the slots whose owner is not the same in both, with the owners.
pub(crate) fn moved(
    before: &Ring,
    after: &Ring,
) -> Vec<(SlotId, Option<ServerId>, Option<ServerId>)> {
    let both = before.slots().map(|slot| (slot, before.owner(slot), after.owner(slot)));
    both.filter(|(_, from, to)| from != to).collect()
}

/// Returns loads of 1 GiB a slot.
pub(crate) fn uniform(slot_count: usize) -> Vec<u64> {
    vec![1 << 30; slot_count]
}

/// Returns loads by Zipf's law with exponent 1: the `k`-th heaviest slot has a `k`-th of 64 GiB; in drawn order.
pub(crate) fn zipf(slot_count: usize, seed: u64) -> Vec<u64> {
    let mut loads: Vec<u64> = (1..).take(slot_count).map(|rank: u64| (64 << 30) / rank).collect();
    let mut draw = Draw(seed);
    (1..slot_count).rev().for_each(|last| loads.swap(last, draw.below(last + 1)));
    loads
}
