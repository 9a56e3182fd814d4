//! A slot of which several servers have a copy: commit points, pending records, the walk that a learner reads.
//!
//! `mutants.rs` plants the defects that these tests guard against. Requests have `requests.rs`.

use std::sync::Arc;

use bitcask::{
    Config, CrashMode, Fault, FaultKind, Lsn, PendingInfo, Record, SimWorld, Store, SyncPolicy,
    Write,
};

use crate::small::{
    close_and_open, config, data_names, disk, get, open, put, reopen, slot, wait_until,
};

/// Opens the store with its slot as one of several copies.
pub(crate) fn open_copy(world: &SimWorld) -> Store {
    let (store, _) = reopen(world);
    store.create_copies(&[slot()]).unwrap();
    store
}

/// Appends a put and leaves it pending.
pub(crate) fn pend(store: &Store, lsn: u64, key: &str, value: &str) {
    let write = Write::put(slot(), Lsn(lsn), key.as_bytes(), value.as_bytes());
    store.append_pending(&[write]).unwrap();
}

pub(crate) fn pend_delete(store: &Store, lsn: u64, key: &str) {
    store.append_pending(&[Write::delete(slot(), Lsn(lsn), key.as_bytes())]).unwrap();
}

pub(crate) fn publish(store: &Store, lsn: u64, key: &str) {
    assert!(
        store.publish_pending(slot(), Lsn(lsn), key.as_bytes()),
        "{key} at {lsn} is not pending"
    );
}

fn set_commit_point(store: &Store, lsn: u64) {
    store.set_commit_points(&[(slot(), Lsn(lsn))]);
}

fn pending_lsns(store: &Store) -> Vec<u64> {
    store.pending(slot()).iter().map(|info| info.lsn.0).collect()
}

fn read_pending(store: &Store, lsn: u64, key: &str) -> Option<Record> {
    store.read_pending(slot(), Lsn(lsn), key.as_bytes()).unwrap()
}

/// Writes other keys over and over, so that every file before has something dead in it and is sealed.
fn fill(store: &Store, lsn: u64) {
    for index in 0..40 {
        put(store, lsn + index, "filler", &"x".repeat(900));
    }
}

/// Merges until there is nothing to gain; returns how many files went.
fn merge_all(store: &Store) -> usize {
    let merges = std::iter::from_fn(|| store.merge().unwrap());
    merges.map(|report| report.removed_count).sum()
}

#[test]
fn a_pending_record_is_read_by_lsn_and_key_and_seen_once_it_is_published_r2() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    pend(&store, 1, "key", "old");
    pend(&store, 2, "key", "new");
    pend_delete(&store, 3, "other");
    assert_eq!(get(&store, "key"), None);
    let info = |key: &str, lsn, is_tombstone| PendingInfo {
        key: key.into(),
        lsn: Lsn(lsn),
        is_tombstone,
        is_request_only: false,
        expires_at_ms: None,
        request: None,
        record_len: 28 + if is_tombstone { 5 } else { 6 },
    };
    let expected = [info("key", 1, false), info("key", 2, false), info("other", 3, true)];
    assert_eq!(store.pending(slot()), expected);
    assert_eq!(store.pending_info(slot(), Lsn(2), b"key"), Some(expected[1].clone()));
    assert_eq!(read_pending(&store, 1, "key").unwrap().value, Some(b"old".to_vec()));
    assert_eq!(read_pending(&store, 3, "other").unwrap().value, None);
    assert_eq!(read_pending(&store, 1, "other"), None);
    publish(&store, 2, "key");
    assert_eq!(get(&store, "key").as_deref(), Some("new"));
    publish(&store, 1, "key");
    assert_eq!(get(&store, "key").as_deref(), Some("new"), "the highest lsn wins");
    assert_eq!(read_pending(&store, 1, "key"), None, "it is no longer pending");
    assert!(!store.publish_pending(slot(), Lsn(1), b"key"), "twice");
    assert_eq!((store.publish_up_to(slot(), Lsn(9)), store.publish_up_to(slot(), Lsn(9))), (1, 0));
    assert_eq!((pending_lsns(&store), store.highest_lsn()), (vec![], Lsn(3)));
}

