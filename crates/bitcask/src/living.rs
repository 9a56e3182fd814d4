//! Which records a merge keeps, how they are copied, and how the keydir learns their new places.
//!
//! | a record in an input | is |
//! |---|---|
//! | that is pending | copied: it is in the log and may yet be published (R2) |
//! | that is the newest published one of its key | copied, whatever is pending above it |
//! | a tombstone, such, that nobody needs | left out, and taken from the keydir after the commit |
//! | any other | left out; the table's, or the pending record's, count of such records falls by one |
//! | left out, and the carrier of its client's newest request | replaced by a record of the request alone (R24) |
//! | of a dropped slot | left out |
//!
//! A tombstone is left out when it is below its slot's floor, no record of the slot below it is pending, and no older record of
//! its key is in any file (R5). All that is known exactly: see the table's *stale* counts. Should a merge be given up
//! half-way, the counts it took down may be too low, and no tombstone is left out until the next opening counts anew. The
//! keydir keeps each until the merge is committed: a merge that is given up leaves it on disk, and a later merge that
//! did not find it in the keydir would take it for dead, though the value it hides may still be in another file.
//!
//! Between the look at a record and the merge's end, it may be published or overwritten. So relocating asks anew, record by
//! record, who still points to an input: the pending table, the table, the requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::data_file::{DataFile, FileId};
use crate::error::Result;
use crate::hint::{Form, Hint};
use crate::inner::Inner;
use crate::keydir::{Entry, Generation, Slot};
use crate::output::Output;
use crate::record::{Head, REQUEST_RECORD_LEN};
use crate::scan::{Item, Scan};
use crate::types::{Lsn, Request};

/// Tombstones left out by one merge, at most: they are remembered until it is committed, 50 to 1,100 bytes each.
const FREE_COUNT_MAX: usize = 100_000;
/// Bytes read between two looks at the rate.
const PACED_LEN: u64 = 1 << 16;

/// A merge's copying.
pub(crate) struct Copying<'a> {
    store: &'a Inner,
    pub(crate) output: Output<'a>,
    /// Tombstones left out.
    pub(crate) free: Vec<FreeTombstone>,
    pub(crate) copied_len: u64,
}

/// A tombstone that is not copied, because nobody needs it.
pub(crate) struct FreeTombstone {
    generation: Generation,
    key: Box<[u8]>,
    entry: Entry,
}

/// What becomes of a record.
enum Fate {
    Copied(Copied),
    /// Only its request goes on.
    Remembered(Request, Generation, Lsn),
    LeftOut,
}

/// A record that goes on living.
struct Copied {
    record_len: usize,
    head_len: usize,
    value_crc: u32,
    lsn: Lsn,
}

impl<'a> Copying<'a> {
    pub(crate) fn new(store: &'a Inner) -> Self {
        let output = Output::new(store, store.config.file_len_max);
        Self { store, output, free: Vec::new(), copied_len: 0 }
    }

