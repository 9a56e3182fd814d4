//! The engines of a race, all behind one interface.
//!
//! Each stands for one caller that needs its write to be visible to everyone when the call returns, and its read to
//! see everything that was written before: so an engine with transactions gets a transaction a call.
//! Nobody syncs. Caches hold everything; compression is off, because the values cannot be compressed.
//!
//! | engine | a put reaches, when it returns | settings that matter |
//! |---|---|---|
//! | ours | the page cache | `SyncPolicy::Never`, background merges on, 1 GiB cache, defaults else |
//! | fjall | the page cache | journal flushed to the system a put (default), 1 GiB cache, hash index in blocks |
//! | lmdb | the page cache | `NO_SYNC`, `NO_META_SYNC`; a transaction a put and a get |
//! | lmdb-map | a shared mapping | `WRITE_MAP` besides: faster, and open to stray pointers |
//! | redb | its own memory | `Durability::None`, a transaction a put and a get, 1 GiB cache: it has no cheaper way |
//! | rocksdb | the page cache | write-ahead log on, 1 GiB block cache, tuned for point lookups by its own preset |
//! | sled | its own memory | no flusher thread, 1 GiB cache, `HighThroughput` |

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
mod own;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;

use std::path::Path;

use crate::Result;
use crate::load::{Key, Value};

/// Bytes of cache that each engine with one of its own gets: more than the data.
pub(crate) const CACHE_LEN: usize = 1 << 30;

/// An open engine.
pub(crate) trait Engine: Sync {
    /// Returns what one thread works with.
    fn session(&self) -> Result<Box<dyn Session + '_>>;
}

/// What looks at a value that was read.
pub(crate) type Check<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> Result<()>;

/// One thread's access to an engine.
pub(crate) trait Session {
    /// Writes a value, visible to all when it returns.
    fn put(&mut self, key: &Key, value: &Value) -> Result<()>;

    /// Shows the newest value to `check`, without a copy where the engine can do without.
    fn get(&mut self, key: &Key, check: Check<'_>) -> Result<()>;
}

type Open = fn(&Path) -> Result<Box<dyn Engine>>;

/// The engines that were built in, ours first.
const ENGINES: &[(&str, Open)] = &[
    (OURS, own::open),
    #[cfg(feature = "fjall")]
    ("fjall", fjall::open),
    #[cfg(feature = "lmdb")]
    ("lmdb", lmdb::open),
    #[cfg(feature = "lmdb")]
    ("lmdb-map", lmdb::open_mapped),
    #[cfg(feature = "redb")]
    ("redb", redb::open),
    #[cfg(feature = "rocksdb")]
    ("rocksdb", rocksdb::open),
    #[cfg(feature = "sled")]
    ("sled", sled::open),
];

/// The name of the engine that is measured.
pub(crate) const OURS: &str = "ours";

/// Returns the names of the engines that were built in, ours first.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ENGINES.iter().map(|(name, _)| *name)
}

/// Opens the engine `name` in the empty folder `folder`.
pub(crate) fn open(name: &str, folder: &Path) -> Result<Box<dyn Engine>> {
    let found = ENGINES.iter().find(|(known, _)| *known == name);
    let (_, open) = found.ok_or_else(|| {
        let known: Vec<_> = names().collect();
        format!("no engine `{name}` was built in, only {}", known.join(", "))
    })?;
    open(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Values, key};

    #[test]
    fn every_engine_gives_back_the_newest_value_and_says_when_there_is_none() {
        let values = Values::new();
        for name in names() {
            let folder = tempfile::tempdir().unwrap();
            let engine = open(name, folder.path()).unwrap();
            let mut session = engine.session().unwrap();
            for (index, version) in [(1, 1), (2, 1), (1, 2)] {
                session.put(&key(index), &values.value(index, version)).unwrap();
            }
            for (index, version) in [(1, 2), (2, 1)] {
                let check = &mut |found: Option<&[u8]>| values.check(index, version, found);
                session.get(&key(index), check).unwrap();
            }
            let check = &mut |found: Option<&[u8]>| {
                assert_eq!(found, None, "{name}");
                Ok(())
            };
            session.get(&key(3), check).unwrap();
        }
    }

    #[test]
    fn an_engine_that_was_not_built_in_is_named_with_those_that_were() {
        let error = open("none", Path::new("")).err().unwrap().to_string();
        assert!(error.contains("`none`") && error.contains(OURS), "{error}");
    }
}
