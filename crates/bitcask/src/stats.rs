//! Figures of a store and of a slot.

use std::sync::atomic::Ordering;

use crate::inner::Inner;
use crate::types::{Lsn, SlotId};

/// Figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Slots that are here.
    pub slot_count: usize,
    /// Keys that have a value.
    pub key_count: usize,
    /// Tombstones in the keydir.
    pub tombstone_count: usize,
    /// Bytes of the records that the keydir points to.
    pub live_len: u64,
    /// Records that are in the log and not published, and kept as pending.
    pub pending_count: usize,
    /// Their bytes.
    pub pending_len: u64,
    /// Clients whose newest request is remembered, in all slots.
    pub request_count: usize,
    /// Bytes of records that hold a request and nothing else.
    pub request_len: u64,
    /// Bytes of records that nothing points to any more.
    pub dead_len: u64,
    /// Bytes of all data files.
    pub disk_len: u64,
    /// Data files.
    pub file_count: usize,
    /// Data files with bytes that cannot be read.
    pub damaged_file_count: usize,
    /// Bytes of memory that the keydir holds, pending records and requests among it.
    pub keydir_len: usize,
    /// Bytes of memory that records read lately hold.
    pub cache_len: usize,
    /// Merges since the store was opened.
    pub merge_count: u64,
    /// Merges given up since the store was opened.
    pub merge_failed_count: u64,
    /// Bytes that merges copied since the store was opened.
    pub merged_len: u64,
    /// Whether puts are refused because the disk is full.
    pub is_full: bool,
}

impl Stats {
    pub(crate) fn of(store: &Inner) -> Self {
        let mut stats = Self {
            merge_count: store.counters.merges.load(Ordering::Relaxed),
            merge_failed_count: store.counters.merges_failed.load(Ordering::Relaxed),
            merged_len: store.counters.merged_len.load(Ordering::Relaxed),
            is_full: store.log.is_full(),
            ..Self::default()
        };
        for slot in SlotId::all() {
            let slot = store.keydir.lock(slot);
            stats.slot_count += usize::from(slot.generation.is_some());
            stats.key_count += slot.table.key_count();
            stats.tombstone_count += slot.table.tombstone_count();
            stats.live_len += slot.table.live_len();
            stats.pending_count += slot.pending.count();
            stats.pending_len += slot.pending.record_len();
            stats.request_count += slot.requests.count();
            stats.request_len += slot.requests.record_len();
            stats.keydir_len += slot.memory_len();
            stats.cache_len += slot.recent.memory_len();
        }
        for file in store.files.all() {
            stats.file_count += 1;
            stats.disk_len += file.data_end();
            stats.dead_len += file.dead_len();
            stats.damaged_file_count += usize::from(file.is_damaged());
        }
        stats
    }
}

/// Figures of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStats {
    /// Keys that have a value.
    pub key_count: usize,
    /// Tombstones in the keydir.
    pub tombstone_count: usize,
    /// Bytes of the records that the keydir points to.
    pub live_len: u64,
    /// The highest lsn published.
    pub highest_lsn: Lsn,
    /// The lsn below which tombstones may be gone.
    pub tombstone_floor: Lsn,
    /// Records that are kept as pending.
    pub pending_count: usize,
    /// Clients whose newest request is remembered.
    pub request_count: usize,
}

impl SlotStats {
    pub(crate) fn of(store: &Inner, slot: SlotId) -> Option<Self> {
        let slot = store.keydir.lock(slot);
        slot.generation?;
        Some(Self {
            key_count: slot.table.key_count(),
            tombstone_count: slot.table.tombstone_count(),
            live_len: slot.table.live_len(),
            highest_lsn: slot.table.highest(),
            tombstone_floor: slot.tombstone_floor,
            pending_count: slot.pending.count(),
            request_count: slot.requests.count(),
        })
    }
}
