//! Versions of a key only rise; and nobody reads what was not yet written, or was refused.
//!
//! A slot's lsns are given in the order of its writes, and the highest of a key wins (R1). So in real time:
//!
//! * a read returns no lower version than any that was read or acknowledged before it was called;
//! * a write that was called after a version was seen gets a higher one;
//! * a value is read only after its write was called, and never if that was definitely refused;
//! * one version is of one value, and one value of one version. A value that is proposed again, to override what a
//!   returning server holds (R20), gets a second version: always of a later epoch.

use std::collections::BTreeMap;

use cluster::{Bytes, Lsn};

use super::OfKey;
use crate::history::{Kind, Operation, Status};

/// Checks one key.
pub fn check(operations: &OfKey<'_>) -> Result<(), String> {
    values_were_written(operations)?;
    versions_fit_values(operations)?;
    versions_rise(operations)
}

/// Returns the operation that wrote each value.
pub fn writers<'a>(operations: &OfKey<'a>) -> BTreeMap<&'a Bytes, &'a Operation> {
    let writes = operations.iter().filter(|o| o.op.is_write());
    writes.filter_map(|&o| Some((o.value.as_ref()?, o))).collect()
}

/// Returns the reads and writes that tell a version together with its value.
pub fn sightings<'a>(
    operations: &OfKey<'a>,
) -> impl Iterator<Item = (&'a Operation, &'a Bytes, Lsn)> {
    let done: Vec<_> = operations.iter().filter(|o| o.status == Status::Ok).copied().collect();
    done.into_iter().filter_map(|o| Some((o, o.value.as_ref()?, o.lsn()?)))
}

fn values_were_written(operations: &OfKey<'_>) -> Result<(), String> {
    let writers = writers(operations);
    for read in operations.iter().filter(|o| o.op == Kind::Get && o.status == Status::Ok) {
        let Some(value) = &read.value else { continue };
        match writers.get(value) {
            None => return Err(format!("nobody wrote this value: {read}")),
            Some(write) if write.status == Status::Fail => {
                return Err(format!("this write was refused, yet it was read: {write}"));
            }
            Some(write) if read.is_before(write) => {
                return Err(format!("this value was read before it was written: {read}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn versions_fit_values(operations: &OfKey<'_>) -> Result<(), String> {
    let mut value_of: BTreeMap<Lsn, &Bytes> = BTreeMap::new();
    let mut lsns_of: BTreeMap<&Bytes, Vec<Lsn>> = BTreeMap::new();
    for (operation, value, lsn) in sightings(operations) {
        if value_of.insert(lsn, value).is_some_and(|other| other != value) {
            return Err(format!("version {lsn} is of two values: {operation}"));
        }
        let lsns = lsns_of.entry(value).or_default();
        if lsns.iter().any(|other| *other != lsn && other.epoch() == lsn.epoch()) {
            return Err(format!(
                "applied twice: the value has two versions of one epoch: {operation}"
            ));
        }
        if !lsns.contains(&lsn) {
            lsns.push(lsn);
        }
    }
    Ok(())
}

/// Sweeps over calls and returns in their order, and carries the highest version seen by anybody who has returned.
fn versions_rise(operations: &OfKey<'_>) -> Result<(), String> {
    let mut returns: Vec<(u64, Lsn)> = Vec::new();
    for operation in operations.iter().filter(|o| o.status != Status::Info) {
        // A condition that did not hold shows the version that is there.
        if let (Some(ret), Some(lsn)) = (operation.ret, operation.lsn()) {
            returns.push((ret, lsn));
        }
    }
    returns.sort_unstable();
    let mut returns = returns.into_iter().peekable();
    let mut seen = Lsn(0);
    for operation in operations {
        while let Some((_, lsn)) = returns.next_if(|(ret, _)| *ret < operation.call) {
            seen = seen.max(lsn);
        }
        let Some(lsn) = operation.lsn() else { continue };
        let is_write = operation.op.is_write() && operation.status == Status::Ok;
        if lsn < seen || is_write && lsn == seen {
            return Err(format!("a version that was seen before is {seen}: {operation}"));
        }
    }
    Ok(())
}
