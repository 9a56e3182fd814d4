//! A sequential client: draws operations, sends them as the client library would, and notes what is certain.
//!
//! ```text
//!            ┌──────────────── refused: back off ────────────────┐
//!            ▼                                                   │
//! idle ──▶ routing ──▶ waiting for attempt n ── done ──▶ idle    │
//!            ▲  │                 │                              │
//!            │  no map, or        ├── lost, silent, unknown ─────┤  (writes: only with a request id)
//!            │  an old one        └── refused ───────────────────┘
//!            └── asks a server for its map
//! ```
//!
//! **What is certain** (P3, R11). An attempt is *open* until it was definitely refused: its reply may still come, and it
//! may still take effect. An operation fails only when no attempt is open. A success of any attempt is the operation's,
//! however late it comes. *Condition failed* and *missing* change nothing, so the servers need not remember them: while
//! another attempt is open, which may still be carried out after them, they settle nothing, and the outcome
//! is unknown. Without a request id a write is not sent again after an attempt whose outcome is open.
//!
//! **What is asked** is drawn in `wishes.rs`. Most operations are tried until their deadline; a few writes are of callers
//! without patience, who take the first definite refusal for an answer: what they were refused must never be seen.
//! A [reader](Client::reader) reads given keys when all is over, each at its primary and at any member.
//!
//! Left out: connections. The world delays, breaks and pairs them; an attempt is one request on one of them.

use std::collections::{BTreeSet, VecDeque};

use cluster::{Ask, Bytes, Condition, Lsn, Map, Refusal, Reply, ServerId, SlotId};
use fastrand::Rng;
use hashring::Token;

use crate::history::{History, If, Kind, Operation, Status, Told, Version};
pub use crate::wishes::Mix;
use crate::wishes::Wishes;

const MS: u64 = 1_000_000;
/// How long a reply may take before the client sends again.
const ATTEMPT_MAX: u64 = 1_500 * MS;
/// How long an operation is tried.
const OPERATION_MAX: u64 = 10_000 * MS;
/// How long it is tried once the client was stopped: faults are over, and what was under way shall be done, unless its
/// slot has lost its last copy.
const LAST_OPERATION_MAX: u64 = 40_000 * MS;
/// How long a server may take to tell its map.
const MAP_MAX: u64 = 200 * MS;
/// The first pause after a refusal; doubled with each, up to the longest.
const BACKOFF: u64 = 5 * MS;
const BACKOFF_MAX: u64 = 400 * MS;
/// Refusals after which the map is asked for again, whatever they said.
const REFUSALS_PER_MAP: u32 = 4;

/// What a client is told.
#[derive(Debug)]
pub enum ClientEvent {
    /// A time that it asked for has come; more often does no harm.
    Wake,
    /// A server answered.
    Reply { attempt: u64, reply: Reply },
    /// The connection broke, could not be made, or timed out.
    Lost { attempt: u64 },
    /// A server told its map.
    Map(Box<Map>),
}

/// What a client asks to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientAction {
    Send { attempt: u64, server: ServerId, slot: SlotId, key: Bytes, ask: Ask },
    AskMap { server: ServerId },
    WakeAt(u64),
}

/// Returns the slot of a key when the ring is cut into `slot_count` equal pieces: with a power of two, the token's first bits.
pub fn slot_of(key: &[u8], slot_count: u16) -> SlotId {
    let high = Token::of_key(key).0 >> 64;
    let index = (high * u128::from(slot_count)) >> 64;
    SlotId::new(u16::try_from(index).unwrap()).unwrap()
}

/// Where a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Primary,
    AnyMember,
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The reply to this attempt, until a time.
    Reply(u64, u64),
    /// A map, until a time.
    Map(u64),
    /// A time, to send again.
    Pause(u64),
}

/// The operation under way.
#[derive(Debug)]
struct Running {
    number: usize,
    key: Bytes,
    ask: Ask,
    place: Place,
    called_at: u64,
    waits: Waits,
    attempt_first: u64,
    /// Attempts that may still take effect or be answered.
    open: BTreeSet<u64>,
    refusals: u32,
    /// Whether it is sent again after a definite refusal.
    is_patient: bool,
}