#[test]
pub(crate) fn an_opening_publishes_up_to_the_commit_point_and_offers_the_rest_as_pending() {
    // The file may have been growing, or sealed, or read through its hint file.
    for step_count in 0..3 {
        let world = SimWorld::new(1);
        let mut store = open_copy(&world);
        for lsn in 1..=6 {
            pend(&store, lsn, &format!("key{}", lsn % 2), &format!("value{lsn}"));
        }
        assert_eq!(store.publish_up_to(slot(), Lsn(6)), 6);
        set_commit_point(&store, 3);
        store.persist_commit_points().unwrap();
        if step_count > 0 {
            store = close_and_open(store, &world).0;
        }
        if step_count > 1 {
            store.maintain().unwrap();
        }
        drop(store);
        let (store, recovery) = reopen(&world);
        assert_eq!(recovery.hint_count, step_count / 2);
        assert_eq!(store.commit_point(slot()), Some(Lsn(3)));
        let found = ["key0", "key1"].map(|key| get(&store, key));
        assert_eq!(found, [Some("value2".to_owned()), Some("value3".to_owned())]);
        assert_eq!((pending_lsns(&store), store.highest_lsn()), (vec![4, 5, 6], Lsn(6)));
        assert_eq!(read_pending(&store, 6, "key0").unwrap().value, Some(b"value6".to_vec()));
        publish(&store, 6, "key0");
        publish(&store, 4, "key0");
        assert_eq!(get(&store, "key0").as_deref(), Some("value6"));
        assert_eq!(pending_lsns(&store), [5]);
    }
}

#[test]
pub(crate) fn a_commit_point_on_disk_is_never_ahead_of_the_sync_of_its_records() {
    for is_closed_by in [Store::persist_commit_points, Store::maintain, Store::close] {
        let world = SimWorld::new(1);
        let store = open_copy(&world);
        (1..=5).for_each(|lsn| pend(&store, lsn, &format!("key{lsn}"), "v"));
        set_commit_point(&store, 4);
        is_closed_by(&store).unwrap();
        drop(store);
        world.crash(CrashMode::Lost);
        let (store, _) = reopen(&world);
        assert_eq!(store.commit_point(slot()), Some(Lsn(4)));
        (1..=4).for_each(|lsn| assert!(get(&store, &format!("key{lsn}")).is_some(), "key{lsn}"));
        assert_eq!(get(&store, "key5"), None);
    }
}

#[test]
pub(crate) fn a_commit_point_never_falls() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    assert_eq!(store.commit_point(slot()), Some(Lsn(0)));
    for (told, known) in [(5, 5), (3, 5), (5, 5), (7, 7), (0, 7)] {
        set_commit_point(&store, told);
        assert_eq!(store.commit_point(slot()), Some(Lsn(known)));
        store.persist_commit_points().unwrap();
    }
    let (store, _) = close_and_open(store, &world);
    assert_eq!(store.commit_point(slot()), Some(Lsn(7)));
}

#[test]
fn a_slot_gets_its_first_commit_point_when_it_is_kept_and_has_none_before() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "key", "old");
    pend(&store, 2, "key", "new");
    assert_eq!(store.commit_point(slot()), None);
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key").as_deref(), Some("new"), "one server alone has nothing pending");
    pend(&store, 3, "key", "newest");
    // Zero, too, is a commit point.
    set_commit_point(&store, 0);
    store.close().unwrap();
    drop(store);
    let (store, _) = reopen(&world);
    assert_eq!((store.commit_point(slot()), pending_lsns(&store)), (Some(Lsn(0)), vec![1, 2, 3]));
}

