//! Messages of every kind, made up from a seed.

use std::sync::Arc;

use cluster::gossip::{self, Kind, Life, Load, Report, Rumor, Status};
use cluster::lines::GossipLine;
use cluster::{
    Beacon, Change, Delta, Epoch, FromEcs, Incarnation, Lsn, Message, Number, Record, Request,
    ServerId, ServerInfo, Session, Slot, SlotId, SlotLoad, SlotMessage, Standing, State, Time,
    ToEcs, Version,
};
use fastrand::Rng;
use hashring::Ring;

/// Makes up messages.
pub(crate) struct Maker(pub(crate) Rng);

impl Maker {
    /// Returns small and large numbers alike.
    fn number(&mut self) -> u64 {
        self.0.u64(..) >> self.0.u32(0..64)
    }

    fn is(&mut self) -> bool {
        self.0.bool()
    }

    fn version(&mut self) -> Version {
        Version(self.number())
    }

    fn server(&mut self) -> ServerId {
        ServerId(self.0.u128(..) >> self.0.u32(0..128))
    }

    fn servers(&mut self) -> Vec<ServerId> {
        (0..self.0.usize(..4)).map(|_| self.server()).collect()
    }

    fn slot(&mut self) -> SlotId {
        SlotId::new(self.0.u16(..4096)).unwrap()
    }

    fn epoch(&mut self) -> Epoch {
        Epoch(self.0.u32(..=Lsn::EPOCH_MAX))
    }

    fn lsn(&mut self) -> Lsn {
        Lsn(self.number())
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(self.number())
    }

    /// Returns bytes, many of them such as must be escaped.
    fn bytes(&mut self, len_min: usize, len_max: usize) -> Arc<[u8]> {
        let len = self.0.usize(len_min..=len_max);
        let special = *b" \\\n\r\0-:,xs";
        let byte = |rng: &mut Rng| match rng.bool() {
            true => special[rng.usize(..special.len())],
            false => rng.u8(..),
        };
        (0..len).map(|_| byte(&mut self.0)).collect()
    }

    fn record(&mut self) -> Record {
        let (client, number, outcome) = (self.number(), self.number(), self.0.u8(..));
        let request = Request { client, number, outcome };
        let mut record = Record {
            lsn: self.lsn(),
            key: self.bytes(1, 40),
            value: None,
            expires_at_ms: None,
            request: self.is().then_some(request),
        };
        match self.0.u8(..4) {
            0 => {
                record.key = Arc::from([]);
                record.request = Some(request);
                return record;
            }
            1 => {}
            _ => record.value = Some(self.bytes(0, 200)),
        }
        record.expires_at_ms = self.is().then(|| self.number());
        record
    }

    fn records(&mut self) -> Vec<Record> {
        (0..self.0.usize(..5)).map(|_| self.record()).collect()
    }

    fn body(&mut self) -> SlotMessage {
        let commit = self.lsn();
        match self.0.u8(..9) {
            0 => SlotMessage::Open { commit, is_learner: self.is(), above: self.lsn() },
            1 => {
                SlotMessage::Prepare { commit: self.is().then_some(commit), record: self.record() }
            }
            2 => SlotMessage::Chunk { records: self.records(), upto: commit },
            3 => SlotMessage::Fresh,
            4 => SlotMessage::Commit {
                commit,
                floor: self.lsn(),
                request_floor: self.lsn(),
                has_reads: self.is(),
            },
            5 => SlotMessage::StopReads,
            6 => SlotMessage::State(State {
                commit,
                held: self.lsn(),
                is_empty: self.is(),
                records: self.records(),
                is_last: self.is(),
            }),
            7 => SlotMessage::ReadsStopped,
            _ => SlotMessage::Refused { known: self.epoch() },
        }
    }

    fn beacon(&mut self) -> Beacon {
        Beacon {
            sent_at: Time(self.number()),
            echo: self.is().then(|| (self.incarnation(), Time(self.number()))),
            is_grant: self.is(),
            is_read_grant: self.is(),
            version: self.version(),
            leases: self.servers().into_iter().map(|id| (id, self.version())).collect(),
            is_full: self.is(),
        }
    }

    fn members(&mut self) -> Slot {
        Slot {
            epoch: self.epoch(),
            term: self.epoch(),
            changed: self.version(),
            primary: self.is().then(|| (self.server(), self.incarnation())),
            backups: self.servers(),
            learner: self.is().then(|| (self.server(), self.incarnation())),
            former: self.servers(),
        }
    }

    fn info(&mut self) -> ServerInfo {
        let standings = [Standing::Standby, Standing::Serving, Standing::Leaving, Standing::Away];
        ServerInfo {
            address: String::from_utf8_lossy(&self.bytes(1, 20)).into_owned(),
            incarnation: self.incarnation(),
            life: self.number(),
            standing: standings[self.0.usize(..4)],
            changed: self.version(),
        }
    }

