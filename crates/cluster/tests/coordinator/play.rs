//! A coordinator, its log, and servers that hold maps and speak, in one thread. What it sends waits in the connection until
//! it is delivered; every step is checked by [`Play::check_entry`] and on delivery against the map of that version.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cluster::coordinator::{
    Action, Answer, Command, ConnectionId, Coordinator, Entry, Event, Settings, Ticket,
};
use cluster::{
    Change, Delta, Epoch, FromEcs, Incarnation, Map, Number, ServerId, SlotId, SlotLoad, Time,
    ToEcs, Version,
};

/// A server that holds a map and says what it is made to say.
#[derive(Clone, Debug)]
pub struct Actor {
    pub life: u64,
    pub incarnation: Incarnation,
    pub number: Number,
    pub is_complete: bool,
    pub is_standby: bool,
    pub connection: Option<ConnectionId>,
    pub map: Map,
    pub is_superseded: bool,
    /// The number of the newest answer.
    pub answered: Number,
}

pub struct Play {
    pub machine: Coordinator,
    pub settings: Settings,
    pub now: Time,
    pub log: Vec<Entry>,
    /// The map at each version.
    pub maps: Vec<Map>,
    pub actors: BTreeMap<ServerId, Actor>,
    pub answers: Vec<Answer>,
    pub notes: Vec<String>,
    /// Servers whose disks take no more puts.
    pub full: Vec<ServerId>,
    pub closed: Vec<ConnectionId>,
    /// How many messages each step of the coordinator sent.
    pub sent_count: usize,
    inboxes: BTreeMap<ConnectionId, (ServerId, VecDeque<FromEcs>)>,
    next_connection: u64,
    next_life: u64,
    /// Named when a check fails in a random history.
    pub seed: Option<u64>,
}

impl Drop for Play {
    fn drop(&mut self) {
        if let (true, Some(seed)) = (std::thread::panicking(), self.seed) {
            println!(
                "replay: RINGCASK_SEED={seed} cargo test -p cluster --test coordinator random"
            );
        }
    }
}

/// Settings of a small cluster.
pub fn small() -> Settings {
    Settings { slot_count: 16, token_count: 2, learner_count_max: 4, ..Settings::default() }
}

pub fn id(name: u128) -> ServerId {
    ServerId(name)
}

pub fn slot(index: u16) -> SlotId {
    SlotId::new(index).unwrap()
}

pub fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn delta_of(message: &FromEcs) -> Option<&Delta> {
    match message {
        FromEcs::Registered { delta, .. }
        | FromEcs::Answer { delta, .. }
        | FromEcs::Push(delta) => Some(delta),
        FromEcs::Superseded => None,
    }
}

impl Play {
    pub fn new(settings: Settings) -> Self {
        let machine = Coordinator::new(settings.clone());
        Self {
            maps: vec![machine.map().clone()],
            machine,
            settings,
            now: Time(1),
            log: Vec::new(),
            actors: BTreeMap::new(),
            answers: Vec::new(),
            notes: Vec::new(),
            full: Vec::new(),
            closed: Vec::new(),
            sent_count: 0,
            inboxes: BTreeMap::new(),
            next_connection: 0,
            next_life: 0,
            seed: None,
        }
    }

    /// Begins from a snapshot of version 1, in which these servers are registered.
    pub fn from_snapshot(settings: Settings, snapshot: &str, names: &[u128]) -> Self {
        let mut play = Self::new(settings.clone());
        let entries = std::iter::empty();
        play.machine = Coordinator::restore(settings, Some(snapshot), entries).unwrap();
        play.maps.push(play.machine.map().clone());
        for name in names {
            let known = &play.machine.map().servers()[&id(*name)];
            let (life, incarnation) = (known.life, known.incarnation);
            let actor = Actor { incarnation, ..play.actor_of(id(*name), life, true, false) };
            play.actors.insert(id(*name), actor);
            play.register(id(*name));
        }
        play.deliver_all();
        play.next_life = 100;
        play
    }

    /// Starts servers that are complete and not standby, delivers, and lets them work until all is done.
    pub fn with_servers(names: &[u128]) -> Self {
        Self::with_settings(small(), names)
    }

