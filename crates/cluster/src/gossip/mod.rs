//! Gossip: who lives, whose map is newer, and how much each server has to do, told from server to server.
//!
//! **A hint, never an authority.** Who serves what is decided by leases and by the coordinator. Gossip carries the news of a
//! decision to all, helps to judge an accusation, and tells any one server the loads of all.
//!
//! ```text
//!            Tick, Received, Map, Load, Unreachable, Leave
//!                              │
//!   probe    one member a period: ping; no pong: three helpers ask it; still none: it is a suspect
//!   rumors   alive ◀──refutes── suspect ──too long──▶ dead        forgotten when the map says that it has gone
//!   maps     a newer version at a peer: pull; a newer one here: tell three at once, and all who are met
//!   reports  loads, each told a few times by everybody
//!                              │
//!                              ▼
//!            Send, Pull, Changed, Doubts
//! ```
//!
//! ```
//! use std::time::Duration;
//! use cluster::gossip::{Action, Event, Gossip, Identity, Settings};
//! use cluster::{Incarnation, Map, ServerId, Time};
//!
//! let me = Identity { server: ServerId(1), incarnation: Incarnation(1), address: "10.0.0.1:5153".into() };
//! let mut gossip = Gossip::new(Settings::default(), me, 42);
//! let (mut now, mut actions) = (Time(0), Vec::new());
//! gossip.step(now, Event::Map(&Map::new(4096, 3)), &mut actions);
//! now = now + Duration::from_millis(50);
//! gossip.step(now, Event::Tick, &mut actions);
//! for action in actions.drain(..) {
//!     match action {
//!         Action::Send { to, address, message } => { /* a line on the connection to `to`; may be dropped */ }
//!         Action::Pull { from, address } => { /* `pull <version>` there; feed the delta to the server's machine */ }
//!         Action::Doubts(servers) => { /* to the server's machine, which tells the coordinator */ }
//!         Action::Changed { server, before, after } => { /* a line in the log */ }
//!     }
//! }
//! assert_eq!(gossip.health(), 0);
//! ```
//!
//! Members come from the map and, while ours is older, from rumours. Membership is SWIM's (Das, Gupta and Motivala, DSN 2002), with what
//! Lifeguard adds against slow machines (Dadgar, Phillips and Currey, DSN-W 2018): a *health* that makes an ill server wait longer
//! for others, suspicions that end the sooner the more confirm them independently, and a suspect that is told so first
//! of all. Three things are added. A server whose own clock tells that it stood still puts all its deadlines off by as long,
//! because the answers it missed are waiting to be read. And who hears of a suspicion may probe the suspect out of turn,
//! four of all on the average: so accusations are confirmed or refuted within two periods. And whoever
//! would take a suspect for dead pings it a last time itself.
//!
//! Times and limits are in [`Settings`]; figures at scale in `docs/SCALE.md`. Left out: SWIM's protocol period after which all send state
//! in full (the map does that); encryption (the connections' matter).

mod doubts;
mod event;
mod mail;
mod maps;
mod members;
mod message;
mod probe;
mod queue;
mod random;
mod rumors;
mod settings;
mod views;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use event::{Action, Event, Seen};
pub use message::{Kind, Life, Load, Message, Report, Rumor, Status};
pub use settings::{
    ACCUSER_COUNT_MAX, CONFIRMATION_COUNT_MAX, DOUBT_COUNT_MAX, HEALTH_MAX, MEMBER_COUNT_MAX,
    MESSAGE_LEN_MAX, RELAY_COUNT_MAX, REPORT_COUNT_MAX, RUMOR_COUNT_MAX, Settings,
    URGENT_COUNT_MAX,
};
pub use views::View;

use crate::types::{Incarnation, ServerId, Time, Version};
use maps::News;
use members::Members;
use probe::Probing;
use queue::Queue;
use random::Random;

/// Who a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The server.
    pub server: ServerId,
    /// Its life, as the coordinator numbered it.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub address: Arc<str>,
}

/// The gossip machine of one server.
#[derive(Clone, Debug)]
pub struct Gossip {
    settings: Settings,
    me: ServerId,
    address: Arc<str>,
    life: Life,
    is_leaving: bool,
    random: Random,
    members: Members,
    rumors: Queue,
    reports: Queue,
    probing: Probing,
    news: News,
    /// The version of the map in force here; none before the first.
    version: Option<Version>,
    /// Zero is well; see [`HEALTH_MAX`].
    health: u32,
    /// Whom everybody doubts, as the coordinator was told.
    doubts: BTreeSet<ServerId>,
    load: Load,
    beat: u64,
    report_at: Time,
    revive_at: Time,
    revived: ServerId,
    has_begun: bool,
}

