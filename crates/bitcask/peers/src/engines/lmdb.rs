//! LMDB, by way of heed: a copy-on-write B+tree in a memory map, written in C.
//!
//! No sync of data or of meta pages. A transaction a put and a get: nothing else makes a put visible, or lets a get see the
//! newest one. Values are shown in the map. It runs twice: with `WRITE_MAP`, writes go straight to the map, without any
//! system call; the price, its documentation says, is that a stray pointer anywhere in the process can destroy the
//! database. Without, which is its default, pages are written by system calls.

#![expect(
    unsafe_code,
    reason = "whoever maps a file must promise that nobody else changes it: a fresh folder of this process"
)]

use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use super::{Check, Engine, Session};
use crate::Result;
use crate::load::{Key, Value};

/// Length of the map, in bytes: more than a race ever writes.
const MAP_LEN: usize = 16 << 30;

struct Lmdb {
    env: Env,
    database: Database<Bytes, Bytes>,
}

/// Opens the environment in `folder`, to be written by system calls.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Engine>> {
    open_with(folder, EnvFlags::empty())
}

/// Opens the environment in `folder`, to be written in its map.
pub(super) fn open_mapped(folder: &Path) -> Result<Box<dyn Engine>> {
    open_with(folder, EnvFlags::WRITE_MAP)
}

fn open_with(folder: &Path, more: EnvFlags) -> Result<Box<dyn Engine>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_LEN);
    let flags = EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | more;
    // SAFETY: the folder was made for this run, nobody else opens it, and nothing here writes outside of its values.
    let env = unsafe { options.flags(flags).open(folder)? };
    let mut transaction = env.write_txn()?;
    let database = env.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok(Box::new(Lmdb { env, database }))
}

impl Engine for Lmdb {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Lmdb {
    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        self.database.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn get(&mut self, key: &Key, check: Check<'_>) -> Result<()> {
        let transaction = self.env.read_txn()?;
        check(self.database.get(&transaction, key)?)
    }
}