    /// The same, with these settings.
    pub fn with_settings(settings: Settings, names: &[u128]) -> Self {
        let mut play = Self::new(settings);
        for name in names {
            play.start(id(*name));
        }
        play.settle();
        play
    }

    pub fn map(&self) -> &Map {
        self.machine.map()
    }

    pub fn actor(&self, server: ServerId) -> &Actor {
        &self.actors[&server]
    }

    /// One step of the machine; its actions are checked and queued.
    pub fn step(&mut self, event: Event) {
        let is_forced = matches!(event, Event::Command(_, Command::ForceComplete(_)));
        let mut actions = Vec::new();
        self.sent_count = 0;
        self.machine.step(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Log(entry) => self.check_entry(entry, is_forced),
                Action::Send(connection, message) => self.check_send(connection, message),
                Action::Close(connection) => self.close(connection),
                Action::Answer(_, answer) => self.answers.push(answer),
                Action::Note(note) => self.notes.push(note),
            }
        }
        assert_eq!(self.maps.last(), Some(self.machine.map()), "all that is in force is logged");
    }

    fn check_entry(&mut self, entry: Entry, is_forced: bool) {
        let before = self.maps.last().unwrap().clone();
        assert_eq!(entry.delta.from, before.version());
        assert_eq!(entry.delta.to, before.version().next(), "one version for each decision");
        assert_eq!(Entry::from_line(&entry.to_line()).unwrap(), entry);
        assert!(!entry.to_line().contains('\n') && !entry.why.is_empty());
        let mut after = before.clone();
        after.apply(&entry.delta).unwrap();
        for (id, now) in after.slots() {
            check_slot(&before, &after, id, is_forced);
            assert_eq!(now != before.slot(id), now.changed == entry.delta.to);
        }
        self.maps.push(after);
        self.log.push(entry);
    }

    /// What is sent is durable before, and begins at or before what the receiver was sent already.
    fn check_send(&mut self, connection: ConnectionId, message: FromEcs) {
        self.sent_count += 1;
        if let Some(delta) = delta_of(&message) {
            assert!(delta.to <= self.maps.last().unwrap().version(), "told before it is durable");
        }
        if let Some((_, inbox)) = self.inboxes.get_mut(&connection) {
            inbox.push_back(message);
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        self.closed.push(connection);
        if let Some((server, _)) = self.inboxes.get(&connection) {
            let server = *server;
            self.deliver(connection, usize::MAX);
            self.inboxes.remove(&connection);
            let actor = self.actors.get_mut(&server).unwrap();
            actor.connection = actor.connection.filter(|open| *open != connection);
        }
    }

    /// Delivers up to `count` messages of a connection.
    pub fn deliver(&mut self, connection: ConnectionId, count: usize) {
        for _ in 0..count {
            let Some((server, inbox)) = self.inboxes.get_mut(&connection) else { return };
            let (server, Some(message)) = (*server, inbox.pop_front()) else { return };
            let actor = self.actors.get_mut(&server).unwrap();
            if actor.connection == Some(connection) {
                hear(actor, &self.maps, message);
            }
        }
    }

    pub fn deliver_all(&mut self) {
        let connections: Vec<_> = self.inboxes.keys().copied().collect();
        connections.into_iter().for_each(|connection| self.deliver(connection, usize::MAX));
    }

    /// Begins a new life of a server.
    pub fn start(&mut self, server: ServerId) {
        self.start_as(server, true, false);
    }

    pub fn start_as(&mut self, server: ServerId, is_complete: bool, is_standby: bool) {
        self.cut(server);
        self.next_life += 1;
        let actor = self.actor_of(server, self.next_life, is_complete, is_standby);
        self.actors.insert(server, actor);
        self.register(server);
        self.deliver_all();
    }

    /// Returns a new life of a server, with the map that the life before had.
    fn actor_of(&self, server: ServerId, life: u64, is_complete: bool, is_standby: bool) -> Actor {
        let map = self.actors.get(&server).map(|actor| actor.map.clone());
        let (slot_count, replica_count) = (self.settings.slot_count, self.settings.replica_count);
        Actor {
            life,
            incarnation: Incarnation(0),
            number: Number(0),
            is_complete,
            is_standby,
            connection: None,
            map: map.unwrap_or_else(|| Map::new(slot_count, replica_count)),
            is_superseded: false,
            answered: Number(0),
        }
    }

    /// Has every primary tell how many bytes each of its slots stores.
    pub fn tell_loads(&mut self, bytes: impl Fn(SlotId) -> u64) {
        self.tell(|slot| SlotLoad::of_len(bytes(slot)));
    }

    /// Has every primary tell the load of each of its slots.
    pub fn tell(&mut self, load: impl Fn(SlotId) -> SlotLoad) {
        for server in self.actors.keys().copied().collect::<Vec<_>>() {
            let Some(connection) = self.actor(server).connection else { continue };
            let told = self.request(server, Vec::new());
            let ToEcs::Request { server, incarnation, number, version, changes, .. } = told else {
                continue;
            };
            let is_full = self.full.contains(&server);
            let map = self.map();
            let led = map.slots().filter(|(_, slot)| slot.primary_id() == Some(server));
            let loads = led.map(|(id, _)| (id, load(id))).collect();
            let told =
                ToEcs::Request { server, incarnation, number, version, is_full, changes, loads };
            self.step(Event::Received(connection, told));
            self.deliver_all();
        }
    }

    /// Has a server tell whom everybody doubts.
    pub fn doubt(&mut self, server: ServerId, doubted: &[ServerId]) {
        let actor = self.actor(server);
        let (connection, incarnation) = (actor.connection.unwrap(), actor.incarnation);
        let doubted = doubted.iter().copied().collect();
        self.step(Event::Received(connection, ToEcs::Doubts { server, incarnation, doubted }));
        assert_eq!(self.sent_count, 0, "it wants no answer");
    }

    /// Opens a new connection for a server, which closes the one before without the coordinator's knowing.
    pub fn connect(&mut self, server: ServerId) -> ConnectionId {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let actor = self.actors.get_mut(&server).unwrap();
        if let Some(old) = actor.connection.replace(connection) {
            self.inboxes.remove(&old);
        }
        self.inboxes.insert(connection, (server, VecDeque::new()));
        self.step(Event::Connected(connection));
        connection
    }

    pub fn registration(&self, server: ServerId) -> ToEcs {
        let actor = self.actor(server);
        ToEcs::Register {
            server,
            address: format!("127.0.0.1:{}", server.0),
            life: actor.life,
            is_complete: actor.is_complete,
            is_standby: actor.is_standby,
            version: actor.map.version(),
        }
    }

    pub fn register(&mut self, server: ServerId) {
        let connection = self.connect(server);
        let said = self.registration(server);
        self.step(Event::Received(connection, said));
    }

    /// The server's connection ends, and with it what is in it.
    pub fn cut(&mut self, server: ServerId) {
        let Some(actor) = self.actors.get_mut(&server) else { return };
        if let Some(connection) = actor.connection.take() {
            self.inboxes.remove(&connection);
            self.step(Event::Closed(connection));
        }
    }

    /// Says a request as the server would say it now.
    pub fn request(&mut self, server: ServerId, changes: Vec<Change>) -> ToEcs {
        let actor = self.actors.get_mut(&server).unwrap();
        actor.number = actor.number.next();
        let (incarnation, number) = (actor.incarnation, actor.number);
        let version = actor.map.version();
        let is_full = self.full.contains(&server);
        ToEcs::Request { server, incarnation, number, version, is_full, changes, loads: Vec::new() }
    }

    /// Asks, if the server has a connection, and delivers.
    pub fn ask(&mut self, server: ServerId, changes: Vec<Change>) {
        let Some(connection) = self.actor(server).connection else { return };
        let request = self.request(server, changes);
        self.step(Event::Received(connection, request));
        self.deliver_all();
    }

    pub fn command(&mut self, command: Command) -> Answer {
        self.step(Event::Command(Ticket(7), command));
        self.deliver_all();
        self.answers.pop().unwrap()
    }

    /// Lets time pass in which everybody who is connected gives signs of life.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + ms(100);
            let servers: Vec<_> = self.actors.keys().copied().collect();
            servers.into_iter().for_each(|server| self.ask(server, Vec::new()));
            self.step(Event::Tick);
            self.deliver_all();
        }
    }

    /// Returns what a server asks for as the primary of its slots: it works towards the ideal members.
    pub fn wishes(&self, server: ServerId) -> Vec<Change> {
        let actor = self.actor(server);
        let map = &actor.map;
        let mine = Some((server, actor.incarnation));
        let wish = |(slot, at): (SlotId, &cluster::Slot)| {
            let (epoch, ideal) = (at.epoch, map.ideal(slot));
            if let Some(learner) = at.learner {
                return Some(Change::Promote { slot, epoch, learner });
            }
            if !ideal.iter().all(|member| at.is_member(*member)) {
                return None;
            }
            if ideal[0] != server {
                return Some(Change::HandOver { slot, epoch, to: ideal[0] });
            }
            let surplus = at.members().find(|member| !ideal.contains(member));
            surplus.map(|member| Change::Remove { slot, epoch, member })
        };
        map.slots().filter(|(_, at)| at.primary == mine).filter_map(wish).collect()
    }

    /// Lets all primaries work until nobody wishes anything.
    pub fn settle(&mut self) {
        for _ in 0..2000 {
            let version = self.map().version();
            for server in self.actors.keys().copied().collect::<Vec<_>>() {
                let wishes = self.wishes(server);
                if !wishes.is_empty() {
                    self.ask(server, wishes);
                }
            }
            self.wait(ms(100));
            if self.map().version() == version {
                return;
            }
        }
        panic!("no end of changes: {:?}", self.machine.moves());
    }

    /// The ECS ends and starts again from what it has on disk.
    pub fn restart_ecs(&mut self, cut: Version) {
        let kept = self.restored(cut);
        assert_eq!(kept.map(), self.machine.map());
        self.machine = kept;
        self.inboxes.clear();
        self.actors.values_mut().for_each(|actor| actor.connection = None);
    }

    /// Returns what a snapshot at `cut` and the entries after it lead to.
    pub fn restored(&self, cut: Version) -> Coordinator {
        let settings = || self.settings.clone();
        let cut = usize::try_from(cut.0).unwrap();
        let (old, new) = self.log.split_at(cut);
        let before = Coordinator::restore(settings(), None, old.iter().cloned()).unwrap();
        assert_eq!(before.map(), &self.maps[cut]);
        let snapshot = before.snapshot();
        Coordinator::restore(settings(), Some(&snapshot), new.iter().cloned()).unwrap()
    }
}

