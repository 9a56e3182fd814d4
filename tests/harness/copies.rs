//! What servers hold, read from their folders after they have ended.
//!
//! A copy of a slot is the newest record of each key, published or still pending; tombstones are passed over, for each server forgets
//! them when it may. Servers that are quiet and hold the same slots hold the same copies, lsn by lsn and byte for byte.

use super::cluster::{Cluster, SLOT_COUNT};
use bitcask::{Config, Lsn, SlotId, Store};
use std::collections::BTreeMap;
use std::path::Path;

/// The newest record of each key of a slot: its lsn, and its value.
type Copy = BTreeMap<Vec<u8>, (Lsn, Option<Vec<u8>>)>;

/// Returns the copies that the folder of a server that has ended holds, by slot.
pub(crate) fn copies(folder: &Path) -> BTreeMap<u16, Copy> {
    let opened = Store::open(folder, Config::default());
    let (store, _) = opened.unwrap_or_else(|e| panic!("{} cannot be read: {e}", folder.display()));
    let slots = (0..SLOT_COUNT).map(|index| SlotId::new(index).expect("a slot"));
    slots.filter_map(|slot| Some((slot.index(), copy(&store, slot)?))).collect()
}

/// Returns the value that the folder of a server that has ended holds for `key`, committed or not.
pub(crate) fn held(folder: &Path, key: &str) -> Option<String> {
    let copies = copies(folder);
    let (_, value) = copies.values().find_map(|copy| copy.get(key.as_bytes()))?;
    Some(String::from_utf8_lossy(value.as_ref()?).into_owned())
}

fn copy(store: &Store, slot: SlotId) -> Option<Copy> {
    let records = store.records(slot, Lsn::default()).ok()?;
    let published = records.map(|record| record.expect("every record can be read"));
    let pending = store.pending(slot).into_iter().filter(|info| !info.is_request_only);
    let pending = pending.filter_map(|info| {
        store.read_pending(slot, info.lsn, &info.key).expect("every record can be read")
    });
    let mut copy = Copy::new();
    for record in published.chain(pending) {
        let newest = copy.entry(record.key).or_insert((Lsn::default(), None));
        if newest.0 < record.lsn {
            *newest = (record.lsn, record.value);
        }
    }
    copy.retain(|_, (_, value)| value.is_some());
    Some(copy)
}

/// Asserts that all servers of a quiet cluster of as many servers as there are copies hold the same, and ends them for that.
pub(crate) fn assert_equal(cluster: &mut Cluster) {
    cluster.wait_until_level();
    let running = cluster.servers.iter_mut().filter(|server| server.is_running());
    let ended: Vec<_> = running
        .map(|server| {
            assert_eq!(server.terminate().code(), Some(0));
            copies(server.dir())
        })
        .collect();
    let all: BTreeMap<u16, &Copy> =
        ended.iter().flatten().map(|(slot, copy)| (*slot, copy)).collect();
    assert_eq!(all.len(), usize::from(SLOT_COUNT), "every slot is somewhere");
    for (slot, copy) in &all {
        let same: Vec<_> = ended.iter().filter_map(|copies| copies.get(slot)).collect();
        assert_eq!(same.len(), ended.len().min(3), "slot {slot} is where it belongs, only");
        for other in same {
            assert_same(*slot, copy, other);
        }
    }
}

fn assert_same(slot: u16, one: &Copy, other: &Copy) {
    let mut keys = one.keys().chain(other.keys());
    let Some(key) = keys.find(|key| one.get(*key) != other.get(*key)) else { return };
    let show = |copy: &Copy| copy.get(key).map(|(lsn, _)| *lsn);
    let name = String::from_utf8_lossy(key);
    panic!("slot {slot}, `{name}`: {:?} here, {:?} there", show(one), show(other));
}
