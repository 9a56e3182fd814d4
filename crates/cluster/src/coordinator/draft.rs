//! A decision that is being made: the map as it is, with what shall change laid over it.
//!
//! All changes of one event go into one draft and become one [`Entry`], one version of the map: either a crash takes all
//! of them or none. A draft looks like a map to those who add to it, so the second change of a slot sees the first.

use std::collections::BTreeMap;

use hashring::Ring;

use super::event::Entry;
use crate::map::{Delta, Map, Server, Slot};
use crate::types::{ServerId, SlotId};

/// Changes laid over a map.
pub(super) struct Draft<'a> {
    map: &'a Map,
    servers: BTreeMap<ServerId, Server>,
    ring: Option<Ring>,
    slots: BTreeMap<SlotId, Slot>,
    /// How often each kind of change of a slot was made, for people who read the log.
    counts: BTreeMap<&'static str, usize>,
    about: Vec<ServerId>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self {
            map,
            servers: BTreeMap::new(),
            ring: None,
            slots: BTreeMap::new(),
            counts: BTreeMap::new(),
            about: Vec::new(),
        }
    }

    pub(super) fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(&id).or_else(|| self.map.servers().get(&id))
    }

    pub(super) fn slot(&self, id: SlotId) -> &Slot {
        self.slots.get(&id).unwrap_or_else(|| self.map.slot(id))
    }

    /// Returns a slot if this draft does not change it yet.
    pub(super) fn unchanged_slot(&self, id: SlotId) -> Option<&Slot> {
        (!self.slots.contains_key(&id)).then(|| self.map.slot(id))
    }

    pub(super) fn ring(&self) -> &Ring {
        self.ring.as_ref().unwrap_or_else(|| self.map.ring())
    }

    pub(super) fn set_server(&mut self, id: ServerId, server: Server) {
        if self.map.servers().get(&id) != Some(&server) {
            self.servers.insert(id, server);
        }
    }

    pub(super) fn set_ring(&mut self, ring: Ring) {
        self.ring = (ring != *self.map.ring()).then_some(ring);
    }

    /// Makes a change of a slot, if there is one to make.
    pub(super) fn set_slot(&mut self, id: SlotId, kind: &'static str, slot: Option<Slot>) -> bool {
        let Some(slot) = slot else { return false };
        let before = self.slots.insert(id, slot);
        assert!(before.is_none(), "a slot changes once in a decision");
        *self.counts.entry(kind).or_default() += 1;
        true
    }

    /// Notes that a server lost a membership because somebody accused it.
    pub(super) fn accuse(&mut self, server: ServerId) {
        if !self.about.contains(&server) {
            self.about.push(server);
        }
    }

    /// Returns the decision, if anything is to change.
    pub(super) fn finish(self, why: &str) -> Option<Entry> {
        if self.servers.is_empty() && self.ring.is_none() && self.slots.is_empty() {
            return None;
        }
        let (from, to) = (self.map.version(), self.map.version().next());
        let server = |(id, server)| (id, Server { changed: to, ..server });
        let slot = |(id, slot)| (id, Slot { changed: to, ..slot });
        Some(Entry {
            why: told(why, &self.counts),
            delta: Delta {
                from,
                to,
                servers: self.servers.into_iter().map(server).collect(),
                ring: self.ring.map(|ring| (to, ring)),
                slots: self.slots.into_iter().map(slot).collect(),
            },
            about: self.about,
        })
    }
}

fn told(why: &str, counts: &BTreeMap<&'static str, usize>) -> String {
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if counts.is_empty() { why.to_owned() } else { format!("{why}: {}", counts.join(", ")) }
}
