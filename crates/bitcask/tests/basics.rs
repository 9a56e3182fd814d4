//! What a store does, seen from outside, on the real disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test file a panic is the report"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bitcask::{Config, Error, Lsn, Op, Request, SlotId, Store, SyncPolicy, Write, renew_server_id};

fn slot(index: u16) -> SlotId {
    SlotId::new(index).unwrap()
}

fn config() -> Config {
    Config {
        sync: SyncPolicy::Never,
        reserve_len: 0,
        has_background: false,
        file_len_max: 4096,
        ..Config::default()
    }
}

fn open(path: &Path) -> Store {
    let (store, recovery) = Store::open(path, config()).unwrap();
    assert_eq!(recovery.damage, []);
    store.create_slots(&[slot(0), slot(1)]).unwrap();
    store
}

fn put(store: &Store, lsn: u64, key: &str, value: &str) {
    let write = Write::put(slot(0), Lsn(lsn), key.as_bytes(), value.as_bytes());
    store.commit(store.append(&[write]).unwrap()).unwrap();
}

fn delete(store: &Store, lsn: u64, key: &str) {
    let write = Write::delete(slot(0), Lsn(lsn), key.as_bytes());
    store.commit(store.append(&[write]).unwrap()).unwrap();
}

fn get(store: &Store, key: &str) -> Option<String> {
    let mut buf = Vec::new();
    let found = store.get(slot(0), key.as_bytes(), &mut buf).unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

#[test]
fn prepared_writes_that_were_merged_are_appended_and_recovered_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let prepare = |lsn: u64| {
        let (key, value) = (format!("key{lsn}"), format!("value{lsn}"));
        let other = format!("other{lsn}");
        let writes = [
            Write::put(slot(0), Lsn(lsn), key.as_bytes(), value.as_bytes()),
            Write::put(slot(0), Lsn(100 + lsn), other.as_bytes(), value.as_bytes()),
        ];
        store.prepare(&writes).unwrap()
    };
    let mut merged = prepare(1);
    merged.merge(&prepare(2));
    merged.merge(&prepare(3));
    assert!(merged.has_put());
    let appended = store.append_prepared(merged).unwrap();
    assert_eq!(get(&store, "key1"), None, "it is not published");
    store.commit(appended).unwrap();
    let check = |store: &Store| {
        for lsn in 1..4 {
            let value = Some(format!("value{lsn}"));
            assert_eq!(get(store, &format!("key{lsn}")), value);
            assert_eq!(get(store, &format!("other{lsn}")), value);
        }
    };
    check(&store);
    drop(store);
    check(&open(folder.path()));
}

#[test]
fn what_was_put_is_there_after_a_clean_close_and_after_none() {
    let folder = tempfile::tempdir().unwrap();
    for is_closed in [true, false, true, false] {
        let store = open(folder.path());
        let base = store.highest_lsn().0;
        for index in 0..200 {
            put(&store, base + index + 1, &format!("key{index}"), &format!("value{base}.{index}"));
        }
        if is_closed {
            store.close().unwrap();
        }
        drop(store);
        let store = open(folder.path());
        for index in 0..200 {
            assert_eq!(get(&store, &format!("key{index}")), Some(format!("value{base}.{index}")));
        }
        assert_eq!(store.stats().key_count, 200);
    }
}

#[test]
fn an_appended_record_is_visible_only_once_published_r2() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, 1, "k", "old");
    let write = Write::put(slot(0), Lsn(2), b"k", b"new");
    let appended = store.append(&[write]).unwrap();
    assert_eq!(get(&store, "k").as_deref(), Some("old"));
    store.publish(appended);
    assert_eq!(get(&store, "k").as_deref(), Some("new"));
}

#[test]
fn the_highest_lsn_wins_whatever_the_order_of_appends_also_after_reopening_r1() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, 9, "k", "nine");
    put(&store, 5, "k", "five");
    assert_eq!(get(&store, "k").as_deref(), Some("nine"));
    drop(store);
    let store = open(folder.path());
    assert_eq!(get(&store, "k").as_deref(), Some("nine"));
    assert_eq!(store.highest_lsn(), Lsn(9));
}

