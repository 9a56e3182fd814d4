//! One run: the loop, the end of the faults, what is demanded then, and the report.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster::SlotId;

use crate::client::{Client, slot_of};
use crate::plan::Plan;
use crate::queue::{MS, Nanos, SECOND, What};
use crate::report::Report;
use crate::world::{READER_COUNT, World};

/// Things that may happen in a run; more means that it goes round in circles.
const HAPPENINGS_MAX: u64 = 50_000_000;

/// How long after the faults a slot without a primary may still find one.
const EXCUSE_AFTER: Nanos = 20 * SECOND;

/// Lives through a plan.
pub fn run(plan: &Plan) -> Report {
    let mut world = World::new(plan);
    world.live();
    world.report()
}

/// Lives through a plan; a run that fails is lived through again, for the last lines of its story.
pub fn run_told(plan: &Plan) -> Report {
    let report = run(plan);
    if report.violation.is_none() || plan.is_traced {
        return report;
    }
    let mut world = World::new(plan);
    world.trace.is_on = true;
    world.live();
    world.report()
}

impl World {
    /// Lets everything happen until the end or the first violation. A machine that panics is a violation.
    pub fn live(&mut self) {
        let lived = catch_unwind(AssertUnwindSafe(|| {
            self.begin();
            self.go_on();
            self.conclude();
        }));
        if let Err(cause) = lived {
            let text = cause
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            self.fail(format!("a panic: {}", text.unwrap_or_default()));
        }
    }

    fn go_on(&mut self) {
        let mut count = 0;
        let mut looked = 0;
        while !self.is_done && self.violation.is_none() {
            let Some((at, what)) = self.queue.pop() else { break };
            self.now = at;
            self.happen(what);
            count += 1;
            assert!(count < HAPPENINGS_MAX, "the world goes round in circles");
            let every = self.plan.look_every;
            if every > 0
                && let Some(slot) = self.ambushed()
            {
                self.look_at(slot);
            } else if every > 0 && self.steps >= looked + every {
                looked = self.steps;
                let index = (self.steps / every) % u64::from(self.plan.slots);
                self.look_at(SlotId::new(index as u16).unwrap());
            }
        }
    }

    /// The clients begin nothing new; it is looked from now on whether all is done.
    pub fn stop_clients(&mut self) {
        self.clients.iter_mut().for_each(Client::stop);
        self.queue.push(self.now + 50 * MS, What::Look);
    }

    /// Looks whether everything is whole again.
    pub fn look(&mut self) {
        if self.now > self.healed_at + EXCUSE_AFTER {
            self.excuse();
        }
        // A slot that nobody can copy any more takes up a learner's place now and then: the others wait for it.
        let is_any_excused = self.truth.iter().any(|truth| truth.is_excused);
        let late = if is_any_excused { self.plan.heal_max } else { 0 };
        match self.unfinished() {
            None if self.is_reading => self.is_done = true,
            None => self.read_all(),
            Some(text) if self.now > self.deadline + late => {
                self.fail(format!("no progress in time: {text}"));
            }
            Some(_) => {}
        }
        self.queue.push(self.now + 50 * MS, What::Look);
    }

    /// Fresh clients read every key once more.
    fn read_all(&mut self) {
        self.is_reading = true;
        let mut keys = self.history.keys();
        let is_excused = |key: &[u8]| {
            let slot = slot_of(key, self.plan.slots);
            self.truth[usize::from(slot.index())].is_excused
        };
        keys.retain(|key| !is_excused(key));
        let count = self.clients.len();
        let chunk = keys.len().div_ceil(READER_COUNT).max(1);
        for (index, keys) in keys.chunks(chunk).enumerate() {
            let id = (count + index) as u32;
            let keys = keys.to_vec();
            let reader = Client::reader(id, self.plan.seed, &self.mix, self.plan.slots, keys);
            self.clients.push(reader);
            self.queue.push(self.now, What::Wake { client: count + index });
        }
    }

    fn conclude(&mut self) {
        if self.violation.is_some() || self.plan.faulty_for == 0 {
            return;
        }
        self.check_end();
        if self.violation.is_none()
            && let Err(text) = crate::check::check(&self.history)
        {
            self.fail(text);
        }
    }

    /// Returns what the run came to.
    pub fn report(self) -> Report {
        let faulty = |call: u64| self.healed_at == 0 || call < self.healed_at;
        let mut during = (0, 0);
        for operation in self.history.operations() {
            if faulty(operation.call) {
                during.0 += 1;
                let is_done = operation.ret.is_some_and(faulty)
                    && operation.status != crate::history::Status::Info;
                during.1 += u64::from(is_done);
            }
        }
        let counts = self.history.counts();
        let mut history = Vec::new();
        if self.plan.is_traced {
            self.history.write(&mut history).expect("a Vec takes all");
        }
        Report {
            violation: self.violation,
            faults: self.faults.told,
            trace: self.trace.lines().map(str::to_owned).collect(),
            history: String::from_utf8(history).unwrap_or_default(),
            lived: self.now,
            healed_in: self.now.saturating_sub(self.healed_at),
            steps: self.steps,
            changes: self.changes,
            excused: self.truth.iter().filter(|truth| truth.is_excused).count() as u64,
            during,
            info: (counts.info + counts.open) as u64,
            ..self.tally
        }
    }
}
