//! Clients and checkers tried without a cluster: one server that is right, or wrong in one known way.
//!
//! The server is a table of values and a table of requests, and changes both in an instant. The net loses requests and replies, delays
//! them, and reports losses. What is left to go wrong is the clients' own judgement of what is certain, and the checkers'. A
//! right server must never be blamed; each [`Flaw`] must be found.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use cluster::{
    Ask, Bytes, Condition, Delta, Epoch, Incarnation, Lsn, Map, Refusal, Reply, ServerId, Slot,
    SlotId, Version,
};
use fastrand::Rng;

use crate::check::{Summary, check};
use crate::client::{Client, ClientAction, ClientEvent, Mix};
use crate::history::{History, Status};

const MS: u64 = 1_000_000;
const SLOT_COUNT: u16 = 8;

/// A way to be wrong, rarely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// A retry is carried out again.
    NoRequests,
    /// An acknowledged write is not carried out.
    Lost,
    /// A read returns the value before the last.
    Stale,
    /// A deleted value comes back.
    Resurrected,
    /// A refused write is carried out.
    RefusedAndDone,
    /// A condition is not looked at.
    Unconditional,
    /// A value is told past its end.
    Immortal,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    value: Option<(Bytes, Lsn)>,
    before: Option<(Bytes, Lsn)>,
    ends: Option<u64>,
}

struct World {
    rng: Rng,
    now: u64,
    flaw: Flaw,
    entries: BTreeMap<Bytes, Entry>,
    requests: BTreeMap<(u64, SlotId), (u64, Reply)>,
    lsn_last: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    planned: BTreeMap<u64, (usize, Planned)>,
    planned_count: u64,
    map: Map,
}

enum Planned {
    Tell(ClientEvent),
    Arrive { attempt: u64, slot: SlotId, key: Bytes, ask: Ask },
}

impl World {
    fn new(seed: u64, flaw: Flaw) -> Self {
        let mut map = Map::new(SLOT_COUNT, 1);
        let primary = Some((ServerId(1), Incarnation(1)));
        let slot = Slot { epoch: Epoch(1), primary, changed: Version(1), ..Slot::default() };
        let slots = map.slots().map(|(id, _)| (id, slot.clone())).collect();
        let (from, to) = (Version(0), Version(1));
        map.apply(&Delta { from, to, servers: Vec::new(), ring: None, slots }).unwrap();
        Self {
            rng: Rng::with_seed(seed),
            now: 0,
            flaw,
            entries: BTreeMap::new(),
            requests: BTreeMap::new(),
            lsn_last: 0,
            queue: BinaryHeap::new(),
            planned: BTreeMap::new(),
            planned_count: 0,
            map,
        }
    }

    fn plan(&mut self, at: u64, client: usize, planned: Planned) {
        self.planned_count += 1;
        self.planned.insert(self.planned_count, (client, planned));
        self.queue.push(Reverse((at, self.planned_count)));
    }

    /// Returns how long a message takes.
    fn delay(&mut self) -> u64 {
        match self.rng.u8(0..20) {
            0 => self.rng.u64(0..4_000) * MS,
            _ => self.rng.u64(MS / 10..5 * MS),
        }
    }

    fn act(&mut self, now: u64, client: usize, action: ClientAction) {
        match action {
            ClientAction::WakeAt(at) => self.plan(at, client, Planned::Tell(ClientEvent::Wake)),
            ClientAction::AskMap { .. } => {
                let map = Box::new(self.map.clone());
                let at = now + self.delay();
                self.plan(at, client, Planned::Tell(ClientEvent::Map(map)));
            }
            ClientAction::Send { attempt, slot, key, ask, .. } => {
                let at = now + self.delay();
                match self.rng.u8(0..20) {
                    0 => self.plan(at, client, Planned::Tell(ClientEvent::Lost { attempt })),
                    1 => {
                        // The client learns of the loss, and what it sent arrives all the same.
                        self.plan(at, client, Planned::Tell(ClientEvent::Lost { attempt }));
                        let at = now + self.delay();
                        self.plan(at, client, Planned::Arrive { attempt, slot, key, ask });
                    }
                    _ => self.plan(at, client, Planned::Arrive { attempt, slot, key, ask }),
                }
            }
        }
    }