#[test]
fn expiry_and_request_id_are_kept_with_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let request = Some(Request { client: 3, number: 4, outcome: 1 });
    let far = Write {
        expires_at_ms: Some(u64::MAX),
        request,
        ..Write::put(slot(0), Lsn(1), b"far", b"v")
    };
    let over = Write { expires_at_ms: Some(1), ..Write::put(slot(0), Lsn(2), b"over", b"v") };
    store.publish(store.append(&[far, over]).unwrap());
    drop(store);
    let store = open(folder.path());
    let mut buf = Vec::new();
    let found = store.get(slot(0), b"far", &mut buf).unwrap().unwrap();
    assert_eq!((found.expires_at_ms, found.request), (Some(u64::MAX), request));
    assert_eq!(get(&store, "over"), None);
    assert!(!store.contains(slot(0), b"over").unwrap());
    assert!(store.contains(slot(0), b"far").unwrap());
}

#[test]
fn a_merge_wins_back_dead_bytes_and_changes_nothing_else_r7() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut lsn = 0;
    for round in 0..10 {
        for index in 0..100 {
            lsn += 1;
            put(&store, lsn, &format!("key{index}"), &format!("value{round}.{index}"));
        }
    }
    for index in 50..100 {
        lsn += 1;
        delete(&store, lsn, &format!("key{index}"));
    }
    let before = store.stats();
    store.set_tombstone_floors(&[(slot(0), Lsn(lsn + 1))]).unwrap();
    store.close().unwrap();
    drop(store);
    let store = open(folder.path());
    store.maintain().unwrap();
    let after = store.stats();
    assert!(after.disk_len < before.disk_len / 5, "{before:?} {after:?}");
    assert_eq!(after.tombstone_count, 0, "{after:?}");
    check_merged(&store);
    drop(store);
    check_merged(&open(folder.path()));
}

fn check_merged(store: &Store) {
    for index in 0..50 {
        assert_eq!(get(store, &format!("key{index}")), Some(format!("value9.{index}")));
    }
    for index in 50..100 {
        assert_eq!(get(store, &format!("key{index}")), None);
    }
    assert_eq!(store.stats().key_count, 50);
}

#[test]
fn a_record_that_was_read_is_found_in_memory_until_it_is_no_longer_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for index in 0..100 {
        put(&store, index + 1, &format!("key{index}"), "old");
    }
    for _ in 0..2 {
        (0..100).for_each(|index| assert_eq!(get(&store, &format!("key{index}")).unwrap(), "old"));
    }
    assert!(store.stats().cache_len > 0);
    for index in 0..50 {
        put(&store, index + 201, &format!("key{index}"), "new");
    }
    delete(&store, 300, "key99");
    put(&store, 1, "key98", "outdated");
    store.maintain().unwrap();
    assert_eq!(get(&store, "key99"), None);
    for index in 0..99 {
        let expected = if index < 50 { "new" } else { "old" };
        assert_eq!(get(&store, &format!("key{index}")).as_deref(), Some(expected));
    }
    store.drop_slot(slot(0)).unwrap();
    assert_eq!(store.stats().cache_len, 0);
    store.create_slots(&[slot(0)]).unwrap();
    assert_eq!(get(&store, "key0"), None);
}

#[test]
fn slots_are_dropped_together_or_not_at_all_r6() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.create_slots(&[slot(1), slot(2)]).unwrap();
    let missing = store.drop_slots(&[slot(1), slot(3), slot(2)]);
    assert!(matches!(missing, Err(Error::NoSlot { slot: s }) if s == slot(3)));
    assert!(store.has_slot(slot(1)) && store.has_slot(slot(2)));
    store.drop_slots(&[slot(1), slot(2)]).unwrap();
    store.drop_slots(&[]).unwrap();
    drop(store);
    let (store, _) = Store::open(folder.path(), Config::default()).unwrap();
    assert!(store.has_slot(slot(0)) && !store.has_slot(slot(1)) && !store.has_slot(slot(2)));
}

