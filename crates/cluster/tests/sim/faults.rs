//! Faults, drawn from the plan: what begins when, for how long, and what ends it.

use std::collections::BTreeSet;

use cluster::coordinator::elastic::By;
use cluster::coordinator::{Command, Entry};
use cluster::{ServerId, SlotId};
use fastrand::Rng;

use crate::ambush::Ambush;
use crate::disk::Crash;
use crate::hang::Watch;
use crate::node::{Host, State};
use crate::operator::OPERATOR_AFTER;
use crate::plan::{FAULTS_FROM, Kind};
use crate::queue::{MS, Nanos, SECOND, What};
use crate::tell;
use crate::world::World;

/// A fault that goes on.
#[derive(Clone, Debug)]
pub enum Active {
    /// Ways that are blocked.
    Blocked(Vec<(usize, usize)>),
    /// Every message is slow.
    SlowNet,
    /// A server's disk is slow.
    SlowDisk(usize),
    /// A server's disk is full.
    FullDisk(usize),
    /// A server's disk stands still.
    Hung(usize),
}

/// The faults of a run.
#[derive(Debug)]
pub struct Faults {
    /// Draws of all faults.
    pub rng: Rng,
    active: Vec<Option<Active>>,
    /// Until when each node stands still.
    pub paused_until: Vec<Nanos>,
    /// What was done, for the report.
    pub told: Vec<String>,
    lost_count: usize,
    lost_at: Nanos,
    /// Servers that were asked to leave.
    pub leaving: BTreeSet<usize>,
    /// The ambush that goes on.
    pub ambush: Option<Ambush>,
    /// What a disk that stands still is watched for.
    pub watch: Option<Watch>,
    /// Whether faults have ended for good.
    pub is_over: bool,
}

/// How long the cluster gets after a server was lost before the next may be.
const RESTORE_MIN: Nanos = 12 * SECOND;

impl Faults {
    /// Returns no faults yet.
    pub fn new(node_count: usize, rng: Rng) -> Self {
        Self {
            rng,
            active: Vec::new(),
            paused_until: vec![0; node_count],
            told: Vec::new(),
            lost_count: 0,
            lost_at: 0,
            leaving: BTreeSet::new(),
            ambush: None,
            watch: None,
            is_over: false,
        }
    }

    /// Draws a time between two, short ones more often.
    pub fn span(&mut self, from: Nanos, to: Nanos) -> Nanos {
        let share = self.rng.f64();
        (from as f64 * (to as f64 / from as f64).powf(share)) as Nanos
    }

    fn pick(&mut self, kinds: &[(Kind, u32)]) -> Kind {
        let mut draw = self.rng.u32(0..kinds.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in kinds {
            match draw.checked_sub(*weight) {
                None => return *kind,
                Some(rest) => draw = rest,
            }
        }
        unreachable!("the draw is below the sum")
    }
}

impl World {
    /// Tells what is done.
    pub fn note(&mut self, what: String) {
        tell!(self, "FAULT {what}");
        self.faults.told.push(format!("{:.3} s  {what}", self.now as f64 / 1e9));
    }

    /// Begins the next fault and plans the one after.
    pub fn next_fault(&mut self) {
        if self.faults.is_over {
            return;
        }
        let gap = -(self.faults.rng.f64().max(1e-9)).ln() * self.plan.fault_every as f64;
        self.queue.push(self.now + MS + gap as Nanos, What::Fault);
        if self.faults.watch.is_some() {
            return;
        }
        let kind = self.faults.pick(&self.plan.kinds);
        let node = self.faults.rng.usize(0..self.servers.len());
        match kind {
            Kind::Kill => self.down(node, Crash::Kill),
            Kind::Power => self.down(node, Crash::Power),
            Kind::PowerAll => self.all_down(),
            Kind::Pause => self.pause(),
            Kind::Partition => self.partition(),
            Kind::Isolate => self.isolate(),
            Kind::Split => self.split(),
            Kind::Break => self.break_some(),
            Kind::SlowNet => {
                self.net.slow += 1;
                self.phase("messages are slow".to_owned(), Active::SlowNet, 200 * MS, 4 * SECOND);
            }
            Kind::SlowDisk => {
                self.servers[node].slow_disk += 1;
                let what = format!("disk of s{} is slow", node + 1);
                self.phase(what, Active::SlowDisk(node), 200 * MS, 4 * SECOND);
            }
            Kind::FullDisk => {
                self.servers[node].full += 1;
                self.servers[node].disk.set_full(true);
                let what = format!("disk of s{} is full", node + 1);
                self.phase(what, Active::FullDisk(node), 300 * MS, 5 * SECOND);
            }
            Kind::FailDisk => self.fail_disk(node),
            Kind::EcsCrash => self.down_ecs(),
            Kind::Leave => self.change_ring(node),
            Kind::Rebalance => {
                self.note("rebalance".to_owned());
                self.command(Command::Rebalance(By::Bytes));
            }
            Kind::Lose => self.lose(node),
            Kind::Hang => self.hang(node),
            Kind::Damage => self.damage(node),
        }
    }

