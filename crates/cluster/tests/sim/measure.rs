//! Figures without random faults: one thing goes wrong, and probes tell how long what stood still.
//!
//! Every 10 ms a probe writes to each slot at its primary and reads another key at every member, by the newest map that any
//! living server has. (A key whose write waits for its commit is dirty: its backups send readers to the primary.) An outage is the longest time between two answers to requests sent after the fault, beginning with the fault.

use std::fmt;

use cluster::{Ask, Bytes, Reply, ServerId, SlotId};

use crate::asks::Owner;
use crate::client::slot_of;
use crate::disk::Crash;
use crate::plan::Plan;
use crate::queue::{MS, Nanos, SECOND, What};
use crate::world::World;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// A server's machine goes down; its slots as primary are measured.
    Primary,
    /// A server's machine goes down; its slots as backup are measured.
    Backup,
    /// A server stands still for 300 ms.
    Pause,
}

/// Time between two probes of a slot.
const PROBE_EVERY: Nanos = 10 * MS;
/// When the fault comes, at the earliest.
const STRIKE_FROM: Nanos = 4 * SECOND;
/// How long is measured.
const WATCH: Nanos = 4 * SECOND;
/// How long the pause lasts.
const PAUSE: Nanos = 300 * MS;

/// A kind of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Write,
    ReadAtPrimary,
    ReadAtBackup,
}

/// What is known of one slot's answers of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    last: Nanos,
    longest: Nanos,
}

/// The probes of a run.
#[derive(Debug, Default)]
pub struct Probes {
    strike: Option<Strike>,
    victim: Option<usize>,
    struck_at: Option<Nanos>,
    changes_before: u64,
    /// The key that is written, and the one that is read, of each slot.
    keys: Vec<[Bytes; 2]>,
    /// Slots that are measured, each with its gaps by kind.
    gaps: Vec<Option<[Gap; 3]>>,
}

/// What many runs came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What went wrong.
    pub strike: Strike,
    /// Runs.
    pub runs: u64,
    /// Outages of writes, ascending.
    pub writes: Vec<Nanos>,
    /// Outages of reads at the primary, ascending.
    pub reads: Vec<Nanos>,
    /// Outages of reads at the backups that remain, ascending.
    pub backup_reads: Vec<Nanos>,
    /// Runs in which any slot's members changed.
    pub changed: u64,
    /// The first violation, if there was one.
    pub violation: Option<String>,
}

/// Returns the value below which `share` of the values lie.
pub fn share(values: &[Nanos], share: f64) -> f64 {
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).map_or(0.0, |v| *v as f64 / 1e6)
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}: {} runs, members changed in {}", self.strike, self.runs, self.changed)?;
        let all = [
            ("writes", &self.writes),
            ("reads", &self.reads),
            ("backup reads", &self.backup_reads),
        ];
        for (name, values) in all {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| share(values, part));
            writeln!(f, "  {name:12} p50 {p50:7.1} ms  p99 {p99:7.1} ms  max {max:7.1} ms")?;
        }
        Ok(())
    }
}

/// Measures one kind of fault over many seeds.
pub fn measure(strike: Strike, seeds: std::ops::Range<u64>) -> Measured {
    let mut all = Measured {
        strike,
        runs: 0,
        writes: Vec::new(),
        reads: Vec::new(),
        backup_reads: Vec::new(),
        changed: 0,
        violation: None,
    };
    for seed in seeds {
        let mut world = World::new(&Plan::calm(seed));
        world.probes.strike = Some(strike);
        let at = STRIKE_FROM + world.net_rng.u64(0..SECOND);
        world.queue.push(at, What::Strike);
        world.live();
        all.runs += 1;
        all.changed += u64::from(world.changes > world.probes.changes_before);
        if let Some(violation) = world.violation {
            all.violation.get_or_insert(format!("seed {seed}: {violation}"));
        }
        for gaps in world.probes.gaps.iter().flatten() {
            let ended = gaps.map(|gap| gap.longest.max(world.now - gap.last));
            all.writes.push(ended[0]);
            all.reads.push(ended[1]);
            all.backup_reads.push(ended[2]);
        }
    }
    for values in [&mut all.writes, &mut all.reads, &mut all.backup_reads] {
        values.sort_unstable();
    }
    all
}

