//! The real coordinator and ring with servers that are played: they ask for what servers ask for, and copy slots at the rates
//! of servers, in virtual time.
//!
//! A played server knows the coordinator's map at once; what gossip takes for that is measured elsewhere. It follows the
//! rules of `server/walk.rs` and `server/converge.rs`: all transfers of a primary share its move rate, so many slots go
//! at a time, a learner that has everything is asked for as a member, what a learner has it keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::coordinator::{
    Action, Answer, Command, ConnectionId, Coordinator, Event, Settings, Ticket,
};
use cluster::{
    Change, Config, Incarnation, Map, Number, ServerId, SlotId, SlotLoad, Time, ToEcs, Version,
};
use fastrand::Rng;

use crate::world::id;

/// Time between two rounds of the played servers.
const ROUND: Duration = Duration::from_millis(200);

struct Played {
    number: u64,
    is_up: bool,
}

pub struct Arbiter {
    pub machine: Coordinator,
    pub now: Time,
    /// Stored bytes of each slot.
    pub loads: Vec<u64>,
    /// Messages that the coordinator sent.
    pub sent_count: u64,
    servers: BTreeMap<usize, Played>,
    /// Bytes of a slot that a learner has.
    copied: BTreeMap<(SlotId, ServerId), u64>,
}

fn connection(at: usize) -> ConnectionId {
    ConnectionId(at as u64 + 1)
}

/// Returns stored bytes of each slot as so many keys leave them, with values of 100 to 2,000 bytes.
pub fn loads_of(key_count: u64, rng: &mut Rng) -> Vec<u64> {
    let slot_count = usize::from(hashring::SLOT_COUNT);
    let mut loads = vec![0; slot_count];
    for _ in 0..key_count {
        loads[rng.usize(..slot_count)] += rng.u64(100..=2000);
    }
    loads
}

impl Arbiter {
    /// Returns a cluster of `count` servers on the ring, whose slots hold what `loads` says.
    pub fn new(count: usize, settings: Settings, loads: Vec<u64>) -> Self {
        let mut arbiter = Self {
            machine: Coordinator::new(settings),
            now: Time(1),
            loads,
            sent_count: 0,
            servers: BTreeMap::new(),
            copied: BTreeMap::new(),
        };
        for at in 0..count {
            arbiter.register(at, at > 0);
            if at == 0 {
                // The first holds everything, and tells how much that is: placement goes by it.
                let loads = (0..)
                    .map_while(SlotId::new)
                    .zip(arbiter.loads.iter().copied().map(SlotLoad::of_len))
                    .collect();
                arbiter.ask(0, Vec::new(), loads);
            } else {
                assert_eq!(arbiter.command(Command::Join(id(at))), Answer::Done);
            }
        }
        arbiter
    }

    pub fn map(&self) -> &Map {
        self.machine.map()
    }

    /// A server registers, to wait to be asked or to join.
    pub fn register(&mut self, at: usize, is_standby: bool) {
        self.servers.insert(at, Played { number: 0, is_up: true });
        self.step(Event::Connected(connection(at)));
        let said = ToEcs::Register {
            server: id(at),
            address: format!("10.0.0.1:{}", 1024 + at),
            life: 1,
            is_complete: true,
            is_standby,
            version: Version(0),
        };
        self.step(Event::Received(connection(at), said));
    }

    pub fn command(&mut self, command: Command) -> Answer {
        self.step(Event::Command(Ticket(1), command)).expect("a command is answered")
    }

    /// A server asks; also its sign of life.
    pub fn ask(&mut self, at: usize, changes: Vec<Change>, loads: Vec<(SlotId, SlotLoad)>) {
        let version = self.map().version();
        let Some(played) = self.servers.get_mut(&at).filter(|played| played.is_up) else { return };
        played.number += 1;
        let said = ToEcs::Request {
            server: id(at),
            incarnation: Incarnation(1),
            number: Number(played.number),
            version,
            is_full: false,
            changes,
            loads,
        };
        self.step(Event::Received(connection(at), said));
    }

    fn step(&mut self, event: Event) -> Option<Answer> {
        let mut actions = Vec::new();
        self.machine.step(self.now, event, &mut actions);
        let mut answer = None;
        for action in actions {
            match action {
                Action::Send(..) => self.sent_count += 1,
                Action::Answer(_, told) => answer = Some(told),
                Action::Log(_) | Action::Close(_) | Action::Note(_) => {}
            }
        }
        answer
    }

    /// Every slot's members become its ideal ones, without the time that takes.
    pub fn settle(&mut self) {
        while self.machine.moves().count() > 0 {
            let rate = u64::MAX / 2;
            self.round(rate);
        }
    }

