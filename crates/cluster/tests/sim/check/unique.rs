//! Keys that are put once, by one client, some deleted once, and read at the end: the cheap, independent check.
//!
//! With one put and at most one delete, each read can be judged by itself, from the times alone:
//!
//! | what | when |
//! |---|---|
//! | phantom | it is there, though its put was never asked, not yet asked, or definitely refused |
//! | wrong | it is there with another value |
//! | lost | it is not there, though its put was acknowledged before, or it was seen before, and no delete may have been carried out |
//! | resurrected | it is there, though its delete was acknowledged before, or it was seen to be gone before |
//! | twice | the only put *replaced* a value |
//!
//! Put and delete are by the same client, one after the other. An unknown delete may take effect late, an unknown put as
//! well, even after the delete: then nothing is certain but what reads show.

use super::OfKey;
use crate::history::{Kind, Operation, Status, Told};

/// Checks one key. Returns whether somebody read it when all its writes were over.
pub fn check(operations: &OfKey<'_>) -> Result<bool, String> {
    let put = one(operations, |o| matches!(o.op, Kind::Put | Kind::Cas))?;
    let delete = one(operations, |o| o.op == Kind::Delete)?;
    if put.is_some_and(|put| put.told == Some(Told::Replaced)) {
        return Err("twice: the only put of the key replaced a value".to_owned());
    }
    if let (Some(put), Some(delete)) = (put, delete)
        && (put.status, delete.status, delete.told) == (Status::Ok, Status::Ok, Some(Told::Missing))
        && put.is_before(delete)
    {
        return Err("lost: the put was acknowledged, but its delete found nothing".to_owned());
    }
    let reads: Vec<&Operation> = operations
        .iter()
        .copied()
        .filter(|o| o.op == Kind::Get && o.status == Status::Ok)
        .collect();
    for read in &reads {
        match &read.value {
            Some(_) => check_found(read, put, delete, &reads)?,
            None => check_absent(read, put, delete, &reads)?,
        }
    }
    let writes: Vec<_> = [put, delete].into_iter().flatten().collect();
    Ok(reads.iter().any(|read| writes.iter().all(|write| write.is_before(read))))
}

fn one<'a>(
    operations: &OfKey<'a>,
    is_it: impl Fn(&Operation) -> bool,
) -> Result<Option<&'a Operation>, String> {
    let mut found = operations.iter().copied().filter(|o| is_it(o));
    match (found.next(), found.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err("a key that was to be written once was written twice".to_owned()),
    }
}

fn check_found(
    read: &Operation,
    put: Option<&Operation>,
    delete: Option<&Operation>,
    reads: &[&Operation],
) -> Result<(), String> {
    let Some(put) = put.filter(|put| put.status != Status::Fail) else {
        return Err(format!("phantom: no put of it was carried out: {read}"));
    };
    if read.is_before(put) {
        return Err(format!("phantom: it is there before it was put: {read}"));
    }
    if read.value != put.value {
        return Err(format!("wrong: another value than was put: {read}"));
    }
    // A delete that was acknowledged after the put was, and came before this read.
    let was_deleted = delete.is_some_and(|delete| {
        let is_sure = delete.status == Status::Ok && delete.is_before(read);
        // A late put may come after a delete; but not one that was acknowledged before the delete began.
        is_sure
            && (put.status == Status::Ok && put.is_before(delete)
                || delete.told == Some(Told::Deleted))
    });
    let was_gone = reads.iter().any(|earlier| {
        earlier.value.is_none() && earlier.is_before(read) && was_there(earlier, put, reads)
    });
    match was_deleted || was_gone {
        true => Err(format!("resurrected: it was gone before: {read}")),
        false => Ok(()),
    }
}

/// Returns whether the value was surely there at some time before `read` was called.
fn was_there(read: &Operation, put: &Operation, reads: &[&Operation]) -> bool {
    put.status == Status::Ok && put.is_before(read)
        || reads.iter().any(|earlier| earlier.value.is_some() && earlier.is_before(read))
}

fn check_absent(
    read: &Operation,
    put: Option<&Operation>,
    delete: Option<&Operation>,
    reads: &[&Operation],
) -> Result<(), String> {
    let Some(put) = put else { return Ok(()) };
    let may_be_deleted = delete.is_some_and(|delete| {
        delete.status != Status::Fail
            && delete.told != Some(Told::Missing)
            && !read.is_before(delete)
            || delete.status == Status::Info && !read.is_before(delete)
    });
    match !may_be_deleted && was_there(read, put, reads) {
        true => Err(format!("lost: it was there before, and nobody can have deleted it: {read}")),
        false => Ok(()),
    }
}
