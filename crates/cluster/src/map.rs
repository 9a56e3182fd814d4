//! The map: who is on the ring, and which servers hold each slot. Whole, or as what changed since a version.
//!
//! ```text
//! Map { version 41 }
//!  ├─ servers   id → address, incarnation, standing
//!  ├─ ring      token → id: the *ideal* members follow from it
//!  └─ slots     epoch, term, primary, backups, learner: the *actual* members
//! ```
//!
//! Only the coordinator makes maps; each decision of it is one [`Delta`], one version, durable before anybody hears of it.
//! Everything in a map remembers the version that changed it last, so a delta from any older version can be
//! cut out of the map itself, without a history. A holder takes a delta if it begins at or before what it has, and
//! never goes back.
//!
//! A slot's *epoch* rises when its members or its primary's life change; its *term* is the epoch at which the present
//! primary began: while it stays, the primary goes on without reconciling (R18, R19).

use std::collections::BTreeMap;

use hashring::Ring;
use serde::{Deserialize, Serialize};

use crate::types::{Epoch, Incarnation, ServerId, SlotId, Version};
use crate::wire;

/// What a server is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// On no ring, waiting to be asked. One that was drained holds slots still that others must take first.
    Standby,
    /// On the ring.
    Serving,
    /// Off the ring on request; still holds slots that others must take first.
    Leaving,
    /// Off the ring because it was away too long; joins again when it comes back.
    Away,
}

/// A server, as the map knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Where it listens: `ip:port`.
    pub address: String,
    /// Its newest life.
    pub incarnation: Incarnation,
    /// A number its process drew at its start: a registration that is sent twice is one life.
    pub life: u64,
    /// What it is in the cluster.
    pub standing: Standing,
    /// The version that changed any of this last.
    pub changed: Version,
}

/// A slot's members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Rises with each change of what follows. Zero: the slot never had a member.
    pub epoch: Epoch,
    /// The epoch at which the present primary began.
    pub term: Epoch,
    /// The version that changed the slot last.
    pub changed: Version,
    /// Who orders the slot's writes, and in which life. `None`: no member is provably complete; the slot is refused.
    #[serde(with = "wire::pair")]
    pub primary: Option<(ServerId, Incarnation)>,
    /// Who else holds a full copy and must acknowledge every write.
    #[serde(with = "wire::list")]
    pub backups: Vec<ServerId>,
    /// Who is being brought up to date, and in which life.
    #[serde(with = "wire::pair")]
    pub learner: Option<(ServerId, Incarnation)>,
    /// When there is no primary: who held the slot last, in case an operator must choose.
    #[serde(with = "wire::list", default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<ServerId>,
}

impl Slot {
    /// Returns the primary's id.
    #[must_use]
    pub fn primary_id(&self) -> Option<ServerId> {
        self.primary.map(|(id, _)| id)
    }

    /// Returns the learner's id.
    #[must_use]
    pub fn learner_id(&self) -> Option<ServerId> {
        self.learner.map(|(id, _)| id)
    }

    /// Returns the primary and the backups.
    pub fn members(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.primary_id().into_iter().chain(self.backups.iter().copied())
    }

    /// Returns whether `server` is primary or backup.
    #[must_use]
    pub fn is_member(&self, server: ServerId) -> bool {
        self.members().any(|member| member == server)
    }

    /// Returns members and learner.
    pub fn holders(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members().chain(self.learner_id())
    }

    /// Returns whether `server` is primary, backup or learner.
    #[must_use]
    pub fn is_holder(&self, server: ServerId) -> bool {
        self.holders().any(|holder| holder == server)
    }
}

/// Who is on the ring, and each slot's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    version: Version,
    replica_count: usize,
    servers: BTreeMap<ServerId, Server>,
    ring: Ring,
    ring_changed: Version,
    slots: Vec<Slot>,
    /// Each slot's ideal members, as the ring gives them.
    ideal: Vec<Vec<ServerId>>,
}

/// What changed from one version to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The version it needs at least.
    pub from: Version,
    /// The version it leads to.
    pub to: Version,
    /// Servers that changed.
    #[serde(with = "wire::servers", default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<(ServerId, Server)>,
    /// The whole ring, if it changed, and the version that changed it last.
    #[serde(with = "wire::ring", default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<(Version, Ring)>,
    /// Slots that changed.
    #[serde(with = "wire::slots", default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<(SlotId, Slot)>,
}