    fn delta(&mut self) -> Delta {
        let mut servers = self.servers();
        servers.sort_unstable();
        servers.dedup();
        let tokens = [(self.slot(), self.server())];
        Delta {
            from: self.version(),
            to: self.version(),
            servers: servers.into_iter().map(|id| (id, self.info())).collect(),
            ring: self.is().then(|| (self.version(), Ring::from_tokens(4096, tokens).unwrap())),
            slots: (0..self.0.usize(..4)).map(|_| (self.slot(), self.members())).collect(),
        }
    }

    /// Returns a message between servers.
    pub(crate) fn message(&mut self) -> Message {
        match self.0.u8(..16) {
            0 => {
                let session = Session { incarnation: self.incarnation(), number: self.number() };
                Message::Hello { session, version: self.version() }
            }
            1 => Message::Beacon(self.beacon()),
            2 => Message::Pull { version: self.version() },
            3 => Message::Push(self.delta()),
            4 => Message::Ack { upto: self.number() },
            _ => Message::Slot { slot: self.slot(), epoch: self.epoch(), body: self.body() },
        }
    }

    fn change(&mut self) -> Change {
        let (slot, epoch) = (self.slot(), self.epoch());
        match self.0.u8(..7) {
            0 => Change::Depose { slot, epoch },
            1 => Change::Remove { slot, epoch, member: self.server() },
            2 => Change::Promote { slot, epoch, learner: (self.server(), self.incarnation()) },
            3 => Change::HandOver { slot, epoch, to: self.server() },
            4 => Change::Fail,
            5 => Change::Resign { slot, epoch },
            _ => Change::Leave,
        }
    }

    /// Returns a message to the coordinator.
    pub(crate) fn said_to_ecs(&mut self) -> ToEcs {
        let (server, version) = (self.server(), self.version());
        if self.is() {
            return ToEcs::Register {
                server,
                address: String::from_utf8_lossy(&self.bytes(1, 20)).into_owned(),
                life: self.number(),
                is_complete: self.is(),
                is_standby: self.is(),
                version,
            };
        }
        if self.0.u8(..4) == 0 {
            let doubted = (0..self.0.usize(..4)).map(|_| self.server()).collect();
            return ToEcs::Doubts { server, incarnation: self.incarnation(), doubted };
        }
        ToEcs::Request {
            server,
            incarnation: self.incarnation(),
            number: Number(self.number()),
            version,
            is_full: self.is(),
            changes: (0..self.0.usize(..4)).map(|_| self.change()).collect(),
            loads: (0..self.0.usize(..4)).map(|_| (self.slot(), self.load())).collect(),
        }
    }

    fn load(&mut self) -> SlotLoad {
        SlotLoad { stored_len: self.number(), op_rate: self.number() }
    }

    /// Returns a message from the coordinator.
    pub(crate) fn said_by_ecs(&mut self) -> FromEcs {
        match self.0.u8(..4) {
            0 => {
                let (life, incarnation) = (self.number(), self.incarnation());
                FromEcs::Registered { life, incarnation, delta: self.delta() }
            }
            1 => FromEcs::Answer { number: Number(self.number()), delta: self.delta() },
            2 => FromEcs::Push(self.delta()),
            _ => FromEcs::Superseded,
        }
    }

    fn life(&mut self) -> Life {
        let refutation = self.0.u32(..=Life::REFUTATION_MAX) >> self.0.u32(0..30);
        Life { incarnation: self.incarnation(), refutation }
    }

    fn rumor(&mut self) -> Rumor {
        let status = match self.0.u8(..4) {
            0 => {
                let address = String::from_utf8_lossy(&self.bytes(1, 20)).into_owned();
                Status::Alive { version: self.version(), address: address.into() }
            }
            1 => {
                let others = self.servers();
                Status::Suspect { by: others.into_iter().chain([self.server()]).collect() }
            }
            2 => Status::Dead,
            _ => Status::Left,
        };
        Rumor { server: self.server(), life: self.life(), status }
    }

    fn report(&mut self) -> Report {
        let (key_count, stored_len) = (self.number(), self.number());
        Report {
            server: self.server(),
            incarnation: self.incarnation(),
            beat: self.number(),
            version: self.version(),
            load: Load { key_count, stored_len, op_rate: self.number() },
        }
    }

    /// Returns what a connection of gossip carries.
    pub(crate) fn gossip(&mut self) -> GossipLine {
        let number = self.number();
        let kind = match self.0.u8(..8) {
            0 => return GossipLine::Pull { version: self.version() },
            1 => return GossipLine::Push(self.delta()),
            2 => Kind::Pong { number },
            3 => Kind::Ask { number, target: self.server() },
            4 => Kind::Silent { number },
            5 => Kind::News,
            _ => Kind::Ping { number },
        };
        let rumors = (0..self.0.usize(..4)).map(|_| self.rumor()).collect();
        let reports = (0..self.0.usize(..4)).map(|_| self.report()).collect();
        let (life, version) = (self.life(), self.version());
        GossipLine::Message(gossip::Message { kind, life, version, rumors, reports })
    }

    /// Returns bytes that may be a secret.
    pub(crate) fn secret(&mut self) -> Arc<[u8]> {
        self.bytes(1, 256)
    }
}
