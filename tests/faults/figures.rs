//! What a run did, and whether it is enough to say anything.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::fault::Kind;
use crate::history::{Operation, Status, Told};

/// Operations done in a second, in the mean over the time in which servers were there.
const OK_RATE_MIN: f64 = 1000.0;
/// Unknown outcomes in a hundred operations.
const UNKNOWN_PERCENT_MAX: f64 = 2.0;
/// How long a run must be for every kind of fault to come.
const COMPLETE_FROM: Duration = Duration::from_secs(115);

/// Counts of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Rounds.
    pub(crate) round_count: usize,
    /// How long clients worked, without the time in which no server ran.
    pub(crate) worked: Duration,
    /// Done under faults.
    pub(crate) ok_count: usize,
    /// Refused: nothing was done.
    pub(crate) refused_count: usize,
    /// Of unknown outcome.
    pub(crate) unknown_count: usize,
    /// All that was judged, reads at the end among it.
    pub(crate) judged_count: usize,
    /// Faults, by kind.
    pub(crate) faults: BTreeMap<Kind, usize>,
    /// Joins, leaves and rebalances.
    pub(crate) movement_count: usize,
    /// How often the ring grew and shrank by itself.
    pub(crate) grown_count: usize,
    pub(crate) shrunk_count: usize,
    /// Faults that were there together with another one.
    pub(crate) together_count: usize,
    /// Packets that were held up, and those of them that came after a later one.
    pub(crate) late_counts: (u64, u64),
    /// Records of copies that were compared.
    pub(crate) record_count: usize,
    /// The longest that a round took to be whole again.
    pub(crate) healed_max: Duration,
}

impl Figures {
    /// Counts what clients noted under faults.
    pub(crate) fn note(&mut self, operations: &[Operation], worked: Duration) {
        let count = |status| operations.iter().filter(|o| o.status == status).count();
        let is_conflict = |o: &&Operation| o.told == Some(Told::Condition);
        self.ok_count += count(Status::Ok);
        self.unknown_count += count(Status::Info);
        self.refused_count += count(Status::Fail) - operations.iter().filter(is_conflict).count();
        self.worked += worked;
    }

    /// Returns all faults.
    pub(crate) fn fault_count(&self) -> usize {
        self.faults.values().sum()
    }

    /// Returns why the run says too little, or went against a bound.
    pub(crate) fn complaints(&self, deck: &[Kind], length: Duration) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.ok_rate() < OK_RATE_MIN {
            complaints.push(format!("fewer than {OK_RATE_MIN} operations a second were done"));
        }
        if self.unknown_percent() > UNKNOWN_PERCENT_MAX {
            complaints.push(format!("more than {UNKNOWN_PERCENT_MAX} % of unknown outcome"));
        }
        let is_late = |kind: &Kind| kind.is_delay() && self.faults.contains_key(kind);
        if deck.iter().any(is_late) && self.late_counts.1 == 0 {
            complaints.push("no packet came after a later one".to_owned());
        }
        let missing = deck.iter().filter(|kind| !self.faults.contains_key(*kind));
        if length >= COMPLETE_FROM {
            complaints.extend(missing.map(|kind| format!("no fault of the kind {}", kind.name())));
        }
        complaints
    }

    fn ok_rate(&self) -> f64 {
        self.ok_count as f64 / self.worked.as_secs_f64().max(0.001)
    }

    fn unknown_percent(&self) -> f64 {
        let count = self.ok_count + self.refused_count + self.unknown_count;
        100.0 * self.unknown_count as f64 / count.max(1) as f64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds                    {:>9}", self.round_count)?;
        writeln!(f, "operations judged         {:>9}", self.judged_count)?;
        writeln!(f, "done a second             {:>9.0}", self.ok_rate())?;
        writeln!(f, "refused                   {:>9}", self.refused_count)?;
        writeln!(
            f,
            "unknown                   {:>9}  ({:.2} %)",
            self.unknown_count,
            self.unknown_percent()
        )?;
        writeln!(f, "joins, leaves, rebalances {:>9}", self.movement_count)?;
        let (grown, shrunk) = (self.grown_count, self.shrunk_count);
        writeln!(f, "grown by itself           {grown:>9}  (shrunk {shrunk} times)")?;
        writeln!(f, "records of copies alike   {:>9}", self.record_count)?;
        writeln!(f, "whole again within        {:>9.1} s", self.healed_max.as_secs_f64())?;
        let (late, overtaken) = self.late_counts;
        writeln!(f, "packets held up           {late:>9}  ({overtaken} came after a later one)")?;
        let (count, together) = (self.fault_count(), self.together_count);
        writeln!(f, "faults                    {count:>9}  ({together} beside another one)")?;
        let named = self.faults.iter().map(|(kind, count)| format!("{} {count}", kind.name()));
        write!(f, "  {}", named.collect::<Vec<_>>().join(", "))
    }
}
