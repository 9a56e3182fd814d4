//! Each defect that was seen in another engine, and that this one must not have: a test for each.
//!
//! `mutants.rs` plants them one by one and demands that the test here fails.

use std::sync::Arc;
use std::thread;

use bitcask::{Config, CrashMode, Error, Fault, FaultKind, Lsn, Planted, SimWorld, SlotId, Store};

use crate::gate::GateDisk;
use crate::small::{
    close_and_open, config, copy, data_names, delete, disk, get, last_data_name, open, put, reopen,
    slot, try_get,
};

#[test]
pub(crate) fn an_overwrite_torn_at_any_byte_keeps_old_or_new() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 10, "key", "old");
    store.sync().unwrap();
    let name = last_data_name(&world);
    let old_len = disk(&world).contents(&name).unwrap().len();
    put(&store, 20, "key", "the new value");
    let new_len = disk(&world).contents(&name).unwrap().len();
    for len in old_len..=new_len {
        let torn = copy(&world);
        disk(&torn).cut(&name, len);
        let (store, recovery) = open(&torn);
        let wanted = if len == new_len { "the new value" } else { "old" };
        assert_eq!(get(&store, "key").as_deref(), Some(wanted), "cut at {len} of {new_len}");
        assert_eq!(recovery.damage, []);
    }
}

/// Returns a world with one sealed file of `count` records, and where each record's header begins.
fn one_sealed_file(count: usize) -> (SimWorld, Vec<usize>) {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    let mut offsets = Vec::new();
    for index in 0..count {
        let value = format!("value{index:04}");
        offsets.push(32 + index * (28 + 7 + value.len()));
        put(&store, 1 + index as u64, &format!("key{index:04}"), &value);
    }
    store.close().unwrap();
    (world, offsets)
}

/// Checks that all but the `lost` records of [`one_sealed_file`] are there.
fn check_rest(store: &Store, count: usize, lost: &[usize]) {
    for index in (0..count).filter(|index| !lost.contains(index)) {
        let found = get(store, &format!("key{index:04}"));
        assert_eq!(found, Some(format!("value{index:04}")), "record {index}");
    }
}

#[test]
pub(crate) fn a_damaged_length_costs_one_record_and_no_merge_deletes_the_others() {
    // The value's length is at 20 in the header, the key's at 24.
    for (record, at) in [(0, 20), (17, 20), (17, 22), (17, 24), (29, 21)] {
        let (world, offsets) = one_sealed_file(30);
        let name = last_data_name(&world);
        disk(&world).flip(&name, offsets[record] + at, 0x40);
        let (store, recovery) = open(&world);
        assert_eq!(recovery.damage.len(), 1, "{recovery:?}");
        assert_eq!(recovery.damage[0].offset, offsets[record] as u64);
        check_rest(&store, 30, &[record]);
        // Enough dead bytes for a merge of this file.
        for index in 0..20 {
            put(&store, 100 + index, &format!("key{index:04}"), &format!("value{index:04}"));
        }
        drop(store.merge());
        assert!(data_names(&world).contains(&name), "a merge deleted what it could not read");
        let (store, _) = close_and_open(store, &world);
        check_rest(&store, 30, if record < 20 { &[] } else { &[29] });
    }
}

/// What one cannot see at opening, because a hint file spares the look, a merge still does.
#[test]
pub(crate) fn a_merge_that_meets_damage_leaves_the_file_alone() {
    let (world, offsets) = one_sealed_file(30);
    let name = last_data_name(&world);
    let (store, _) = open(&world);
    store.maintain().unwrap();
    disk(&world).flip(&name, offsets[25] + 20, 0x40);
    for index in 0..20 {
        put(&store, 100 + index, &format!("key{index:04}"), "");
    }
    assert!(matches!(store.merge(), Err(Error::Corrupt { .. })));
    assert!(data_names(&world).contains(&name));
    let unreadable = try_get(&store, "key0025");
    assert!(matches!(unreadable, Err(Error::Corrupt { .. })), "{unreadable:?}");
    assert_eq!(store.merge().unwrap(), None, "it is tried again and again");
}

