//! Our own engine: how it is opened and filled for every measurement.
//!
//! A key's slot is its top 12 bits. The server takes those of the key's MD5; these keys are as good as hashed already.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use bitcask::{Config, Lsn, SLOT_COUNT, SlotId, Store, SyncPolicy, Write};

use crate::Result;
use crate::load::{self, Key, Value, Values};

/// Records appended at once where a store is only filled.
const FILL_COUNT: usize = 64;

/// Returns the settings of a store that is measured: the defaults, but not synced.
pub(crate) fn config() -> Config {
    Config { sync: SyncPolicy::Never, ..Config::default() }
}

/// Opens the store in `folder` with all slots.
pub(crate) fn open(folder: &Path, config: Config) -> Result<Store> {
    let (store, recovery) = Store::open(folder, config)?;
    if !recovery.damage.is_empty() {
        return Err(format!("the store is damaged: {:?}", recovery.damage).into());
    }
    store.create_slots(&SlotId::all().collect::<Vec<_>>())?;
    Ok(store)
}

/// Returns the slot of a key.
pub(crate) fn slot(key: &Key) -> SlotId {
    let top = u16::from_be_bytes([key[0], key[1]]) >> 4;
    SlotId::new(top % SLOT_COUNT).unwrap_or_else(|| unreachable!("below SLOT_COUNT"))
}

/// Writes to a store with rising lsns.
pub(crate) struct Writer<'a> {
    store: &'a Store,
    epoch: u32,
    counter: u64,
}

/// The epochs given out so far; two writers of one process never use the same lsn.
static EPOCH: AtomicU32 = AtomicU32::new(0);

impl<'a> Writer<'a> {
    /// Returns a writer whose lsns are above those of all writers before.
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, epoch: EPOCH.fetch_add(1, Ordering::Relaxed) + 1, counter: 0 }
    }

    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    fn write<'w>(&mut self, key: &'w Key, value: &'w Value) -> Write<'w> {
        self.counter += 1;
        Write::put(slot(key), Lsn::new(self.epoch, self.counter), key, value)
    }

    /// Writes one value: appended, then published.
    pub(crate) fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        let write = self.write(key, value);
        self.store.commit(self.store.append(&[write])?)?;
        Ok(())
    }

    /// Writes version `version` of each of the keys `indexes`, many at once.
    pub(crate) fn fill(
        &mut self,
        indexes: impl Iterator<Item = u64>,
        version: u64,
        values: &Values,
    ) -> Result<()> {
        let mut records = Vec::with_capacity(FILL_COUNT);
        let mut indexes = indexes.peekable();
        while indexes.peek().is_some() {
            records.clear();
            let taken = indexes.by_ref().take(FILL_COUNT);
            records.extend(taken.map(|index| (load::key(index), values.value(index, version))));
            let writes: Vec<_> =
                records.iter().map(|(key, value)| self.write(key, value)).collect();
            self.store.commit(self.store.append(&writes)?)?;
        }
        Ok(())
    }
}
