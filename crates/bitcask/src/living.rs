//! Which records a merge keeps, how they are copied, and how the keydir learns their new places.
//!
//! | a record in an input | is |
//! |---|---|
//! | that is pending | copied: it is in the log and may yet be published (R2) |
//! | that is the newest published one of its key | copied, whatever is pending above it |
//! | such a one, a tombstone or a value that has ended, that nobody needs | left out, and taken from the keydir after the commit |
//! | such a one, a value that has ended, that must still hide older ones | replaced by a tombstone of its lsn |
//! | any other | left out; the table's, or the pending record's, count of such records falls by one |
//! | left out, and the carrier of its client's newest request | replaced by a record of the request alone (R24) |
//! | of a dropped slot | left out |
//!
//! A tombstone, or a value that has ended a minute ago, is left out when it is below its slot's floor and not above the
//! commit point that is kept, no record of the slot below it is pending, and no older record of its key is in any file
//! (R5). All that is known exactly: see the table's *stale* counts. Should a merge be given up
//! half-way, the counts it took down may be too low, and nothing is left out so until the next opening counts anew. The
//! keydir keeps each until the merge is committed: a merge that is given up leaves it on disk, and a later merge that
//! did not find it in the keydir would take it for dead, though the value it hides may still be in another file.
//!
//! Between the look at a record and the merge's end, it may be published or overwritten. So relocating asks anew, record by
//! record, who still points to an input: the pending table, the table, the requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::data_file::{DataFile, FileId, has_ended};
use crate::error::Result;
use crate::hint::{Form, Hint};
use crate::inner::{Inner, now_ms};
use crate::keydir::{Entry, Generation, Slot};
use crate::output::Output;
use crate::record::Head;
use crate::scan::{Item, Scan};
use crate::types::{Lsn, Request};

/// Free records left out by one merge, at most: they are remembered until it is committed, 50 to 1,100 bytes each.
const FREE_COUNT_MAX: usize = 100_000;
/// Bytes read between two looks at the rate.
const PACED_LEN: u64 = 1 << 16;

/// A merge's copying.
pub(crate) struct Copying<'a> {
    store: &'a Inner,
    pub(crate) output: Output<'a>,
    /// Newest records of their keys that were left out.
    pub(crate) free: Vec<Free>,
    pub(crate) copied_len: u64,
    now_ms: u64,
}

/// The newest record of a key, which is not copied, because nobody needs it.
pub(crate) struct Free {
    generation: Generation,
    key: Box<[u8]>,
    entry: Entry,
}

/// What becomes of a record.
enum Fate {
    Copied(Copied),
    /// Its value has ended; the rest goes on as a tombstone.
    Ended,
    /// Only its request goes on.
    Remembered(Request, Generation, Lsn),
    LeftOut,
}