#[test]
pub(crate) fn forty_damaged_records_cost_no_more_than_themselves() {
    let (world, offsets) = one_sealed_file(99);
    let damaged: Vec<usize> = (0..80).step_by(2).collect();
    for index in &damaged {
        disk(&world).flip(&last_data_name(&world), offsets[*index] + 9, 1);
    }
    let (store, recovery) = open(&world);
    assert_eq!(recovery.damage.len(), 40);
    check_rest(&store, 99, &damaged);
}

#[test]
pub(crate) fn what_cannot_be_read_is_an_error_and_never_not_found() {
    let (world, offsets) = one_sealed_file(3);
    let name = last_data_name(&world);
    // What is in memory is not read again.
    let config = Config { cache_len: 0, ..config() };
    let (store, _) = Store::open_on(Arc::new(disk(&world)), config).unwrap();
    for at in offsets[1]..offsets[2] {
        disk(&world).flip(&name, at, 0x10);
        let found = try_get(&store, "key0001");
        assert!(matches!(found, Err(Error::Corrupt { .. })), "byte {at}: {found:?}");
        disk(&world).flip(&name, at, 0x10);
    }
    check_rest(&store, 3, &[]);
    world.fail(Fault::once(world.op_count() + 1, FaultKind::Eio));
    assert!(matches!(try_get(&store, "key0001"), Err(Error::Io { .. })));
    disk(&world).cut(&name, offsets[1] + 3);
    assert!(try_get(&store, "key0001").is_err());
    assert_eq!(get(&store, "key0000").as_deref(), Some("value0000"));
}

#[test]
pub(crate) fn a_value_that_looks_like_a_tombstone_is_a_value() {
    let values = ["bitcask_tombstone", "bitcask_tombstone2abcd", "", "\0", "null"];
    let world = SimWorld::new(1);
    let (mut store, _) = open(&world);
    for round in 0..2 {
        for (index, value) in values.iter().enumerate() {
            if round == 0 {
                put(&store, 1 + index as u64, &format!("key{index}"), value);
            }
            assert_eq!(get(&store, &format!("key{index}")).as_deref(), Some(*value));
        }
        store = close_and_open(store, &world).0;
    }
}

/// The first file has the old value among much that lives, the second its tombstone among much that is dead.
fn deleted_in_the_second_file() -> (SimWorld, Store) {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "key", "old");
    put(&store, 2, "live", &"x".repeat(900));
    let (store, _) = close_and_open(store, &world);
    delete(&store, 3, "key");
    put(&store, 4, "dead", &"x".repeat(900));
    let (store, _) = close_and_open(store, &world);
    put(&store, 5, "dead", "");
    (world, store)
}

#[test]
pub(crate) fn a_deleted_key_stays_deleted_when_its_tombstones_file_is_merged() {
    let (world, store) = deleted_in_the_second_file();
    store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
    let report = store.merge().unwrap().expect("the second file is nearly all dead");
    assert_eq!(report.removed_count, 1, "not what this test is about");
    assert_eq!(get(&store, "key"), None);
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key"), None);
}

#[test]
pub(crate) fn a_tombstone_stays_until_it_is_below_the_floor() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    delete(&store, 3, "key");
    put(&store, 4, "dead", &"x".repeat(900));
    let (store, _) = close_and_open(store, &world);
    put(&store, 5, "dead", "");
    assert!(store.merge().unwrap().is_some());
    assert!(store.entry(slot(), b"key").is_some_and(|entry| entry.is_tombstone));
    // What comes late, below it, stays hidden: also after a restart.
    put(&store, 2, "key", "late");
    assert_eq!(get(&store, "key"), None);
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key"), None);
}

#[test]
pub(crate) fn an_older_lsn_that_comes_later_changes_nothing() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 9, "key", "newest");
    put(&store, 8, "key", "older");
    assert_eq!(get(&store, "key").as_deref(), Some("newest"));
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key").as_deref(), Some("newest"));
}

#[test]
pub(crate) fn a_lock_file_left_behind_does_not_block_the_start() {
    let world = SimWorld::new(1);
    drop(open(&world));
    disk(&world).place("LOCK", b"12345".to_vec());
    let (store, _) = open(&world);
    let second = Store::open_on(Arc::new(disk(&world)), config());
    assert!(matches!(second, Err(Error::Busy { .. })));
    drop(store);
}