/// The client.
#[derive(Debug)]
pub struct Client {
    id: u32,
    rng: Rng,
    mix: Mix,
    wishes: Wishes,
    slot_count: u16,
    map: Option<Box<Map>>,
    is_stopped: bool,
    /// Keys that a reader still has to read.
    to_read: VecDeque<(Bytes, Place)>,
    running: Option<Running>,
    next_at: u64,
    attempt_next: u64,
    woken_at: Option<u64>,
}

impl Client {
    pub fn new(id: u32, seed: u64, mix: &Mix, slot_count: u16) -> Self {
        let mut rng = Rng::with_seed(seed ^ (u64::from(id) << 40));
        Self {
            id,
            wishes: Wishes::new(id, mix, &mut rng),
            next_at: rng.u64(0..=mix.think),
            rng,
            mix: mix.clone(),
            slot_count,
            map: None,
            is_stopped: false,
            to_read: VecDeque::new(),
            running: None,
            attempt_next: 1,
            woken_at: None,
        }
    }

    /// Returns a client that reads every key at its primary and at any member, without a pause, and then is done.
    pub fn reader(id: u32, seed: u64, mix: &Mix, slot_count: u16, keys: Vec<Bytes>) -> Self {
        let both = |key: Bytes| [(key.clone(), Place::Primary), (key, Place::AnyMember)];
        let to_read = keys.into_iter().flat_map(both).collect();
        let client = Self::new(id, seed, mix, slot_count);
        Self { to_read, is_stopped: true, next_at: 0, ..client }
    }

    /// Begins no new operation; the one under way is given more time.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Returns whether it was stopped and has nothing under way.
    pub fn is_done(&self) -> bool {
        self.is_stopped && self.running.is_none() && self.to_read.is_empty()
    }

    /// Returns the key of the operation under way.
    pub fn key(&self) -> Option<&Bytes> {
        self.running.as_ref().map(|running| &running.key)
    }

    /// Gives the operation under way up: nobody will ever answer.
    pub fn give_up(&mut self, now: u64, history: &mut History) {
        let Some(running) = &self.running else { return };
        let is_definite = running.open.is_empty() || running.ask == Ask::Get;
        match is_definite {
            true => self.end(now, Status::Fail, Told::Refused, None, history),
            false => self.end(now, Status::Info, Told::Unknown, None, history),
        }
    }

    pub fn step(
        &mut self,
        now: u64,
        event: ClientEvent,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) {
        match event {
            ClientEvent::Wake => {}
            ClientEvent::Reply { attempt, reply } => self.take_reply(now, attempt, reply, history),
            ClientEvent::Lost { attempt } => self.take_loss(now, attempt, history),
            ClientEvent::Map(map) => self.take_map(now, map),
        }
        if self.running.is_none() {
            self.begin(now, history);
        }
        self.go_on(now, history, actions);
        self.ask_to_be_woken(now, actions);
    }

    fn take_map(&mut self, now: u64, map: Box<Map>) {
        let has = self.map.as_ref().map(|map| map.version());
        if has.is_none_or(|version| version < map.version()) {
            self.map = Some(map);
        }
        if let Some(running) = &mut self.running
            && matches!(running.waits, Waits::Map(_))
        {
            // A server that knows no better than this client shall not be asked in a loop.
            let longest = (BACKOFF << running.refusals.min(10)).min(BACKOFF_MAX / 4);
            let pause = if running.refusals > 1 { self.rng.u64(0..=longest) } else { 0 };
            running.waits = Waits::Pause(now + pause);
        }
    }

    fn take_loss(&mut self, now: u64, attempt: u64, history: &mut History) {
        let Some(running) = &mut self.running else { return };
        if !matches!(running.waits, Waits::Reply(waited_for, _) if waited_for == attempt) {
            return;
        }
        if is_final_when_unknown(&running.ask) {
            return self.end(now, Status::Info, Told::Unknown, None, history);
        }
        running.refusals += 1;
        // Whoever does not answer may not be in charge any more.
        running.waits = Waits::Map(now);
    }