#[test]
pub(crate) fn a_merge_keeps_what_is_pending_in_this_life_and_the_next() {
    let world = SimWorld::new(1);
    let mut store = open_copy(&world);
    pend(&store, 9_001, "key1", "first");
    pend(&store, 9_002, "key2", "second");
    for life in 1..4 {
        fill(&store, 1_000 * life);
        set_commit_point(&store, 1_000 * life + 100);
        let name = data_names(&world)[0].clone();
        assert!(merge_all(&store) > 0);
        assert!(life > 1 || !data_names(&world).contains(&name), "not what this test is about");
        assert_eq!(read_pending(&store, 9_001, "key1").unwrap().value, Some(b"first".to_vec()));
        assert_eq!(read_pending(&store, 9_002, "key2").unwrap().value, Some(b"second".to_vec()));
        let stats = store.stats();
        assert_eq!((stats.key_count, stats.pending_count, stats.pending_len), (1, 2, 75));
        store = close_and_open(store, &world).0;
        assert_eq!(pending_lsns(&store), [9_001, 9_002]);
        if life == 2 {
            // Published before its commit point is kept, and merged as such, it is pending again.
            publish(&store, 9_001, "key1");
            assert_eq!(get(&store, "key1").as_deref(), Some("first"));
            fill(&store, 1_000 * life + 500);
            set_commit_point(&store, 1_000 * life + 600);
            assert!(merge_all(&store) > 0);
            store = close_and_open(store, &world).0;
        }
    }
    assert_eq!(store.publish_up_to(slot(), Lsn(9_002)), 2);
    let found = ["key1", "key2"].map(|key| get(&store, key));
    assert_eq!(found, [Some("first".to_owned()), Some("second".to_owned())]);
}

#[test]
pub(crate) fn a_merge_keeps_the_published_record_of_a_key_that_has_a_newer_one_pending() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    put(&store, 1, "key", "published");
    set_commit_point(&store, 1);
    pend(&store, 2, "key", "pending");
    fill(&store, 1_000);
    assert!(merge_all(&store) > 0);
    assert_eq!(get(&store, "key").as_deref(), Some("published"));
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key").as_deref(), Some("published"));
    assert_eq!(read_pending(&store, 2, "key").unwrap().value, Some(b"pending".to_vec()));
}

/// A record may come once more, and late.
#[test]
pub(crate) fn a_tombstone_stays_while_an_older_record_of_the_slot_is_pending() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    fill(&store, 1_000);
    pend_delete(&store, 60, "key");
    fill(&store, 2_000);
    store.publish_up_to(slot(), Lsn(u64::MAX));
    set_commit_point(&store, 3_000);
    let (store, _) = close_and_open(store, &world);
    pend(&store, 55, "key", "old");
    store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
    assert!(merge_all(&store) > 0);
    publish(&store, 55, "key");
    assert_eq!(get(&store, "key"), None, "a deleted key came back");
    merge_all(&store);
    set_commit_point(&store, 10_000);
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key"), None, "a deleted key came back");
}

#[test]
pub(crate) fn a_tombstone_stays_while_it_is_above_the_commit_point_that_is_kept() {
    let is_here = |store: &Store| store.entry(slot(), b"key").is_some();
    for (kept, is_needed) in [(59, true), (60, false)] {
        let world = SimWorld::new(1);
        let store = open_copy(&world);
        pend_delete(&store, 60, "key");
        fill(&store, 1_000);
        publish(&store, 60, "key");
        set_commit_point(&store, kept);
        store.persist_commit_points().unwrap();
        set_commit_point(&store, 2_000);
        store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
        assert!(merge_all(&store) > 0);
        assert_eq!(is_here(&store), is_needed, "kept: {kept}");
    }
}

#[test]
pub(crate) fn a_commit_point_is_kept_when_the_log_is_durable_where_it_was_asked_for() {
    for has_more in [false, true] {
        let world = SimWorld::new(1);
        let store = open_copy(&world);
        pend(&store, 1, "key", "value");
        set_commit_point(&store, 1);
        let appended = store.appended();
        let at = store.keep_commit_point(slot());
        assert!(at > appended && store.appended() == at, "there is something to wait for");
        set_commit_point(&store, 2);
        assert_eq!(store.kept_commit_point(slot()), Some(Lsn(0)), "nothing was synced");
        if has_more {
            pend(&store, 2, "other", "value");
        }
        store.wait_durable(at).unwrap();
        assert_eq!(
            store.kept_commit_point(slot()),
            Some(Lsn(1)),
            "as it was when it was asked for"
        );
        world.crash(CrashMode::Lost);
        let (store, recovery) = reopen(&world);
        assert_eq!((store.commit_point(slot()), recovery.damage), (Some(Lsn(1)), vec![]));
        assert_eq!(get(&store, "key").as_deref(), Some("value"));
    }
}