#[test]
pub(crate) fn merges_end_when_there_is_nothing_more_to_gain() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    for lsn in 1..60 {
        put(&store, lsn, &format!("key{}", lsn % 7), &"x".repeat(300));
    }
    let (store, _) = close_and_open(store, &world);
    let merges = (0..20).take_while(|_| store.merge().unwrap().is_some()).count();
    assert!((1..10).contains(&merges), "{merges} merges");
    let names = data_names(&world);
    assert_eq!((store.merge().unwrap(), data_names(&world)), (None, names));
}

#[test]
pub(crate) fn what_was_synced_survives_a_power_cut_with_its_files_names() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    for lsn in 1..10 {
        put(&store, lsn, &format!("key{lsn}"), &"x".repeat(700));
        store.sync().unwrap();
    }
    world.crash(CrashMode::Lost);
    let (store, _) = open(&world);
    (1..10).for_each(|lsn| assert!(get(&store, &format!("key{lsn}")).is_some(), "key{lsn}"));
}

#[test]
pub(crate) fn what_was_merged_survives_a_power_cut_with_its_files_names() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "live", "kept");
    (2..30).for_each(|lsn| put(&store, lsn, "dead", &"x".repeat(300)));
    assert!(store.merge().unwrap().is_some());
    world.crash(CrashMode::Lost);
    let (store, _) = open(&world);
    assert_eq!(get(&store, "live").as_deref(), Some("kept"));
}

#[test]
pub(crate) fn a_file_is_durable_before_the_next_one_takes_a_write() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "early", "v");
    (2..20).for_each(|lsn| put(&store, lsn, "late", &"x".repeat(700)));
    // One sync, of the last file.
    store.sync().unwrap();
    world.crash(CrashMode::Lost);
    let (store, recovery) = open(&world);
    assert_eq!(get(&store, "early").as_deref(), Some("v"), "{recovery:?}");
    assert!(get(&store, "late").is_some());
}

#[test]
pub(crate) fn what_is_acknowledged_after_a_failed_append_is_not_lost_behind_its_remains() {
    for seed in 0..16 {
        let world = SimWorld::new(seed);
        let (store, _) = open(&world);
        put(&store, 1, "before", "v");
        world.fail(Fault::once(world.op_count() + 1, FaultKind::Enospc));
        let write = bitcask::Write::put(slot(), Lsn(2), b"failed", &[b'x'; 200]);
        assert!(store.append(&[write]).is_err_and(|error| error.is_full()));
        world.heal();
        put(&store, 3, "after", "v");
        store.sync().unwrap();
        world.crash(CrashMode::Lost);
        let (store, _) = open(&world);
        let found = ["before", "failed", "after"].map(|key| get(&store, key).is_some());
        assert_eq!(found, [true, false, true], "seed {seed}");
    }
}

#[test]
pub(crate) fn after_a_failed_sync_nothing_is_taken_and_nothing_is_called_durable() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "key", "v");
    world.fail(Fault::once(world.op_count() + 1, FaultKind::Eio));
    assert!(matches!(store.sync(), Err(Error::Io { .. })));
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })), "a second try said yes");
    let write = bitcask::Write::put(slot(), Lsn(2), b"key", b"w");
    assert!(store.append(&[write]).is_err_and(|error| error.is_refusal()));
    assert_eq!(get(&store, "key").as_deref(), Some("v"), "reads go on");
}

#[test]
pub(crate) fn what_a_restart_after_a_failed_sync_serves_is_durable() {
    let mut served_count = 0;
    for seed in 0..16 {
        let world = SimWorld::new(seed);
        let (store, _) = open(&world);
        // Over several pages, so that not one sync of a changed page repairs it all.
        put(&store, 1, "key", &"v".repeat(20_000));
        world.fail(Fault::once(world.op_count() + 1, FaultKind::Eio));
        assert!(store.sync().is_err());
        drop(store);
        world.heal();
        let (store, _) = open(&world);
        let served = get(&store, "key");
        served_count += usize::from(served.is_some());
        drop(store);
        world.crash(CrashMode::Lost);
        let (store, _) = open(&world);
        assert_eq!(get(&store, "key"), served, "seed {seed}");
    }
    assert!(served_count > 0);
}