    fn take_reply(&mut self, now: u64, attempt: u64, reply: Reply, history: &mut History) {
        let Some(running) = &mut self.running else { return };
        if attempt < running.attempt_first {
            return;
        }
        let is_waited_for =
            matches!(running.waits, Waits::Reply(waited_for, _) if waited_for == attempt);
        if reply != Reply::Unknown {
            running.open.remove(&attempt);
        }
        let is_definite = running.open.is_empty();
        // Whether this reply ends the operation although it changed nothing. A later attempt that is under way may
        // still change something, and its reply is worth waiting for.
        let is_last = is_definite || is_waited_for;
        let sure = |status| if is_definite { status } else { Status::Info };
        match reply {
            Reply::Value(found) => {
                let told = if found.is_some() { Told::Found } else { Told::Absent };
                let (value, lsn) = found.unzip();
                history.open(running.number).value = value;
                self.end(now, Status::Ok, told, lsn, history);
            }
            Reply::Stored(lsn) => self.end(now, Status::Ok, Told::Stored, Some(lsn), history),
            Reply::Replaced(lsn) => self.end(now, Status::Ok, Told::Replaced, Some(lsn), history),
            Reply::Deleted => self.end(now, Status::Ok, Told::Deleted, None, history),
            Reply::Missing if is_last => {
                self.end(now, sure(Status::Ok), Told::Missing, None, history);
            }
            Reply::ConditionFailed(lsn) if is_last => {
                self.end(now, sure(Status::Fail), Told::Condition, lsn, history);
            }
            Reply::Missing | Reply::ConditionFailed(_) => {}
            Reply::Unknown => self.take_loss(now, attempt, history),
            Reply::Refused(Refusal::OldRequest) if is_last => {
                self.end(now, sure(Status::Fail), Told::Old, None, history);
            }
            Reply::Refused(refusal) if is_waited_for => {
                // Who only asked the wrong server was not refused by anybody in charge.
                let is_answer = refusal != Refusal::NotResponsible && !running.is_patient;
                match is_answer && is_definite {
                    true => self.end(now, Status::Fail, Told::Refused, None, history),
                    false => self.take_refusal(now, refusal),
                }
            }
            Reply::Refused(_) => {}
        }
    }

    fn take_refusal(&mut self, now: u64, refusal: Refusal) {
        let Some(running) = &mut self.running else { return };
        running.refusals += 1;
        let asks_map =
            refusal == Refusal::NotResponsible || running.refusals % REFUSALS_PER_MAP == 0;
        let longest = (BACKOFF << running.refusals.min(10)).min(BACKOFF_MAX);
        running.waits = match asks_map {
            true => Waits::Map(now),
            false => Waits::Pause(now + longest / 2 + self.rng.u64(0..=longest / 2)),
        };
    }

    /// Notes the end of the operation under way, and plans the next.
    fn end(
        &mut self,
        now: u64,
        status: Status,
        told: Told,
        lsn: Option<Lsn>,
        history: &mut History,
    ) {
        let Some(running) = self.running.take() else { return };
        let operation = history.open(running.number);
        operation.ret = Some(now);
        operation.status = status;
        operation.told = Some(told);
        operation.version = lsn.map(Version);
        operation.attempts = u32::try_from(self.attempt_next - running.attempt_first).unwrap();
        let is_burst = !self.to_read.is_empty() || self.rng.u8(0..4) == 0;
        let pause = if is_burst { 0 } else { self.rng.u64(0..=self.mix.think * 2) };
        // Not at the same moment: an operation that ends when another begins would count as overlapping it.
        self.next_at = now + 1 + pause;
        let is_known = status == Status::Ok && (lsn.is_some() || told == Told::Absent);
        if is_known {
            self.wishes.learn(running.key, lsn, operation.value.as_deref());
        } else {
            self.wishes.forget(&running.key);
        }
    }

    /// Begins the next operation if its time has come.
    fn begin(&mut self, now: u64, history: &mut History) {
        if now < self.next_at {
            return;
        }
        if let Some((key, place)) = self.to_read.pop_front() {
            self.call(now, key, Ask::Get, history);
            self.running.iter_mut().for_each(|running| running.place = place);
        } else if !self.is_stopped {
            let (key, ask) = self.wishes.draw(now, &mut self.rng);
            self.call(now, key, ask, history);
        }
    }

