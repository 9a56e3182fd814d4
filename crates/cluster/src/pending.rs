//! Records of one slot that are in its log and not committed, as far as is known here (R2).
//!
//! Kept without values, which stay in the storage: a primary's backlog behind a slow backup may be long. Found by lsn,
//! for commits and resends; by key, because a key with a pending record is *dirty*; by client, for retries (R24).
//!
//! ```text
//! in the order of (lsn, key):  [ 7 a ][ 8 b ][ 9 a ] …      new ones come at the end, commits take from the front
//! more than a few:             by key: a → 7, 9             by client: 41 → 8
//! ```
//!
//! With thousands of slots a slot has a few of them for the milliseconds of a commit: those are looked through. Beyond
//! [`FEW_COUNT_MAX`] keys and clients have indexes, until all records are gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::message::RequestEntry;
use crate::storage::{PendingInfo, Position};
use crate::types::{Bytes, Lsn, Request};

/// Records that are looked through without an index.
const FEW_COUNT_MAX: usize = 16;

/// Records whose memory is kept when they are gone.
const KEPT_COUNT_MAX: usize = 64;

/// One pending record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its key; empty if it only carries a request id.
    pub(crate) info: PendingInfo,
    /// Where it ends in the storage's stream: durable once the storage is durable up to there.
    pub(crate) position: Position,
}

/// The pending records of a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// In the order of lsn and key.
    items: VecDeque<Item>,
    /// Of all of them, once they were more than a few.
    index: Option<Box<Index>>,
    /// Bytes of all the records, about.
    len: usize,
}

/// Where keys and clients are found.
#[derive(Clone, Debug, Default)]
struct Index {
    by_key: BTreeMap<Bytes, BTreeSet<Lsn>>,
    by_client: BTreeMap<u64, BTreeMap<Lsn, Request>>,
}

impl Index {
    fn insert(&mut self, info: &PendingInfo) {
        if let Some(request) = info.request {
            self.by_client.entry(request.client).or_default().insert(info.lsn, request);
        }
        self.by_key.entry(info.key.clone()).or_default().insert(info.lsn);
    }

    fn remove(&mut self, info: &PendingInfo) {
        if let Some(lsns) = self.by_key.get_mut(&info.key) {
            lsns.remove(&info.lsn);
            if lsns.is_empty() {
                self.by_key.remove(&info.key);
            }
        }
        let Some(client) = info.request.map(|request| request.client) else { return };
        if let Some(entries) = self.by_client.get_mut(&client) {
            entries.remove(&info.lsn);
            if entries.is_empty() {
                self.by_client.remove(&client);
            }
        }
    }
}

impl Pending {
    pub(crate) fn insert(&mut self, info: PendingInfo, position: Position) {
        self.len += info.record_len;
        if let Some(index) = &mut self.index {
            index.insert(&info);
        }
        match self.place(info.lsn, &info.key) {
            Ok(place) => {
                // The record is the same.
                if let Some(item) = self.items.get_mut(place) {
                    self.len -= item.info.record_len;
                    *item = Item { info, position };
                }
            }
            Err(place) => self.items.insert(place, Item { info, position }),
        }
        if self.index.is_none() && self.items.len() > FEW_COUNT_MAX {
            let mut index = Box::<Index>::default();
            self.items.iter().for_each(|item| index.insert(&item.info));
            self.index = Some(index);
        }
    }

    /// Returns where a record stands, or would stand. New ones come at the end.
    fn place(&self, lsn: Lsn, key: &[u8]) -> Result<usize, usize> {
        match self.items.back() {
            Some(last) if last.info.lsn >= lsn => self.items.binary_search_by(|item| {
                item.info.lsn.cmp(&lsn).then_with(|| (*item.info.key).cmp(key))
            }),
            _ => Err(self.items.len()),
        }
    }

    /// Takes out the record with the lowest lsn, if that is not above `upto`.
    pub(crate) fn pop_upto(&mut self, upto: Lsn) -> Option<Item> {
        self.items.front().filter(|first| first.info.lsn <= upto)?;
        let item = self.items.pop_front()?;
        self.forget(&item.info);
        Some(item)
    }

    /// Forgets the records above an lsn: what a planted defect does.
    pub(crate) fn cut_above(&mut self, lsn: Lsn) {
        while self.last().is_some_and(|last| last > lsn)
            && let Some(item) = self.items.pop_back()
        {
            self.forget(&item.info);
        }
    }

    fn forget(&mut self, info: &PendingInfo) {
        self.len -= info.record_len;
        if let Some(index) = &mut self.index {
            index.remove(info);
        }
        if self.items.is_empty() {
            self.index = None;
            self.items.shrink_to(KEPT_COUNT_MAX);
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.items.iter()
    }

    /// Returns the records above an lsn.
    pub(crate) fn above(&self, lsn: Lsn) -> impl Iterator<Item = &Item> {
        let place = self.items.partition_point(|item| item.info.lsn <= lsn);
        self.items.iter().skip(place)
    }

    /// Returns where the last of them ends in the storage's stream.
    pub(crate) fn end(&self) -> Option<Position> {
        self.items.iter().map(|item| item.position).max()
    }

    /// Returns how many records there are.
    pub(crate) fn count(&self) -> usize {
        self.items.len()
    }

    /// Returns the bytes of all records, about.
    pub(crate) fn byte_len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn contains(&self, lsn: Lsn, key: &[u8]) -> bool {
        self.place(lsn, key).is_ok()
    }

    /// Returns the lsn of the newest pending record.
    pub(crate) fn last(&self) -> Option<Lsn> {
        self.items.back().map(|item| item.info.lsn)
    }

    pub(crate) fn is_dirty(&self, key: &[u8]) -> bool {
        self.newest(key).is_some()
    }

    /// Returns the newest pending record of a key.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<&Item> {
        let Some(index) = &self.index else {
            return self.items.iter().rev().find(|item| *item.info.key == *key);
        };
        let lsn = index.by_key.get(key)?.last()?;
        self.items.get(self.place(*lsn, key).ok()?)
    }