/// A server takes what it is sent; it never finds a gap, and what it has is what the coordinator had.
fn hear(actor: &mut Actor, maps: &[Map], message: FromEcs) {
    if let Some(delta) = delta_of(&message) {
        actor.map.apply(delta).expect("no gap");
        assert_eq!(actor.map, maps[usize::try_from(actor.map.version().0).unwrap()]);
    }
    match message {
        FromEcs::Registered { life, incarnation, .. } => {
            if life == actor.life {
                actor.incarnation = incarnation;
            }
        }
        FromEcs::Answer { number, .. } => actor.answered = number,
        FromEcs::Push(_) => {}
        FromEcs::Superseded => actor.is_superseded = true,
    }
}

/// The rules of a slot, from one version to the next.
fn check_slot(before: &Map, after: &Map, id: SlotId, is_forced: bool) {
    let (old, new) = (before.slot(id), after.slot(id));
    if old == new {
        return;
    }
    assert!(new.epoch == old.epoch.next() && new.term <= new.epoch && new.term >= old.term);
    let mut holders: Vec<_> = new.holders().collect();
    let count = holders.len();
    holders.sort();
    holders.dedup();
    assert_eq!(holders.len(), count, "one place for each server: {new:?}");
    for holder in holders {
        assert!(after.servers().contains_key(&holder));
    }
    if new.primary != old.primary && new.primary.is_some() {
        assert_eq!(new.term, new.epoch, "R19");
    }
    if new.primary == old.primary {
        assert_eq!(new.term, old.term);
    }
    for backup in &new.backups {
        let was_learner = old.learner_id() == Some(*backup);
        assert!(old.is_member(*backup) || was_learner, "backups were members or learners");
    }
    if let Some(primary) = new.primary_id() {
        let is_allowed = old.is_member(primary) || old.epoch == Epoch(0) || is_forced;
        assert!(is_allowed, "R17: {old:?} -> {new:?}");
        assert_eq!(new.primary.unwrap().1, after.servers()[&primary].incarnation);
    } else {
        assert!(new.backups.is_empty() && new.learner.is_none() && !new.former.is_empty());
    }
}