    fn arrive(&mut self, slot: SlotId, key: &Bytes, ask: &Ask) -> Option<Reply> {
        let is_wrong = self.rng.u8(0..8) == 0;
        if self.rng.u8(0..20) == 0 {
            if is_wrong && self.flaw == Flaw::RefusedAndDone {
                self.carry_out(slot, key, ask, false);
            }
            let all = [Refusal::NotResponsible, Refusal::Busy, Refusal::Stopped];
            return Some(Reply::Refused(all[self.rng.usize(0..3)]));
        }
        let reply = self.carry_out(slot, key, ask, is_wrong);
        match self.rng.u8(0..20) {
            0 => None,
            1 => Some(Reply::Unknown),
            _ => Some(reply),
        }
    }

    fn carry_out(&mut self, slot: SlotId, key: &Bytes, ask: &Ask, is_wrong: bool) -> Reply {
        let has = |flaw| is_wrong && self.flaw == flaw;
        let (value, condition, request) = match ask {
            Ask::Get => {
                let entry = self.entries.entry(key.clone()).or_default();
                let is_over = entry.ends.is_some_and(|ends| ends <= self.now);
                if is_over && !(is_wrong && self.flaw == Flaw::Immortal) {
                    return Reply::Value(None);
                }
                let is_stale = is_wrong && self.flaw == Flaw::Stale;
                return Reply::Value(if is_stale { &entry.before } else { &entry.value }.clone());
            }
            Ask::Put { value, condition, request, .. } => (Some(value), *condition, *request),
            Ask::Delete { request } => (None, None, *request),
        };
        let ends = match ask {
            Ask::Put { expires_at_ms, .. } => expires_at_ms.map(|end_ms| end_ms * MS),
            Ask::Get | Ask::Delete { .. } => None,
        };
        if let Some((client, number)) = request
            && !has(Flaw::NoRequests)
        {
            match self.requests.get(&(client, slot)) {
                Some((last, reply)) if *last == number => return reply.clone(),
                Some((last, _)) if *last > number => return Reply::Refused(Refusal::OldRequest),
                Some(_) | None => {}
            }
        }
        let (is_lost, is_unconditional, is_resurrected) =
            (has(Flaw::Lost), has(Flaw::Unconditional), has(Flaw::Resurrected));
        let entry = self.entries.entry(key.clone()).or_default();
        let here = entry.value.as_ref().map(|(_, lsn)| *lsn);
        let holds = match condition {
            None => true,
            Some(Condition::Absent) => here.is_none(),
            Some(Condition::Version(lsn)) => here == Some(lsn),
        };
        if !holds && !is_unconditional {
            return Reply::ConditionFailed(here);
        }
        self.lsn_last += 1;
        let lsn = Epoch(1).lsn(self.lsn_last);
        let reply = match (value, here) {
            (Some(_), None) => Reply::Stored(lsn),
            (Some(_), Some(_)) => Reply::Replaced(lsn),
            (None, Some(_)) => Reply::Deleted,
            (None, None) => return Reply::Missing,
        };
        let is_dropped = is_lost || is_resurrected && value.is_none();
        if !is_dropped {
            entry.before = entry.value.take();
            entry.value = value.map(|value| (value.clone(), lsn));
            entry.ends = ends;
        }
        if let Some((client, number)) = request {
            self.requests.insert((client, slot), (number, reply.clone()));
        }
        reply
    }

