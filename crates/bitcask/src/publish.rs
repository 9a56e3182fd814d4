//! How records come into force: published at once, kept as pending and published later, or found at an opening.
//!
//! | a record | goes | counted as live |
//! |---|---|---|
//! | that the caller publishes | into the table and, with its request, into the requests | if it is the newest of its key |
//! | that is kept as pending | into the pending table | as long as it is there |
//! | found at opening, up to the commit point | as if published | |
//! | found at opening, above it | as if kept as pending | |
//! | *remembered*, found at opening | into the requests, wherever the commit point stands: its record was published | |
//!
//! Each step is taken under one lock of the slot, so nobody sees a record in two places or in none. The files' counts of
//! live bytes follow after it; they are for choosing what to merge and may lag.

use std::sync::MutexGuard;

use crate::data_file::{DataFile, FileId};
use crate::hint::{Form, Hint};
use crate::inner::Inner;
use crate::keydir::{Entry, Generation, Pending, Published, Slot};
use crate::record::REQUEST_RECORD_LEN;
use crate::types::{Lsn, SlotId};

/// Pending records published under one lock.
const CHUNK_COUNT: usize = 64;

/// What a record did to the live bytes of files.
#[derive(Clone, Copy, Debug, Default)]
struct Effect {
    /// The record is the newest of its key, or carries the newest request alone.
    is_live: bool,
    /// The record of the key that died for it.
    replaced: Option<Entry>,
    /// The file in which a record of a request alone died for it.
    died_in: Option<FileId>,
}

impl Inner {
    /// Makes a record visible if it is the newest of its key (R1), and notes its request.
    pub(crate) fn publish(&self, hint: &Hint<'_>, file: &DataFile) {
        if let Some(slot) = self.lock_living(hint) {
            self.publish_in(slot, hint, file);
        }
    }

    /// Locks the slot of a record, if the record is of its present life.
    fn lock_living(&self, hint: &Hint<'_>) -> Option<MutexGuard<'_, Slot>> {
        let slot = self.keydir.lock(hint.generation.slot());
        (slot.generation == Some(hint.generation)).then_some(slot)
    }

    fn publish_in(&self, mut slot: MutexGuard<'_, Slot>, hint: &Hint<'_>, file: &DataFile) {
        let effect = self.put_into(&mut slot, hint);
        drop(slot);
        match hint.form {
            Form::Record if effect.is_live => file.count_newest(&hint.entry, hint.expires_at_ms),
            Form::Request | Form::Remembered if effect.is_live => {
                file.add_live(hint.entry.live_len());
            }
            Form::Record | Form::Request | Form::Remembered => {}
        }
        if let Some(old) = effect.replaced.filter(|old| old.file == file.id) {
            file.uncount_newest(&old);
        } else {
            self.bury(effect.replaced);
        }
        self.bury_request(effect.died_in);
    }

    /// Puts a record into the locked slot's tables.
    fn put_into(&self, slot: &mut Slot, hint: &Hint<'_>) -> Effect {
        let mut effect = Effect::default();
        if hint.form == Form::Record {
            let hash = self.keydir.hash(hint.key);
            match slot.table.publish(hash, hint.key, &hint.entry, self.keydir.hasher()) {
                Published::Inserted => effect.is_live = true,
                Published::Outdated => {}
                Published::Replaced(old) => {
                    (effect.is_live, effect.replaced) = (true, Some(old));
                    slot.recent.forget(hash);
                }
            }
        } else {
            slot.table.note_lsn(hint.entry.lsn);
        }
        let is_lost = mutant!("request of an overwritten record lost") && !effect.is_live;
        if let Some(request) = hint.request.as_ref().filter(|_| !is_lost) {
            let noted = slot.requests.note(request, hint.entry.lsn, hint.place());
            effect.is_live |= noted.is_kept && hint.form != Form::Record;
            effect.died_in = noted.died_in;
        }
        effect
    }

    /// Counts a record that the table pointed to as dead.
    fn bury(&self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.files.with(entry.file, |file| file.uncount_newest(&entry));
        }
    }

