//! The open data files, by id: read on every get, changed a few times a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;

use crate::data_file::{DataFile, FileId};

type Map = BTreeMap<FileId, Arc<DataFile>>;

/// How many times the set rate merges take when dead bytes have passed the trigger by half.
const HASTE: f64 = 4.0;
/// And when they have passed it twice, which is as fast as a disk can.
pub(crate) const HASTE_MAX: f64 = HASTE * HASTE;
/// The largest trigger that haste goes by, in percent: beyond, dead bytes could not pass it twice.
const HASTE_TRIGGER_MAX: u8 = 45;

/// How many bytes there are in all data files, and how many of them are dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    len: u64,
    dead_len: u64,
}

impl Balance {
    /// Returns whether dead bytes have passed the trigger.
    pub(crate) fn is_over(&self, dead_percent: u8) -> bool {
        self.dead_len > 0 && self.dead_len * 100 >= self.len * u64::from(dead_percent)
    }

    pub(crate) fn live_len(&self) -> u64 {
        self.len.saturating_sub(self.dead_len)
    }

    /// Returns 1 up to the trigger, [`HASTE`] at half as much again, [`HASTE_MAX`] at twice as much, and what lies between.
    pub(crate) fn haste(&self, dead_percent: u8) -> f64 {
        let share = 100.0 * self.dead_len as f64 / self.len.max(1) as f64;
        let trigger = f64::from(dead_percent.min(HASTE_TRIGGER_MAX));
        let over = (share / trigger.max(1.0) - 1.0) / 0.5;
        HASTE.powf(over.clamp(0.0, 2.0))
    }
}

/// The table of open data files. Readers take a snapshot without a lock; a file that is taken out stays
/// open, and its bytes stay, until the last reader lets go.
#[derive(Debug, Default)]
pub(crate) struct Files {
    map: ArcSwap<Map>,
    last_id: AtomicU32,
}

impl Files {
    /// Returns a table without files in which the next id is the one after `last`.
    pub(crate) fn new(last: FileId) -> Self {
        Self { map: ArcSwap::default(), last_id: AtomicU32::new(last.0) }
    }

    /// Returns an id that was never used.
    ///
    /// # Panics
    /// When the ids are used up, after half an exabyte at the default file length.
    pub(crate) fn next_id(&self) -> FileId {
        let last = self.last_id.fetch_add(1, Ordering::AcqRel);
        assert!(last < u32::MAX, "data file ids are used up");
        FileId(last + 1)
    }

    /// Notes that `id` is taken.
    pub(crate) fn note_used(&self, id: FileId) {
        self.last_id.fetch_max(id.0, Ordering::AcqRel);
    }

    pub(crate) fn with<T>(&self, id: FileId, use_it: impl FnOnce(&DataFile) -> T) -> Option<T> {
        self.map.load().get(&id).map(|file| use_it(file))
    }

    pub(crate) fn all(&self) -> Vec<Arc<DataFile>> {
        self.map.load().values().cloned().collect()
    }

    /// Returns the bytes of all files.
    pub(crate) fn balance(&self) -> Balance {
        let add = |sum: Balance, file: &Arc<DataFile>| Balance {
            len: sum.len + file.data_end(),
            dead_len: sum.dead_len + file.dead_len(),
        };
        self.map.load().values().fold(Balance::default(), add)
    }

    /// Puts `added` in and takes `removed` out, in one step.
    pub(crate) fn change(&self, removed: &[FileId], added: &[Arc<DataFile>]) {
        self.map.rcu(|old| {
            let mut map = Map::clone(old);
            map.retain(|id, _| !removed.contains(id));
            map.extend(added.iter().map(|file| (file.id, Arc::clone(file))));
            map
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haste_grows_from_the_trigger_to_twice_as_much() {
        for (dead_len, haste) in
            [(0, 1.0), (30, 1.0), (45, HASTE), (60, HASTE_MAX), (100, HASTE_MAX)]
        {
            let balance = Balance { len: 100, dead_len };
            assert!((balance.haste(30) - haste).abs() < 1e-9, "{dead_len}");
            assert_eq!(balance.is_over(30), dead_len >= 30);
            assert_eq!(balance.live_len(), 100 - dead_len);
        }
        let between = Balance { len: 1000, dead_len: 375 }.haste(30);
        assert!((between - 2.0).abs() < 1e-9, "{between}");
        assert!(!Balance::default().is_over(0) && Balance::default().haste(0) >= 1.0);
        assert!((Balance { len: 100, dead_len: 90 }.haste(95) - HASTE_MAX).abs() < 1e-9);
    }
}
