//! The ring's changes, by the loads that the primaries told.
//!
//! Loads are stored bytes and operations by slot, as the newest report of a slot's primary had them. They are not logged: after a
//! restart all are zero until they are told again, and placement goes by slots instead. The ring that a decision led to is
//! in its entry, so that replay needs no loads. Joins and leaves go by bytes; shares can be levelled by either.

use hashring::{Ring, placement};

use super::elastic::{self, By};
use crate::types::{ServerId, SlotId, SlotLoad};

/// What placement goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placing {
    token_count: usize,
    /// Stored bytes.
    loads: Vec<u64>,
    /// Operations in a minute.
    rates: Vec<u64>,
    /// Slots whose load was told since the start, by index.
    known: Vec<bool>,
}

impl Placing {
    pub(super) fn new(slot_count: u16, token_count: usize) -> Self {
        let slot_count = usize::from(slot_count);
        let zeros = vec![0; slot_count];
        Self { token_count, loads: zeros.clone(), rates: zeros, known: vec![false; slot_count] }
    }

    pub(super) fn set_load(&mut self, slot: SlotId, told: SlotLoad) {
        let index = usize::from(slot.index());
        let places = (self.loads.get_mut(index), self.rates.get_mut(index));
        let (Some(load), Some(rate)) = places else { return };
        (*load, *rate) = (told.stored_len, told.op_rate);
        if let Some(is_known) = self.known.get_mut(index) {
            *is_known = true;
        }
    }

    pub(super) fn loads(&self) -> &[u64] {
        &self.loads
    }

    pub(super) fn rates(&self) -> &[u64] {
        &self.rates
    }

    /// Returns how many slots' loads were not told yet.
    pub(super) fn unknown_count(&self) -> usize {
        self.known.iter().filter(|is_known| !**is_known).count()
    }

    pub(super) fn token_count(&self) -> usize {
        self.token_count
    }

    pub(super) fn join(&self, ring: &Ring, server: ServerId) -> Ring {
        if ring.contains(server) {
            return ring.clone();
        }
        placement::join(ring, server, &self.loads, self.settings())
    }

    /// Returns the ring without `server`, or `None` if that would leave nobody on it.
    pub(super) fn leave(&self, ring: &Ring, server: ServerId) -> Option<Ring> {
        if !ring.contains(server) {
            return Some(ring.clone());
        }
        let left = placement::leave(ring, server, &self.loads, self.settings());
        let is_empty = left.servers().is_empty();
        (!is_empty).then_some(left)
    }

    pub(super) fn rebalance(&self, ring: &Ring, by: By) -> Ring {
        elastic::levelled(ring, by, (&self.loads, &self.rates), self.settings())
    }

    fn settings(&self) -> placement::Settings {
        placement::Settings { tokens: self.token_count }
    }
}
