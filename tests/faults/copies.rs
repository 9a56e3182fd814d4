//! Each server's own copy of each slot, read from its own files, and compared.
//!
//! A server is paused while its folder is copied, and the engine opens the copy: what it finds is what this one server would have
//! after a crash, and nobody else has a say. A key's newest record counts, published or pending; a tombstone is as
//! good as nothing, since servers forget them at different times.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bitcask::{Lsn, SlotId, Store};
use cluster::ServerId;

use crate::cluster::{Cluster, number_of};

/// Differences that are told.
const TOLD_COUNT_MAX: usize = 10;

/// The newest live records of a slot.
type Copy = BTreeMap<Vec<u8>, (Lsn, Vec<u8>)>;

/// Compares all copies; returns how many records were compared.
///
/// # Errors
/// What differs.
pub(crate) fn compare(cluster: &Cluster, scratch: &Path) -> Result<usize, String> {
    let status = cluster.status().ok_or("the ECS does not answer")?;
    let map = cluster.map().ok_or("the ECS does not tell its map")?;
    let mut stores: BTreeMap<ServerId, (u8, Store)> = BTreeMap::new();
    for server in status.servers.iter().filter(|server| server.owned > 0) {
        let number = number_of(server).ok_or("a server without an address")?;
        stores.insert(server.id, (number, open_copy(cluster, number, scratch)?));
    }
    let (mut record_count, mut differences) = (0, Vec::new());
    for (slot, members) in &map.delta.slots {
        let engine_slot = SlotId::new(slot.index()).ok_or("a slot beyond the ring")?;
        let mut first: Option<(u8, Copy)> = None;
        for member in members.members() {
            let (number, store) = stores.get(&member).ok_or("a member that nobody knows")?;
            let copy = read(store, engine_slot)
                .map_err(|error| format!("slot {slot:?} of s{number}: {error}"))?;
            record_count += copy.len();
            match &first {
                None => first = Some((*number, copy)),
                Some((other, expected)) => {
                    differences.extend(differing(expected, &copy).map(|what| {
                        format!("slot {slot:?}: s{other} and s{number} differ in {what}")
                    }));
                }
            }
        }
    }
    drop(stores);
    fs::remove_dir_all(scratch).map_err(|error| error.to_string())?;
    if differences.is_empty() {
        return Ok(record_count);
    }
    let count = differences.len();
    differences.truncate(TOLD_COUNT_MAX);
    Err(format!("{count} differences between copies:\n{}", differences.join("\n")))
}

fn open_copy(cluster: &Cluster, number: u8, scratch: &Path) -> Result<Store, String> {
    let server = &cluster.servers[usize::from(number) - 1];
    let copy = scratch.join(number.to_string());
    // One that differed may be left from the last look.
    fs::remove_dir_all(&copy).unwrap_or_default();
    fs::create_dir_all(&copy).map_err(|error| error.to_string())?;
    server.pause();
    let copied = copy_files(&server.data(), &copy);
    server.resume();
    copied.map_err(|error| format!("the folder of s{number} cannot be copied: {error}"))?;
    let config = bitcask::Config { has_background: false, reserve_len: 0, ..Default::default() };
    let (store, recovery) =
        Store::open(&copy, config).map_err(|error| format!("s{number}: {error}"))?;
    match recovery.damage.is_empty() {
        true => Ok(store),
        false => Err(format!("s{number} has damaged files: {:?}", recovery.damage)),
    }
}

/// Copies the plain files of a folder.
pub(crate) fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.metadata()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn read(store: &Store, slot: SlotId) -> bitcask::Result<Copy> {
    let mut newest: BTreeMap<Vec<u8>, (Lsn, Option<Vec<u8>>)> = BTreeMap::new();
    let mut take = |key: Vec<u8>, lsn: Lsn, value: Option<Vec<u8>>| {
        let known = newest.entry(key).or_insert((lsn, value.clone()));
        if known.0 < lsn {
            *known = (lsn, value);
        }
    };
    for record in store.records(slot, Lsn(0))? {
        let record = record?;
        take(record.key, record.lsn, record.value);
    }
    for pending in store.pending(slot).into_iter().filter(|pending| !pending.is_request_only) {
        if let Some(record) = store.read_pending(slot, pending.lsn, &pending.key)? {
            take(record.key, record.lsn, record.value);
        }
    }
    let live = newest.into_iter().filter_map(|(key, (lsn, value))| Some((key, (lsn, value?))));
    Ok(live.collect())
}

fn differing<'a>(one: &'a Copy, other: &'a Copy) -> impl Iterator<Item = String> + 'a {
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    let different = keys.filter(|key| one.get(*key) != other.get(*key));
    different.map(|key| {
        let name = String::from_utf8_lossy(key);
        format!("{name}: {:?} and {:?}", one.get(key), other.get(key))
    })
}