/// Returns a world whose growing file was synced after its first two records, and where its first record begins.
fn synced_then_killed() -> (SimWorld, String) {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "first", "value 1");
    put(&store, 2, "second", "value 2");
    store.sync().unwrap();
    put(&store, 3, "third", "value 3");
    store.sync().unwrap();
    drop(store);
    let name = last_data_name(&world);
    (world, name)
}

#[test]
pub(crate) fn damage_in_what_was_synced_is_no_tear_and_costs_only_itself() {
    let (world, name) = synced_then_killed();
    disk(&world).flip(&name, 32 + 9, 1);
    let (store, recovery) = open(&world);
    assert_eq!((recovery.damage.len(), recovery.torn_len), (1, 0), "{recovery:?}");
    let found = ["second", "third"].map(|key| get(&store, key));
    assert_eq!(found, [Some("value 2".to_owned()), Some("value 3".to_owned())]);
}

#[test]
pub(crate) fn a_damaged_value_never_gets_a_fresh_checksum() {
    let (world, name) = synced_then_killed();
    disk(&world).flip(&name, 32 + 28 + "first".len() + 2, 1);
    let (mut store, recovery) = open(&world);
    assert_eq!(recovery.damage.len(), 1, "{recovery:?}");
    for lsn in 0..3 {
        let found = try_get(&store, "first");
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{found:?}");
        // Restarts and merges leave it so.
        (0..9).for_each(|index| put(&store, 10 + 10 * lsn + index, "dead", &"x".repeat(300)));
        drop(store.merge());
        store = close_and_open(store, &world).0;
    }
    put(&store, 100, "first", "mended");
    assert_eq!(get(&store, "first").as_deref(), Some("mended"));
}

#[test]
pub(crate) fn a_record_in_the_place_of_another_is_not_taken() {
    let (world, offsets) = one_sealed_file(4);
    let name = last_data_name(&world);
    let mut bytes = disk(&world).contents(&name).unwrap();
    let (first, second) = (offsets[1]..offsets[2], offsets[2]..offsets[3]);
    let moved = bytes[first.clone()].to_vec();
    bytes.copy_within(second.clone(), first.start);
    bytes[second].copy_from_slice(&moved);
    disk(&world).place(&name, bytes);
    let (store, recovery) = open(&world);
    assert_eq!(recovery.damage.iter().map(|damage| damage.len).sum::<u64>(), 88, "{recovery:?}");
    check_rest(&store, 4, &[1, 2]);
}

#[test]
pub(crate) fn zeros_behind_the_last_record_are_a_torn_tail() {
    for zero_len in [1, 27, 28, 100, 4096, 10_000] {
        let (world, name) = synced_then_killed();
        let mut bytes = disk(&world).contents(&name).unwrap();
        bytes.resize(bytes.len() + zero_len, 0);
        disk(&world).place(&name, bytes);
        let (store, recovery) = open(&world);
        assert_eq!((recovery.torn_len, recovery.damage), (zero_len as u64, vec![]));
        assert_eq!(get(&store, "third").as_deref(), Some("value 3"));
    }
}

#[test]
pub(crate) fn a_hint_file_is_used_whole_or_not_at_all() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    for index in 0..6 {
        put(&store, 1 + index, &format!("key{index}"), &format!("value{index}"));
    }
    delete(&store, 10, "key3");
    let (store, _) = close_and_open(store, &world);
    store.maintain().unwrap();
    drop(store);
    let name = disk(&world).names().into_iter().find(|name| name.ends_with(".hint")).unwrap();
    let len = disk(&world).contents(&name).unwrap().len();
    let check = |world: &SimWorld, what: &str| {
        let (store, recovery) = open(world);
        assert_eq!((recovery.damage.len(), recovery.torn_len), (0, 0), "{what}");
        for index in 0..6 {
            let wanted = (index != 3).then(|| format!("value{index}"));
            let found = try_get(&store, &format!("key{index}"));
            assert!(matches!(&found, Ok(found) if *found == wanted), "{what}: {found:?}");
        }
        assert_eq!(store.stats().key_count, 5, "{what}");
    };
    for at in 0..len {
        let flipped = copy(&world);
        disk(&flipped).flip(&name, at, 0x04);
        check(&flipped, &format!("byte {at} flipped"));
        let cut = copy(&world);
        disk(&cut).cut(&name, at);
        check(&cut, &format!("cut at {at}"));
    }
    disk(&world).take(&name);
    check(&world, "no hint file");
}

