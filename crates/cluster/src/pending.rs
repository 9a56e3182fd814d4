//! Records of one slot that are in its log and not committed, as far as is known here (R2).
//!
//! Kept without values, which stay in the storage: a primary's backlog behind a slow backup may be long. Found by lsn,
//! for commits and resends; by key, because a key with a pending record is *dirty*; by client, for retries (R24).

use std::collections::{BTreeMap, BTreeSet};

use crate::message::RequestEntry;
use crate::storage::{PendingInfo, Position};
use crate::types::{Bytes, Lsn, Request};

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
    by_lsn: BTreeMap<(Lsn, Bytes), Item>,
    by_key: BTreeMap<Bytes, BTreeSet<Lsn>>,
    by_client: BTreeMap<u64, BTreeMap<Lsn, Request>>,
    /// Bytes of all the records, about.
    len: usize,
}

impl Pending {
    pub(crate) fn insert(&mut self, info: PendingInfo, position: Position) {
        let (lsn, key) = (info.lsn, info.key.clone());
        if let Some(request) = info.request {
            self.by_client.entry(request.client).or_default().insert(lsn, request);
        }
        self.len += info.record_len;
        if let Some(before) = self.by_lsn.insert((lsn, key.clone()), Item { info, position }) {
            self.len -= before.info.record_len;
        }
        self.by_key.entry(key).or_default().insert(lsn);
    }

    /// Takes out the records up to an lsn, in order.
    pub(crate) fn take_upto(&mut self, upto: Lsn) -> Vec<Item> {
        let mut taken = Vec::new();
        while let Some(first) = self.by_lsn.first_entry() {
            if first.key().0 > upto {
                break;
            }
            let item = first.remove();
            self.forget(&item.info);
            taken.push(item);
        }
        taken
    }

    /// Forgets the records above an lsn: what a planted defect does.
    pub(crate) fn cut_above(&mut self, lsn: Lsn) {
        let above = self.by_lsn.split_off(&(Lsn(lsn.0.saturating_add(1)), Bytes::from([])));
        for item in above.into_values() {
            self.forget(&item.info);
        }
    }

    fn forget(&mut self, info: &PendingInfo) {
        self.len -= info.record_len;
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

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.by_lsn.values()
    }

    /// Returns the records above an lsn.
    pub(crate) fn above(&self, lsn: Lsn) -> impl Iterator<Item = &Item> {
        let from = lsn.0.checked_add(1).map(|next| (Lsn(next), Bytes::from([])));
        from.into_iter().flat_map(|from| self.by_lsn.range(from..)).map(|(_, item)| item)
    }

    /// Returns where the last of them ends in the storage's stream.
    pub(crate) fn end(&self) -> Option<Position> {
        self.by_lsn.values().map(|item| item.position).max()
    }

    /// Returns how many records there are.
    pub(crate) fn count(&self) -> usize {
        self.by_lsn.len()
    }

    /// Returns the bytes of all records, about.
    pub(crate) fn byte_len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_lsn.is_empty()
    }

    pub(crate) fn contains(&self, lsn: Lsn, key: &Bytes) -> bool {
        self.by_lsn.contains_key(&(lsn, key.clone()))
    }

    /// Returns the lsn of the newest pending record.
    pub(crate) fn last(&self) -> Option<Lsn> {
        self.by_lsn.last_key_value().map(|((lsn, _), _)| *lsn)
    }

    pub(crate) fn is_dirty(&self, key: &[u8]) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns the newest pending record of a key.
    pub(crate) fn newest(&self, key: &Bytes) -> Option<&Item> {
        let lsn = self.by_key.get(key)?.last()?;
        self.by_lsn.get(&(*lsn, key.clone()))
    }

    /// Returns the newest pending request of a client, by lsn.
    pub(crate) fn request(&self, client: u64) -> Option<RequestEntry> {
        let (lsn, request) = self.by_client.get(&client)?.last_key_value()?;
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
        let taken: Vec<Lsn> = pending.take_upto(Lsn(4)).iter().map(|item| item.info.lsn).collect();
        assert_eq!(taken, [Lsn(3), Lsn(4)]);
        assert!(pending.is_dirty(b"a") && !pending.is_dirty(b"b"));
        assert_eq!(pending.last(), Some(Lsn(5)));
        pending.take_upto(Lsn(5));
        assert!(pending.is_empty() && !pending.is_dirty(b"a"));
        assert_eq!(pending.request(1), None);
    }

    #[test]
    fn a_record_that_comes_twice_is_one() {
        let mut pending = Pending::default();
        pending.insert(info(3, "a", None), Position(1));
        pending.insert(info(3, "a", None), Position(2));
        assert_eq!((pending.count(), pending.byte_len()), (1, 10));
        pending.take_upto(Lsn(3));
        assert!(!pending.is_dirty(b"a"));
        assert_eq!(pending.byte_len(), 0);
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
            assert_eq!(pending.take_upto(Lsn(lsn)).len(), 1);
        }
        assert!(pending.is_empty() && pending.request(7).is_none());
    }
}
