//! Placement: which slots a server gets that joins, and who gets the slots of one that leaves.

use std::collections::BTreeMap;

use crate::{Ring, ServerId};

/// Added to the stored bytes of each slot, so that empty slots count: 64 KiB.
const SLOT_LOAD_MIN: u64 = 64 * 1024;
/// Bytes a slot counts at most, so that sums cannot overflow: 256 TiB.
const SLOT_LOAD_MAX: u64 = 1 << 48;

/// How a ring is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Arcs that a joining server takes at most.
    pub tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tokens: 8 }
    }
}

/// Returns the ring after `server` has joined it; `loads` are the stored bytes by slot.
///
/// # Panics
///
/// If there is not one load for each slot of the ring.
#[must_use]
pub fn join(ring: &Ring, server: ServerId, loads: &[u64], settings: Settings) -> Ring {
    let mut layout = Layout::new(ring, loads);
    if ring.contains(server) {
        return ring.clone();
    }
    if layout.owners.iter().all(Option::is_none) {
        layout.owners.fill(Some(server));
        return layout.ring();
    }
    let pieces = (layout.shares().len() + 1) * settings.tokens.max(1);
    let piece = layout.owners.len().div_ceil(pieces);
    for _ in 0..settings.tokens {
        let shares = layout.shares();
        let most = shares.iter().filter(|(id, _)| **id != server).max_by_key(|(_, load)| **load);
        let Some((most, most_load)) = most.map(|(id, load)| (*id, *load)) else { break };
        if shares.get(&server).is_some_and(|own| *own >= most_load) {
            break;
        }
        let of_most = layout.owners.iter_mut().rev().skip_while(|owner| **owner != Some(most));
        let end = of_most.take_while(|owner| **owner == Some(most)).take(piece);
        end.for_each(|owner| *owner = Some(server));
    }
    layout.ring()
}

/// Returns the ring after `server` has left it; `loads` are the stored bytes by slot.
///
/// # Panics
///
/// If there is not one load for each slot of the ring.
#[must_use]
pub fn leave(ring: &Ring, server: ServerId, loads: &[u64], _settings: Settings) -> Ring {
    let mut layout = Layout::new(ring, loads);
    for (slot, owner) in ring.slots().zip(&mut layout.owners) {
        if *owner == Some(server) {
            *owner = ring.ideal(slot, 2).into_iter().find(|next| *next != server);
        }
    }
    layout.ring()
}

/// Returns the ring with its shares level; `loads` are the stored bytes by slot.
///
/// # Panics
///
/// If there is not one load for each slot of the ring.
#[must_use]
pub fn rebalance(ring: &Ring, loads: &[u64], _settings: Settings) -> Ring {
    Layout::new(ring, loads).ring()
}

struct Layout {
    slot_count: u16,
    owners: Vec<Option<ServerId>>,
    weights: Vec<u64>,
}

impl Layout {
    fn new(ring: &Ring, loads: &[u64]) -> Self {
        assert_eq!(loads.len(), usize::from(ring.slot_count()), "one load for each slot");
        Self {
            slot_count: ring.slot_count(),
            owners: ring.slots().map(|slot| ring.owner(slot)).collect(),
            weights: loads.iter().map(|load| SLOT_LOAD_MIN + load.min(&SLOT_LOAD_MAX)).collect(),
        }
    }

    fn shares(&self) -> BTreeMap<ServerId, u64> {
        let mut shares = BTreeMap::new();
        for (owner, weight) in self.owners.iter().zip(&self.weights) {
            if let Some(owner) = owner {
                *shares.entry(*owner).or_insert(0) += weight;
            }
        }
        shares
    }

    fn ring(&self) -> Ring {
        let slots = crate::SlotId::all().take(usize::from(self.slot_count));
        let owned = slots.zip(&self.owners).filter_map(|(slot, owner)| Some((slot, (*owner)?)));
        Ring::from_tokens(self.slot_count, owned).unwrap_or_else(|_| Ring::new(self.slot_count))
    }
}