#[test]
fn a_dropped_slot_is_empty_when_it_is_taken_again_r6() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, 1, "k", "v");
    store.drop_slot(slot(0)).unwrap();
    let mut buf = Vec::new();
    assert!(matches!(store.get(slot(0), b"k", &mut buf), Err(Error::NoSlot { .. })));
    store.create_slots(&[slot(0)]).unwrap();
    assert_eq!(get(&store, "k"), None);
    store.maintain().unwrap();
    assert_eq!(store.stats().live_len, 0);
    put(&store, 1, "k", "again");
    drop(store);
    assert_eq!(get(&open(folder.path()), "k").as_deref(), Some("again"));
}

#[test]
fn a_walk_gives_each_record_above_an_lsn_once_while_merges_move_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for index in 1..=500 {
        put(&store, index, &format!("key{index}"), "first");
    }
    for index in 1..=400 {
        put(&store, 500 + index, &format!("key{index}"), "second");
    }
    delete(&store, 1000, "key1");
    let mut keys = Vec::new();
    for (count, record) in store.records(slot(0), Lsn(450)).unwrap().enumerate() {
        if count == 10 {
            store.maintain().unwrap();
        }
        let record = record.unwrap();
        assert_eq!(record.value.is_none(), record.key == b"key1");
        keys.push(record.key);
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 400 + 50);
}

#[test]
fn pages_give_all_records_in_the_order_of_their_lsns() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for index in 1..=100 {
        put(&store, (index * 37) % 101, &format!("key{index}"), "0123456789");
    }
    let (mut above, mut lsns) = (Lsn(10), Vec::new());
    loop {
        let page = store.page(slot(0), above, 7, 200).unwrap();
        assert!(page.records.len() <= 7 && page.unreadable.is_empty());
        lsns.extend(page.records.iter().map(|record| record.lsn.0));
        let Some(next) = page.next else { break };
        above = next;
    }
    assert_eq!(lsns, (11..=100).collect::<Vec<_>>());
}

#[test]
fn a_backup_is_a_store_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for index in 1..=300 {
        put(&store, index, &format!("key{index}"), "v");
    }
    store.maintain().unwrap();
    let report = store.backup(&copy.path().join("copy")).unwrap();
    assert!(report.file_count > 1);
    put(&store, 1000, "key1", "later");
    let copied = open(&copy.path().join("copy"));
    assert_eq!(copied.stats().key_count, 300);
    assert_eq!(get(&copied, "key1").as_deref(), Some("v"));
    assert!(store.backup(&copy.path().join("copy")).is_err(), "a folder that holds something");
}

#[test]
fn a_server_id_stays_over_restarts_and_is_another_in_every_copy() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let store = open(folder.path());
    let server = store.server_id();
    put(&store, 1, "key", "v");
    store.backup(&copy).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(open(folder.path()).server_id(), server);
    let copied = open(&copy);
    let (store_id, first) = (copied.id(), copied.server_id());
    assert_eq!(copied.id(), open(folder.path()).id(), "checksums are seeded with it");
    assert_ne!(first, server);
    assert!(matches!(renew_server_id(&copy), Err(Error::Busy { .. })));
    drop(copied);
    let renewed = renew_server_id(&copy).unwrap();
    assert!(renewed != first && renewed != server);
    for _ in 0..2 {
        let copied = open(&copy);
        assert_eq!((copied.id(), copied.server_id()), (store_id, renewed));
        assert_eq!(get(&copied, "key").as_deref(), Some("v"));
    }
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(renew_server_id(nothing.path()), Err(Error::Missing { .. })));
}

#[test]
fn a_second_opening_of_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(matches!(Store::open(folder.path(), config()), Err(Error::Busy { .. })));
    drop(store);
    drop(open(folder.path()));
}

#[test]
fn limits_are_checked_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { key_len_max: 10, value_len_max: 20, ..config() };
    let (store, _) = Store::open(folder.path(), config).unwrap();
    store.create_slots(&[slot(0)]).unwrap();
    let fits = Write::put(slot(0), Lsn(1), &[b'k'; 10], &[b'v'; 20]);
    store.publish(store.append(&[fits]).unwrap());
    let long_key = Write { key: &[b'k'; 11], ..fits };
    let long_value = Write { op: Op::Put(&[b'v'; 21]), ..fits };
    let no_slot = Write { slot: slot(2), ..fits };
    for write in [long_key, long_value, no_slot] {
        let error = store.append(&[fits, write]).unwrap_err();
        assert!(error.is_refusal(), "{error}");
    }
    assert_eq!(store.stats().key_count, 1);
}

