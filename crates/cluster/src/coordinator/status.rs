//! What operators are shown: how the cluster stands, what would become of it, and the whole map. Pure functions of the
//! machine, as types that the ECS writes as one line of JSON and clients read with the same code.
//!
//! | type | says |
//! |---|---|
//! | [`Status`] | each server with its shares, how many slots are as they shall be, which copies are being made, hints |
//! | [`Plan`] | for a [`Wish`]: who would copy how many slots and bytes from whom, and the shares before and after |
//! | [`WholeMap`] | the map from nothing, with the cluster's number and shape: what a coordinator can begin from |
//!
//! Bytes are those that primaries told last; after the ECS's start they are zero until told again. A *move* is a server that
//! lacks slots which the ring gives it. It has no beginning that anybody remembers: *done* counts the slots of its share
//! that it holds, so a bar of done and to do is right after a restart, too.
//!
//! Ids are 32 hexadecimal digits. A reader passes over names that it does not know, so that fields can be added.

use std::collections::BTreeMap;
use std::time::Duration;

use hashring::Ring;
use serde::{Deserialize, Serialize};

use super::elastic::By;
use super::scale::{Decided, Next};
use super::spawn::Spawned;
use super::{Coordinator, journal};
use crate::map::{Delta, Map, Standing};
use crate::types::{Incarnation, ServerId, Time, Version};
use crate::wire;

/// How the cluster stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's number, 32 hexadecimal digits.
    pub cluster: String,
    /// The version of the map.
    pub version: Version,
    /// How many slots the ring is cut into.
    pub slot_count: u16,
    /// How many members each slot shall have.
    pub replica_count: usize,
    /// Every server that was ever registered, by id.
    pub servers: Vec<ServerStatus>,
    /// How the slots stand.
    pub slots: SlotsStatus,
    /// Copies that are to be made, by who gets them.
    pub moves: Vec<Move>,
    /// Whether nothing is changed without being asked for, because fewer than half of the servers are seen.
    pub is_stopped: bool,
    /// What an operator should know or do, in sentences; empty when all is well.
    pub hints: Vec<String>,
    /// What would be decided next by itself; nothing if that is off.
    #[serde(default)]
    pub next: Option<Next>,
    /// What was decided last by itself, since the ECS's start.
    #[serde(default)]
    pub decided: Option<Decided>,
    /// Processes that the ECS started, if it may; the host tells.
    #[serde(default)]
    pub spawned: Option<Spawned>,
}

/// How a server stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its id.
    #[serde(with = "wire::id")]
    pub id: ServerId,
    /// Where it listens.
    pub address: String,
    /// What it is in the cluster.
    pub standing: Standing,
    /// Whether it has a connection and spoke lately.
    pub is_seen: bool,
    /// How long ago it spoke, in milliseconds; `None`: not since the ECS's start.
    pub silent_ms: Option<u64>,
    /// Whether it reported in this life that its disk failed.
    pub has_failed: bool,
    /// Whether its disk takes no more puts.
    #[serde(default)]
    pub is_full: bool,
    /// Its newest life.
    pub incarnation: Incarnation,
    /// Slots that the ring gives it: its share.
    pub owned: usize,
    /// Slots of which it is primary.
    pub primary: usize,
    /// Slots of which it is backup.
    pub backup: usize,
    /// Slots that it is learning.
    pub learner: usize,
    /// Stored bytes of the slots that it is a member of.
    pub bytes: u64,
    /// Operations that it answers in a second as primary.
    #[serde(default)]
    pub operations_a_second: u64,
}

/// How many slots stand how. A slot is counted in one of the first five, `without_backup` besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsStatus {
    /// All ideal members, the ideal primary, nobody besides.
    pub complete: usize,
    /// No primary: nobody is provably complete, or no server has joined yet. Neither read nor written.
    pub without_primary: usize,
    /// A learner is being brought up to date.
    pub with_learner: usize,
    /// Fewer members than there shall be, and no learner yet.
    pub short: usize,
    /// Enough members; to be taken over by others, handed to another primary, or with one too many.
    pub moving: usize,
    /// A primary alone: one more loss and it is refused.
    pub without_backup: usize,
    /// Slots that have fewer members than there shall be, whether or not a learner is under way.
    pub short_of_copies: usize,
}

/// A server that does not hold all that the ring gives it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Who gets the copies.
    #[serde(with = "wire::id")]
    pub to: ServerId,
    /// Slots of its share, as primary or backup, that it is a member of.
    pub done: usize,
    /// Slots of its share that it is no member of yet.
    pub to_do: usize,
    /// Stored bytes of these.
    pub bytes_to_do: u64,
    /// Slots that it holds and shall become primary of.
    pub hand_overs: usize,
    /// Who sends them: their primaries.
    pub from: Vec<Source>,
}