    fn call(&mut self, now: u64, key: Bytes, ask: Ask, history: &mut History) {
        let is_spread = self.rng.u32(0..100) < self.mix.spread_percent;
        let place = if ask == Ask::Get && is_spread { Place::AnyMember } else { Place::Primary };
        let is_patient = ask == Ask::Get || self.rng.u32(0..100) >= self.mix.impatient_percent;
        let number = history.call(describe(self.id, key.clone(), &ask, now));
        self.running = Some(Running {
            number,
            key,
            ask,
            place,
            called_at: now,
            waits: if self.map.is_some() { Waits::Pause(now) } else { Waits::Map(now) },
            attempt_first: self.attempt_next,
            open: BTreeSet::new(),
            refusals: 0,
            is_patient,
        });
    }

    /// Looks at the clock: gives up, stops waiting, sends.
    fn go_on(&mut self, now: u64, history: &mut History, actions: &mut Vec<ClientAction>) {
        let operation_max = if self.is_stopped { LAST_OPERATION_MAX } else { OPERATION_MAX };
        let Some(running) = &self.running else { return };
        if now >= running.called_at + operation_max {
            return self.give_up(now, history);
        }
        match running.waits {
            Waits::Reply(attempt, until) if now >= until => self.take_loss(now, attempt, history),
            Waits::Reply(..) | Waits::Map(_) | Waits::Pause(_) => {}
        }
        let Some(running) = &mut self.running else { return };
        match running.waits {
            Waits::Map(until) if now >= until => {
                running.waits = Waits::Map(now + MAP_MAX);
                let server = self.any_server();
                actions.push(ClientAction::AskMap { server });
            }
            Waits::Pause(until) if now >= until => self.send(now, actions),
            Waits::Reply(..) | Waits::Map(_) | Waits::Pause(_) => {}
        }
    }

    fn any_server(&mut self) -> ServerId {
        let mut servers: BTreeSet<ServerId> = self.mix.servers.iter().copied().collect();
        servers.extend(self.map.iter().flat_map(|map| map.servers().keys().copied()));
        self.rng.choice(servers).unwrap()
    }

    fn send(&mut self, now: u64, actions: &mut Vec<ClientAction>) {
        let Some(running) = &mut self.running else { return };
        let slot = slot_of(&running.key, self.slot_count);
        let members = self.map.as_ref().map(|map| map.slot(slot));
        let server = match running.place {
            Place::Primary => members.and_then(cluster::Slot::primary_id),
            Place::AnyMember => {
                members.and_then(|slot| self.rng.choice(slot.members().collect::<Vec<_>>()))
            }
        };
        let Some(server) = server else {
            // The map names nobody: it may know more in a moment.
            running.refusals += 1;
            running.waits = Waits::Map(now + MAP_MAX / 2);
            let server = self.any_server();
            return actions.push(ClientAction::AskMap { server });
        };
        let attempt = self.attempt_next;
        self.attempt_next += 1;
        running.open.insert(attempt);
        running.waits = Waits::Reply(attempt, now + ATTEMPT_MAX);
        let (key, ask) = (running.key.clone(), running.ask.clone());
        actions.push(ClientAction::Send { attempt, server, slot, key, ask });
    }

    fn ask_to_be_woken(&mut self, now: u64, actions: &mut Vec<ClientAction>) {
        let at = match &self.running {
            Some(running) => match running.waits {
                Waits::Reply(_, until) | Waits::Map(until) | Waits::Pause(until) => until,
            },
            None if self.is_done() => return,
            None => self.next_at,
        };
        let at = at.max(now + 1);
        if self.woken_at.is_none_or(|woken_at| woken_at <= now || at < woken_at) {
            self.woken_at = Some(at);
            actions.push(ClientAction::WakeAt(at));
        }
    }
}

/// Returns whether the outcome of the operation is final once an attempt's is unknown: nothing would recognise a retry.
fn is_final_when_unknown(ask: &Ask) -> bool {
    matches!(ask, Ask::Put { request: None, .. } | Ask::Delete { request: None })
}

