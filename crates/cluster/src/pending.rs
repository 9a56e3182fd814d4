//! Records of one slot that are in its log and not committed, as far as is known here (R2).
//!
//! Kept without values, which stay in the storage: a primary's backlog behind a slow backup may be long. Found by lsn,
//! for commits and resends; by key, because a key with a pending record is *dirty*; by client, for retries (R24).

use std::collections::BTreeMap;

use crate::message::RequestEntry;
use crate::storage::{PendingInfo, Position};
use crate::types::{Bytes, Lsn};

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
    by_key: BTreeMap<Bytes, Vec<Lsn>>,
    by_client: BTreeMap<u64, Vec<RequestEntry>>,
}

impl Pending {
    pub(crate) fn insert(&mut self, info: PendingInfo, position: Position) {
        let (lsn, key) = (info.lsn, info.key.clone());
        if let Some(request) = info.request {
            self.by_client.entry(request.client).or_default().push(RequestEntry { request, lsn });
        }
        if self.by_lsn.insert((lsn, key.clone()), Item { info, position }).is_none() {
            self.by_key.entry(key).or_default().push(lsn);
        }
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
        if let Some(lsns) = self.by_key.get_mut(&info.key) {
            lsns.retain(|lsn| *lsn != info.lsn);
            if lsns.is_empty() {
                self.by_key.remove(&info.key);
            }
        }
        let Some(client) = info.request.map(|request| request.client) else { return };
        if let Some(entries) = self.by_client.get_mut(&client) {
            entries.retain(|entry| entry.lsn != info.lsn);
            if entries.is_empty() {
                self.by_client.remove(&client);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.by_lsn.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_lsn.len()
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
        let lsn = self.by_key.get(key)?.iter().max()?;
        self.by_lsn.get(&(*lsn, key.clone()))
    }

    /// Returns the newest pending request of a client, by lsn.
    pub(crate) fn request(&self, client: u64) -> Option<RequestEntry> {
        self.by_client.get(&client)?.iter().max_by_key(|entry| entry.lsn).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Request;

    fn info(lsn: u64, key: &str, client: Option<u64>) -> PendingInfo {
        let request = client.map(|client| Request { client, number: lsn, outcome: 0 });
        PendingInfo { lsn: Lsn(lsn), key: Bytes::from(key.as_bytes()), is_live: true, request }
    }

    #[test]
    fn records_are_found_by_lsn_key_and_client_until_they_are_taken() {
        let mut pending = Pending::default();
        for (lsn, key, client) in [(3, "a", Some(1)), (5, "a", Some(1)), (4, "b", None)] {
            pending.insert(info(lsn, key, client), Position(lsn));
        }
        assert_eq!(pending.len(), 3);
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
        pending.take_upto(Lsn(3));
        assert!(!pending.is_dirty(b"a"));
    }
}