/// Who sends copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The server.
    #[serde(with = "wire::id")]
    pub server: ServerId,
    /// How many slots.
    pub slots: usize,
    /// Their stored bytes.
    pub bytes: u64,
}

/// What a plan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// What happens if nothing is asked for: servers that stay away are taken off the ring.
    Nothing,
    /// The command `join`.
    Join(ServerId),
    /// The command `leave`.
    Leave(ServerId),
    /// The command `rebalance`.
    Rebalance(By),
}

/// What would become of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Why the command would be refused now; the rest says what it would do otherwise.
    pub refusal: Option<String>,
    /// Copies that would be made, by who gets them.
    pub moves: Vec<Move>,
    /// All slots that would be copied.
    pub slots: usize,
    /// Their stored bytes.
    pub bytes: u64,
    /// Slots that each server would own.
    pub shares: Vec<Share>,
    /// What would be decided next by itself; nothing if that is off, or another wish was asked for.
    #[serde(default)]
    pub next: Option<Next>,
    /// Processes that the ECS started, if it may; the host tells.
    #[serde(default)]
    pub spawned: Option<Spawned>,
    /// Slots that no plan levels, in sentences.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// A server's share before and after a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The server.
    #[serde(with = "wire::id")]
    pub server: ServerId,
    /// Slots that it owns.
    pub before: usize,
    /// Slots that it would own.
    pub after: usize,
}

/// The whole map, with what a coordinator must know besides to begin from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeMap {
    /// The cluster's number, 32 hexadecimal digits.
    pub cluster: String,
    /// How many members each slot shall have.
    pub replica_count: usize,
    /// The map, as what changed since nothing.
    #[serde(flatten)]
    pub delta: Delta,
    /// Whether the server that tells it has a connection with the coordinator: it may be told of newer ones, and may already have been
    /// without having read that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_ecs: bool,
}

impl WholeMap {
    /// Returns a map as it is told.
    #[must_use]
    pub fn new(cluster: u128, map: &Map) -> Self {
        Self {
            cluster: format!("{cluster:032x}"),
            replica_count: map.replica_count(),
            delta: map.since(Version(0)),
            has_ecs: false,
        }
    }
}

/// Returns the snapshot of a map, from which [`Coordinator::restore`] can go on: for a coordinator whose own is lost.
#[must_use]
pub fn snapshot_of(map: &Map) -> String {
    journal::snapshot(map)
}

impl Coordinator {
    /// Returns how the cluster of this number stands.
    #[must_use]
    pub fn status(&self, now: Time, cluster: u128) -> Status {
        let servers = self.servers_status(now);
        let (slots, is_stopped) = (self.slots_status(), !self.is_half_seen(now));
        Status {
            cluster: format!("{cluster:032x}"),
            version: self.map.version(),
            slot_count: self.map.slot_count(),
            replica_count: self.map.replica_count(),
            hints: self.hints(&servers, &slots, is_stopped),
            servers,
            slots,
            moves: self.copies(self.map.ring()),
            is_stopped,
            next: self.next(now),
            decided: self.decided(now),
            spawned: None,
        }
    }

    /// Returns what would become of the cluster.
    #[must_use]
    pub fn plan(&self, now: Time, wish: Wish) -> Plan {
        let (ring, refusal) = self.wished(now, wish);
        let moves = self.copies(&ring);
        let (before, after) = (owned(self.map.ring()), owned(&ring));
        let count = |counts: &BTreeMap<ServerId, usize>, server| {
            counts.get(server).copied().unwrap_or_default()
        };
        let servers = self.map.servers().keys();
        let shares = servers.map(|server| Share {
            server: *server,
            before: count(&before, server),
            after: count(&after, server),
        });
        Plan {
            refusal: refusal.map(str::to_owned),
            slots: moves.iter().map(|copies| copies.to_do).sum(),
            bytes: moves.iter().map(|copies| copies.bytes_to_do).sum(),
            shares: shares.filter(|share| share.before + share.after > 0).collect(),
            moves,
            next: if wish == Wish::Nothing { self.next(now) } else { None },
            spawned: None,
            hints: self.hot_hints(),
        }
    }

