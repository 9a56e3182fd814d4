//! A server that is played: it keeps a map, and as a primary asks for what a real one asks for when all is ready.

use cluster::coordinator::{Status, WholeMap};
use cluster::lines::{
    Opening, Secret, Welcome, read_from_ecs, read_welcome, write_opening, write_to_ecs,
};
use cluster::{Change, Delta, FromEcs, Incarnation, Map, Number, ServerId, ToEcs};

use crate::common::{Ecs, Line};

/// Settings of an ECS that changes nothing because of the time that a test takes.
pub(crate) const PATIENT: [&str; 4] = ["--grace-ms", "600000", "--rejoin-grace-ms", "600000"];

/// Starts an ECS of few slots that does not mind how long a test takes.
pub(crate) fn start(dir: &std::path::Path) -> Ecs {
    Ecs::start(dir, &[&["--slots", "16"], &PATIENT[..]].concat())
}

#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) id: ServerId,
    pub(crate) life: u64,
    pub(crate) is_standby: bool,
    pub(crate) address: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) map: Map,
    number: Number,
    line: Line,
}

impl Played {
    /// Connects to the ECS and is welcomed.
    pub(crate) fn welcomed(ecs: &Ecs, name: u128) -> Self {
        let (line, welcome) = open(ecs, name, None);
        Self {
            id: ServerId(name),
            life: 1,
            is_standby: false,
            address: address(ServerId(name)),
            incarnation: Incarnation(0),
            map: Map::new(welcome.slot_count, welcome.replica_count),
            number: Number(0),
            line,
        }
    }

    /// Connects and registers.
    pub(crate) fn start(ecs: &Ecs, name: u128) -> Self {
        let mut played = Self::welcomed(ecs, name);
        played.register();
        played
    }

    /// Connects again, to an ECS that may be another process.
    pub(crate) fn reconnect(&mut self, ecs: &Ecs) {
        self.line = open(ecs, self.id.0, None).0;
    }

    /// Says a message.
    pub(crate) fn say(&mut self, message: &ToEcs) {
        let mut line = Vec::new();
        write_to_ecs(&mut line, message);
        self.line.write(&line);
    }

    /// Returns what it says when it registers.
    pub(crate) fn registration(&self) -> ToEcs {
        ToEcs::Register {
            server: self.id,
            address: self.address.clone(),
            life: self.life,
            is_complete: true,
            is_standby: self.is_standby,
            version: self.map.version(),
        }
    }

    /// Registers and takes the map.
    pub(crate) fn register(&mut self) {
        self.say(&self.registration());
        loop {
            if let FromEcs::Registered { life, incarnation, .. } = self.hear() {
                assert_eq!(life, self.life);
                self.incarnation = incarnation;
                return;
            }
        }
    }

    /// Waits for the next message and takes what it tells of the map.
    pub(crate) fn hear(&mut self) -> FromEcs {
        let line = self.line.line();
        let message = read_from_ecs(line.as_bytes()).unwrap_or_else(|e| panic!("{e}: {line}"));
        match &message {
            FromEcs::Registered { delta, .. }
            | FromEcs::Answer { delta, .. }
            | FromEcs::Push(delta) => self.take(delta),
            FromEcs::Superseded => {}
        }
        message
    }

    /// Reads what is left when the connection is over.
    pub(crate) fn rest(&mut self) -> String {
        self.line.rest()
    }

    fn take(&mut self, delta: &Delta) {
        self.map.apply(delta).unwrap();
    }

    /// Asks for changes and waits for the answer.
    pub(crate) fn ask(
        &mut self,
        changes: Vec<Change>,
        loads: Vec<(cluster::SlotId, cluster::SlotLoad)>,
    ) {
        self.number = self.number.next();
        let (server, incarnation, number) = (self.id, self.incarnation, self.number);
        let (version, is_full) = (self.map.version(), false);
        self.say(&ToEcs::Request { server, incarnation, number, version, is_full, changes, loads });
        loop {
            if matches!(self.hear(), FromEcs::Answer { number, .. } if number == self.number) {
                return;
            }
        }
    }

    /// Returns what it would ask for as a primary to whom everything goes at once.
    pub(crate) fn wishes(&self) -> Vec<Change> {
        let own = self.map.slots().filter(|(_, at)| at.primary_id() == Some(self.id));
        let wishes = own.filter_map(|(slot, at)| {
            let (epoch, ideal) = (at.epoch, self.map.ideal(slot));
            if let Some(learner) = at.learner {
                return Some(Change::Promote { slot, epoch, learner });
            }
            let to = ideal.first().copied().filter(|to| *to != self.id && at.is_member(*to));
            if let Some(to) = to {
                return Some(Change::HandOver { slot, epoch, to });
            }
            let is_needed = |member: &ServerId| ideal.contains(member);
            let has_all = ideal.iter().all(|member| at.is_member(*member));
            let surplus = at.backups.iter().copied().find(|member| !is_needed(member));
            let member = surplus.filter(|_| has_all)?;
            Some(Change::Remove { slot, epoch, member })
        });
        wishes.collect()
    }
}

/// Returns where a played server says that it listens.
pub(crate) fn address(id: ServerId) -> String {
    format!("127.0.0.1:{}", 7000 + id.0)
}

/// Opens a server's connection.
pub(crate) fn open(ecs: &Ecs, name: u128, secret: Option<&str>) -> (Line, Welcome) {
    let mut line = ecs.connect();
    let secret = secret.map(|secret| Secret::new(secret.as_bytes()).unwrap());
    let mut opening = Vec::new();
    write_opening(&mut opening, &Opening::Server { from: ServerId(name), secret });
    line.write(&opening);
    let answer = line.line();
    let welcome = read_welcome(answer.as_bytes()).unwrap_or_else(|e| panic!("{e}: {answer}"));
    (line, welcome)
}

/// Lets the servers ask for what they wish until every slot is as it shall be; a server that leaves asks nothing.
pub(crate) fn settle(ecs: &Ecs, servers: &mut [Played]) {
    let until = std::time::Instant::now() + crate::common::PATIENCE;
    loop {
        for server in servers.iter_mut() {
            server.ask(Vec::new(), Vec::new());
            let wishes = server.wishes();
            server.ask(wishes, Vec::new());
        }
        let status = status(ecs);
        if status.slots.complete == usize::from(status.slot_count) {
            return;
        }
        assert!(std::time::Instant::now() < until, "it does not settle: {status:?}");
    }
}

/// Asks for the status.
pub(crate) fn status(ecs: &Ecs) -> Status {
    json(&ecs.ask("status"), "status_success ")
}

/// Asks for the whole map.
pub(crate) fn whole_map(ecs: &Ecs) -> WholeMap {
    json(&ecs.ask("map"), "map_success ")
}

/// Reads a reply that is JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(reply: &str, verb: &str) -> T {
    let text = reply.strip_prefix(verb).unwrap_or_else(|| panic!("{reply}"));
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {reply}"))
}
