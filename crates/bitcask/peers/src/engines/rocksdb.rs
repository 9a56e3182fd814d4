//! RocksDB: a log-structured merge tree in C++.
//!
//! The write-ahead log is on and not synced, so a put reaches the page cache. `optimize_for_point_lookup` is its own
//! preset for this load: a hash index in each block, bloom filters in blocks and memtable, and a block
//! cache. Memtables have 64 MiB; with more of them a flush holds nobody up.
//!
//! Built against the system's library, so that its C++ need not be compiled:
//!
//! ```text
//! apt-get install librocksdb-dev libclang-dev
//! ROCKSDB_LIB_DIR=/usr/lib/x86_64-linux-gnu cargo run --release --features rocksdb -- race
//! ```
//!
//! Without `ROCKSDB_LIB_DIR` the library is compiled from source, which takes most of an hour.

use std::path::Path;

use rocksdb::{DB, DBCompressionType, Options};

use super::{CACHE_LEN, Check, Engine, Session};
use crate::Result;
use crate::load::{Key, Value};

const MIB: usize = 1 << 20;
const MEMTABLE_LEN: usize = 64 * MIB;
const MEMTABLE_COUNT: i32 = 4;
const THREAD_COUNT: i32 = 2;

struct Rocks(DB);

/// Opens the database in `folder`.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Engine>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.increase_parallelism(THREAD_COUNT);
    options.optimize_for_point_lookup((CACHE_LEN / MIB) as u64);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(MEMTABLE_LEN);
    options.set_max_write_buffer_number(MEMTABLE_COUNT);
    Ok(Box::new(Rocks(DB::open(&options, folder)?)))
}

impl Engine for Rocks {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(&self.0))
    }
}

impl Session for &DB {
    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        Ok(DB::put(self, key, value)?)
    }

    fn get(&mut self, key: &Key, check: Check<'_>) -> Result<()> {
        let found = self.get_pinned(key)?;
        check(found.as_deref())
    }
}
