//! One slot's pending records: in the log, and not visible before they are published (R2).
//!
//! A map in the order of (lsn, key) to where the record is, beside the slot's table and behind the same lock. So publishing
//! a record takes it from here into the table in one step, and a merge, which keeps pending records, always finds a
//! record in the one or the other.
//!
//! With thousands of slots a slot has a handful of them at a time, for the milliseconds of a commit: up to
//! [`FEW_COUNT_MAX`] stand in a row, whose memory is kept; more go into a tree until none is left.
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

/// Records that stand in a row: as many as are moved faster than a node of a tree is made.
const FEW_COUNT_MAX: usize = 16;

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
    map: Map,
    record_len: u64,
    key_len: usize,
}

/// Records in the order of their keys.
#[derive(Debug)]
enum Map {
    Few(Vec<(Key, Pending)>),
    Many(BTreeMap<Key, Pending>),
}

impl Default for Map {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// Returns where a record stands in a row, or would stand.
fn place(few: &[(Key, Pending)], lsn: Lsn, key: &[u8]) -> Result<usize, usize> {
    few.binary_search_by(|((at, name), _)| at.cmp(&lsn).then_with(|| (**name).cmp(key)))
}

impl Map {
    fn count(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn first(&self) -> Option<&Key> {
        match self {
            Self::Few(few) => few.first().map(|(key, _)| key),
            Self::Many(many) => many.first_key_value().map(|(key, _)| key),
        }
    }

    fn last(&self) -> Option<&Key> {
        match self {
            Self::Few(few) => few.last().map(|(key, _)| key),
            Self::Many(many) => many.last_key_value().map(|(key, _)| key),
        }
    }

    fn get(&self, lsn: Lsn, key: &[u8]) -> Option<&Pending> {
        match self {
            Self::Few(few) => few.get(place(few, lsn, key).ok()?).map(|(_, pending)| pending),
            Self::Many(many) => many.get(&(lsn, key.into())),
        }
    }

    fn get_mut(&mut self, lsn: Lsn, key: &[u8]) -> Option<&mut Pending> {
        match self {
            Self::Few(few) => {
                let place = place(few, lsn, key).ok()?;
                few.get_mut(place).map(|(_, pending)| pending)
            }
            Self::Many(many) => many.get_mut(&(lsn, key.into())),
        }
    }

    /// Takes in a record that is not here.
    fn insert(&mut self, lsn: Lsn, key: &[u8], new: Pending) {
        let at = (lsn, Box::from(key));
        match self {
            Self::Few(few) if few.len() < FEW_COUNT_MAX => {
                let place = place(few, lsn, key).unwrap_or_else(|place| place);
                few.insert(place, (at, new));
            }
            Self::Few(few) => {
                let mut many: BTreeMap<_, _> = std::mem::take(few).into_iter().collect();
                many.insert(at, new);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(at, new);
            }
        }
    }

    fn remove(&mut self, lsn: Lsn, key: &[u8]) -> Option<Pending> {
        match self {
            Self::Few(few) => {
                let place = place(few, lsn, key).ok()?;
                Some(few.remove(place).1)
            }
            Self::Many(many) => {
                let pending = many.remove(&(lsn, key.into()));
                self.thin();
                pending
            }
        }
    }

    fn pop_first(&mut self) -> Option<(Key, Pending)> {
        match self {
            Self::Few(few) => (!few.is_empty()).then(|| few.remove(0)),
            Self::Many(many) => {
                let first = many.pop_first();
                self.thin();
                first
            }
        }
    }

    /// Gives an empty tree up.
    fn thin(&mut self) {
        if self.count() == 0 {
            *self = Self::default();
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&Key, &Pending)> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(key, pending)| (key, pending));
        few.chain(many.into_iter().flatten())
    }
}

impl PendingTable {
    /// Returns whether a record of this lsn can be here at all: most that are asked for are older.
    fn may_have(&self, lsn: Lsn) -> bool {
        self.lowest().is_some_and(|lowest| lsn >= lowest)
    }

    /// Returns the lowest lsn.
    pub(crate) fn lowest(&self) -> Option<Lsn> {
        self.map.first().map(|(lsn, _)| *lsn)
    }

    /// Returns the highest lsn.
    pub(crate) fn highest(&self) -> Option<Lsn> {
        self.map.last().map(|(lsn, _)| *lsn)
    }

    pub(crate) fn find(&self, lsn: Lsn, key: &[u8]) -> Option<&Pending> {
        self.may_have(lsn).then(|| self.map.get(lsn, key))?
    }

    fn find_mut(&mut self, lsn: Lsn, key: &[u8]) -> Option<&mut Pending> {
        self.may_have(lsn).then(|| self.map.get_mut(lsn, key))?
    }

    /// Takes a record in; returns whether it is new, and not another copy of one that is here.
    pub(crate) fn insert(&mut self, key: &[u8], new: Pending) -> bool {
        let lsn = new.entry.lsn;
        if let Some(known) = self.map.get_mut(lsn, key) {
            known.copy_count += u32::from(!mutant!("copy of a pending record uncounted"));
            return false;
        }
        self.record_len += new.entry.live_len();
        self.key_len += key.len();
        self.map.insert(lsn, key, new);
        true
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, lsn: Lsn, key: &[u8]) -> Option<Pending> {
        let pending = self.may_have(lsn).then(|| self.map.remove(lsn, key))??;
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
        let pending =
            self.find_mut(new.lsn, key).filter(|known| from.contains(&known.entry.file))?;
        let old = std::mem::replace(&mut pending.entry, *new);
        self.record_len = self.record_len + new.live_len() - old.live_len();
        Some(old)
    }

    /// Notes that one more copy of a record is in no data file any more; returns whether there was one to note.
    pub(crate) fn forget_copy(&mut self, lsn: Lsn, key: &[u8]) -> bool {
        let pending = self.find_mut(lsn, key).filter(|pending| pending.copy_count > 0);
        pending.map(|pending| pending.copy_count -= 1).is_some()
    }

    /// Returns the records in the order of their lsns.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Pending)> {
        self.map.iter().map(|((_, key), pending)| (&**key, pending))
    }

    pub(crate) fn count(&self) -> usize {
        self.map.count()
    }

    /// Returns the bytes of the records on disk.
    pub(crate) fn record_len(&self) -> u64 {
        self.record_len
    }

    /// Returns about how many bytes of memory the table holds.
    pub(crate) fn memory_len(&self) -> usize {
        self.map.count() * MEMORY_LEN + self.key_len
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
    fn more_than_a_few_records_are_found_and_taken_in_their_order_too_r2() {
        let mut table = PendingTable::default();
        let count = 3 * FEW_COUNT_MAX as u64;
        for lsn in (1..=count).rev() {
            assert!(table.insert(b"k", pending(lsn, 1)));
            assert!(!table.insert(b"k", pending(lsn, 2)), "a copy");
        }
        assert!(table.remove(Lsn(2), b"k").is_some() && table.find(Lsn(2), b"k").is_none());
        assert_eq!(table.find(Lsn(count), b"k").map(|found| found.copy_count), Some(1));
        let popped: Vec<u64> = std::iter::from_fn(|| table.pop_up_to(Lsn(count)))
            .map(|(_, pending)| pending.entry.lsn.0)
            .collect();
        assert_eq!(popped, [1].into_iter().chain(3..=count).collect::<Vec<_>>());
        assert_eq!((table.record_len(), table.memory_len(), table.lowest()), (0, 0, None));
        assert!(table.insert(b"k", pending(9, 1)) && table.remove(Lsn(9), b"k").is_some());
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