    /// Returns the newest pending request of a client, by lsn.
    pub(crate) fn request(&self, client: u64) -> Option<RequestEntry> {
        let Some(index) = &self.index else {
            let all = self.items.iter().rev();
            let mut entries = all.filter_map(|item| {
                let request = item.info.request.filter(|request| request.client == client)?;
                Some(RequestEntry { request, lsn: item.info.lsn })
            });
            return entries.next();
        };
        let (lsn, request) = index.by_client.get(&client)?.last_key_value()?;
        Some(RequestEntry { request: *request, lsn: *lsn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(lsn: u64, key: &str, client: Option<u64>) -> PendingInfo {
        let request = client.map(|client| Request { client, number: lsn, outcome: 0 });
        let key = Bytes::from(key.as_bytes());
        PendingInfo { lsn: Lsn(lsn), key, is_live: true, request, record_len: 10 }
    }

    fn take_upto(pending: &mut Pending, upto: u64) -> Vec<Lsn> {
        std::iter::from_fn(|| pending.pop_upto(Lsn(upto))).map(|item| item.info.lsn).collect()
    }

    #[test]
    fn records_are_found_by_lsn_key_and_client_until_they_are_taken() {
        let mut pending = Pending::default();
        for (lsn, key, client) in [(3, "a", Some(1)), (5, "a", Some(1)), (4, "b", None)] {
            pending.insert(info(lsn, key, client), Position(lsn));
        }
        assert_eq!((pending.count(), pending.byte_len()), (3, 30));
        let above: Vec<Lsn> = pending.above(Lsn(3)).map(|item| item.info.lsn).collect();
        assert_eq!(above, [Lsn(4), Lsn(5)]);
        assert_eq!(pending.above(Lsn(u64::MAX)).count(), 0);
        assert_eq!(pending.newest(&Bytes::from(*b"a")).map(|item| item.info.lsn), Some(Lsn(5)));
        assert_eq!(pending.request(1).map(|entry| entry.lsn), Some(Lsn(5)));
        let taken = take_upto(&mut pending, 4);
        assert_eq!(taken, [Lsn(3), Lsn(4)]);
        assert!(pending.is_dirty(b"a") && !pending.is_dirty(b"b"));
        assert_eq!(pending.last(), Some(Lsn(5)));
        take_upto(&mut pending, 5);
        assert!(pending.is_empty() && !pending.is_dirty(b"a"));
        assert_eq!(pending.request(1), None);
    }

    #[test]
    fn a_record_that_comes_twice_is_one() {
        let mut pending = Pending::default();
        pending.insert(info(3, "a", None), Position(1));
        pending.insert(info(3, "a", None), Position(2));
        assert_eq!((pending.count(), pending.byte_len()), (1, 10));
        take_upto(&mut pending, 3);
        assert!(!pending.is_dirty(b"a"));
        assert_eq!(pending.byte_len(), 0);
    }

    #[test]
    fn many_records_are_found_as_few_are() {
        let keys = ["a", "b", "c"];
        for count in [FEW_COUNT_MAX, FEW_COUNT_MAX + 1, 3 * FEW_COUNT_MAX] {
            let mut pending = Pending::default();
            let lsns: Vec<u64> = (1..=count as u64).collect();
            // Odd ones first: the others come between them.
            let (odd, even): (Vec<u64>, Vec<u64>) = lsns.iter().partition(|lsn| *lsn % 2 == 1);
            for lsn in odd.into_iter().chain(even) {
                let key = keys[usize::try_from(lsn % 3).unwrap()];
                pending.insert(info(lsn, key, Some(lsn % 2)), Position(lsn));
            }
            let all: Vec<u64> = pending.iter().map(|item| item.info.lsn.0).collect();
            assert_eq!(all, lsns);
            let newest = |lsn: u64| lsns.iter().rfind(|at| *at % 3 == lsn % 3).copied();
            for (lsn, key) in (0..3).zip(keys) {
                let found = pending.newest(key.as_bytes());
                assert_eq!(found.map(|item| item.info.lsn.0), newest(lsn));
            }
            let entry = pending.request(1).map(|entry| entry.lsn.0);
            assert_eq!(entry, lsns.iter().rfind(|lsn| *lsn % 2 == 1).copied());
            assert!(pending.contains(Lsn(1), b"b") && !pending.contains(Lsn(1), b"a"));
            pending.cut_above(Lsn(2));
            assert_eq!(take_upto(&mut pending, 9), [Lsn(1), Lsn(2)]);
            assert_eq!((pending.byte_len(), pending.request(1)), (0, None));
        }
    }

    #[test]
    fn a_hot_key_with_a_long_backlog_is_taken_in_order_at_once() {
        const COUNT: u64 = 200_000;
        let mut pending = Pending::default();
        for lsn in 1..=COUNT {
            pending.insert(info(lsn, "hot", Some(7)), Position(lsn));
        }
        for lsn in 1..=COUNT {
            assert_eq!(pending.newest(&Bytes::from(*b"hot")).unwrap().info.lsn, Lsn(COUNT));
            assert_eq!(take_upto(&mut pending, lsn).len(), 1);
        }
        assert!(pending.is_empty() && pending.request(7).is_none());
    }
}
