//! Every key is a linearizable register: a search for an order of its operations that explains every answer.
//!
//! The search is todc-utils' [`WGLChecker`] (Wing and Gong, 1993, with Lowe's memory of what was tried). This module turns a
//! key's history into steps on a register that holds one value, or none (a value is a number: each is written by one
//! operation), and takes care of four things that the search knows nothing of:
//!
//! **Unknown outcomes.** The search needs an end for each operation. A write whose value somebody saw took effect before that
//! was told: it gets the end of the first sighting, which loses nothing. A write that nobody saw, and a delete, ends at
//! the end of time and applies whatever it finds. That it may also never happen needs no choice: put behind everything
//! else it changes no answer. First such writes are left out, as if they had not happened, which mostly explains
//! everything; only if it does not, they are put in.
//!
//! **Length.** The search takes time with the square of the length. A history is cut where nothing was under way and one operation,
//! alone in time, shows what the key held: the next piece begins with that. Writes with no end forbid a cut after
//! their call.
//!
//! **A limit.** The search has none, so the register counts its steps and, after [`STEP_COUNT_MAX`], agrees to none: the search
//! unwinds, and what was found is *undecided*, which is an error too.
//!
//! **Versions.** A conditional put names a version; the history says whose value that is. The version of a value may rise without a
//! write (R20), so a put over a version may fail although the value is the one that was meant; what it met is checked.
//! An unknown put over a version applies if that value is there, and else does nothing.

use std::cell::Cell;
use std::collections::BTreeMap;

use cluster::{Bytes, Lsn};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use super::OfKey;
use super::order::{sightings, writers};
use crate::history::{If, Kind, Operation, Status, Told};

/// Steps that the search may take for one piece of a history. Those of the simulator take some hundred. The search remembers
/// each step, in twice as many bytes as the piece has operations.
const STEP_COUNT_MAX: u64 = 300_000;

/// A value's number; zero is none.
type Value = u32;
const NONE: Value = 0;

/// What must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Anything,
    Something,
    Only(Value),
}

impl Before {
    fn allows(self, state: Value) -> bool {
        match self {
            Self::Anything => true,
            Self::Something => state != NONE,
            Self::Only(value) => state == value,
        }
    }
}

/// A step on the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Shows what is there.
    Look(Before),
    /// Replaces it.
    Set(Before, Value),
    /// Replaces it, or does nothing when something else is there.
    SetIf(Before, Value),
}

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// The register.
struct Register;

impl Specification for Register {
    type State = Value;
    type Operation = Step;

    fn init() -> Value {
        NONE
    }

    fn apply(step: &Step, state: &Value) -> (bool, Value) {
        let count = STEPS.get() + 1;
        STEPS.set(count);
        if count > STEP_COUNT_MAX {
            return (false, *state);
        }
        match *step {
            Step::Look(before) => (before.allows(*state), *state),
            Step::Set(before, value) if before.allows(*state) => (true, value),
            Step::Set(..) => (false, *state),
            Step::SetIf(before, value) if before.allows(*state) => (true, value),
            Step::SetIf(..) => (true, *state),
        }
    }
}

/// A step with its times.
#[derive(Clone, Copy, Debug)]
struct Timed {
    call: u64,
    ret: u64,
    step: Step,
}

/// When what has no end ends.
const NEVER: u64 = u64::MAX;

/// Checks one key.
pub fn check(operations: &OfKey<'_>) -> Result<(), String> {
    let steps = steps(operations)?;
    let sure: Vec<Timed> = steps.iter().filter(|timed| timed.ret != NEVER).copied().collect();
    match explains(&sure) {
        Some(true) => return Ok(()),
        Some(false) if sure.len() == steps.len() => {}
        Some(false) | None => match explains(&steps) {
            Some(true) => return Ok(()),
            Some(false) => {}
            None => return Err(format!("undecided after {STEP_COUNT_MAX} steps")),
        },
    }
    Err("not linearizable: no order of these operations explains every answer".to_owned())
}

/// Returns the end of the operation up to which the history is first without an explanation, if it is.
pub fn first_bad(operations: &OfKey<'_>) -> Option<u64> {
    let mut ends: Vec<u64> = operations.iter().filter_map(|o| o.ret).collect();
    ends.sort_unstable();
    let is_bad = |end: u64| {
        let until: Vec<Operation> = operations.iter().filter_map(|o| as_of(o, end)).collect();
        check(&until.iter().collect()).is_err()
    };
    // A history that has no explanation has none when it goes on: the first bad end can be found by halving.
    let index = ends.partition_point(|end| !is_bad(*end));
    ends.get(index).copied()
}