fn describe(client: u32, key: Bytes, ask: &Ask, now: u64) -> Operation {
    let (op, value, condition, request) = match ask {
        Ask::Get => (Kind::Get, None, None, None),
        Ask::Put { value, condition: None, request, .. } => {
            (Kind::Put, Some(value.clone()), None, *request)
        }
        Ask::Put { value, condition: Some(condition), request, .. } => {
            let condition = match condition {
                Condition::Absent => If::Absent,
                Condition::Version(lsn) => If::Version(*lsn),
            };
            (Kind::Cas, Some(value.clone()), Some(condition), *request)
        }
        Ask::Delete { request } => (Kind::Delete, None, None, *request),
    };
    let ends = match ask {
        Ask::Put { expires_at_ms, .. } => expires_at_ms.map(|end_ms| end_ms * MS),
        Ask::Get | Ask::Delete { .. } => None,
    };
    Operation {
        client,
        key,
        op,
        value,
        call: now,
        ret: None,
        status: Status::Info,
        condition,
        told: None,
        version: None,
        has_id: request.is_some(),
        attempts: 0,
        ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Counts;

    /// A client that has its map, with the net in the test's hands.
    struct Hands {
        client: Client,
        history: History,
        now: u64,
    }

    impl Hands {
        /// Returns a client that sends one `ask` as its first attempt, number 1.
        fn new(ask: Ask) -> Self {
            let servers = vec![ServerId(1)];
            let mix = Mix::draw(&mut Rng::with_seed(1), servers, 1);
            let mix = Mix { impatient_percent: 0, ..mix };
            let mut client = Client::new(0, 1, &mix, 16);
            let mut map = Map::new(16, 1);
            let primary = Some((ServerId(1), cluster::Incarnation(1)));
            let changed = cluster::Version(1);
            let slot = cluster::Slot { primary, changed, ..cluster::Slot::default() };
            let slots = map.slots().map(|(id, _)| (id, slot.clone())).collect();
            let (from, to) = (cluster::Version(0), cluster::Version(1));
            map.apply(&cluster::Delta { from, to, servers: Vec::new(), ring: None, slots })
                .unwrap();
            client.map = Some(Box::new(map));
            client.is_stopped = true;
            let mut history = History::new();
            client.call(0, Bytes::from(*b"k"), ask, &mut history);
            let mut hands = Self { client, history, now: 0 };
            assert_eq!(hands.tell(ClientEvent::Wake), [1]);
            hands
        }

        /// Tells an event; returns the attempts sent.
        fn tell(&mut self, event: ClientEvent) -> Vec<u64> {
            let mut actions = Vec::new();
            self.client.step(self.now, event, &mut self.history, &mut actions);
            let sent = actions.iter().filter_map(|action| match action {
                ClientAction::Send { attempt, .. } => Some(*attempt),
                ClientAction::AskMap { .. } | ClientAction::WakeAt(_) => None,
            });
            sent.collect()
        }

        fn reply(&mut self, attempt: u64, reply: Reply) {
            self.tell(ClientEvent::Reply { attempt, reply });
        }

        /// Lets time pass, and answers each question for the map, until something is sent.
        fn until_sent(&mut self) -> u64 {
            self.sent_or_over().expect("it is not over")
        }

        /// The same, unless the operation ends first.
        fn sent_or_over(&mut self) -> Option<u64> {
            loop {
                self.now += 10 * MS;
                let mut sent = self.tell(ClientEvent::Wake);
                let waits = self.client.running.as_ref()?.waits;
                if matches!(waits, Waits::Map(_)) {
                    let map = self.client.map.clone().unwrap();
                    sent.extend(self.tell(ClientEvent::Map(map)));
                }
                if let Some(attempt) = sent.first() {
                    return Some(*attempt);
                }
            }
        }

        fn end(&self) -> (Status, Told) {
            let operation = &self.history.operations()[0];
            assert!(operation.ret.is_some(), "it is over: {operation}");
            (operation.status, operation.told.unwrap())
        }
    }

    fn put(condition: Option<Condition>, request: Option<(u64, u64)>) -> Ask {
        Ask::Put { value: Bytes::from(*b"v"), expires_at_ms: None, condition, request }
    }

    fn lost(attempt: u64) -> ClientEvent {
        ClientEvent::Lost { attempt }
    }

    const REFUSED: Reply = Reply::Refused(Refusal::Stopped);

    #[test]
    fn a_write_refused_until_its_deadline_fails_and_one_with_an_open_attempt_is_unknown() {
        for (is_lost, status) in [(false, Status::Fail), (true, Status::Info)] {
            let mut hands = Hands::new(put(None, Some((0, 1))));
            if is_lost {
                hands.tell(lost(1));
                hands.until_sent();
            }
            let attempt = hands.client.attempt_next - 1;
            hands.reply(attempt, REFUSED);
            while let Some(attempt) = hands.sent_or_over() {
                hands.reply(attempt, REFUSED);
                hands.now += 1_000 * MS;
            }
            assert_eq!(hands.end().0, status, "lost: {is_lost}");
        }
    }

    #[test]
    fn a_late_refusal_of_the_open_attempt_makes_the_failure_definite() {
        let mut hands = Hands::new(put(Some(Condition::Absent), Some((0, 1))));
        hands.now += ATTEMPT_MAX;
        hands.tell(ClientEvent::Wake);
        let second = hands.until_sent();
        hands.reply(1, REFUSED);
        hands.reply(second, Reply::ConditionFailed(None));
        assert_eq!(hands.end(), (Status::Fail, Told::Condition));
    }

    #[test]
    fn a_late_success_of_an_earlier_attempt_is_the_operations() {
        let mut hands = Hands::new(put(None, Some((0, 1))));
        hands.tell(lost(1));
        hands.until_sent();
        hands.reply(1, Reply::Stored(Lsn(7)));
        assert_eq!(hands.end(), (Status::Ok, Told::Stored));
        hands.reply(2, REFUSED);
        assert_eq!(hands.history.counts(), Counts { ok: 1, ..Counts::default() });
    }

    #[test]
    fn what_changed_nothing_settles_nothing_while_another_attempt_is_open() {
        let cases = [
            (put(Some(Condition::Absent), Some((0, 1))), Reply::ConditionFailed(Some(Lsn(3)))),
            (Ask::Delete { request: Some((0, 1)) }, Reply::Missing),
        ];
        for (ask, reply) in cases {
            let mut hands = Hands::new(ask.clone());
            hands.tell(lost(1));
            let second = hands.until_sent();
            hands.reply(second, reply.clone());
            assert_eq!(hands.end().0, Status::Info, "{reply:?}");
            let mut hands = Hands::new(ask);
            hands.reply(1, reply.clone());
            assert_ne!(hands.end().0, Status::Info, "{reply:?}");
        }
    }

    #[test]
    fn a_write_without_a_request_id_is_not_sent_again_once_its_outcome_is_open() {
        let mut hands = Hands::new(put(None, None));
        hands.reply(1, REFUSED);
        let second = hands.until_sent();
        hands.reply(second, Reply::Unknown);
        assert_eq!(hands.end(), (Status::Info, Told::Unknown));
    }

    #[test]
    fn a_read_is_sent_again_after_silence_and_never_unknown() {
        let mut hands = Hands::new(Ask::Get);
        hands.now += ATTEMPT_MAX - 1;
        hands.tell(ClientEvent::Wake);
        assert_eq!(hands.client.running.as_ref().unwrap().waits, Waits::Reply(1, ATTEMPT_MAX));
        hands.now += 1;
        hands.tell(ClientEvent::Wake);
        hands.until_sent();
        hands.now = LAST_OPERATION_MAX;
        hands.tell(ClientEvent::Wake);
        assert_eq!(hands.end(), (Status::Fail, Told::Refused));
    }

    #[test]
    fn slots_are_the_first_bits_of_a_token_where_their_count_is_a_power_of_two() {
        for key in 0..100_u32 {
            let key = key.to_string();
            assert_eq!(
                slot_of(key.as_bytes(), hashring::SLOT_COUNT),
                SlotId::of_key(key.as_bytes())
            );
            assert!(slot_of(key.as_bytes(), 7).index() < 7);
        }
    }
}