    /// Returns the ring that a wish leads to, and why it would be refused.
    fn wished(&self, now: Time, wish: Wish) -> (Ring, Option<&'static str>) {
        let ring = self.map.ring();
        let is_known = |id| self.map.servers().contains_key(&id);
        match wish {
            Wish::Nothing => (self.without_unseen(now), None),
            Wish::Rebalance(by) => (self.placing.rebalance(ring, by), None),
            Wish::Join(id) | Wish::Leave(id) if !is_known(id) => {
                (ring.clone(), Some("no such server"))
            }
            Wish::Join(id) => {
                let refusal = (!self.is_seen(now, id)).then_some("it is not seen");
                (self.placing.join(ring, id), refusal)
            }
            Wish::Leave(id) => match self.placing.leave(ring, id) {
                Some(ring) => (ring, None),
                None => (ring.clone(), Some("nobody else is on the ring")),
            },
        }
    }

    /// Returns the ring as it will be if those who are not seen now stay away.
    fn without_unseen(&self, now: Time) -> Ring {
        let mut ring = self.map.ring().clone();
        if !self.is_half_seen(now) {
            return ring;
        }
        for server in self.map.ring().servers() {
            if !self.is_seen(now, server)
                && let Some(left) = self.placing.leave(&ring, server)
            {
                ring = left;
            }
        }
        ring
    }

    fn servers_status(&self, now: Time) -> Vec<ServerStatus> {
        let mut owned = owned(self.map.ring());
        let mut held = self.held();
        let servers = self.map.servers().iter().map(|(id, known)| {
            let heard_at = self.peers.get(*id).and_then(|peer| peer.heard_at);
            let held = held.remove(id).unwrap_or_default();
            ServerStatus {
                id: *id,
                address: known.address.clone(),
                standing: known.standing,
                is_seen: self.is_seen(now, *id),
                silent_ms: heard_at.map(|heard_at| millis(now.since(heard_at))),
                has_failed: self.has_failed(*id),
                is_full: self.is_full(*id),
                incarnation: known.incarnation,
                owned: owned.remove(id).unwrap_or_default(),
                primary: held.primary,
                backup: held.backup,
                learner: held.learner,
                bytes: held.bytes,
                operations_a_second: held.rate / 60,
            }
        });
        servers.collect()
    }

    /// Returns what each server holds, in one pass over the slots: there may be a thousand servers.
    fn held(&self) -> BTreeMap<ServerId, Held> {
        let mut held: BTreeMap<ServerId, Held> = BTreeMap::new();
        let loads = self.placing.loads().iter().zip(self.placing.rates());
        for ((_, slot), (load, rate)) in self.map.slots().zip(loads) {
            if let Some(primary) = slot.primary_id() {
                let of_primary = held.entry(primary).or_default();
                of_primary.primary += 1;
                of_primary.rate = of_primary.rate.saturating_add(*rate);
            }
            for backup in &slot.backups {
                held.entry(*backup).or_default().backup += 1;
            }
            if let Some(learner) = slot.learner_id() {
                held.entry(learner).or_default().learner += 1;
            }
            for member in slot.members() {
                let of_member = held.entry(member).or_default();
                of_member.bytes = of_member.bytes.saturating_add(*load);
            }
        }
        held
    }

    fn slots_status(&self) -> SlotsStatus {
        let mut counts = SlotsStatus::default();
        for (id, slot) in self.map.slots() {
            let (member_count, ideal_count) = (slot.members().count(), self.map.ideal(id).len());
            let list = if slot.primary.is_none() {
                &mut counts.without_primary
            } else if slot.learner.is_some() {
                &mut counts.with_learner
            } else if member_count < ideal_count {
                &mut counts.short
            } else if self.map.is_ideal(id) {
                &mut counts.complete
            } else {
                &mut counts.moving
            };
            *list += 1;
            counts.without_backup += usize::from(member_count == 1 && self.map.replica_count() > 1);
            counts.short_of_copies += usize::from(member_count < ideal_count);
        }
        counts
    }

    /// Returns the copies that lack on the way from the members as they are to those that `ring` gives.
    pub(super) fn copies(&self, ring: &Ring) -> Vec<Move> {
        let mut moves: BTreeMap<ServerId, Copies> = BTreeMap::new();
        for ((id, slot), load) in self.map.slots().zip(self.placing.loads()) {
            let ideal = ring.ideal(id, self.map.replica_count());
            for server in &ideal {
                let copies = moves.entry(*server).or_default();
                if slot.is_member(*server) {
                    copies.done += 1;
                    let is_owner = ideal.first() == Some(server);
                    copies.hand_overs +=
                        usize::from(is_owner && slot.primary_id() != Some(*server));
                } else if let Some(primary) = slot.primary_id() {
                    let (slots, bytes) = copies.from.entry(primary).or_default();
                    *slots += 1;
                    *bytes = bytes.saturating_add(*load);
                }
            }
        }
        let is_open =
            |(_, copies): &(ServerId, Copies)| copies.hand_overs > 0 || !copies.from.is_empty();
        moves.into_iter().filter(is_open).map(|(to, copies)| copies.told(to)).collect()
    }