/// Returns the operation as it was known at a time.
fn as_of(operation: &Operation, time: u64) -> Option<Operation> {
    let is_over = operation.ret.is_some_and(|ret| ret <= time);
    match operation.call <= time {
        false => None,
        true if is_over => Some(operation.clone()),
        // A get that was not answered yet says nothing; its value is not known yet.
        true if operation.op == Kind::Get => None,
        true => Some(Operation {
            ret: None,
            status: Status::Info,
            told: None,
            version: None,
            ..operation.clone()
        }),
    }
}

/// Returns the history as steps, in the order of their calls.
fn steps(operations: &OfKey<'_>) -> Result<Vec<Timed>, String> {
    let names = Names::new(operations);
    let mut steps = Vec::with_capacity(operations.len());
    for operation in operations {
        let Some(step) = names.step(operation)? else { continue };
        let ret = match operation.status {
            Status::Info => names.first_seen(operation).unwrap_or(NEVER),
            Status::Ok | Status::Fail => operation.ret.unwrap_or(NEVER),
        };
        steps.push(Timed { call: operation.call, ret, step });
    }
    Ok(steps)
}

/// Which number each value has, and whose value each version is.
struct Names<'a> {
    numbers: BTreeMap<&'a Bytes, Value>,
    owners: BTreeMap<Lsn, Value>,
    first_seen: BTreeMap<Value, u64>,
}

impl<'a> Names<'a> {
    fn new(operations: &OfKey<'a>) -> Self {
        let numbers: BTreeMap<_, _> = writers(operations).into_keys().zip(NONE + 1..).collect();
        let number = |value| numbers.get(value).copied();
        let owners: BTreeMap<Lsn, Value> = sightings(operations)
            .filter_map(|(_, value, lsn)| Some((lsn, number(value)?)))
            .collect();
        let mut first_seen = BTreeMap::new();
        for operation in operations {
            let Some(ret) = operation.ret else { continue };
            let seen = match (operation.op, operation.status, operation.condition) {
                (Kind::Get, Status::Ok, _) => operation.value.as_ref().and_then(number),
                (Kind::Cas, Status::Ok, Some(If::Version(lsn))) => owners.get(&lsn).copied(),
                (Kind::Cas, Status::Fail, _) => {
                    operation.lsn().and_then(|lsn| owners.get(&lsn).copied())
                }
                _ => None,
            };
            let Some(seen) = seen else { continue };
            first_seen.entry(seen).and_modify(|at: &mut u64| *at = (*at).min(ret)).or_insert(ret);
        }
        Self { numbers, owners, first_seen }
    }

    /// Returns when the value that the operation wrote was seen first.
    fn first_seen(&self, operation: &Operation) -> Option<u64> {
        let number = self.numbers.get(operation.value.as_ref()?)?;
        self.first_seen.get(number).copied()
    }

    /// Returns what must be there for `lsn` to be its version.
    fn holder(&self, lsn: Lsn) -> Before {
        self.owners.get(&lsn).map_or(Before::Something, |value| Before::Only(*value))
    }

    /// Returns the operation's step; `None` if it neither changes nor shows anything.
    fn step(&self, operation: &Operation) -> Result<Option<Step>, String> {
        let value = match &operation.value {
            None => NONE,
            Some(value) => match self.numbers.get(value) {
                Some(number) => *number,
                None => return Err(format!("nobody wrote this value: {operation}")),
            },
        };
        let is_condition = operation.told == Some(Told::Condition);
        Ok(match (operation.op, operation.status) {
            (Kind::Get, Status::Ok) => Some(Step::Look(Before::Only(value))),
            (Kind::Get, Status::Fail | Status::Info) => None,
            (Kind::Cas, Status::Fail) if is_condition => {
                let met = operation.lsn();
                Some(Step::Look(met.map_or(Before::Only(NONE), |lsn| self.holder(lsn))))
            }
            (Kind::Put | Kind::Delete | Kind::Cas, Status::Fail) => None,
            (Kind::Put | Kind::Delete, Status::Ok) => Some(Step::Set(before(operation), value)),
            (Kind::Put | Kind::Delete, Status::Info) => Some(Step::Set(Before::Anything, value)),
            (Kind::Cas, Status::Ok) => Some(Step::Set(self.asked(operation), value)),
            (Kind::Cas, Status::Info) => Some(Step::SetIf(self.asked(operation), value)),
        })
    }