/// Why a delta was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaError {
    /// It begins after what is here.
    Gap {
        /// The version that is here.
        at: Version,
    },
    /// It names a slot that this cluster does not have, or a ring cut in another number of slots.
    Shape,
    /// Its versions and epochs cannot have come from a map.
    Nonsense,
}

/// The last version that is believed: a decision each microsecond for eight years.
pub(crate) const VERSION_MAX: Version = Version(1 << 48);

/// The last epoch that is believed: more does not fit an lsn.
const EPOCH_MAX: Epoch = Epoch(crate::types::Lsn::EPOCH_MAX);

impl Delta {
    /// Returns the versions at which what it carries was changed.
    fn changes(&self) -> impl Iterator<Item = Version> + '_ {
        let servers = self.servers.iter().map(|(_, server)| server.changed);
        let slots = self.slots.iter().map(|(_, slot)| slot.changed);
        servers.chain(slots).chain(self.ring.iter().map(|(changed, _)| *changed))
    }

    /// Returns whether it can have been cut out of a map: whatever it carries was changed after `from`, and what made the last
    /// version at `to`.
    fn is_possible(&self) -> bool {
        let is_epoch =
            |(_, slot): &(SlotId, Slot)| slot.term <= slot.epoch && slot.epoch <= EPOCH_MAX;
        let is_after = |changed| self.from < changed && changed <= self.to;
        self.to <= VERSION_MAX
            && self.changes().all(is_after)
            && self.changes().max().is_none_or(|last| last == self.to)
            && (self.from <= self.to && (self.from == self.to || self.changes().next().is_some()))
            && self.slots.iter().all(is_epoch)
    }

    /// Takes in a delta that begins where this one ends, or before, and leads further; another changes nothing.
    pub(crate) fn join(&mut self, next: Self) {
        if next.from > self.to || next.to <= self.to {
            return;
        }
        // What is in both is newer in the later one.
        let mut servers: BTreeMap<_, _> = std::mem::take(&mut self.servers).into_iter().collect();
        servers.extend(next.servers);
        let mut slots: BTreeMap<_, _> = std::mem::take(&mut self.slots).into_iter().collect();
        slots.extend(next.slots);
        *self = Self {
            from: self.from.min(next.from),
            to: next.to,
            servers: servers.into_iter().collect(),
            ring: next.ring.or(self.ring.take()),
            slots: slots.into_iter().collect(),
        };
    }
}

impl Map {
    /// Returns the map of a cluster that has no server yet.
    #[must_use]
    pub fn new(slot_count: u16, replica_count: usize) -> Self {
        Self {
            version: Version(0),
            replica_count,
            servers: BTreeMap::new(),
            ring: Ring::new(slot_count),
            ring_changed: Version(0),
            slots: vec![Slot::default(); usize::from(slot_count)],
            ideal: vec![Vec::new(); usize::from(slot_count)],
        }
    }

    /// Returns its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns how many members a slot shall have.
    #[must_use]
    pub fn replica_count(&self) -> usize {
        self.replica_count
    }

    /// Returns the servers, by id.
    #[must_use]
    pub fn servers(&self) -> &BTreeMap<ServerId, Server> {
        &self.servers
    }

    /// Returns the ring.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Returns the slot's members; those of a slot beyond the map's end are none.
    #[must_use]
    pub fn slot(&self, slot: SlotId) -> &Slot {
        static NONE: Slot = Slot {
            epoch: Epoch(0),
            term: Epoch(0),
            changed: Version(0),
            primary: None,
            backups: Vec::new(),
            learner: None,
            former: Vec::new(),
        };
        self.slots.get(usize::from(slot.index())).unwrap_or(&NONE)
    }

    /// Returns every slot with its members.
    pub fn slots(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        (0..).map_while(SlotId::new).zip(&self.slots)
    }

    /// Returns how many slots there are.
    #[must_use]
    pub fn slot_count(&self) -> u16 {
        self.ring.slot_count()
    }

