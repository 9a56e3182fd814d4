//! Small stores on a simulated disk, for tests that say by hand what is written and what is damaged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcask::{Config, Lsn, Recovery, SimDisk, SimWorld, SlotId, Store, SyncPolicy, Write};

/// How long a test waits for what other threads do.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) fn config() -> Config {
    Config {
        sync: SyncPolicy::Never,
        file_len_max: 8_000,
        reserve_len: 0,
        has_background: false,
        ..Config::default()
    }
}

pub(crate) fn slot() -> SlotId {
    SlotId::new(5).unwrap()
}

pub(crate) fn disk(world: &SimWorld) -> SimDisk {
    world.folder("/store")
}

/// Opens the store in the present life of `world`, with its slot.
pub(crate) fn open(world: &SimWorld) -> (Store, Recovery) {
    let (store, recovery) = reopen(world);
    store.create_slots(&[slot()]).unwrap();
    (store, recovery)
}

/// Opens the store as it is.
pub(crate) fn reopen(world: &SimWorld) -> (Store, Recovery) {
    Store::open_on(Arc::new(disk(world)), config()).unwrap()
}

/// Stops the store cleanly and opens it again.
pub(crate) fn close_and_open(store: Store, world: &SimWorld) -> (Store, Recovery) {
    store.close().unwrap();
    drop(store);
    open(world)
}

/// Waits until `is_so`, which other threads bring about.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun_at = Instant::now();
    while !is_so() {
        assert!(begun_at.elapsed() < WAIT_MAX, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns another world with the same files, all durable.
pub(crate) fn copy(world: &SimWorld) -> SimWorld {
    let (from, other) = (disk(world), SimWorld::new(1));
    for name in from.names() {
        disk(&other).place(&name, from.contents(&name).unwrap());
    }
    other
}

/// Returns the names of the data files, oldest first.
pub(crate) fn data_names(world: &SimWorld) -> Vec<String> {
    disk(world).names().into_iter().filter(|name| name.ends_with(".data")).collect()
}

pub(crate) fn last_data_name(world: &SimWorld) -> String {
    data_names(world).pop().unwrap()
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
