//! The coordinator's host: its durable log, its connections, its crashes.
//!
//! The log is written synchronously: what follows an entry among the actions is carried out only with the entry durable.
//! A crash in the middle of a step keeps the entry it was writing, or not.

use cluster::coordinator::{
    Action, Answer, Command, ConnectionId, Coordinator, Entry, Event, Settings, Ticket,
};
use cluster::{Map, SlotLoad, Time, ToEcs};
use fastrand::Rng;

use crate::network::Parcel;
use crate::queue::{MS, Nanos, What};
use crate::tell;
use crate::world::World;

/// The coordinator and its folder.
#[derive(Debug)]
pub struct EcsHost {
    /// The machine, while the process runs.
    pub machine: Option<Coordinator>,
    /// The log, as it is on the disk.
    log: Vec<Entry>,
    /// The snapshot, as it is on the disk.
    snapshot: Option<String>,
    /// The map as the log has it.
    pub map: Map,
    /// Lives of the process so far.
    pub boot: u32,
    /// Whether the process dies in its next step that does anything.
    pub is_dying: bool,
    settings: Settings,
    rate_ppm: i64,
    offset: u64,
    ticket: u64,
    actions: Vec<Action>,
    /// Its own draws.
    pub rng: Rng,
}

impl EcsHost {
    /// Returns a coordinator that has not been started yet.
    pub fn new(settings: Settings, mut rng: Rng) -> Self {
        Self {
            machine: None,
            log: Vec::new(),
            snapshot: None,
            map: Map::new(settings.slot_count, settings.replica_count),
            boot: 0,
            is_dying: false,
            settings,
            rate_ppm: rng.i64(-10_000..=10_000),
            offset: rng.u64(..1 << 40),
            ticket: 0,
            actions: Vec::new(),
            rng,
        }
    }

    fn local(&self, now: Nanos) -> Time {
        local(now, self.rate_ppm, self.offset)
    }
}

/// Returns what a clock shows that runs `ppm` millionths fast.
pub fn local(now: Nanos, ppm: i64, offset: u64) -> Time {
    let drift = now as i64 * ppm / 1_000_000;
    Time(now.wrapping_add_signed(drift) + offset)
}

impl World {
    /// Starts the coordinator's process.
    pub fn start_ecs(&mut self) {
        let ecs = &mut self.ecs;
        if ecs.machine.is_some() {
            return;
        }
        ecs.offset = ecs.rng.u64(..1 << 40);
        ecs.is_dying = false;
        ecs.machine = Some(match (&ecs.snapshot, ecs.log.is_empty()) {
            (None, true) => Coordinator::new(ecs.settings.clone()),
            (snapshot, _) => restore(&ecs.settings, snapshot.as_deref(), &ecs.log),
        });
        let at = ecs.machine.as_ref().map(|m| m.map().version());
        assert_eq!(at, Some(ecs.map.version()), "the coordinator's log gives another map");
        if ecs.rng.u8(0..4) == 0 && !ecs.log.is_empty() {
            // A crash between the snapshot and the cut leaves entries that it covers.
            ecs.snapshot = Some(ecs.machine.as_ref().unwrap().snapshot());
            if ecs.rng.bool() {
                ecs.log.clear();
            }
        }
        let boot = ecs.boot;
        tell!(self, "ecs starts");
        self.queue.push(self.now + MS, What::EcsTick { boot });
    }

    /// Ends the coordinator's process.
    pub fn crash_ecs(&mut self) {
        if self.ecs.machine.take().is_none() {
            return;
        }
        tell!(self, "ecs crashes");
        self.ecs.boot += 1;
        self.ecs.is_dying = false;
        let node = self.ecs_node();
        let is_silent = self.ecs.rng.bool();
        self.net.abandon(node, is_silent, self.now, &mut self.queue);
    }