    /// Returns the members that the slot shall have: its owner on the ring first.
    #[must_use]
    pub fn ideal(&self, slot: SlotId) -> &[ServerId] {
        self.ideal.get(usize::from(slot.index())).map_or(&[], Vec::as_slice)
    }

    /// Returns whether the slot's members are its ideal ones and the primary is the ideal one.
    #[must_use]
    pub fn is_ideal(&self, slot: SlotId) -> bool {
        let (actual, ideal) = (self.slot(slot), self.ideal(slot));
        actual.learner.is_none()
            && actual.primary_id() == ideal.first().copied()
            && actual.members().count() == ideal.len()
            && ideal.iter().all(|server| actual.is_member(*server))
    }

    /// Returns what changed since `from`. From version zero that is everything.
    #[must_use]
    pub fn since(&self, from: Version) -> Delta {
        let servers = self.servers.iter().filter(|(_, server)| server.changed > from);
        let slots = self.slots().filter(|(_, slot)| slot.changed > from);
        Delta {
            from: from.min(self.version),
            to: self.version,
            servers: servers.map(|(id, server)| (*id, server.clone())).collect(),
            ring: (self.ring_changed > from).then(|| (self.ring_changed, self.ring.clone())),
            slots: slots.map(|(id, slot)| (id, slot.clone())).collect(),
        }
    }