    /// One round: servers copy, then ask for what can be done.
    pub fn round(&mut self, move_rate: u64) {
        self.now = self.now + ROUND;
        self.copy(move_rate);
        let mut wishes = self.wishes();
        for at in self.servers.keys().copied().collect::<Vec<_>>() {
            let changes = wishes.remove(&id(at)).unwrap_or_default();
            self.ask(at, changes, Vec::new());
        }
        self.step(Event::Tick);
    }

    /// Each primary sends to its learners for as long as a round, a few at a time.
    fn copy(&mut self, move_rate: u64) {
        let count_max = Config::default().transfer_count_max;
        let mut transfers: BTreeMap<ServerId, Vec<(SlotId, ServerId)>> = BTreeMap::new();
        for (slot, at) in self.machine.map().slots() {
            if let (Some(primary), Some(learner)) = (at.primary_id(), at.learner_id()) {
                transfers.entry(primary).or_default().push((slot, learner));
            }
        }
        for slots in transfers.values_mut() {
            let loads = &self.loads;
            let copied = &self.copied;
            let owed = |key: &(SlotId, ServerId)| {
                let load = loads[usize::from(key.0.index())];
                load - copied.get(key).copied().unwrap_or(0).min(load)
            };
            slots.retain(|key| owed(key) > 0);
            slots.truncate(count_max);
            let bytes = u128::from(move_rate) * ROUND.as_millis() / 1000;
            let each = u64::try_from(bytes).unwrap_or(u64::MAX) / slots.len().max(1) as u64;
            for key in slots.iter() {
                let copied = self.copied.entry(*key).or_default();
                *copied = copied.saturating_add(each);
            }
        }
    }

    /// Returns what primaries ask for: the way to the ideal members.
    fn wishes(&self) -> BTreeMap<ServerId, Vec<Change>> {
        let map = self.map();
        let mut wishes: BTreeMap<ServerId, Vec<Change>> = BTreeMap::new();
        for (slot, at) in map.slots().filter(|(slot, _)| !map.is_ideal(*slot)) {
            let (Some(primary), epoch, ideal) = (at.primary_id(), at.epoch, map.ideal(slot)) else {
                continue;
            };
            let wish = if let Some(learner) = at.learner {
                let copied = self.copied.get(&(slot, learner.0)).copied().unwrap_or(0);
                let is_level = copied >= self.loads[usize::from(slot.index())];
                is_level.then_some(Change::Promote { slot, epoch, learner })
            } else if !ideal.iter().all(|member| at.is_member(*member)) {
                None
            } else if ideal[0] != primary {
                Some(Change::HandOver { slot, epoch, to: ideal[0] })
            } else {
                let surplus = at.members().find(|member| !ideal.contains(member));
                surplus.map(|member| Change::Remove { slot, epoch, member })
            };
            wishes.entry(primary).or_default().extend(wish);
        }
        wishes
    }

    /// A server ends for good: the others accuse it.
    pub fn end(&mut self, at: usize) {
        let dead = id(at);
        if let Some(played) = self.servers.get_mut(&at) {
            played.is_up = false;
        }
        self.step(Event::Closed(connection(at)));
        let mut accusations: BTreeMap<ServerId, Vec<Change>> = BTreeMap::new();
        for (slot, held) in self.map().slots().filter(|(_, held)| held.is_member(dead)) {
            let epoch = held.epoch;
            let primary = held.primary_id().expect("there is one");
            if primary == dead {
                let asker = held.backups[0];
                accusations.entry(asker).or_default().push(Change::Depose { slot, epoch });
            } else {
                let remove = Change::Remove { slot, epoch, member: dead };
                accusations.entry(primary).or_default().push(remove);
            }
        }
        for at in self.servers.keys().copied().collect::<Vec<_>>() {
            if let Some(changes) = accusations.remove(&id(at)) {
                self.ask(at, changes, Vec::new());
            }
        }
    }

    /// Returns how many members the slot with the fewest has.
    pub fn copies_min(&self) -> usize {
        self.map().slots().map(|(_, slot)| slot.members().count()).min().unwrap_or(0)
    }

    /// Returns the bytes that each server on the ring owns.
    pub fn shares(&self) -> Vec<u64> {
        let ring = self.map().ring();
        let mut shares: BTreeMap<ServerId, u64> =
            ring.servers().into_iter().map(|s| (s, 0)).collect();
        for slot in ring.slots() {
            let owner = ring.owner(slot).expect("a ring with servers has owners");
            *shares.entry(owner).or_default() += self.loads[usize::from(slot.index())];
        }
        shares.into_values().collect()
    }