    /// Notes a fault that goes on for a drawn time; returns for how long.
    pub fn phase(&mut self, what: String, active: Active, from: Nanos, to: Nanos) -> Nanos {
        let span = self.faults.span(from, to);
        self.note(format!("{what} for {} ms", span / MS));
        let index = self.faults.active.len();
        self.faults.active.push(Some(active));
        self.queue.push(self.now + span, What::FaultEnd { index });
        span
    }

    /// Ends a fault.
    pub fn end_fault(&mut self, index: usize) {
        let Some(active) = self.faults.active[index].take() else { return };
        tell!(self, "FAULT ENDS {active:?}");
        match active {
            Active::Blocked(ways) => {
                for (from, to) in ways {
                    self.net.unblock(from, to, self.now, &mut self.queue);
                }
            }
            Active::SlowNet => self.net.slow -= 1,
            Active::SlowDisk(node) => self.servers[node].slow_disk -= 1,
            Active::Hung(node) => self.unhang(node),
            Active::FullDisk(node) => {
                let host = &mut self.servers[node];
                host.full -= 1;
                host.disk.set_full(host.full > 0);
            }
        }
    }

    /// Kills a server in its next step, or at once.
    fn down(&mut self, node: usize, crash: Crash) {
        if self.servers[node].machine.is_none() {
            return;
        }
        let after = self.faults.span(100 * MS, 15 * SECOND);
        self.note(format!("s{} {crash:?}, back in {} ms", node + 1, after / MS));
        match self.faults.rng.u8(0..4) {
            0 => self.crash(node, crash, Some(after)),
            _ => self.servers[node].dying = Some((crash, Some(after))),
        }
    }

    fn all_down(&mut self) {
        self.note("power cut".to_owned());
        for node in 0..self.servers.len() {
            let after = self.faults.span(100 * MS, 3 * SECOND);
            self.crash(node, Crash::Power, Some(after));
        }
        if self.faults.rng.bool() {
            self.crash_ecs();
            let after = self.faults.span(100 * MS, 3 * SECOND);
            self.queue.push(self.now + after, What::EcsStart { boot: self.ecs.boot });
        }
    }

    fn down_ecs(&mut self) {
        let after = self.faults.span(100 * MS, 10 * SECOND);
        if self.ecs.machine.is_none() {
            return;
        }
        self.note(format!("ecs crashes, back in {} ms", after / MS));
        if self.faults.rng.bool() {
            self.crash_ecs();
        } else {
            self.ecs.is_dying = true;
        }
        self.queue.push(self.now + after, What::EcsStart { boot: self.ecs.boot });
    }

    fn pause(&mut self) {
        let node = self.faults.rng.usize(0..=self.servers.len());
        let span = self.faults.span(100 * MS, 3 * SECOND);
        self.note(format!("{} stands still for {} ms", self.node_name(node), span / MS));
        let until = &mut self.faults.paused_until[node];
        *until = (*until).max(self.now + span);
    }

    /// Returns a node's name in the story.
    pub fn node_name(&self, node: usize) -> String {
        match node.checked_sub(self.servers.len()) {
            None => format!("s{}", node + 1),
            Some(0) => "ecs".to_owned(),
            Some(client) => format!("client {}", client - 1),
        }
    }

    fn partition(&mut self) {
        let count = self.servers.len();
        let a = self.faults.rng.usize(0..count);
        let others = count + 1 + self.clients.len();
        // Servers mostly; now and then the coordinator or a client.
        let b = match self.faults.rng.u8(0..10) {
            0..6 => self.faults.rng.usize(0..count),
            6..9 => count,
            _ => self.faults.rng.usize(count..others),
        };
        if a != b {
            self.separate(vec![(a, b)]);
        }
    }

