//! Exactly once (R24): a write takes effect at most once, however often it was sent, and exactly once if acknowledged.
//!
//! * A condition that does not hold *because of the operation's own effect* is a retry that was not recognised.
//! * A request is never refused as old while its client has sent no later one.
//! * Counters go up by one with each conditional put that took effect, and by nothing else. So every number is written by
//!   exactly one of them, and the last number read lies between those acknowledged and those that may have taken effect.
//!
//! That one value has one version, but for repairs, is looked at in `order`; that no value comes back once it was overwritten,
//! by the search.

use std::collections::BTreeMap;

use super::OfKey;
use super::order::sightings;
use crate::history::{If, Kind, Operation, Status, Told};
use crate::wishes::count_of;

/// Checks one key.
pub fn check(key: &[u8], operations: &OfKey<'_>) -> Result<(), String> {
    for operation in operations {
        check_answer(operation)?;
    }
    own_effects_are_recognised(operations)?;
    if key.starts_with(b"c") { counts_are_exact(operations) } else { Ok(()) }
}

/// What an answer says of itself.
fn check_answer(operation: &Operation) -> Result<(), String> {
    let Some(told) = operation.told else { return Ok(()) };
    let complaint = match (operation.condition, told) {
        (_, Told::Old) => "a client's latest request was refused as old",
        (Some(If::Absent), Told::Replaced) => "a put of an absent key replaced a value",
        (Some(If::Version(_)), Told::Stored) => "a put over a version found nothing there",
        (Some(If::Absent), Told::Condition) if operation.lsn().is_none() => {
            "the key is said to be absent and not to be"
        }
        (Some(If::Version(lsn)), Told::Condition) if operation.lsn() == Some(lsn) => {
            "the version asked for is there, yet the condition is said not to hold"
        }
        _ => return Ok(()),
    };
    Err(format!("{complaint}: {operation}"))
}

fn own_effects_are_recognised(operations: &OfKey<'_>) -> Result<(), String> {
    let values: BTreeMap<_, _> =
        sightings(operations).map(|(_, value, lsn)| (lsn, value)).collect();
    for operation in operations.iter().filter(|o| o.told == Some(Told::Condition)) {
        let met = operation.lsn().and_then(|lsn| values.get(&lsn));
        if met.is_some_and(|met| Some(*met) == operation.value.as_ref()) {
            return Err(format!("a retry met its own effect: {operation}"));
        }
    }
    Ok(())
}

fn counts_are_exact(operations: &OfKey<'_>) -> Result<(), String> {
    let ups = operations.iter().filter(|o| o.op == Kind::Cas && o.status != Status::Fail);
    let (sure, open): (Vec<&Operation>, Vec<&Operation>) =
        ups.partition(|o| o.status == Status::Ok);
    let mut by_count: BTreeMap<u64, &Operation> = BTreeMap::new();
    for up in &sure {
        let count = up.value.as_deref().map_or(0, count_of);
        if by_count.insert(count, up).is_some() {
            return Err(format!("two acknowledged conditional puts count the same: {up}"));
        }
    }
    let reads = operations.iter().filter(|o| o.op == Kind::Get && o.status == Status::Ok);
    for read in reads {
        let count = read.value.as_deref().map_or(0, count_of);
        let below = sure.iter().filter(|up| up.is_before(read)).count();
        let above = sure.iter().chain(&open).filter(|up| !read.is_before(up)).count();
        if !(below..=above).contains(&usize::try_from(count).unwrap()) {
            return Err(format!(
                "{below} acknowledged and at most {above} carried out, but it counts {count}: {read}"
            ));
        }
    }
    Ok(())
}