    /// Takes a delta; one that leads to where the map is already, or before, changes nothing.
    ///
    /// # Errors
    /// `Gap` when the map is older than what the delta needs; `Shape` and `Nonsense` as [`check`](Self::check). Nothing is
    /// changed then.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), DeltaError> {
        if delta.to <= self.version {
            return Ok(());
        }
        if delta.from > self.version {
            return Err(DeltaError::Gap { at: self.version });
        }
        self.check(delta)?;
        for (id, server) in &delta.servers {
            self.servers.insert(*id, server.clone());
        }
        for (id, slot) in &delta.slots {
            if let Some(held) = self.slots.get_mut(usize::from(id.index())) {
                // A delta that begins early may carry a slot as it is here already; none is older than its version.
                *held = slot.clone();
            }
        }
        if let Some((changed, ring)) = &delta.ring
            && *changed > self.ring_changed
        {
            self.set_ring(*changed, ring);
        }
        self.version = delta.to;
        Ok(())
    }

    /// Checks whether a delta can be one of this cluster's, wherever it begins.
    ///
    /// # Errors
    /// `Shape` when it does not fit this cluster; `Nonsense` when no map can have had it, or it would take a slot's epoch back.
    pub fn check(&self, delta: &Delta) -> Result<(), DeltaError> {
        let is_known = |slot: SlotId| usize::from(slot.index()) < self.slots.len();
        let is_cut_alike = |ring: &Ring| ring.slot_count() == self.slot_count();
        if !delta.slots.iter().all(|(slot, _)| is_known(*slot))
            || !delta.ring.as_ref().is_none_or(|(_, ring)| is_cut_alike(ring))
        {
            return Err(DeltaError::Shape);
        }
        let goes_back = |(id, slot): &(SlotId, Slot)| {
            let here = self.slot(*id);
            slot.changed > here.changed && slot.epoch < here.epoch
        };
        if !delta.is_possible() || delta.slots.iter().any(goes_back) {
            return Err(DeltaError::Nonsense);
        }
        Ok(())
    }

    /// Puts a ring in force, and with it the ideal members.
    fn set_ring(&mut self, changed: Version, ring: &Ring) {
        self.ring = ring.clone();
        self.ring_changed = changed;
        self.ideal = (0..self.slot_count())
            .map_while(SlotId::new)
            .map(|slot| ring.ideal(slot, self.replica_count))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServerId = ServerId(0xa);
    const B: ServerId = ServerId(0xb);
    const SLOT_COUNT: u16 = 4;

    fn slot(index: u16) -> SlotId {
        SlotId::new(index).unwrap()
    }

    fn server(changed: Version) -> Server {
        let standing = Standing::Serving;
        Server {
            address: "a:1".to_owned(),
            incarnation: Incarnation(1),
            life: 9,
            standing,
            changed,
        }
    }

    fn ring(owners: [ServerId; 4]) -> Ring {
        Ring::from_tokens(SLOT_COUNT, (0..4).map(slot).zip(owners)).unwrap()
    }

    /// The decisions of a short history.
    fn decisions() -> Vec<Delta> {
        let held = |epoch, changed, primary| Slot {
            epoch: Epoch(epoch),
            changed: Version(changed),
            primary: Some((primary, Incarnation(1))),
            ..Slot::default()
        };
        let delta = |to: u64, servers, ring: Option<Ring>, slots| Delta {
            from: Version(to - 1),
            to: Version(to),
            servers,
            ring: ring.map(|ring| (Version(to), ring)),
            slots,
        };
        let all = (0..4).map(|index| (slot(index), held(1, 1, A))).collect();
        vec![
            delta(1, vec![(A, server(Version(1)))], Some(ring([A, A, A, A])), all),
            delta(2, vec![], None, vec![(slot(1), held(2, 2, A))]),
            delta(3, vec![(B, server(Version(3)))], Some(ring([A, A, B, B])), vec![]),
            delta(4, vec![], None, vec![(slot(1), held(3, 4, B)), (slot(3), held(2, 4, A))]),
            delta(5, vec![(B, server(Version(5)))], None, vec![]),
        ]
    }

    /// The map at each version.
    fn maps() -> Vec<Map> {
        let mut maps = vec![Map::new(SLOT_COUNT, 2)];
        for delta in decisions() {
            let mut map = maps[maps.len() - 1].clone();
            map.apply(&delta).unwrap();
            maps.push(map);
        }
        maps
    }

    #[test]
    fn a_delta_from_any_version_leads_every_map_that_is_not_older_to_the_same() {
        let maps = maps();
        for (from, _) in maps.iter().enumerate() {
            for (to, target) in maps.iter().enumerate().skip(from) {
                let delta = target.since(Version(from as u64));
                assert_eq!((delta.from, delta.to), (Version(from as u64), Version(to as u64)));
                for (held, map) in maps.iter().enumerate() {
                    let mut map = map.clone();
                    let taken = map.apply(&delta);
                    let expected = if held >= to { &maps[held] } else { target };
                    if held >= from || to <= held {
                        assert_eq!((taken, &map), (Ok(()), expected), "{from}..{to} on {held}");
                    } else {
                        let gap = DeltaError::Gap { at: Version(held as u64) };
                        assert_eq!((taken, &map), (Err(gap), &maps[held]));
                    }
                }
            }
        }
    }

    #[test]
    fn a_delta_carries_what_changed_and_nothing_else() {
        let maps = maps();
        let since = |from| {
            let delta = maps[5].since(Version(from));
            let slots: Vec<_> = delta.slots.iter().map(|(id, _)| id.index()).collect();
            (delta.servers.len(), delta.ring.map(|(changed, _)| changed.0), slots)
        };
        assert_eq!(since(0), (2, Some(3), vec![0, 1, 2, 3]));
        assert_eq!(since(1), (1, Some(3), vec![1, 3]));
        assert_eq!(since(2), (1, Some(3), vec![1, 3]));
        assert_eq!(since(3), (1, None, vec![1, 3]));
        assert_eq!(since(4), (1, None, vec![]));
        assert_eq!(since(5), (0, None, vec![]));
        assert_eq!(maps[3].since(Version(9)).from, Version(3), "no delta leads back");
    }

    #[test]
    fn a_map_made_by_hand_over_others_is_equal_to_one_made_by_each_decision() {
        let maps = maps();
        let mut far = Map::new(SLOT_COUNT, 2);
        far.apply(&maps[4].since(Version(0))).unwrap();
        assert_eq!(far, maps[4]);
        assert_eq!(far.since(Version(3)), maps[4].since(Version(3)), "it can tell others the same");
    }

    #[test]
    fn deltas_that_follow_each_other_are_one() {
        let maps = maps();
        for from in 0..4 {
            for (middle, begin) in [(3, 2), (3, 3), (3, 0), (4, 1)] {
                let mut joined = maps[middle].since(Version(from));
                joined.join(maps[5].since(Version(begin)));
                assert_eq!(joined.from, Version(from.min(begin).min(middle as u64)));
                let mut map = maps[usize::try_from(joined.from.0).unwrap()].clone();
                map.apply(&joined).unwrap();
                assert_eq!(map, maps[5], "{from}..{middle} and {begin}..5");
            }
        }
        let first = maps[2].since(Version(1));
        for other in [maps[4].since(Version(3)), maps[2].since(Version(0))] {
            let mut joined = first.clone();
            joined.join(other);
            assert_eq!(joined, first, "a gap, or nothing new");
        }
    }

    #[test]
    fn what_no_map_can_have_said_is_refused_and_changes_nothing() {
        let maps = maps();
        let good = maps[5].since(Version(3));
        assert_eq!(maps[3].check(&good), Ok(()));
        let changed = |slot: &Slot| Slot { changed: Version(5), ..slot.clone() };
        let (id, held) = good.slots[0].clone();
        let far = Version(VERSION_MAX.0 + 1);
        for bad in [
            Delta { to: Version(6), ..good.clone() },
            Delta { to: Version(4), ..good.clone() },
            Delta { from: Version(5), ..good.clone() },
            Delta { from: Version(4), to: Version(6), servers: vec![], slots: vec![], ring: None },
            Delta {
                slots: vec![(id, Slot { changed: Version(3), ..held.clone() })],
                ..good.clone()
            },
            Delta { slots: vec![(id, Slot { epoch: Epoch(1), ..changed(&held) })], ..good.clone() },
            Delta { slots: vec![(id, Slot { term: Epoch(9), ..changed(&held) })], ..good.clone() },
            Delta {
                slots: vec![(id, Slot { epoch: Epoch(EPOCH_MAX.0 + 1), ..changed(&held) })],
                ..good.clone()
            },
            Delta {
                to: far,
                slots: vec![(id, Slot { changed: far, ..held.clone() })],
                ..good.clone()
            },
        ] {
            assert_eq!(maps[3].check(&bad), Err(DeltaError::Nonsense), "{bad:?}");
            let mut map = maps[3].clone();
            assert!(map.apply(&bad).is_err());
            assert_eq!(map, maps[3]);
        }
    }

    #[test]
    fn what_does_not_fit_the_cluster_s_slots_is_refused_and_changes_nothing() {
        let before = maps()[1].clone();
        let fits = decisions()[1].clone();
        let beyond = Delta { slots: vec![(slot(4), Slot::default())], ..fits.clone() };
        let cut = Delta { ring: Some((Version(2), Ring::new(8))), ..fits };
        for delta in [beyond, cut] {
            let mut map = before.clone();
            assert_eq!(map.apply(&delta), Err(DeltaError::Shape));
            assert_eq!(map, before);
        }
    }

    #[test]
    fn a_slot_is_ideal_when_its_members_and_its_primary_are_the_ring_s() {
        let maps = maps();
        assert_eq!(maps[3].ideal(slot(1)), [A, B]);
        assert_eq!(maps[3].ideal(slot(2)), [B, A]);
        let with = |primary, backups: &[ServerId], learner: Option<ServerId>| {
            let life = |id| (id, Incarnation(1));
            let slot_two = Slot {
                epoch: Epoch(2),
                changed: Version(6),
                primary: Some(life(primary)),
                backups: backups.to_vec(),
                learner: learner.map(life),
                ..Slot::default()
            };
            let slots = vec![(slot(2), slot_two)];
            let (from, to) = (Version(5), Version(6));
            let mut map = maps[5].clone();
            map.apply(&Delta { from, to, servers: vec![], ring: None, slots }).unwrap();
            map.is_ideal(slot(2))
        };
        assert!(with(B, &[A], None));
        assert!(!with(A, &[B], None), "another primary");
        assert!(!with(B, &[], None), "one too few");
        assert!(!with(B, &[], Some(A)), "a learner is no member");
        assert!(!with(B, &[A, ServerId(0xc)], None), "one too many");
    }

    #[test]
    fn a_slot_beyond_the_map_has_nobody() {
        let map = &maps()[1];
        assert_eq!(map.slot(slot(4)), &Slot::default());
        assert!(map.ideal(slot(4)).is_empty());
        assert_eq!(map.slots().count(), 4);
    }
}