    fn isolate(&mut self) {
        let a = self.faults.rng.usize(0..=self.servers.len());
        let others = self.servers.len() + 1;
        self.separate((0..others).filter(|b| *b != a).map(|b| (a, b)).collect());
    }

    /// Draws for each server, and the coordinator, on which side it is.
    fn split(&mut self) {
        let count = self.servers.len() + 1;
        let sides: Vec<bool> = (0..count).map(|_| self.faults.rng.bool()).collect();
        let across = |a: usize| {
            let others = (a + 1..count).filter(|b| sides[a] != sides[*b]).map(move |b| (a, b));
            others.collect::<Vec<_>>()
        };
        let pairs: Vec<_> = (0..count).flat_map(across).collect();
        if !pairs.is_empty() {
            let left = (0..count).filter(|node| sides[*node]).map(|node| self.node_name(node));
            let left: Vec<String> = left.collect();
            self.note(format!("the next cut parts {} from the rest", left.join(", ")));
            self.separate(pairs);
        }
    }

    /// Returns whether faults may come: nobody waits to see what comes of one alone.
    pub fn is_time_for_faults(&self) -> bool {
        self.now >= FAULTS_FROM && !self.faults.is_over && self.faults.watch.is_none()
    }

    /// Returns whether nothing is wrong now.
    pub fn is_calm(&self) -> bool {
        self.faults.active.iter().all(Option::is_none)
            && self.faults.paused_until.iter().all(|until| *until <= self.now)
            && self.ecs.machine.is_some()
            && !self.ecs.is_dying
            && self.servers.iter().all(|host| host.is_well())
    }

    /// Cuts off one of a slot's holders at the moment in which the coordinator changes them: it serves clients on with what
    /// it knew, while the others go on with what it does not know. Most of what systems lost they lost here.
    pub fn strike_at_change(&mut self, entry: &Entry) {
        let is_time = self.is_time_for_faults();
        if !is_time || self.faults.rng.u8(0..100) >= self.plan.cut_percent {
            return;
        }
        let slots = &entry.delta.slots;
        if slots.is_empty() {
            return;
        }
        let (slot, listed) = &slots[self.faults.rng.usize(0..slots.len())];
        let before: Vec<ServerId> = self.ecs.map.slot(*slot).holders().collect();
        let holders: Vec<ServerId> = before.into_iter().chain(listed.holders()).collect();
        if holders.is_empty() {
            return;
        }
        let id = holders[self.faults.rng.usize(0..holders.len())];
        let Some(a) = self.servers.iter().position(|host| host.id == id) else { return };
        let others = self.servers.len() + 1;
        self.separate((0..others).filter(|b| *b != a).map(|b| (a, b)).collect());
    }

    fn separate(&mut self, pairs: Vec<(usize, usize)>) {
        let way = self.faults.rng.u8(0..4);
        let mut ways = Vec::new();
        for (a, b) in &pairs {
            if way != 0 {
                ways.push((*a, *b));
            }
            if way != 1 {
                ways.push((*b, *a));
            }
        }
        let (a, b) = (self.node_name(pairs[0].0), self.node_name(pairs[0].1));
        let what = match (pairs.len(), way) {
            (1, 0) => format!("{b} ⇏ {a}"),
            (1, 1) => format!("{a} ⇏ {b}"),
            (1, _) => format!("{a} ⇎ {b}"),
            (_, 0) => format!("{a} hears nobody"),
            (_, 1) => format!("nobody hears {a}"),
            _ => format!("{a} is cut off"),
        };
        for (from, to) in &ways {
            self.net.block(*from, *to);
        }
        self.phase(what, Active::Blocked(ways), 20 * MS, 6 * SECOND);
        for (a, b) in pairs {
            self.doom(a, b);
        }
    }

    /// Connections across a partition are given up after a while, mostly by one end.
    fn doom(&mut self, a: usize, b: usize) {
        for conn in self.net.between(a, b) {
            let after = self.faults.span(50 * MS, 3 * SECOND);
            let first = self.faults.rng.usize(0..2);
            self.queue.push(self.now + after, What::GiveUp { conn, first });
        }
    }

    /// An end gives a connection up, if nothing can pass there still.
    pub fn give_up(&mut self, conn: usize, first: usize) {
        let [a, b] = self.net.conns[conn].nodes;
        if self.net.is_cut(a, b) {
            let later = self.faults.span(50 * MS, 6 * SECOND);
            self.net.cut(conn, first, later, self.now, &mut self.queue);
        }
    }

