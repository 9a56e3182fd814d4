//! The open data files, by id: read on every get, changed a few times a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;

use crate::data_file::{DataFile, FileId};

type Map = BTreeMap<FileId, Arc<DataFile>>;

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