    /// Counts a record of a request alone as dead.
    pub(crate) fn bury_request(&self, file: Option<FileId>) {
        if let Some(file) = file {
            self.files.with(file, |file| file.sub_live(REQUEST_RECORD_LEN as u64));
        }
    }

    /// Takes a record in that was found in a file at opening.
    pub(crate) fn load(&self, hint: &Hint<'_>, file: &DataFile) {
        let Some(slot) = self.lock_living(hint) else { return };
        if hint.form != Form::Remembered && slot.is_above_commit_point(hint.entry.lsn) {
            self.keep_in(slot, hint, file);
        } else {
            self.publish_in(slot, hint, file);
        }
    }

    /// Keeps a record as pending (R2).
    pub(crate) fn keep_pending(&self, hint: &Hint<'_>, file: &DataFile) {
        if let Some(slot) = self.lock_living(hint) {
            self.keep_in(slot, hint, file);
        }
    }

    fn keep_in(&self, mut slot: MutexGuard<'_, Slot>, hint: &Hint<'_>, file: &DataFile) {
        let Hint { form, entry, expires_at_ms, request, .. } = *hint;
        let pending = Pending { entry, form, expires_at_ms, request, copy_count: 0 };
        let is_new = slot.pending.insert(hint.key, pending);
        if let Some(request) = request.filter(|_| mutant!("request noted before it is published")) {
            slot.requests.note(&request, entry.lsn, hint.place());
        }
        drop(slot);
        if is_new {
            file.add_live(entry.live_len());
        }
    }

    /// Publishes a pending record; returns whether there was one.
    pub(crate) fn publish_pending(&self, slot: SlotId, lsn: Lsn, key: &[u8]) -> bool {
        let mut locked = self.keydir.lock(slot);
        let (Some(generation), Some(pending)) =
            (locked.generation, locked.pending.remove(lsn, key))
        else {
            return false;
        };
        let effect = self.promote(&mut locked, generation, key, &pending);
        drop(locked);
        self.settle(&pending, effect);
        true
    }

    /// Publishes the pending records of a slot up to `upto`; returns how many there were.
    pub(crate) fn publish_up_to(&self, slot: SlotId, upto: Lsn) -> usize {
        let (mut count, mut done) = (0, Vec::new());
        loop {
            let mut locked = self.keydir.lock(slot);
            let Some(generation) = locked.generation else { return count };
            while done.len() < CHUNK_COUNT
                && let Some((key, pending)) = locked.pending.pop_up_to(upto)
            {
                done.push((pending, self.promote(&mut locked, generation, &key, &pending)));
            }
            drop(locked);
            if done.is_empty() {
                return count;
            }
            count += done.len();
            done.drain(..).for_each(|(pending, effect)| self.settle(&pending, effect));
        }
    }

    /// Puts a record that was pending into the locked slot's tables, and counts its other copies.
    fn promote(
        &self,
        slot: &mut Slot,
        generation: Generation,
        key: &[u8],
        pending: &Pending,
    ) -> Effect {
        let Pending { entry, form, expires_at_ms, request, copy_count } = *pending;
        let effect =
            self.put_into(slot, &Hint { generation, form, entry, expires_at_ms, request, key });
        if form == Form::Record {
            slot.table.add_stale(self.keydir.hash(key), key, copy_count);
        }
        effect
    }

    /// Brings the files' counts up to date after a pending record, which was counted as live, was published.
    fn settle(&self, pending: &Pending, effect: Effect) {
        let Pending { entry, form, expires_at_ms, .. } = pending;
        self.files.with(entry.file, |file| match form {
            _ if !effect.is_live => file.sub_live(entry.live_len()),
            Form::Record => file.count_ending(entry, *expires_at_ms),
            Form::Request | Form::Remembered => {}
        });
        self.bury(effect.replaced);
        self.bury_request(effect.died_in);
    }
}