    fn hints(
        &self,
        servers: &[ServerStatus],
        slots: &SlotsStatus,
        is_stopped: bool,
    ) -> Vec<String> {
        let mut hints = Vec::new();
        if self.map.version() == Version(0) {
            hints.push("no server has registered yet".to_owned());
        } else if slots.without_primary > 0 {
            hints.push(self.hint_of_refused(slots.without_primary));
        }
        if is_stopped {
            let seen_count = servers.iter().filter(|server| server.is_seen).count();
            hints.push(format!(
                "only {seen_count} of {} servers are seen: nothing is changed by itself until half are",
                servers.len()
            ));
        }
        hints.extend(servers.iter().filter_map(|server| self.hint_of(server)));
        hints.extend(self.hot_hints());
        let ring_count = self.map.ring().servers().len();
        if (1..self.map.replica_count()).contains(&ring_count) {
            let replica_count = self.map.replica_count();
            hints.push(format!(
                "{replica_count} copies are wanted and {ring_count} on the ring: start more servers"
            ));
        }
        hints
    }

    fn hint_of_refused(&self, count: usize) -> String {
        let mut former: BTreeMap<ServerId, usize> = BTreeMap::new();
        for (_, slot) in self.map.slots().filter(|(_, slot)| slot.primary.is_none()) {
            for server in &slot.former {
                *former.entry(*server).or_default() += 1;
            }
        }
        let holders: Vec<_> =
            former.iter().map(|(server, count)| format!("{server} ({count})")).collect();
        format!(
            "{count} slots are refused, no copy is provably complete; last held by {}; `force_complete <server> \
             lose_data` serves what a server has, and acknowledged writes may be lost",
            holders.join(", ")
        )
    }

    fn hint_of(&self, server: &ServerStatus) -> Option<String> {
        let ServerStatus { id, address, .. } = server;
        if server.has_failed {
            return Some(format!(
                "the disk of {id} ({address}) failed: replace it, and start the server anew"
            ));
        }
        if server.is_full && server.is_seen {
            return Some(format!(
                "the disk of {id} ({address}) is full: it takes no puts; make room, or have one more server join"
            ));
        }
        match server.standing {
            Standing::Serving if !server.is_seen => {
                let after_ms = millis(self.settings.rejoin_grace);
                Some(format!(
                    "{id} ({address}) is not seen: after {after_ms} ms it is taken off the ring"
                ))
            }
            Standing::Away if !server.is_seen && server.primary > 0 => Some(format!(
                "{id} ({address}) is away and holds the only complete copy of {} slots, which wait for it: start it",
                server.primary
            )),
            Standing::Away if !server.is_seen => {
                Some(format!("{id} ({address}) is away; it joins again when it is started"))
            }
            Standing::Standby if server.is_seen && !self.grows_by_itself() => {
                Some(format!("{id} ({address}) waits on standby for `join`"))
            }
            Standing::Serving | Standing::Away | Standing::Standby | Standing::Leaving => None,
        }
    }
}

/// What a server holds, while it is counted.
#[derive(Default)]
struct Held {
    primary: usize,
    backup: usize,
    learner: usize,
    bytes: u64,
    /// Operations in a minute, as primary.
    rate: u64,
}

/// What a server gets, while it is counted.
#[derive(Default)]
struct Copies {
    done: usize,
    hand_overs: usize,
    /// Slots and bytes by who sends them.
    from: BTreeMap<ServerId, (usize, u64)>,
}

impl Copies {
    fn told(self, to: ServerId) -> Move {
        let from: Vec<_> = self
            .from
            .into_iter()
            .map(|(server, (slots, bytes))| Source { server, slots, bytes })
            .collect();
        Move {
            to,
            done: self.done,
            to_do: from.iter().map(|source| source.slots).sum(),
            bytes_to_do: from.iter().map(|source| source.bytes).sum(),
            hand_overs: self.hand_overs,
            from,
        }
    }
}

/// Returns how many slots each server on the ring owns.
fn owned(ring: &Ring) -> BTreeMap<ServerId, usize> {
    let mut counts = BTreeMap::new();
    for owner in ring.slots().filter_map(|slot| ring.owner(slot)) {
        *counts.entry(owner).or_default() += 1;
    }
    counts
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