/// Runs a merge that is held up on its way and returns what others could do meanwhile.
#[test]
pub(crate) fn reads_and_writes_go_on_while_a_merge_runs() {
    merge_held_up(None);
}

pub(crate) fn merge_held_up(planted: Option<&'static str>) {
    let gate = GateDisk::new(disk(&SimWorld::new(1)));
    let (store, _) = Store::open_on(Arc::new(gate.clone()), config()).unwrap();
    store.create_slots(&[slot()]).unwrap();
    put(&store, 1, "live", "v");
    (2..30).for_each(|lsn| put(&store, lsn, "dead", &"x".repeat(300)));
    gate.close();
    let merging = store.clone();
    let merge = thread::spawn(move || {
        let _planted = planted.map(Planted::new);
        merging.merge().unwrap().is_some()
    });
    gate.wait_for_somebody();
    let (done, is_done) = std::sync::mpsc::channel();
    let other = store.clone();
    let work = thread::spawn(move || {
        put(&other, 100, "new", "w");
        let found = [get(&other, "live"), get(&other, "new")];
        done.send(found).unwrap();
    });
    let found = is_done.recv_timeout(std::time::Duration::from_secs(5));
    gate.open_up();
    assert!(merge.join().unwrap(), "nothing was merged");
    work.join().unwrap();
    assert_eq!(found, Ok([Some("v".to_owned()), Some("w".to_owned())]));
    assert_eq!(get(&store, "new").as_deref(), Some("w"), "a write during the merge is kept");
}

/// The value that a merge takes away was overwritten, but not durably.
#[test]
pub(crate) fn a_durable_value_outlives_an_overwrite_that_a_power_cut_takes_back() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "key", "durable");
    put(&store, 2, "dead", &"x".repeat(900));
    let (store, _) = close_and_open(store, &world);
    put(&store, 3, "key", "not durable");
    put(&store, 4, "dead", "");
    assert!(store.merge().unwrap().is_some());
    world.crash(CrashMode::Lost);
    let (store, _) = open(&world);
    assert!(get(&store, "key").is_some(), "neither the old value nor the new one");
}

#[test]
fn slots_created_together_are_all_there_or_none_after_a_power_cut_at_any_moment() {
    let slots: Vec<SlotId> = SlotId::all().collect();
    for seed in 0..40 {
        let world = SimWorld::new(seed);
        let (store, _) = reopen(&world);
        // Written, but not synced: the next operation but one does not happen.
        world.crash_at(world.op_count() + 2);
        assert!(store.create_slots(&slots).is_err());
        world.crash(CrashMode::Reordered);
        let (store, _) = reopen(&world);
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
        let (store, _) = close_and_open(store, &world);
        delete(&store, 4, "key");
        put(&store, 5, "live2", "2");
        put(&store, 6, "dead2", &filler);
        let (store, _) = close_and_open(store, &world);
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
        let live = ["live1", "live2"].map(|key| get(&store, key));
        assert_eq!(live, [Some("1".to_owned()), Some("2".to_owned())]);
    }
    assert!(failed_count > 5, "the merge hardly ever failed");
}

#[test]
fn a_power_cut_while_a_growing_file_is_copied_leaves_no_hole() {
    let small = bitcask::Config { file_len_max: 400, ..config() };
    for case in 0..240 {
        let world = SimWorld::new(case);
        let (store, _) = open(&world);
        (0..8).for_each(|lsn| put(&store, 1 + lsn, &format!("key{lsn}"), &"x".repeat(300)));
        drop(store);
        world.crash_at(world.op_count() + 1 + case % 60);
        drop(Store::open_on(Arc::new(disk(&world)), small.clone()));
        world.crash(CrashMode::Any);
        let (store, _) = open(&world);
        let is_there: Vec<_> =
            (0..8).map(|lsn| get(&store, &format!("key{lsn}")).is_some()).collect();
        assert!(is_there.is_sorted_by(|left, right| left >= right), "case {case}: {is_there:?}");
    }
}
