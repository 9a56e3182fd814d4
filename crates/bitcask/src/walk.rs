//! Reading all records of a slot, in bounded memory: as one walk, or page by page in the order of lsns.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::keydir::{Entry, Generation};
use crate::record::Head;
use crate::types::{Lsn, Request, SlotId};

/// Entries looked at under one lock.
const CHUNK_COUNT: usize = 64;

/// One record, as a walk gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Vec<u8>,
    /// Its place in the slot's order.
    pub lsn: Lsn,
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// When the value ends, in milliseconds since 1970-01-01 UTC; `None`: never. Records past their end are given too.
    pub expires_at_ms: Option<u64>,
    /// Who wrote it, if that was kept.
    pub request: Option<Request>,
}

/// The walk that [`Store::records`](crate::Store::records) begins.
///
/// It ends early when the slot is dropped. A record that cannot be read is given as its error, and the walk goes on.
#[derive(Debug)]
pub struct Records {
    store: Arc<Inner>,
    slot: SlotId,
    generation: Generation,
    above: Lsn,
    at: Option<usize>,
    chunk: VecDeque<(Vec<u8>, Entry)>,
    buf: Vec<u8>,
}

impl Records {
    pub(crate) fn new(store: Arc<Inner>, slot: SlotId, above: Lsn) -> Result<Self> {
        let mut locked = store.keydir.lock(slot);
        let Some(generation) = locked.generation else { return Err(Error::NoSlot { slot }) };
        locked.table.begin_walk();
        drop(locked);
        let (chunk, buf) = (VecDeque::new(), Vec::new());
        Ok(Self { store, slot, generation, above, at: Some(0), chunk, buf })
    }

    /// Fills the chunk; leaves it empty at the end.
    fn fill(&mut self) {
        while let Some(from) = self.at.filter(|_| self.chunk.is_empty()) {
            let slot = self.store.keydir.lock(self.slot);
            if slot.generation != Some(self.generation) {
                self.at = None;
                return;
            }
            self.at = slot.table.walk(from, CHUNK_COUNT, |key, entry| {
                if entry.lsn > self.above {
                    self.chunk.push_back((key.to_vec(), *entry));
                }
            });
        }
    }
}

/// Reads the newest record of `key`, which `entry` told of; `None` when it is gone, with its slot or as a tombstone
/// that was dropped.
fn read(
    store: &Inner,
    generation: Generation,
    key: &[u8],
    mut entry: Entry,
    buf: &mut Vec<u8>,
) -> Option<Result<Record>> {
    loop {
        if let Some(read) = store.read(&entry, buf) {
            return Some(
                read.and_then(|(head, value)| record_of(store, key, &entry, &head, value)),
            );
        }
        // A merge moved it.
        let hash = store.keydir.hash(key);
        let slot = store.keydir.lock(generation.slot());
        slot.generation.filter(|living| *living == generation)?;
        entry = slot.table.find(hash, key)?;
    }
}

/// Returns the record that was read at `entry`, if it is the one of this key and lsn.
pub(crate) fn record_of(
    store: &Inner,
    key: &[u8],
    entry: &Entry,
    head: &Head<'_>,
    value: &[u8],
) -> Result<Record> {
    if head.key != key || head.lsn != entry.lsn {
        let path = store.disk.path().join(entry.file.data_name());
        let (offset, what) = (u64::from(entry.offset), "another record than expected");
        return Err(Error::Corrupt { path, offset, what });
    }
    Ok(Record {
        key: head.key.to_vec(),
        lsn: head.lsn,
        value: (!entry.is_tombstone).then(|| value.to_vec()),
        expires_at_ms: head.expires_at_ms,
        request: head.request,
    })
}

/// Reads the newest published record of `key`, a tombstone among them, whether its time is over or not.
pub(crate) fn newest(store: &Inner, slot: SlotId, key: &[u8]) -> Result<Option<Record>> {
    let hash = store.keydir.hash(key);
    let locked = store.keydir.lock(slot);
    let Some(generation) = locked.generation else { return Err(Error::NoSlot { slot }) };
    let Some(entry) = locked.table.find(hash, key) else { return Ok(None) };
    drop(locked);
    read(store, generation, key, entry, &mut Vec::new()).transpose()
}

/// A page of a slot's records, in the order of their lsns.
#[derive(Debug, Default)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Why records that belong here could not be read.
    pub unreadable: Vec<Error>,
    /// The lsn to go on above; `None` at the end.
    pub next: Option<Lsn>,
}

/// Reads the page above `above`: at most `count_max` records, and no more after `len_max` bytes.
pub(crate) fn page(
    store: &Inner,
    slot: SlotId,
    above: Lsn,
    count_max: usize,
    len_max: usize,
) -> Result<Page> {
    let (generation, chosen) = choose(store, slot, above, count_max.max(1))?;
    let (mut page, mut len, mut buf) = (Page::default(), 0, Vec::new());
    for Choice { key, entry } in chosen {
        if len >= len_max.max(1) {
            break;
        }
        match read(store, generation, &key, entry, &mut buf) {
            Some(Ok(record)) => page.records.push(record),
            Some(Err(error)) => page.unreadable.push(error),
            None => {}
        }
        len += entry.record_len as usize;
        page.next = Some(entry.lsn);
    }
    // Where a record was overwritten meanwhile and merged away, the newer one stands in its place. Above the page's end it
    // comes again; below, it would be missed, and takes its own place in the order.
    page.records.retain(|record| Some(record.lsn) <= page.next);
    page.records.sort_by_key(|record| record.lsn);
    Ok(page)
}

/// An entry that may be on a page; the one with the highest lsn is the first to be left out.
#[derive(PartialEq, Eq)]
struct Choice {
    key: Vec<u8>,
    entry: Entry,
}

impl Ord for Choice {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.entry.lsn.cmp(&other.entry.lsn)
    }
}

impl PartialOrd for Choice {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Returns the entries with the `count_max` lowest lsns above `above`, in their order.
fn choose(
    store: &Inner,
    slot: SlotId,
    above: Lsn,
    count_max: usize,
) -> Result<(Generation, Vec<Choice>)> {
    let locked = store.keydir.lock(slot);
    let Some(generation) = locked.generation else { return Err(Error::NoSlot { slot }) };
    let mut heap: BinaryHeap<Choice> = BinaryHeap::new();
    locked.table.walk(0, usize::MAX, |key, entry| {
        let is_late =
            heap.len() >= count_max && heap.peek().is_none_or(|last| last.entry.lsn <= entry.lsn);
        if entry.lsn > above && !is_late {
            heap.push(Choice { key: key.to_vec(), entry: *entry });
            if heap.len() > count_max {
                heap.pop();
            }
        }
    });
    Ok((generation, heap.into_sorted_vec()))
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.chunk.is_empty() {
                self.fill();
            }
            let (key, entry) = self.chunk.pop_front()?;
            let read = read(&self.store, self.generation, &key, entry, &mut self.buf);
            if let Some(read) = read {
                return Some(read);
            }
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let mut slot = self.store.keydir.lock(self.slot);
        if slot.generation == Some(self.generation) {
            slot.table.end_walk();
        }
    }
}