    /// Gives the coordinator an operator's command.
    pub fn command(&mut self, command: Command) {
        tell!(self, "operator → ecs  {command:?}");
        self.ecs.ticket += 1;
        let ticket = Ticket(self.ecs.ticket);
        self.step_ecs(Event::Command(ticket, command));
    }

    /// The coordinator's tick.
    pub fn tick_ecs(&mut self, boot: u32) {
        if self.ecs.machine.is_some() && self.ecs.boot == boot {
            self.queue.push(self.now + 99 * MS, What::EcsTick { boot });
            self.step_ecs(Event::Tick);
        }
    }

    /// Has a request tell of the tide, where there is one.
    fn flooded(&self, event: Event) -> Event {
        match event {
            Event::Received(
                connection,
                ToEcs::Request { server, incarnation, number, version, is_full, changes, .. },
            ) if self.plan.tide.is_some() => {
                let all = self.ecs.map.slots();
                let loads = all
                    .map(|(id, _)| (id, SlotLoad::of_len(self.plan.load(id.index(), self.now))))
                    .collect();
                let told = ToEcs::Request {
                    server,
                    incarnation,
                    number,
                    version,
                    is_full,
                    changes,
                    loads,
                };
                Event::Received(connection, told)
            }
            other => other,
        }
    }

    /// Steps the coordinator and carries out what it says.
    pub fn step_ecs(&mut self, event: Event) {
        let event = self.flooded(event);
        let now = self.ecs.local(self.now);
        let mut actions = std::mem::take(&mut self.ecs.actions);
        let Some(machine) = self.ecs.machine.as_mut() else { return };
        machine.step(now, event, &mut actions);
        self.steps += 1;
        let is_dying = self.ecs.is_dying && !actions.is_empty();
        let count = if is_dying { self.ecs.rng.usize(0..actions.len()) } else { actions.len() };
        for (index, action) in actions.drain(..).enumerate() {
            if index < count {
                self.act_ecs(action);
            } else {
                if let Action::Log(entry) = action
                    && self.ecs.rng.bool()
                {
                    self.log(entry);
                }
                break;
            }
        }
        self.ecs.actions = actions;
        if is_dying {
            self.crash_ecs();
        }
    }

    fn act_ecs(&mut self, action: Action) {
        match action {
            Action::Log(entry) => self.log(entry),
            Action::Send(ConnectionId(id), message) => {
                let conn = id as usize;
                tell!(
                    self,
                    "ecs → s{}  {}",
                    self.net.conns[conn].nodes[0] + 1,
                    crate::words::from_ecs(&message)
                );
                let is_ours = self.net.conns[conn].boots[1] == self.ecs.boot;
                if is_ours && !self.net.conns[conn].is_closed[1] {
                    self.net.send(conn, 0, Parcel::FromEcs(message), self.now, &mut self.queue);
                }
            }
            Action::Close(ConnectionId(id)) => {
                self.net.close(id as usize, 1, self.now, &mut self.queue);
            }
            Action::Note(note) => tell!(self, "ecs notes  {note}"),
            Action::Answer(_, answer) => {
                tell!(self, "ecs → operator  {answer:?}");
                debug_assert!(matches!(
                    answer,
                    Answer::Done | Answer::Already | Answer::NoServer | Answer::NotNow
                ));
            }
        }
    }

    /// An entry is durable.
    fn log(&mut self, entry: Entry) {
        tell!(self, "ecs logs  {}: {}", entry.why, crate::words::delta(&entry.delta));
        self.tally.elastic += u64::from(entry.why.starts_with("elastic"));
        self.strike_at_change(&entry);
        self.ambush(&entry);
        self.check_decision(&entry);
        self.ecs.map.apply(&entry.delta).expect("the log has a gap");
        self.ecs.log.push(entry);
    }
}

fn restore(settings: &Settings, snapshot: Option<&str>, log: &[Entry]) -> Coordinator {
    Coordinator::restore(settings.clone(), snapshot, log.iter().cloned())
        .expect("the coordinator's folder is whole")
}