    /// Copies the living records of `input`.
    pub(crate) fn copy_living(&mut self, input: &DataFile) -> Result<()> {
        let mut scan = Scan::new(input, input.data_end());
        let mut paced_at = 0;
        while let Some((at, item)) = scan.next()? {
            let fate = match item {
                Item::Record(head) => self.judge(input.id, at, &head),
                Item::Damage(_) if mutant!("merge drops what it cannot read") => Fate::LeftOut,
                Item::Damage(_) => return Err(input.damaged(at, "record header")),
            };
            match fate {
                Fate::Copied(copied) => {
                    let record = scan.record_bytes(at, copied.record_len)?;
                    self.copy(input, at, &copied, record)?;
                }
                Fate::Remembered(request, generation, lsn) => {
                    self.output.write(&Head::remembered(request, generation, lsn), &[])?;
                    self.copied_len += REQUEST_RECORD_LEN as u64;
                }
                Fate::LeftOut => {}
            }
            let done_len = scan.offset() - paced_at;
            if done_len >= PACED_LEN {
                paced_at = scan.offset();
                self.store.pace.take(done_len, self.store)?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, input: &DataFile, at: u64, copied: &Copied, record: &[u8]) -> Result<()> {
        let value = record.get(copied.head_len..).unwrap_or_default();
        if record.len() != copied.record_len || crc32fast::hash(value) != copied.value_crc {
            // Copying it would give damaged bytes a good head in a new place; the file stays as it is.
            return Err(input.damaged(at, "value checksum"));
        }
        self.copied_len += record.len() as u64;
        self.output.copy(record, copied.head_len, copied.lsn)
    }

    /// Decides what becomes of the record at `offset`.
    fn judge(&mut self, file: FileId, offset: u64, head: &Head<'_>) -> Fate {
        let Some(hint) = Hint::of_head(head, file, offset) else { return Fate::LeftOut };
        let mut slot = self.store.keydir.lock(head.generation.slot());
        if slot.generation != Some(head.generation) {
            return Fate::LeftOut;
        }
        if self.is_living(&mut slot, &hint) {
            return Fate::Copied(Copied {
                record_len: head.record_len(),
                head_len: head.len(),
                value_crc: head.value_crc,
                lsn: head.lsn,
            });
        }
        let carries = |request: &Request| {
            slot.requests.is_carrier(request, head.lsn, file, hint.entry.offset)
                && !mutant!("request dropped with its record")
        };
        match head.request.filter(carries) {
            Some(request) => Fate::Remembered(request, head.generation, head.lsn),
            None => Fate::LeftOut,
        }
    }

    /// Returns whether the record is pending, or the newest of its key and needed, or a request alone that is its
    /// client's newest. Where it is not, counts that it goes.
    fn is_living(&mut self, slot: &mut Slot, hint: &Hint<'_>) -> bool {
        let Hint { entry, key, .. } = hint;
        let pending = slot.pending.find(entry.lsn, key);
        if pending.is_some_and(|pending| pending.entry == *entry)
            && !mutant!("merge drops what is pending")
        {
            return true;
        }
        if hint.form != Form::Record {
            let carries =
                |request| slot.requests.is_carrier(request, entry.lsn, entry.file, entry.offset);
            return hint.request.as_ref().is_some_and(carries);
        }
        let hash = self.store.keydir.hash(key);
        let newest = slot.table.find(hash, key);
        let is_hidden = mutant!("merge drops what a pending record will replace")
            && slot.pending.iter().any(|(pending, _)| pending == *key);
        if newest != Some(*entry) || is_hidden {
            if !slot.pending.forget_copy(entry.lsn, key) {
                slot.table.forget_stale(hash, key);
            }
            return false;
        }
        !self.is_free(slot, hash, hint)
    }

    /// Returns whether the newest record of a key is a tombstone that nobody needs, and notes it.
    fn is_free(&mut self, slot: &Slot, hash: u64, hint: &Hint<'_>) -> bool {
        let is_free = hint.entry.is_tombstone
            && self.free.len() < FREE_COUNT_MAX
            && !self.store.counts_are_low.load(Ordering::Acquire)
            && slot.table.is_free_tombstone(hash, hint.key, &hint.entry, slot.free_below());
        if is_free {
            let Hint { generation, entry, .. } = *hint;
            self.free.push(FreeTombstone { generation, key: hint.key.into(), entry });
        }
        is_free
    }
}

impl FreeTombstone {
    /// Takes the tombstone out of the keydir.
    pub(crate) fn forget(&self, store: &Inner) {
        let hash = store.keydir.hash(&self.key);
        let mut slot = store.keydir.lock(self.generation.slot());
        if slot.generation == Some(self.generation) {
            slot.table.remove_tombstone(hash, &self.key, &self.entry, store.keydir.hasher());
        }
    }
}

/// Points whatever still points to one of the `inputs` to its copy in the finished `output`.
pub(crate) fn relocate(store: &Inner, output: &Arc<DataFile>, inputs: &[FileId]) -> Result<()> {
    let mut scan = Scan::new(output, output.data_end());
    while let Some((at, item)) = scan.next()? {
        let Item::Record(head) = item else { return Err(output.damaged(at, "fresh copy")) };
        if let Some(hint) = Hint::of_head(&head, output.id, at) {
            relocate_one(store, output, inputs, &hint);
        }
    }
    Ok(())
}

fn relocate_one(store: &Inner, output: &DataFile, inputs: &[FileId], hint: &Hint<'_>) {
    let Hint { entry, key, .. } = hint;
    let mut slot = store.keydir.lock(hint.generation.slot());
    if slot.generation != Some(hint.generation) {
        return;
    }
    let is_pending_left = mutant!("pending record not relocated");
    let mut old = None;
    if hint.form != Form::Remembered && !is_pending_left {
        old = slot.pending.relocate(key, inputs, entry);
    }
    if hint.form == Form::Record && old.is_none() {
        old = slot.table.relocate(store.keydir.hash(key), key, inputs, entry);
    }
    let moved = hint.request.as_ref();
    let carrier =
        moved.and_then(|request| slot.requests.relocate(request, entry.lsn, inputs, hint.place()));
    drop(slot);
    if let Some(old) = old {
        output.add_live(entry.live_len());
        store.files.with(old.file, |file| file.sub_live(old.live_len()));
    }
    if let Some(carrier) = carrier {
        if hint.form != Form::Record {
            output.add_live(entry.live_len());
        }
        store.bury_request(Some(carrier.file).filter(|_| carrier.is_alone));
    }
}
