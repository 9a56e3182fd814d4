//! Each defect that was seen in another engine, and that this one must not have: a test for each.
//!
//! Where a defect can be planted in this engine's code, `mutants.rs` does so and demands that the test here fails.

use std::sync::Arc;

use bitcask::{
    Config, CrashMode, Fault, FaultKind, Lsn, Recovery, SimDisk, SimWorld, SlotId, Store,
    SyncPolicy, Write,
};

pub(crate) fn config() -> Config {
    Config {
        sync: SyncPolicy::Never,
        file_len_max: 2_000,
        reserve_len: 0,
        has_background: false,
        ..Config::default()
    }
}

pub(crate) fn slot() -> SlotId {
    SlotId::new(5).unwrap()
}

/// Opens the store of the present life of `world`.
pub(crate) fn open(world: &SimWorld) -> (Store, Recovery) {
    let (store, recovery) = Store::open_on(Arc::new(disk(world)), config()).unwrap();
    store.create_slots(&[slot()]).unwrap();
    (store, recovery)
}

pub(crate) fn disk(world: &SimWorld) -> SimDisk {
    world.folder("/store")
}

/// Puts and publishes.
pub(crate) fn put(store: &Store, lsn: u64, key: &str, value: &str) {
    let write = Write::put(slot(), Lsn(lsn), key.as_bytes(), value.as_bytes());
    store.publish(store.append(&[write]).unwrap());
}

pub(crate) fn delete(store: &Store, lsn: u64, key: &str) {
    let write = Write::delete(slot(), Lsn(lsn), key.as_bytes());
    store.publish(store.append(&[write]).unwrap());
}

pub(crate) fn try_get(store: &Store, key: &str) -> bitcask::Result<Option<String>> {
    let mut buf = Vec::new();
    let found = store.get(slot(), key.as_bytes(), &mut buf)?;
    Ok(found.map(|found| String::from_utf8_lossy(found.value).into_owned()))
}

pub(crate) fn get(store: &Store, key: &str) -> Option<String> {
    try_get(store, key).unwrap()
}

#[test]
fn slots_created_together_are_all_there_or_none_after_a_power_cut_at_any_moment() {
    let slots: Vec<SlotId> = SlotId::all().collect();
    for seed in 0..40 {
        let world = SimWorld::new(seed);
        let (store, _) = Store::open_on(Arc::new(disk(&world)), config()).unwrap();
        // Written, but not synced: the next operation but one does not happen.
        world.crash_at(world.op_count() + 2);
        assert!(store.create_slots(&slots).is_err());
        world.crash(CrashMode::Reordered);
        let (store, _) = Store::open_on(Arc::new(disk(&world)), config()).unwrap();
        let count = slots.iter().filter(|slot| store.has_slot(**slot)).count();
        assert!(count == 0 || count == slots.len(), "seed {seed}: {count} slots");
    }
}

#[test]
fn a_merge_that_fails_anywhere_neither_loses_a_key_nor_brings_a_deleted_one_back() {
    let filler = "x".repeat(900);
    let mut failed_count = 0;
    for failing in 1..40 {
        let world = SimWorld::new(1);
        // The first file has the old value, the second its tombstone; both have something live and much that is dead.
        let (store, _) = open(&world);
        put(&store, 1, "key", "old");
        put(&store, 2, "live1", "1");
        put(&store, 3, "dead1", &filler);
        store.close().unwrap();
        drop(store);
        let (store, _) = open(&world);
        delete(&store, 4, "key");
        put(&store, 5, "live2", "2");
        put(&store, 6, "dead2", &filler);
        store.close().unwrap();
        drop(store);
        let (store, _) = open(&world);
        put(&store, 7, "dead1", "");
        put(&store, 8, "dead2", "");
        store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
        store.sync().unwrap();
        // The first merge fails on its way, the later ones cannot read the first file.
        world.fail(Fault::once(world.op_count() + failing, FaultKind::Eio));
        failed_count += u32::from(store.merge().is_err());
        world.heal();
        disk(&world).flip("0000000001.data", 40, 1);
        for _ in 0..3 {
            drop(store.merge());
        }
        disk(&world).flip("0000000001.data", 40, 1);
        assert_eq!(get(&store, "key"), None);
        drop(store);
        let (store, _) = open(&world);
        assert_eq!(get(&store, "key"), None, "after operation {failing} failed");
        assert_eq!(
            (get(&store, "live1"), get(&store, "live2")),
            (Some("1".into()), Some("2".into()))
        );
    }
    assert!(failed_count > 5, "the merge hardly ever failed");
}