/// The end of a file makes the log durable without anybody who could keep a commit point.
#[test]
fn the_log_is_not_durable_beyond_a_commit_point_that_is_owed() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    pend(&store, 1, "key", "value");
    set_commit_point(&store, 1);
    let at = store.keep_commit_point(slot());
    fill(&store, 10);
    assert!(data_names(&world).len() > 1 && store.durable() < at);
    assert_eq!(store.kept_commit_point(slot()), Some(Lsn(0)));
    assert!(store.sync().unwrap() > at);
    assert_eq!(store.kept_commit_point(slot()), Some(Lsn(1)));
    let before = store.appended();
    let of_no_slot = store.keep_commit_point(bitcask::SlotId::new(6).unwrap());
    assert_eq!(of_no_slot, before, "nothing to keep");
}

#[test]
fn a_commit_point_without_room_leaves_the_log_short_of_it_until_there_is() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    pend(&store, 1, "key", "value");
    let appended = store.appended();
    set_commit_point(&store, 1);
    let at = store.keep_commit_point(slot());
    // The log's sync is next, then the manifest's write.
    world.fail(Fault::once(world.op_count() + 2, FaultKind::Enospc));
    assert!(store.wait_durable(at).is_err_and(|error| error.is_full()));
    assert_eq!((store.durable(), store.kept_commit_point(slot())), (appended, Some(Lsn(0))));
    store.wait_durable(at).unwrap();
    assert_eq!(store.kept_commit_point(slot()), Some(Lsn(1)));
}

/// A record that was sent twice is in two files; a tombstone must outlive both.
#[test]
pub(crate) fn each_copy_of_a_record_that_was_appended_twice_keeps_the_tombstone_above_it() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    // The first copy lies among much that lives, the second and the tombstone among much that is dead.
    pend(&store, 5, "key", "old");
    put(&store, 6, "live", &"x".repeat(3_000));
    let (store, _) = close_and_open(store, &world);
    pend(&store, 5, "key", "old");
    put(&store, 7, "dead", &"x".repeat(3_000));
    let (store, _) = close_and_open(store, &world);
    store.publish_up_to(slot(), Lsn(7));
    pend_delete(&store, 8, "key");
    put(&store, 9, "dead", &"x".repeat(3_000));
    publish(&store, 8, "key");
    set_commit_point(&store, 9);
    let (store, _) = close_and_open(store, &world);
    put(&store, 10, "dead", "");
    set_commit_point(&store, 10);
    store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
    let names = data_names(&world);
    assert_eq!(store.merge().unwrap().map(|report| report.removed_count), Some(2));
    assert!(data_names(&world).contains(&names[0]), "not what this test is about");
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key"), None, "a deleted key came back");
}

/// The same, where both copies are pending at once, and the second is merged away before they are published.
#[test]
pub(crate) fn the_copies_of_a_pending_record_are_counted_when_it_is_published() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    pend(&store, 5, "key", "old");
    put(&store, 6, "live", &"x".repeat(3_000));
    let (store, _) = close_and_open(store, &world);
    pend(&store, 5, "key", "old");
    put(&store, 7, "dead", &"x".repeat(3_000));
    pend_delete(&store, 8, "key");
    let (store, _) = close_and_open(store, &world);
    assert_eq!(pending_lsns(&store), [5, 6, 7, 8]);
    put(&store, 9, "dead", "");
    store.publish_up_to(slot(), Lsn(9));
    set_commit_point(&store, 9);
    store.persist_commit_points().unwrap();
    store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
    let names = data_names(&world);
    assert_eq!(store.merge().unwrap().map(|report| report.removed_count), Some(1));
    assert!(data_names(&world).contains(&names[0]), "not what this test is about");
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key"), None, "a deleted key came back");
}

#[test]
fn a_dropped_slot_takes_its_pending_records_and_its_commit_point_along_r6() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    pend(&store, 1, "key", "v");
    set_commit_point(&store, 1);
    let late = store.append(&[Write::put(slot(), Lsn(2), b"late", b"v")]).unwrap();
    store.drop_slot(slot()).unwrap();
    store.keep_pending(late);
    assert_eq!((store.commit_point(slot()), pending_lsns(&store)), (None, vec![]));
    assert!(!store.publish_pending(slot(), Lsn(1), b"key"));
    set_commit_point(&store, 9);
    store.create_copies(&[slot()]).unwrap();
    store.maintain().unwrap();
    assert_eq!((store.commit_point(slot()), pending_lsns(&store)), (Some(Lsn(0)), vec![]));
    let stats = store.stats();
    assert_eq!((stats.pending_count, stats.pending_len), (0, 0));
    let (store, _) = close_and_open(store, &world);
    assert_eq!((store.commit_point(slot()), pending_lsns(&store)), (Some(Lsn(0)), vec![]));
}