/// What the tables need of a record.
enum Claim {
    Whole,
    /// Its key and lsn.
    Ended,
    None,
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
        Self { store, output, free: Vec::new(), copied_len: 0, now_ms: now_ms() }
    }

    /// Copies the living records of `input`.
    pub(crate) fn copy_living(&mut self, input: &DataFile) -> Result<()> {
        let mut scan = Scan::new(input, input.data_end());
        let mut paced_at = 0;
        while let Some((at, item)) = scan.next()? {
            let fate = match item {
                Item::Record(head) => {
                    let fate = self.judge(input.id, at, &head);
                    if matches!(fate, Fate::Ended) {
                        self.write(&head.ended())?;
                    }
                    fate
                }
                Item::Damage(_) if mutant!("merge drops what it cannot read") => Fate::LeftOut,
                Item::Damage(_) => return Err(input.damaged(at, "record header")),
            };
            match fate {
                Fate::Copied(copied) => {
                    let record = scan.record_bytes(at, copied.record_len)?;
                    self.copy(input, at, &copied, record)?;
                }
                Fate::Remembered(request, generation, lsn) => {
                    self.write(&Head::remembered(request, generation, lsn))?;
                }
                Fate::Ended | Fate::LeftOut => {}
            }
            let done_len = scan.offset() - paced_at;
            if done_len >= PACED_LEN {
                paced_at = scan.offset();
                self.store.pace.take(done_len, self.store)?;
            }
        }
        Ok(())
    }

    /// Writes a record without a value.
    fn write(&mut self, head: &Head<'_>) -> Result<()> {
        self.copied_len += head.record_len() as u64;
        self.output.write(head, &[])
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
        let claim = self.claim(&mut slot, &hint);
        match claim {
            Claim::Whole => {
                return Fate::Copied(Copied {
                    record_len: head.record_len(),
                    head_len: head.len(),
                    value_crc: head.value_crc,
                    lsn: head.lsn,
                });
            }
            Claim::Ended => return Fate::Ended,
            Claim::None => {}
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

    /// Returns what the tables still need of the record. If nothing, counts that it goes.
    fn claim(&mut self, slot: &mut Slot, hint: &Hint<'_>) -> Claim {
        let Hint { entry, key, .. } = hint;
        let pending = slot.pending.find(entry.lsn, key).filter(|pending| pending.entry == *entry);
        if pending.is_some() && !mutant!("merge drops what is pending") {
            return Claim::Whole;
        }
        if hint.form != Form::Record {
            let carries =
                |request| slot.requests.is_carrier(request, entry.lsn, entry.file, entry.offset);
            let is_carrier = hint.request.as_ref().is_some_and(carries);
            return if is_carrier { Claim::Whole } else { Claim::None };
        }
        let hash = self.store.keydir.hash(key);
        let newest = slot.table.find(hash, key);
        let is_hidden = mutant!("merge drops what a pending record will replace")
            && slot.pending.iter().any(|(pending, _)| pending == *key);
        if newest != Some(*entry) || is_hidden {
            if !slot.pending.forget_copy(entry.lsn, key) {
                slot.table.forget_stale(hash, key);
            }
            return Claim::None;
        }
        let has_ended = hint.expires_at_ms.is_some_and(|end_ms| has_ended(end_ms, self.now_ms));
        match has_ended || entry.is_tombstone {
            true if self.is_free(slot, hash, hint) => Claim::None,
            true if has_ended => Claim::Ended,
            true | false => Claim::Whole,
        }
    }

    /// Returns whether nobody needs the newest record of a key, which has no value any more; notes it if so.
    fn is_free(&mut self, slot: &Slot, hash: u64, hint: &Hint<'_>) -> bool {
        let Hint { generation, entry, key, .. } = *hint;
        let is_free = self.free.len() < FREE_COUNT_MAX
            && !self.store.counts_are_low.load(Ordering::Acquire)
            && slot.table.is_free(hash, key, &entry, slot.free_below());
        let is_free =
            is_free || mutant!("ended value dropped before older records") && !entry.is_tombstone;
        if is_free {
            self.free.push(Free { generation, key: key.into(), entry });
        }
        is_free
    }
}

impl Free {
    /// Takes the record out of the keydir.
    pub(crate) fn forget(&self, store: &Inner) {
        let hash = store.keydir.hash(&self.key);
        let mut slot = store.keydir.lock(self.generation.slot());
        if slot.generation == Some(self.generation) {
            slot.table.remove_free(hash, &self.key, &self.entry, store.keydir.hasher());
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
    let (mut was_pending, mut was_newest) = (None, None);
    if hint.form != Form::Remembered && !is_pending_left {
        was_pending = slot.pending.relocate(key, inputs, entry);
    }
    if hint.form == Form::Record && was_pending.is_none() {
        was_newest = slot.table.relocate(store.keydir.hash(key), key, inputs, entry);
    }
    let moved = hint.request.as_ref();
    let carrier =
        moved.and_then(|request| slot.requests.relocate(request, entry.lsn, inputs, hint.place()));
    drop(slot);
    if let Some(old) = was_pending {
        output.add_live(entry.live_len());
        store.files.with(old.file, |file| file.sub_live(old.live_len()));
    }
    if let Some(old) = was_newest {
        output.count_newest(entry, hint.expires_at_ms);
        store.files.with(old.file, |file| file.uncount_newest(&old));
    }
    if let Some(carrier) = carrier {
        if hint.form != Form::Record {
            output.add_live(entry.live_len());
        }
        store.bury_request(Some(carrier.file).filter(|_| carrier.is_alone));
    }
}
