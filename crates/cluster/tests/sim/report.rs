//! What a run came to.

use std::fmt;
use std::time::Duration;

use crate::queue::Nanos;

/// What went against a promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When.
    pub at: Nanos,
    /// What, with server and slot.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s  {}", self.at as f64 / 1e9, self.what)
    }
}

/// The figures of a run, or of many together.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The run's seed.
    pub seed: u64,
    /// The first violation.
    pub violation: Option<Violation>,
    /// What the plan and the faults were, a line each.
    pub faults: Vec<String>,
    /// The story, as far as it was kept.
    pub trace: Vec<String>,
    /// The clients' history as JSON lines, if it was asked for.
    pub history: String,
    /// Real time spent.
    pub real: Duration,
    /// Virtual time lived through.
    pub lived: Nanos,
    /// Virtual time from the end of the faults to the whole cluster.
    pub healed_in: Nanos,
    /// Steps of machines.
    pub steps: u64,
    /// Changes of slots' epochs.
    pub changes: u64,
    /// Decisions of the coordinator to grow, to shrink or to level the ring.
    pub elastic: u64,
    /// Attempts of clients that were done.
    pub ok: u64,
    /// Reads by permits, of which the machine heard nothing.
    pub permitted: u64,
    /// Attempts refused.
    pub refused: u64,
    /// Attempts that ended unknown or with a lost connection.
    pub unknown: u64,
    /// Slots that lost their last complete copy as the plan allowed.
    pub excused: u64,
    /// Operations begun while faults came, and of those the ones done before the faults ended.
    pub during: (u64, u64),
    /// Operations whose outcome stayed unknown.
    pub info: u64,
}

impl Report {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Self) {
        self.real += other.real;
        self.lived += other.lived;
        self.healed_in += other.healed_in;
        self.steps += other.steps;
        self.changes += other.changes;
        self.elastic += other.elastic;
        self.ok += other.ok;
        self.permitted += other.permitted;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.excused += other.excused;
        self.during.0 += other.during.0;
        self.during.1 += other.during.1;
        self.info += other.info;
    }
}