#[test]
fn copies_created_together_have_their_commit_points_or_are_not_there_after_a_power_cut() {
    for seed in 0..40 {
        let world = SimWorld::new(seed);
        let (store, _) = reopen(&world);
        world.crash_at(world.op_count() + 2 + seed % 3);
        let created = store.create_copies(&[slot()]);
        world.crash(CrashMode::Reordered);
        let (store, _) = reopen(&world);
        assert!(created.is_err() || store.has_slot(slot()), "seed {seed}");
        let expected = store.has_slot(slot()).then_some(Lsn(0));
        assert_eq!(store.commit_point(slot()), expected, "seed {seed}");
    }
}

#[test]
fn a_pending_record_whose_value_is_damaged_is_an_error_and_not_another_value() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    pend(&store, 1, "key", "value");
    let name = data_names(&world).pop().unwrap();
    disk(&world).flip(&name, 32 + 28 + "key".len() + 2, 1);
    let read = store.read_pending(slot(), Lsn(1), b"key");
    assert!(matches!(read, Err(bitcask::Error::Corrupt { .. })), "{read:?}");
}

/// The background keeps commit points by itself, and syncs before it does, whatever the policy.
#[test]
fn the_background_keeps_a_commit_point_that_was_only_noted() {
    for sync in [SyncPolicy::Always, SyncPolicy::Interval(std::time::Duration::from_millis(20))] {
        let world = SimWorld::new(1);
        let config = Config { sync, has_background: true, ..config() };
        let (store, _) = Store::open_on(Arc::new(disk(&world)), config).unwrap();
        store.create_copies(&[slot()]).unwrap();
        pend(&store, 1, "key", "v");
        set_commit_point(&store, 1);
        wait_until("the commit point is kept", || store.kept_commit_point(slot()) == Some(Lsn(1)));
        world.crash(CrashMode::Lost);
        drop(store);
        let (store, _) = reopen(&world);
        assert_eq!(get(&store, "key").as_deref(), Some("v"));
    }
}

fn page_lsns(store: &Store, above: u64) -> Vec<u64> {
    let page = store.page(slot(), Lsn(above), 100, 1 << 20).unwrap();
    page.records.iter().map(|record| record.lsn.0).collect()
}

/// Adopted records have lsns below those that are published already.
#[test]
fn a_walk_meets_what_was_published_late_with_a_lower_lsn_tombstones_and_ended_values() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    put(&store, 10, "key10", "v");
    pend(&store, 5, "key5", "v");
    assert_eq!(page_lsns(&store, 0), [10], "what is pending is not met");
    publish(&store, 5, "key5");
    pend_delete(&store, 6, "key6");
    publish(&store, 6, "key6");
    let ended = Write { expires_at_ms: Some(1), ..Write::put(slot(), Lsn(7), b"key7", b"v") };
    store.publish(store.append(&[ended]).unwrap());
    // One that loses to a newer record of its key is not met.
    pend(&store, 8, "key10", "v");
    publish(&store, 8, "key10");
    assert_eq!(page_lsns(&store, 0), [5, 6, 7, 10]);
    assert_eq!(page_lsns(&store, 5), [6, 7, 10]);
    let walked = store.records(slot(), Lsn(5)).unwrap().map(|record| record.unwrap().lsn.0);
    let mut walked: Vec<_> = walked.collect();
    walked.sort_unstable();
    assert_eq!(walked, [6, 7, 10]);
    let record = |key: &[u8]| store.record(slot(), key).unwrap();
    assert_eq!(record(b"key6").map(|record| record.value), Some(None));
    assert_eq!(record(b"key7").map(|record| record.value), Some(Some(b"v".to_vec())));
    assert_eq!(record(b"none"), None);
}
