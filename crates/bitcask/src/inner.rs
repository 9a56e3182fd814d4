//! The parts of an open store, as the engine's modules share them.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Config;
use crate::data_file::DataFile;
use crate::disk::{Disk, DiskLock};
use crate::durability::Durability;
use crate::error::{Error, Result};
use crate::files::{Files, HASTE_MAX};
use crate::health::Health;
use crate::keydir::{Entry, Keydir, Slot};
use crate::log::{Around, Log};
use crate::maintain::Background;
use crate::manifest::Manifest;
use crate::pace::Pace;
use crate::record::{Head, Kind};
use crate::types::{SLOT_COUNT, SlotId};

/// Things counted since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) merges: AtomicU64,
    pub(crate) merges_failed: AtomicU64,
    pub(crate) merged_len: AtomicU64,
}

/// The parts of an open store.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) id: u128,
    pub(crate) server_id: u128,
    pub(crate) keydir: Keydir,
    pub(crate) files: Files,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    pub(crate) health: Health,
    pub(crate) counters: Counters,
    pub(crate) pace: Pace,
    pub(crate) background: Background,
    /// A merge was given up half-way: counts of older records may be too low until the next opening.
    pub(crate) counts_are_low: AtomicBool,
    /// Dropped slots, whose bytes are still to be counted as dead.
    pub(crate) dropped: Mutex<Vec<Slot>>,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) merging: Mutex<()>,
    pub(crate) _lock: Box<dyn DiskLock>,
}

impl Inner {
    pub(crate) fn lock_manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_merging(&self) -> MutexGuard<'_, ()> {
        self.merging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn around(&self) -> Around<'_> {
        Around {
            config: &self.config,
            disk: &self.disk,
            files: &self.files,
            manifest: &self.manifest,
            durability: &self.durability,
            health: &self.health,
            background: &self.background,
        }
    }

    /// Creates a data file that the manifest does not know yet.
    pub(crate) fn create_data_file(&self) -> Result<DataFile> {
        DataFile::create(&self.disk, self.id, self.files.next_id())
    }

    /// Keeps the record of `key` at the front of `buf` in memory, if it is still the newest: it was read at `entry`.
    pub(crate) fn keep_recent(
        &self,
        slot: SlotId,
        hash: u64,
        key: &[u8],
        entry: &Entry,
        buf: &[u8],
    ) {
        let record = buf.get(..entry.record_len as usize).unwrap_or_default();
        let len_max = self.config.cache_len / usize::from(SLOT_COUNT);
        let mut slot = self.keydir.lock(slot);
        // What was merged meanwhile is kept by the next read.
        if slot.table.find(hash, key) == Some(*entry) {
            slot.recent.keep(hash, record, len_max);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.background.is_stopping()
    }

    /// Returns how many times the set rate merges may take: more the further dead bytes have passed the trigger, because a
    /// full disk is worse than a busy one.
    pub(crate) fn haste(&self) -> f64 {
        let trigger = self.config.merge.trigger(self.background.is_busy());
        if self.log.is_full() { HASTE_MAX } else { self.files.balance().haste(trigger) }
    }

    /// Reads a record where `entry` says it is; `None` when a merge took the file away meanwhile.
    pub(crate) fn read<'b>(
        &self,
        entry: &Entry,
        buf: &'b mut Vec<u8>,
    ) -> Option<Result<(Head<'b>, &'b [u8])>> {
        let offset = u64::from(entry.offset);
        self.files.with(entry.file, |file| {
            let (head, value) = file.read_record(offset, entry.record_len as usize, buf)?;
            match head.kind {
                Kind::Put | Kind::Delete => Ok((head, value)),
                Kind::Lost => {
                    let what = "the newest record of this key was damaged";
                    Err(Error::Corrupt { path: file.path(), offset, what })
                }
                Kind::Mark | Kind::Request | Kind::Remembered => {
                    Err(file.damaged(offset, "no record of a key"))
                }
            }
        })
    }
}

/// Returns the time, in milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
