//! One slot's pending records: in the log, and not visible before they are published (R2).
//!
//! A map in the order of (lsn, key) to where the record is, beside the slot's table and behind the same lock. So publishing
//! a record takes it from here into the table in one step, and a merge, which keeps pending records, always finds a
//! record in the one or the other.
//!
//! A record that was appended twice is here once. How often it is in the files besides is counted, because the table
//! must count it when the record is published: see *stale* there.

use std::collections::BTreeMap;

use crate::data_file::FileId;
use crate::hint::Form;
use crate::keydir::Entry;
use crate::types::{Lsn, Request};

/// Bytes of memory of a record besides its key: the map's nodes are about two thirds full.
const MEMORY_LEN: usize = (size_of::<Key>() + size_of::<Pending>()) * 3 / 2;

type Key = (Lsn, Box<[u8]>);

/// A pending record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    pub(crate) form: Form,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) request: Option<Request>,
    /// Other records of the same lsn and key in data files.
    pub(crate) copy_count: u32,
}

/// One slot's pending records.
#[derive(Debug, Default)]
pub(crate) struct PendingTable {
    map: BTreeMap<Key, Pending>,
    record_len: u64,
    key_len: usize,
}

impl PendingTable {
    /// Returns the key of a record, if it can be here at all: most records that are asked for are older.
    fn key(&self, lsn: Lsn, key: &[u8]) -> Option<Key> {
        self.lowest().is_some_and(|lowest| lsn >= lowest).then(|| (lsn, key.into()))
    }

    /// Returns the lowest lsn.
    pub(crate) fn lowest(&self) -> Option<Lsn> {
        self.map.first_key_value().map(|((lsn, _), _)| *lsn)
    }

    /// Returns the highest lsn.
    pub(crate) fn highest(&self) -> Option<Lsn> {
        self.map.last_key_value().map(|((lsn, _), _)| *lsn)
    }

    pub(crate) fn find(&self, lsn: Lsn, key: &[u8]) -> Option<&Pending> {
        self.map.get(&self.key(lsn, key)?)
    }

    /// Takes a record in; returns whether it is new, and not another copy of one that is here.
    pub(crate) fn insert(&mut self, key: &[u8], new: Pending) -> bool {
        let at = (new.entry.lsn, Box::from(key));
        if let Some(known) = self.map.get_mut(&at) {
            known.copy_count += u32::from(!mutant!("copy of a pending record uncounted"));
            return false;
        }
        self.record_len += new.entry.live_len();
        self.key_len += key.len();
        self.map.insert(at, new);
        true
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, lsn: Lsn, key: &[u8]) -> Option<Pending> {
        let pending = self.map.remove(&self.key(lsn, key)?)?;
        self.uncount(key, &pending);
        Some(pending)
    }

    /// Takes the record with the lowest lsn out, if that is not above `upto`.
    pub(crate) fn pop_up_to(&mut self, upto: Lsn) -> Option<(Box<[u8]>, Pending)> {
        self.lowest().filter(|lowest| *lowest <= upto)?;
        let ((_, key), pending) = self.map.pop_first()?;
        self.uncount(&key, &pending);
        Some((key, pending))
    }

    fn uncount(&mut self, key: &[u8], pending: &Pending) {
        self.record_len -= pending.entry.live_len();
        self.key_len -= key.len();
    }

    /// Points a record from one of the files `from` to its copy at `new`; returns where it pointed.
    pub(crate) fn relocate(&mut self, key: &[u8], from: &[FileId], new: &Entry) -> Option<Entry> {
        let at = self.key(new.lsn, key)?;
        let pending = self.map.get_mut(&at).filter(|known| from.contains(&known.entry.file))?;
        let old = std::mem::replace(&mut pending.entry, *new);
        self.record_len = self.record_len + new.live_len() - old.live_len();
        Some(old)
    }

    /// Notes that one more copy of a record is in no data file any more; returns whether there was one to note.
    pub(crate) fn forget_copy(&mut self, lsn: Lsn, key: &[u8]) -> bool {
        let Some(at) = self.key(lsn, key) else { return false };
        let pending = self.map.get_mut(&at).filter(|pending| pending.copy_count > 0);
        pending.map(|pending| pending.copy_count -= 1).is_some()
    }

    /// Returns the records in the order of their lsns.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Pending)> {
        self.map.iter().map(|((_, key), pending)| (&**key, pending))
    }

    pub(crate) fn count(&self) -> usize {
        self.map.len()
    }

    /// Returns the bytes of the records on disk.
    pub(crate) fn record_len(&self) -> u64 {
        self.record_len
    }

    /// Returns about how many bytes of memory the table holds.
    pub(crate) fn memory_len(&self) -> usize {
        self.map.len() * MEMORY_LEN + self.key_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(lsn: u64, file: u32) -> Pending {
        let entry = Entry {
            lsn: Lsn(lsn),
            file: FileId(file),
            offset: 32,
            record_len: 100,
            is_tombstone: false,
            has_expiry: false,
        };
        let form = Form::Record;
        Pending { entry, form, expires_at_ms: None, request: None, copy_count: 0 }
    }

    #[test]
    fn records_come_in_the_order_of_their_lsns_whatever_the_order_of_arrival_r2() {
        let mut table = PendingTable::default();
        for lsn in [5, 1, 3, 4] {
            assert!(table.insert(b"k", pending(lsn, 1)));
        }
        assert!(table.insert(b"other", pending(3, 1)), "one lsn, two keys");
        let lsns = |table: &PendingTable| {
            table.iter().map(|(_, pending)| pending.entry.lsn.0).collect::<Vec<_>>()
        };
        assert_eq!(lsns(&table), [1, 3, 3, 4, 5]);
        assert!(table.remove(Lsn(3), b"none").is_none());
        assert!(table.remove(Lsn(3), b"other").is_some());
        let popped: Vec<_> = std::iter::from_fn(|| table.pop_up_to(Lsn(4))).collect();
        assert_eq!((popped.len(), lsns(&table)), (3, vec![5]));
        assert_eq!((table.record_len(), table.count()), (100, 1));
        assert_eq!((table.lowest(), table.highest()), (Some(Lsn(5)), Some(Lsn(5))));
    }

    #[test]
    fn another_copy_of_a_record_is_counted_until_it_is_forgotten() {
        let mut table = PendingTable::default();
        table.insert(b"k", pending(1, 1));
        assert!(!table.insert(b"k", pending(1, 2)));
        assert_eq!(table.find(Lsn(1), b"k").map(|found| found.copy_count), Some(1));
        assert_eq!(table.find(Lsn(1), b"k").map(|found| found.entry.file), Some(FileId(1)));
        assert!(table.forget_copy(Lsn(1), b"k") && !table.forget_copy(Lsn(1), b"k"));
        assert!(table.relocate(b"k", &[FileId(2)], &pending(1, 9).entry).is_none());
        assert!(table.relocate(b"k", &[FileId(1)], &pending(1, 9).entry).is_some());
        table.remove(Lsn(1), b"k");
        assert_eq!((table.record_len(), table.memory_len(), table.lowest()), (0, 0, None));
    }
}
