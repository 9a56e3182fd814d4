//! redb: a copy-on-write B+tree in Rust.
//!
//! Every write is a transaction; with `Durability::None` its commit stays in memory, which is less than the others do and
//! the cheapest it offers for one put that others see. Reads need a transaction too, to see the newest.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{CACHE_LEN, Check, Engine, Session};
use crate::Result;
use crate::load::{Key, Value};

const TABLE: TableDefinition<&Key, &Value> = TableDefinition::new("race");

struct Redb(Database);

/// Opens the database in `folder`.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Engine>> {
    let database = Database::builder().set_cache_size(CACHE_LEN).create(folder.join("race"))?;
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Ok(Box::new(Redb(database)))
}

impl Engine for Redb {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(&self.0))
    }
}

impl Session for &Database {
    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        let mut transaction = self.begin_write()?;
        transaction.set_durability(Durability::None)?;
        transaction.open_table(TABLE)?.insert(key, value)?;
        Ok(transaction.commit()?)
    }

    fn get(&mut self, key: &Key, check: Check<'_>) -> Result<()> {
        let table = self.begin_read()?.open_table(TABLE)?;
        let found = table.get(key)?;
        check(found.as_ref().map(|found| found.value().as_slice()))
    }
}