impl Gossip {
    /// Returns the machine of a server that knows nobody yet. All its choices follow from the seed.
    #[must_use]
    pub fn new(settings: Settings, me: Identity, seed: u64) -> Self {
        Self {
            settings,
            me: me.server,
            address: me.address,
            life: Life::new(me.incarnation),
            is_leaving: false,
            random: Random::new(seed),
            members: Members::default(),
            rumors: Queue::default(),
            reports: Queue::default(),
            probing: Probing::default(),
            news: News::default(),
            version: None,
            health: 0,
            doubts: BTreeSet::new(),
            load: Load::default(),
            beat: 0,
            report_at: Time(0),
            revive_at: Time(0),
            revived: ServerId(0),
            has_begun: false,
        }
    }

    /// Takes one event at the time `now`, which never goes back, and appends what is to be done.
    pub fn step(&mut self, now: Time, event: Event<'_>, actions: &mut Vec<Action>) {
        if self.has_begun {
            self.notice_lateness(now);
        } else {
            self.begin(now);
        }
        match event {
            Event::Tick => self.tick(now, actions),
            Event::Received { from, message } => self.receive(now, from, &message, actions),
            Event::Map(map) => self.take_map(now, map, actions),
            Event::Load(load) => self.load = load,
            Event::Unreachable(server) => self.unreachable(now, server, actions),
            Event::Leave => self.leave(actions),
        }
        self.tell_doubts(actions);
    }

    /// Returns when the next tick is due.
    #[must_use]
    pub fn wake_at(&self) -> Time {
        let suspicions = self.members.suspects().iter().filter_map(|id| self.members.get(*id));
        let ends = suspicions.filter_map(|m| m.suspicion.as_ref().map(|s| s.ends_at));
        let fixed = [self.report_at, self.revive_at];
        let due = self.probing.due().chain(self.news.due()).chain(ends);
        due.chain(fixed).min().unwrap_or_default()
    }

    fn begin(&mut self, now: Time) {
        self.has_begun = true;
        // Servers that start together do not probe together.
        let part = |of: std::time::Duration, random: &mut Random| {
            of * u32::try_from(random.below(1000)).unwrap_or(0) / 1000
        };
        self.probing.next_at = now + part(self.settings.period, &mut self.random);
        self.report_at = now + part(self.settings.report_every, &mut self.random);
        self.revive_at = now + self.settings.revive_every;
        self.rumors.add(self.me);
    }

    fn tick(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.end_suspicions(now, actions);
        self.probe(now, actions);
        self.relay(now, actions);
        self.follow_maps(now, actions);
        if now >= self.report_at {
            self.beat += 1;
            self.reports.add(self.me);
            self.report_at = now + self.settings.report_interval(self.count());
        }
        if now >= self.revive_at {
            self.revive_at = now + self.settings.revive_every;
            self.revive(actions);
        }
    }

    /// Puts off every deadline if this process stood still: what was to come in the meantime waits to be read.
    fn notice_lateness(&mut self, now: Time) {
        let due_at = self.wake_at();
        let late = now.since(due_at);
        if late <= self.settings.late_max || mutant!("own lateness held against others") {
            return;
        }
        // And time to read it.
        let late = late + self.settings.probe_timeout;
        self.probing.put_off(late);
        self.news.put_off(late);
        for id in self.members.suspects().clone() {
            let member = self.members.get_mut(id);
            if let Some(suspicion) = member.and_then(|member| member.suspicion.as_mut()) {
                suspicion.since = suspicion.since + late;
                suspicion.ends_at = suspicion.ends_at + late;
            }
        }
        self.report_at = self.report_at + late;
        self.revive_at = self.revive_at + late;
        self.worse(1);
    }

    fn worse(&mut self, by: u32) {
        self.health = (self.health + by).min(HEALTH_MAX);
    }

    fn better(&mut self) {
        self.health = self.health.saturating_sub(1);
    }

    /// Returns how many servers there are, this one and suspects included.
    fn count(&self) -> usize {
        self.members.live_count() + 1
    }

    /// Returns the version of the map in force here.
    fn version(&self) -> Version {
        self.version.unwrap_or_default()
    }
}