    /// Returns what a conditional put asked to be there.
    fn asked(&self, operation: &Operation) -> Before {
        match operation.condition {
            Some(If::Absent) => Before::Only(NONE),
            Some(If::Version(lsn)) => self.holder(lsn),
            None => Before::Anything,
        }
    }
}

/// Returns what an acknowledged write says was there.
fn before(operation: &Operation) -> Before {
    match operation.told {
        Some(Told::Stored | Told::Missing) => Before::Only(NONE),
        Some(Told::Replaced | Told::Deleted) => Before::Something,
        _ => Before::Anything,
    }
}

/// Returns whether an order explains every answer; `None`: undecided.
fn explains(steps: &[Timed]) -> Option<bool> {
    let mut is_decided = true;
    for (state, piece) in pieces(steps) {
        STEPS.set(0);
        let is_linearizable = WGLChecker::<Register>::is_linearizable(entries(state, piece));
        if !is_linearizable && STEPS.get() <= STEP_COUNT_MAX {
            return Some(false);
        }
        is_decided &= is_linearizable;
    }
    is_decided.then_some(true)
}

/// Cuts the steps where one, alone in time, shows what the register holds after it: each piece with what it begins with.
fn pieces(steps: &[Timed]) -> Vec<(Value, &[Timed])> {
    let mut pieces = Vec::new();
    let (mut state, mut begin, mut busy_until) = (NONE, 0, 0);
    for (index, timed) in steps.iter().enumerate() {
        let next_call = steps.get(index + 1).map_or(NEVER, |next| next.call);
        let is_alone = (index == begin || busy_until < timed.call) && timed.ret < next_call;
        busy_until = timed.ret.max(busy_until);
        let (true, Some(shown)) = (is_alone, shows(timed.step)) else { continue };
        pieces.push((state, &steps[begin..=index]));
        (state, begin) = (shown, index + 1);
    }
    if begin < steps.len() {
        pieces.push((state, &steps[begin..]));
    }
    pieces
}

/// Returns what is there after the step, if it shows it.
fn shows(step: Step) -> Option<Value> {
    match step {
        Step::Look(Before::Only(value)) | Step::Set(_, value) => Some(value),
        Step::Look(Before::Anything | Before::Something) | Step::SetIf(..) => None,
    }
}

/// Returns the calls and ends in their order. What ends when another begins overlaps it.
fn entries(state: Value, piece: &[Timed]) -> History<Step> {
    let first = Step::Set(Before::Anything, state);
    let mut entries = vec![(0, Action::Call(first)), (0, Action::Response(first))];
    let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * piece.len());
    for (index, timed) in piece.iter().enumerate() {
        times.push((timed.call, false, index));
        times.push((timed.ret, true, index));
    }
    times.sort_unstable();
    entries.extend(times.into_iter().map(|(_, is_end, index)| {
        let step = piece[index].step;
        (index + 1, if is_end { Action::Response(step) } else { Action::Call(step) })
    }));
    History::from_actions(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(call: u64, ret: u64, step: Step) -> Timed {
        Timed { call, ret, step }
    }

    #[test]
    fn a_history_is_cut_only_where_one_step_alone_shows_the_state() {
        let set = |value| Step::Set(Before::Anything, value);
        let steps = [
            at(1, 2, set(1)),
            at(3, 6, set(2)),
            at(5, 7, set(3)),
            at(8, 9, Step::Look(Before::Something)),
            at(10, 11, Step::Look(Before::Only(2))),
            at(12, 13, set(4)),
        ];
        let pieces: Vec<_> = pieces(&steps).iter().map(|(s, p)| (*s, p.len())).collect();
        assert_eq!(pieces, [(NONE, 1), (1, 4), (2, 1)]);
    }

    #[test]
    fn nothing_is_cut_while_a_write_without_an_end_is_under_way() {
        let set = |value| Step::Set(Before::Anything, value);
        let steps = [at(1, 2, set(1)), at(3, NEVER, set(2)), at(5, 6, set(3)), at(7, 8, set(4))];
        assert_eq!(pieces(&steps).iter().map(|(_, p)| p.len()).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_search_without_end_is_undecided_and_not_a_pass() {
        // Forty writes at the same time, and reads that need one of their orders, but for the last.
        let mut steps: Vec<Timed> =
            (1..=40).map(|value| at(1, 1000, Step::Set(Before::Anything, value))).collect();
        for index in 0..40_u32 {
            let call = 2 + u64::from(index) * 4;
            steps.push(at(call, call + 1, Step::Look(Before::Only(41 - index % 40 - 1))));
        }
        steps.push(at(900, 901, Step::Look(Before::Only(NONE))));
        assert_ne!(explains(&steps), Some(true));
    }
}