    /// Returns the busiest server's share, in means.
    pub fn busiest(&self) -> f64 {
        let shares = self.shares();
        let mean = shares.iter().sum::<u64>() as f64 / shares.len() as f64;
        shares.iter().max().map_or(0.0, |most| *most as f64 / mean)
    }
}

/// Returns the busiest server's share after each of `step_count` joins and leaves among about `count` servers, rising.
pub fn balance(count: usize, key_count: u64, step_count: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::with_seed(seed);
    let loads = loads_of(key_count, &mut rng);
    let settings = Settings { told_count_max: Some(3), ..Settings::default() };
    let mut arbiter = Arbiter::new(count, settings, loads);
    let mut on_ring: Vec<usize> = (0..count).collect();
    let mut next = count;
    let mut found = Vec::new();
    for _ in 0..step_count {
        // Few servers come and go between two thirds and four thirds of what they were.
        let (least, most) = ((count * 2 / 3).max(2), count * 4 / 3 + 1);
        let is_join = on_ring.len() <= least || (on_ring.len() < most && rng.bool());
        let command = if is_join {
            arbiter.register(next, true);
            on_ring.push(next);
            next += 1;
            Command::Join(id(next - 1))
        } else {
            Command::Leave(id(on_ring.swap_remove(rng.usize(..on_ring.len()))))
        };
        assert_eq!(arbiter.command(command), Answer::Done, "{command:?}");
        found.push(arbiter.busiest());
    }
    found.sort_by(f64::total_cmp);
    found
}

/// Returns how many messages the coordinator sends for a change that one server asks for.
pub fn told(count: usize, told_count_max: Option<usize>) -> u64 {
    let settings = Settings { told_count_max, ..Settings::default() };
    let loads = vec![0; usize::from(hashring::SLOT_COUNT)];
    let mut arbiter = Arbiter::new(count, settings, loads);
    arbiter.settle();
    let with_backup = arbiter.map().slots().find(|(_, slot)| !slot.backups.is_empty());
    let (slot, at) = with_backup.expect("there are copies");
    let (asker, epoch, to) = (at.primary_id().expect("one"), at.epoch, at.backups[0]);
    let before = arbiter.sent_count;
    let asker = (0..count).find(|at| id(*at) == asker).expect("a server");
    arbiter.ask(asker, vec![Change::HandOver { slot, epoch, to }], Vec::new());
    arbiter.sent_count - before
}

/// What became of the loss of a server.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    /// From the end of the grace until every slot has all its copies.
    pub time: Duration,
    /// Servers that sent copies.
    pub sender_count: usize,
    /// Bytes that were copied for it.
    pub copied_len: u64,
}

/// Returns how long it takes to make third copies of what a lost server held, when each of `count` holds `held_len` bytes.
pub fn restore(count: usize, held_len: u64, seed: u64) -> Restored {
    let mut rng = Rng::with_seed(seed);
    let config = Config::default();
    let slot_count = u64::from(hashring::SLOT_COUNT);
    let copies = 3.min(count) as u64;
    let mean = held_len * count as u64 / copies / slot_count;
    // Slots differ as those of some thousand keys do.
    let loads = (0..slot_count).map(|_| mean * rng.u64(950..=1050) / 1000).collect();
    let settings = Settings { told_count_max: Some(3), ..Settings::default() };
    let rejoin_grace = settings.rejoin_grace;
    let mut arbiter = Arbiter::new(count, settings, loads);
    arbiter.settle();
    arbiter.copied.clear();
    let begin = arbiter.now;
    arbiter.end(rng.usize(..count));
    let mut senders = std::collections::BTreeSet::new();
    loop {
        arbiter.round(config.move_rate);
        let learning = arbiter.machine.map().slots().filter(|(_, slot)| slot.learner.is_some());
        senders.extend(learning.filter_map(|(_, slot)| slot.primary_id()));
        let time = arbiter.now.since(begin);
        if time > rejoin_grace && arbiter.copies_min() as u64 == copies.min(count as u64 - 1) {
            let loads = &arbiter.loads;
            let lens = arbiter
                .copied
                .iter()
                .map(|((slot, _), len)| (*len).min(loads[usize::from(slot.index())]));
            let (copied_len, sender_count) = (lens.sum(), senders.len());
            return Restored { time: time.saturating_sub(rejoin_grace), sender_count, copied_len };
        }
        assert!(
            time < Duration::from_secs(24 * 3600),
            "no end of it: {:?}",
            arbiter.machine.moves()
        );
    }
}
