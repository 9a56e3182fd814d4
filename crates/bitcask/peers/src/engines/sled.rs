//! sled: a log-structured B-tree in Rust.
//!
//! Its flusher thread, which syncs twice a second, is off; a put stays in its log buffer until that is full, which is less
//! than the others do. The cache holds everything.

use std::path::Path;

use sled::{Config, Db, Mode};

use super::{CACHE_LEN, Check, Engine, Session};
use crate::Result;
use crate::load::{Key, Value};

struct Sled(Db);

/// Opens the database in `folder`.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Engine>> {
    let config = Config::new().path(folder).cache_capacity(CACHE_LEN as u64).flush_every_ms(None);
    Ok(Box::new(Sled(config.mode(Mode::HighThroughput).open()?)))
}

impl Engine for Sled {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(&self.0))
    }
}

impl Session for &Db {
    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        self.insert(key, value.as_slice())?;
        Ok(())
    }

    fn get(&mut self, key: &Key, check: Check<'_>) -> Result<()> {
        let found = sled::Tree::get(self, key)?;
        check(found.as_deref())
    }
}
