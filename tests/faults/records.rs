//! What folders of servers hold, record by record, and whether it is the same.
//!
//! Of each key the newest record counts, published or pending, with its lsn; a tombstone is as good as nothing, since servers forget
//! them at different times. A folder with damage is no copy at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bitcask::{Lsn, SlotId, Store};

/// Differences that are told.
const TOLD_COUNT_MAX: usize = 10;

/// The newest live records of a slot.
type Copy = BTreeMap<Vec<u8>, (Lsn, Vec<u8>)>;

/// Compares the copies of each of `slots` in the stores of the servers with these numbers; returns how many records they hold.
///
/// # Errors
/// What differs, or cannot be read.
pub(crate) fn compare(
    stores: &BTreeMap<u8, Store>,
    slots: &[(SlotId, Vec<u8>)],
) -> Result<usize, String> {
    let (mut record_count, mut differences) = (0, Vec::new());
    for (slot, numbers) in slots {
        let mut first: Option<(u8, Copy)> = None;
        for number in numbers {
            let store = stores.get(number).ok_or("a member that nobody knows")?;
            let copy = read(store, *slot)
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
    if differences.is_empty() {
        return Ok(record_count);
    }
    let count = differences.len();
    differences.truncate(TOLD_COUNT_MAX);
    Err(format!("{count} differences between copies:\n{}", differences.join("\n")))
}

/// Opens a folder that no server uses.
///
/// # Errors
/// If it cannot be opened, or is damaged.
pub(crate) fn open(folder: &Path) -> Result<Store, String> {
    let config = bitcask::Config { has_background: false, reserve_len: 0, ..Default::default() };
    let (store, recovery) = Store::open(folder, config).map_err(|error| error.to_string())?;
    match recovery.damage.is_empty() {
        true => Ok(store),
        false => Err(format!("damaged files: {:?}", recovery.damage)),
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
