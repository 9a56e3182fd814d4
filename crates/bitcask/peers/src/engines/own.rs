//! Ours, as its server uses it: one append and one publish a put, all slots there.

use std::path::Path;

use bitcask::{Config, Store};

use super::{CACHE_LEN, Check, Engine, Session};
use crate::Result;
use crate::load::{Key, Value};
use crate::ours::{self, Writer};

struct Own(Store);

/// Opens the store in `folder`.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Engine>> {
    let config = Config { cache_len: CACHE_LEN, ..ours::config() };
    Ok(Box::new(Own(ours::open(folder, config)?)))
}

impl Engine for Own {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(OwnSession { writer: Writer::new(&self.0), buf: Vec::new() }))
    }
}

struct OwnSession<'a> {
    writer: Writer<'a>,
    buf: Vec<u8>,
}

impl Session for OwnSession<'_> {
    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        self.writer.put(key, value)
    }

    fn get(&mut self, key: &Key, check: Check<'_>) -> Result<()> {
        let found = self.writer.store().get(ours::slot(key), key, &mut self.buf)?;
        check(found.map(|found| found.value))
    }
}
