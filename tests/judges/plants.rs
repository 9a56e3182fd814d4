//! Lies that are planted into a true history: each as a function that changes a few operations, if it finds a place for it.

use crate::history::{Kind, Operation, Status, Told};

/// A lie: returns the history with it; `None`: there is no place for it.
pub(crate) type Plant = fn(Vec<Operation>) -> Option<Vec<Operation>>;

/// All of them, by name.
pub(crate) const ALL: [(&str, Plant); 8] = [
    ("a write that was acknowledged is lost: nobody finds it at the end", lose_unique),
    (
        "a write that was acknowledged is lost: the last readers find what was there before",
        lose_last,
    ),
    ("a stale read", read_stale),
    ("a value that nobody wrote", invent),
    ("a write that was refused and takes effect", refuse_what_was_read),
    ("a deleted key that is back", bring_back),
    ("two conditional puts that replaced the same version", replace_twice),
    ("a key that nobody reads at the end", read_no_more),
];

fn lose_unique(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let key = last_read(&operations, |o| is_found(o) && o.key.starts_with(b"u"))?.key.clone();
    let write = operations.iter().position(|o| o.key == key && o.op == Kind::Put)?;
    let written_at = operations[write].ret?;
    for read in operations.iter_mut().filter(|o| o.key == key && o.call > written_at) {
        if read.op == Kind::Get {
            be_absent(read);
        }
    }
    Some(operations)
}

fn lose_last(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let (before, after) = two_reads(&operations)?;
    let (lost, older) = (operations[after].clone(), operations[before].clone());
    for read in operations.iter_mut().filter(|o| is_found(o) && o.value == lost.value) {
        read.value.clone_from(&older.value);
        read.version = older.version;
    }
    Some(operations)
}

fn read_stale(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let (before, after) = two_reads(&operations)?;
    let older = operations[before].clone();
    operations[after].value = older.value;
    operations[after].version = older.version;
    Some(operations)
}

fn invent(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let read = operations.iter_mut().find(|o| is_found(o))?;
    read.value = Some(b"9999.9999".to_vec().into());
    Some(operations)
}

fn refuse_what_was_read(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let value = last_read(&operations, is_found)?.value.clone();
    let write = operations.iter_mut().find(|o| o.op.is_write() && o.value == value)?;
    (write.status, write.told) = (Status::Fail, Some(Told::Refused));
    Some(operations)
}

fn bring_back(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let is_deleted = |o: &&Operation| o.told == Some(Told::Deleted) && o.key.starts_with(b"u");
    let deleted = operations.iter().find(is_deleted)?.clone();
    let value = operations.iter().find(|o| o.key == deleted.key && o.op == Kind::Put)?.clone();
    let is_after = |o: &&mut Operation| o.key == deleted.key && deleted.is_before(o);
    let read = operations.iter_mut().filter(is_after).find(|o| o.op == Kind::Get)?;
    (read.value, read.told) = (value.value, Some(Told::Found));
    Some(operations)
}

fn replace_twice(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let is_done = |o: &Operation| o.op == Kind::Cas && o.status == Status::Ok;
    let first = operations.iter().find(|o| is_done(o) && o.key.starts_with(b"c"))?.clone();
    let is_next = |o: &&mut Operation| is_done(o) && o.key == first.key && first.is_before(o);
    operations.iter_mut().find(is_next)?.condition = first.condition;
    Some(operations)
}

fn read_no_more(mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
    let key = last_read(&operations, |o| o.key.starts_with(b"u"))?.key.clone();
    operations.retain(|o| o.key != key || o.op != Kind::Get);
    Some(operations)
}

fn is_found(operation: &Operation) -> bool {
    operation.told == Some(Told::Found)
}

fn be_absent(read: &mut Operation) {
    (read.told, read.value, read.version) = (Some(Told::Absent), None, None);
}

fn last_read(operations: &[Operation], is_it: impl Fn(&Operation) -> bool) -> Option<&Operation> {
    operations.iter().rfind(|o| o.op == Kind::Get && is_it(o))
}

/// Returns two reads of a shared key that found one value and then another, in this order, with the second value written in
/// between; the second read is one of the last.
fn two_reads(operations: &[Operation]) -> Option<(usize, usize)> {
    let is_shared = |o: &Operation| is_found(o) && o.key.starts_with(b"h");
    (0..operations.len()).rev().filter(|index| is_shared(&operations[*index])).find_map(|after| {
        let last = &operations[after];
        let is_done = |o: &&Operation| o.status == Status::Ok && o.is_before(last);
        let mut writes = operations.iter().filter(|o| o.op.is_write() && o.value == last.value);
        let write = writes.find(is_done)?;
        let is_older = |o: &Operation| is_shared(o) && o.key == last.key && o.value != last.value;
        let before = operations.iter().position(|o| is_older(o) && o.is_before(write))?;
        Some((before, after))
    })
}
