//! fjall: a log-structured merge tree in Rust.
//!
//! By default a put writes its journal entry to the system before it returns, and syncs nothing; that is kept. The cache
//! holds everything; a hash index in each block and filters on every level speed point reads, as its documentation
//! says they do for loads that stay in memory.

use std::path::Path;

use fjall::config::HashRatioPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::{CACHE_LEN, Check, Engine, Session};
use crate::Result;
use crate::load::{Key, Value};

/// Entries of the hash index a key.
const HASH_RATIO: f32 = 1.0;

struct Fjall {
    keyspace: Keyspace,
    _database: Database,
}

/// Opens the database in `folder`.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Engine>> {
    let database = Database::builder(folder).cache_size(CACHE_LEN as u64).open()?;
    let options = || {
        let policy = HashRatioPolicy::all(HASH_RATIO);
        KeyspaceCreateOptions::default().data_block_hash_ratio_policy(policy)
    };
    let keyspace = database.keyspace("race", options)?;
    Ok(Box::new(Fjall { keyspace, _database: database }))
}

impl Engine for Fjall {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(&self.keyspace))
    }
}

impl Session for &Keyspace {
    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        Ok(self.insert(key, value)?)
    }

    fn get(&mut self, key: &Key, check: Check<'_>) -> Result<()> {
        let found = Keyspace::get(self, key)?;
        check(found.as_deref())
    }
}