impl World {
    /// The measured fault: the first time it begins the probes, the second time it strikes.
    pub fn strike(&mut self) {
        if self.probes.keys.is_empty() {
            self.probes.keys = keys(self.plan.slots);
            for slot in 0..self.plan.slots {
                self.queue.push(self.now + u64::from(slot) * MS, What::Probe { slot });
            }
            self.queue.push(self.now + 200 * MS, What::Strike);
            return;
        }
        if self.probes.struck_at.is_some() {
            self.is_done = true;
            return;
        }
        let node = self.net_rng.usize(0..self.servers.len());
        let id = self.servers[node].id;
        self.probes.struck_at = Some(self.now);
        self.probes.victim = Some(node);
        self.probes.changes_before = self.changes;
        let strike = self.probes.strike.unwrap();
        let gap = Gap { last: self.now, longest: 0 };
        let is_measured = |slot: &cluster::Slot| match strike {
            Strike::Primary => slot.primary_id() == Some(id),
            Strike::Backup => slot.backups.contains(&id),
            Strike::Pause => true,
        };
        let slots = self.ecs.map.slots();
        self.probes.gaps = slots.map(|(_, slot)| is_measured(slot).then_some([gap; 3])).collect();
        match strike {
            Strike::Pause => self.faults.paused_until[node] = self.now + PAUSE,
            Strike::Primary | Strike::Backup => self.crash(node, Crash::Power, None),
        }
        self.queue.push(self.now + WATCH, What::Strike);
    }

    /// Probes a slot.
    pub fn probe(&mut self, slot: u16) {
        self.queue.push(self.now + PROBE_EVERY, What::Probe { slot });
        let maps = self.servers.iter().filter_map(|host| host.machine.as_ref()).map(|m| m.map());
        let Some(map) = maps.max_by_key(|map| map.version()) else { return };
        let id = SlotId::new(slot).unwrap();
        let members = map.slot(id).clone();
        let node = |id: ServerId| self.servers.iter().position(|host| host.id == id);
        let primary = members.primary_id().and_then(node);
        let backups: Vec<usize> = members.backups.iter().filter_map(|b| node(*b)).collect();
        let [written, read] = self.probes.keys[usize::from(slot)].clone();
        let put = Ask::Put {
            value: Bytes::from(self.now.to_string().into_bytes()),
            expires_at_ms: None,
            condition: None,
            request: None,
        };
        if let Some(primary) = primary {
            self.ask(Owner::Probe, Probe::Write as u64, primary, id, written, put);
            self.ask(
                Owner::Probe,
                Probe::ReadAtPrimary as u64,
                primary,
                id,
                read.clone(),
                Ask::Get,
            );
        }
        for backup in backups {
            if Some(backup) != self.probes.victim {
                let kind = Probe::ReadAtBackup as u64;
                self.ask(Owner::Probe, kind, backup, id, read.clone(), Ask::Get);
            }
        }
    }

    /// A probe is answered.
    pub fn probed(&mut self, attempt: usize, reply: &Reply) {
        let attempt = &self.attempts[attempt];
        let is_ok = matches!(reply, Reply::Value(_) | Reply::Stored(_) | Reply::Replaced(_));
        let Some(struck_at) = self.probes.struck_at else { return };
        let slot = usize::from(attempt.slot.index());
        let Some(Some(gaps)) = self.probes.gaps.get_mut(slot) else { return };
        if is_ok && attempt.sent_at >= struck_at {
            let gap = &mut gaps[attempt.number as usize];
            gap.longest = gap.longest.max(self.now - gap.last);
            gap.last = self.now;
        }
    }
}

/// Returns two keys of each slot.
fn keys(slot_count: u16) -> Vec<[Bytes; 2]> {
    let of = |slot: u16, name: &str| {
        let mut texts = (0_u32..).map(|number| format!("{name}{number}"));
        let text = texts.find(|text| slot_of(text.as_bytes(), slot_count).index() == slot);
        Bytes::from(text.unwrap().into_bytes())
    };
    (0..slot_count).map(|slot| ["written", "read"].map(|name| of(slot, name))).collect()
}
