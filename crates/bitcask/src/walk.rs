//! A walk over all records of a slot, in bounded memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::keydir::{Entry, Generation};
use crate::store::Inner;
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

    /// Reads a record; `None` when it is gone, with its slot or as a tombstone that was dropped.
    fn read(&mut self, key: &[u8], mut entry: Entry) -> Option<Result<Record>> {
        loop {
            if let Some(read) = self.store.read(&entry, &mut self.buf) {
                return Some(read.map(|(head, value)| Record {
                    key: head.key.to_vec(),
                    lsn: head.lsn,
                    value: (!entry.is_tombstone).then(|| value.to_vec()),
                    expires_at_ms: head.expires_at_ms,
                    request: head.request,
                }));
            }
            // A merge moved it.
            let moved = self.store.keydir.find(self.slot, key).flatten()?;
            if self.store.keydir.generation(self.slot) != Some(self.generation) {
                return None;
            }
            entry = moved;
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.chunk.is_empty() {
                self.fill();
            }
            let (key, entry) = self.chunk.pop_front()?;
            if let Some(read) = self.read(&key, entry) {
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