#[test]
fn many_threads_putting_getting_and_merging_read_only_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { file_len_max: 64 << 10, has_background: true, ..config() };
    let (store, _) = Store::open(folder.path(), config).unwrap();
    store.create_slots(&SlotId::all().collect::<Vec<_>>()).unwrap();
    let store = Arc::new(store);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(writer);
                    for counter in 1..5_000 {
                        let key = random.u16(..200);
                        let lsn = Lsn::new(1, counter * 4 + writer);
                        let value = format!("{key}:").repeat(20);
                        let bytes = key.to_le_bytes();
                        let write = Write::put(slot(key % 50), lsn, &bytes, value.as_bytes());
                        store.commit(store.append(&[write]).unwrap()).unwrap();
                    }
                })
            })
            .collect();
        for reader in 10..13 {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                let mut buf = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let key = random.u16(..200);
                    let found = store.get(slot(key % 50), &key.to_le_bytes(), &mut buf).unwrap();
                    if let Some(found) = found {
                        assert_eq!(found.value, format!("{key}:").repeat(20).as_bytes());
                    }
                }
            });
        }
        let (store, is_over) = (&store, &is_over);
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                store.maintain().unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(store.stats().merge_count > 0);
}

#[test]
fn a_group_commit_makes_every_waiters_record_durable_r3() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { sync: SyncPolicy::Always, file_len_max: 32 << 10, ..config() };
    let (store, _) = Store::open(folder.path(), config).unwrap();
    store.create_slots(&[slot(0)]).unwrap();
    thread::scope(|scope| {
        for writer in 0..8_u64 {
            let store = &store;
            scope.spawn(move || {
                for counter in 0..100 {
                    let key = format!("{writer}.{counter}");
                    let lsn = Lsn::new(1, counter * 8 + writer);
                    let write = Write::put(slot(0), lsn, key.as_bytes(), b"v");
                    let appended = store.append(&[write]).unwrap();
                    let position = appended.position();
                    store.commit(appended).unwrap();
                    assert!(store.durable() >= position);
                }
            });
        }
    });
    assert_eq!(store.stats().key_count, 800);
}

#[test]
fn a_full_disk_refuses_puts_and_lets_reads_deletes_and_the_opening_go_on_r8() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for index in 1..=20 {
        put(&store, index, &format!("key{index}"), "v");
    }
    drop(store);
    let config = Config { reserve_len: u64::MAX, ..config() };
    let (store, recovery) = Store::open(folder.path(), config).unwrap();
    assert_eq!((recovery.record_count, recovery.damage), (20, vec![]));
    let refused = store.append(&[Write::put(slot(0), Lsn(100), b"more", b"v")]).unwrap_err();
    assert!(refused.is_full() && refused.is_refusal(), "{refused}");
    assert!(store.stats().is_full);
    delete(&store, 101, "key1");
    assert_eq!((get(&store, "key1"), get(&store, "key2").as_deref()), (None, Some("v")));
    store.maintain().unwrap();
    drop(store);
    let store = open(folder.path());
    put(&store, 102, "more", "v");
    assert_eq!(store.stats().key_count, 20);
}