    /// Runs until all clients are done.
    fn run(&mut self, clients: &mut [Client], stop_at: u64, history: &mut History) {
        let begin = history.operations().iter().filter_map(|o| o.ret).max().unwrap_or(0) + 1;
        for client in 0..clients.len() {
            self.plan(begin, client, Planned::Tell(ClientEvent::Wake));
        }
        while let Some(Reverse((now, number))) = self.queue.pop() {
            if now >= stop_at {
                clients.iter_mut().for_each(Client::stop);
            }
            self.now = now;
            let (client, planned) = self.planned.remove(&number).unwrap();
            let event = match planned {
                Planned::Tell(event) => event,
                Planned::Arrive { attempt, slot, key, ask } => {
                    if let Some(reply) = self.arrive(slot, &key, &ask) {
                        let at = now + self.delay();
                        let event = ClientEvent::Reply { attempt, reply };
                        self.plan(at, client, Planned::Tell(event));
                    }
                    continue;
                }
            };
            let mut actions = Vec::new();
            clients[client].step(now, event, history, &mut actions);
            actions.into_iter().for_each(|action| self.act(now, client, action));
        }
        assert!(clients.iter().all(Client::is_done), "every operation comes to its end");
    }
}

fn rehearse(seed: u64, flaw: Flaw) -> (History, Result<Summary, String>) {
    let mut world = World::new(seed, flaw);
    let mix = Mix::draw(&mut Rng::with_seed(seed), vec![ServerId(1)], 4);
    let mut clients: Vec<Client> =
        (0..4).map(|id| Client::new(id, seed, &mix, SLOT_COUNT)).collect();
    let mut history = History::new();
    world.run(&mut clients, 20_000 * MS, &mut history);
    let mut readers = [Client::reader(4, seed, &mix, SLOT_COUNT, history.keys())];
    world.run(&mut readers, 0, &mut history);
    let found = check(&history);
    (history, found)
}

#[test]
fn a_right_server_behind_a_bad_net_is_never_blamed() {
    let mut info_count = 0;
    for seed in 0..60 {
        let (history, found) = rehearse(seed, Flaw::None);
        let summary = found.unwrap_or_else(|complaint| panic!("seed {seed}: {complaint}"));
        assert_eq!(summary.unread_count, 0, "seed {seed}");
        assert!(history.operations().len() > 200, "seed {seed}");
        info_count += history.counts().info;
    }
    assert!(info_count > 600, "{info_count} unknown outcomes");
}

#[test]
fn a_server_that_is_rarely_wrong_is_found_out() {
    for flaw in [
        Flaw::NoRequests,
        Flaw::Lost,
        Flaw::Stale,
        Flaw::Resurrected,
        Flaw::RefusedAndDone,
        Flaw::Unconditional,
        Flaw::Immortal,
    ] {
        let seed = (0..60).find(|seed| rehearse(*seed, flaw).1.is_err());
        assert!(seed.is_some(), "{flaw:?}");
    }
}

#[test]
fn a_history_survives_its_file() {
    let (history, _) = rehearse(1, Flaw::None);
    let mut file = Vec::new();
    history.write(&mut file).unwrap();
    assert_eq!(History::read(&file[..]).unwrap(), history);
    assert!(history.operations().iter().any(|o| o.status == Status::Info));
}

/// For whoever asks with `--release -- --ignored --nocapture speed`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "what it measures is real time")]
fn the_speed_of_the_checks_is_shown() {
    let histories: Vec<History> = (0..200).map(|seed| rehearse(seed, Flaw::None).0).collect();
    let count: usize = histories.iter().map(|history| history.operations().len()).sum();
    let begin = std::time::Instant::now();
    let mut longest = std::time::Duration::ZERO;
    for history in &histories {
        let begin = std::time::Instant::now();
        check(history).unwrap();
        longest = longest.max(begin.elapsed());
    }
    let mean = begin.elapsed() / 200;
    println!("{count} operations in 200 histories; mean {mean:?}, longest {longest:?}");
}