    fn break_some(&mut self) {
        let others = self.servers.len() + 1 + self.clients.len();
        let node = self.faults.rng.usize(0..others);
        if let Some(client) = node.checked_sub(self.servers.len() + 1) {
            return self.break_client(client);
        }
        self.note(format!("connections of {} break", self.node_name(node)));
        let all = self.faults.rng.bool();
        for conn in self.net.of(node) {
            if all || self.faults.rng.u8(0..3) == 0 {
                let first = self.faults.rng.usize(0..2);
                let later = [5 * MS, 200 * MS][self.faults.rng.usize(0..2)];
                self.net.cut(conn, first, later, self.now, &mut self.queue);
            }
        }
    }

    /// A record on a disk can be read no more, where another member has it: one at a time, as a cluster
    /// that reads its disks now and then has it.
    fn damage(&mut self, node: usize) {
        if self.is_any_torn() {
            return;
        }
        let id = self.servers[node].id;
        let is_fit = |(_, slot): &(SlotId, &cluster::Slot)| {
            let others = slot.members().filter(|other| *other != id && self.is_up(*other)).count();
            slot.is_member(id) && others > 0
        };
        let fit: Vec<SlotId> = self.ecs.map.slots().filter(is_fit).map(|(at, _)| at).collect();
        let Some(slot) = self.faults.rng.choice(fit) else { return };
        if let Some(key) = self.servers[node].disk.damage(slot) {
            let key = String::from_utf8_lossy(&key).into_owned();
            self.note(format!("s{} cannot read {key} of slot {}", node + 1, slot.index()));
        }
    }

    /// Returns whether a record anywhere cannot be read.
    fn is_any_torn(&self) -> bool {
        let is_torn = |host: &Host| self.ecs.map.slots().any(|(id, _)| host.disk.is_damaged(id));
        self.servers.iter().any(is_torn)
    }

    fn fail_disk(&mut self, node: usize) {
        if self.servers[node].machine.is_some() {
            self.servers[node].fails_sync = true;
            self.note(format!("the next sync of s{} fails", node + 1));
        }
    }

    /// Returns how many others are on the ring, are not lost, and were not asked to leave.
    pub fn staying(&self, id: ServerId) -> usize {
        let stays = |(node, host): &(usize, &Host)| {
            let is_on = self.ecs.map.ring().contains(host.id);
            host.id != id
                && is_on
                && host.state != State::Lost
                && !self.faults.leaving.contains(node)
        };
        self.servers.iter().enumerate().filter(stays).count()
    }

    /// A server is lost for good, if enough remain: at most one less than there are copies at a time.
    fn lose(&mut self, node: usize) {
        let copies = self.plan.settings.replica_count;
        let is_early = self.faults.lost_count > 0 && self.now < self.faults.lost_at + RESTORE_MIN;
        let map = &self.ecs.map;
        let id = self.servers[node].id;
        let is_alone = |slot: &cluster::Slot| {
            slot.is_member(id) && !slot.members().any(|other| other != id && self.is_up(other))
        };
        if is_early
            || self.faults.lost_count + 1 >= copies
            || self.staying(id) < 2
            || map.slots().any(|(_, slot)| is_alone(slot))
            || self.is_any_torn()
        {
            return;
        }
        self.note(format!("s{} is lost for good", node + 1));
        self.crash(node, Crash::Power, None);
        self.servers[node].state = State::Lost;
        self.faults.lost_count += 1;
        self.faults.lost_at = self.now;
    }

    fn is_up(&self, id: ServerId) -> bool {
        self.servers.iter().any(|host| host.id == id && host.state == State::Up)
    }

    /// All faults end and everybody is started again.
    pub fn heal(&mut self) {
        tell!(self, "HEAL");
        self.faults.is_over = true;
        for index in 0..self.faults.active.len() {
            self.end_fault(index);
        }
        for until in &mut self.faults.paused_until {
            *until = (*until).min(self.now);
        }
        for node in 0..self.servers.len() {
            let host = &mut self.servers[node];
            host.dying = None;
            host.fails_sync = false;
            if host.disk.is_failed() {
                self.crash(node, Crash::Power, None);
            }
            self.start(node);
        }
        self.ecs.is_dying = false;
        self.start_ecs();
        self.healed_at = self.now;
        self.deadline = self.now + self.plan.heal_max;
        self.queue.push(self.now + SECOND, What::StopClients);
        self.queue.push(self.now + OPERATOR_AFTER, What::Operate);
    }
}