/// Overwrites the byte at `at` of the file `name`, counted from its end when `at` is negative.
fn damage(folder: &Path, name: &str, at: i64) {
    let path = folder.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    let len = i64::try_from(bytes.len()).unwrap();
    let at = usize::try_from(if at < 0 { len + at } else { at }).unwrap();
    bytes[at] ^= 0x55;
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_sealed_file_with_a_damaged_footer_has_not_torn_and_keeps_what_is_behind_its_damage_r4() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for index in 1..=300 {
        put(&store, index, &format!("key{index}"), "0123456789");
    }
    drop(store);
    damage(folder.path(), "0000000001.data", -3);
    // The last byte of the first record, which is its value's.
    let first_len = 28 + "key1".len() + 10;
    damage(folder.path(), "0000000001.data", 32 + i64::try_from(first_len).unwrap() - 1);
    let (store, recovery) = Store::open(folder.path(), config()).unwrap();
    assert_eq!(recovery.damage.len(), 2, "{recovery:?}");
    let mut buf = Vec::new();
    let lost = store.get(slot(0), b"key1", &mut buf).unwrap_err();
    assert!(matches!(lost, Error::Corrupt { .. }), "{lost}");
    for index in 2..=300 {
        assert_eq!(get(&store, &format!("key{index}")).as_deref(), Some("0123456789"), "{index}");
    }
    assert!(folder.path().join("0000000001.data.damaged").exists());
    put(&store, 1000, "key1", "mended");
    assert_eq!(get(&store, "key1").as_deref(), Some("mended"));
}

#[test]
fn what_memory_answers_is_what_get_answers_and_a_file_is_left_to_get() {
    let folder = tempfile::tempdir().unwrap();
    for cache_len in [0, 1 << 20] {
        let path = folder.path().join(cache_len.to_string());
        let (store, _) = Store::open(&path, Config { cache_len, ..config() }).unwrap();
        store.create_slots(&[slot(0)]).unwrap();
        put(&store, 1, "kept", "value");
        put(&store, 2, "gone", "value");
        delete(&store, 3, "gone");
        let ended = Write { expires_at_ms: Some(1), ..Write::put(slot(0), Lsn(4), b"ended", b"v") };
        store.commit(store.append(&[ended]).unwrap()).unwrap();
        let mut buf = Vec::new();
        for key in ["kept", "gone", "ended", "never"] {
            let found = store.get_from_memory(slot(0), key.as_bytes(), &mut buf);
            let found =
                found.map(|found| found.map(|f| String::from_utf8(f.value.to_vec()).unwrap()));
            match (found, cache_len) {
                (Some(found), _) => assert_eq!(found, get(&store, key), "{key}"),
                (None, 0) => assert!(["kept", "ended"].contains(&key), "{key} needs no file"),
                (None, _) => {}
            }
        }
        assert!(
            store.get_from_memory(slot(1), b"k", &mut buf).is_none(),
            "a slot that is not here"
        );
    }
}

#[test]
fn a_record_that_is_longer_than_is_wanted_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    for cache_len in [0, 64 << 20] {
        let path = folder.path().join(cache_len.to_string());
        let (store, _) = Store::open(&path, Config { cache_len, ..config() }).unwrap();
        store.create_slots(&[slot(0)]).unwrap();
        put(&store, 1, "key", "value");
        let mut buf = Vec::new();
        // Read once, it is in memory if any is kept there.
        for _ in 0..2 {
            let len = store.entry(slot(0), b"key").unwrap().record_len as usize;
            let found = store.get_up_to(slot(0), b"key", len, &mut buf).unwrap().unwrap();
            assert_eq!(found.value, b"value");
            let refused = store.get_up_to(slot(0), b"key", len - 1, &mut buf).unwrap_err();
            assert!(matches!(refused, Error::Limit { .. }), "{refused}");
        }
        assert!(store.get_up_to(slot(0), b"none", 0, &mut buf).unwrap().is_none());
    }
}

#[test]
fn a_write_that_was_accepted_may_use_the_reserve_of_a_full_disk_r8() {
    let folder = tempfile::tempdir().unwrap();
    // More than any disk has: it is full but for its reserve.
    let config = Config { reserve_len: u64::MAX / 2, ..config() };
    let (store, _) = Store::open(folder.path(), config).unwrap();
    store.create_copies(&[slot(0)]).unwrap();
    let write = Write::put(slot(0), Lsn(1), b"k", b"v");
    assert!(matches!(store.append_pending(&[write]), Err(Error::Full { .. })));
    assert!(store.is_full() && store.is_scarce());
    store.append_pending_from_reserve(&[write]).unwrap();
    store.look_for_room().unwrap();
    assert!(store.is_full(), "there is no more room than before");
    assert!(store.publish_pending(slot(0), Lsn(1), b"k"));
    assert_eq!(get(&store, "k").as_deref(), Some("v"));
}
