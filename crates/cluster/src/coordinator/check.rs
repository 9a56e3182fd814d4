//! The rules that every decision keeps: checked before it is taken, when it is made and when it is read from the log.
//!
//! When it is made, a broken rule is a bug and stops the process before anybody is told. When it is read, it is a log that no
//! coordinator wrote, and an error.

use std::collections::BTreeSet;

use crate::map::{Delta, Map, Slot};
use crate::types::{Epoch, SlotId};

/// Returns the first rule that a decision about `map` breaks.
pub(super) fn broken_rule(map: &Map, delta: &Delta) -> Option<&'static str> {
    let after_servers = |id| {
        let changed = delta.servers.iter().find(|(changed, _)| *changed == id);
        changed.map(|(_, server)| server).or_else(|| map.servers().get(&id))
    };
    for (id, server) in &delta.servers {
        let before = map.servers().get(id).map_or_else(Default::default, |s| s.incarnation);
        if server.changed != delta.to || server.incarnation < before {
            return Some("a server's incarnation never falls, and it knows what changed it");
        }
    }
    for (id, slot) in &delta.slots {
        if slot.changed != delta.to {
            return Some("a slot knows what changed it");
        }
        let lives = slot.primary.iter().chain(&slot.learner);
        let is_current = |(id, life)| after_servers(id).is_some_and(|s| s.incarnation == life);
        if !slot.holders().all(|holder| after_servers(holder).is_some())
            || !lives.copied().all(is_current)
        {
            return Some("members are registered, primary and learner in their newest life");
        }
        if let Some(rule) = broken_by_slot(map, *id, slot) {
            return Some(rule);
        }
    }
    None
}

fn broken_by_slot(map: &Map, id: SlotId, slot: &Slot) -> Option<&'static str> {
    let before = map.slot(id);
    let holders = slot.holders().collect::<BTreeSet<_>>();
    if holders.len() != slot.holders().count() {
        return Some("a server is one thing in a slot");
    }
    if slot.epoch != before.epoch.next() {
        return Some("a slot's epoch rises by one with each change");
    }
    if slot.primary.is_none() && !holders.is_empty() {
        return Some("a slot without a primary has nobody else");
    }
    let is_new = slot.primary.is_some() && slot.primary != before.primary;
    if slot.term != if is_new { slot.epoch } else { before.term } {
        return Some(
            "a new primary, or a new life of it, begins a term, and nothing else does (R19)",
        );
    }
    let was_member =
        |id| before.is_member(id) || before.former.contains(&id) || before.epoch == Epoch(0);
    if !slot.primary_id().is_none_or(was_member) {
        return Some("a primary was a member before (R17)");
    }
    None
}
