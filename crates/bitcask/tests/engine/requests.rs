//! Exactly once: the newest request of each client outlives its record (R24).
//!
//! `mutants.rs` plants the defects that these tests guard against.

use bitcask::{CrashMode, Lsn, Request, SimWorld, Store, Write};

use crate::copies::open_copy;
use crate::small::{close_and_open, open, put, reopen, slot};

fn request(client: u64, number: u64) -> Request {
    Request { client, number, outcome: u8::try_from(number % 3).unwrap() }
}

fn write(lsn: u64, key: &str, request: Request) -> Write<'_> {
    Write { request: Some(request), ..Write::put(slot(), Lsn(lsn), key.as_bytes(), b"v") }
}

fn put_as(store: &Store, lsn: u64, key: &str, request: Request) {
    store.publish(store.append(&[write(lsn, key, request)]).unwrap());
}

fn known(store: &Store, client: u64) -> Option<(u64, u64)> {
    let (request, lsn) = store.request(slot(), client)?;
    assert_eq!(u64::from(request.outcome), request.number % 3);
    Some((request.number, lsn.0))
}

/// Overwrites a key until merges have something to do, and merges until they have not.
fn merge_away(store: &Store, lsn: u64) {
    (0..30).for_each(|index| put(store, lsn + index, "filler", &"x".repeat(900)));
    assert!(store.merge().unwrap().is_some());
    while store.merge().unwrap().is_some() {}
}

#[test]
pub(crate) fn a_clients_newest_request_outlives_its_record_merges_and_restarts_r24() {
    let world = SimWorld::new(1);
    let (mut store, _) = open(&world);
    put_as(&store, 1, "key", request(7, 41));
    put_as(&store, 2, "other", request(7, 42));
    put_as(&store, 3, "third", request(8, 1));
    // Both keys of the first client are overwritten by another.
    for (index, key) in (0..).zip(["key", "other"]) {
        put(&store, 10 + index, key, "w");
    }
    for life in 1..5 {
        assert_eq!((known(&store, 7), known(&store, 8)), (Some((42, 2)), Some((1, 3))));
        merge_away(&store, 1_000 * life);
        assert_eq!((known(&store, 7), known(&store, 8)), (Some((42, 2)), Some((1, 3))));
        store = close_and_open(store, &world).0;
        if life > 2 {
            store.maintain().unwrap();
        }
    }
    assert_eq!(store.requests(slot()), [(request(7, 42), Lsn(2)), (request(8, 1), Lsn(3))]);
    let stats = store.stats();
    assert_eq!((stats.request_count, stats.request_len), (2, 45), "one alone, one with its key");
    // A newer one takes its place, and the record that held the older is dead.
    put_as(&store, 20_000, "key", request(7, 43));
    assert_eq!((known(&store, 7), store.stats().request_len), (Some((43, 20_000)), 0));
}

#[test]
pub(crate) fn the_highest_lsn_wins_whatever_the_order_of_numbers_and_of_records() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put_as(&store, 6, "other", request(7, 2));
    put_as(&store, 5, "key", request(7, 3));
    assert_eq!(known(&store, 7), Some((2, 6)));
    let (store, _) = close_and_open(store, &world);
    assert_eq!(known(&store, 7), Some((2, 6)));
}

#[test]
pub(crate) fn a_pending_records_request_counts_once_it_is_published() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    store.append_pending(&[write(1, "key", request(7, 1))]).unwrap();
    assert_eq!(known(&store, 7), None);
    assert_eq!(store.pending(slot())[0].request, Some(request(7, 1)));
    let (store, _) = close_and_open(store, &world);
    assert_eq!(known(&store, 7), None);
    assert_eq!(store.pending(slot())[0].request, Some(request(7, 1)));
    assert!(store.publish_pending(slot(), Lsn(1), b"key"));
    assert_eq!(known(&store, 7), Some((1, 1)));
}

#[test]
pub(crate) fn requests_below_the_floor_are_forgotten_for_good() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put_as(&store, 1, "old", request(7, 1));
    put_as(&store, 9, "new", request(8, 1));
    store.set_request_floors(&[(slot(), Lsn(9))]).unwrap();
    store.set_request_floors(&[(slot(), Lsn(3))]).unwrap();
    assert_eq!((known(&store, 7), known(&store, 8)), (None, Some((1, 9))));
    let (store, _) = close_and_open(store, &world);
    assert_eq!((known(&store, 7), known(&store, 8)), (None, Some((1, 9))));
    // A retry of what was forgotten is taken for a new request: that is what forgetting means.
    put_as(&store, 10, "old", request(7, 1));
    assert_eq!(known(&store, 7), Some((1, 10)));
}

#[test]
fn a_request_alone_is_appended_kept_as_pending_and_read_like_a_record_without_a_key() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    let alone = Write::request(slot(), Lsn(4), request(7, 9));
    store.append_pending(&[alone, write(5, "key", request(8, 1))]).unwrap();
    let info = store.pending_info(slot(), Lsn(4), b"").unwrap();
    assert!(info.is_request_only && info.key.is_empty());
    let record = store.read_pending(slot(), Lsn(4), b"").unwrap().unwrap();
    assert_eq!((record.key, record.value, record.request), (vec![], None, Some(request(7, 9))));
    let (store, _) = close_and_open(store, &world);
    assert_eq!(store.pending(slot()).len(), 2);
    assert_eq!(store.publish_up_to(slot(), Lsn(5)), 2);
    assert_eq!((known(&store, 7), known(&store, 8)), (Some((9, 4)), Some((1, 5))));
    store.set_commit_points(&[(slot(), Lsn(5))]);
    merge_away(&store, 1_000);
    let (store, _) = close_and_open(store, &world);
    assert_eq!((known(&store, 7), known(&store, 8)), (Some((9, 4)), Some((1, 5))));
    assert_eq!(store.records(slot(), Lsn(0)).unwrap().count(), 1, "a request is no key");
    // At once, without a wait as pending.
    store.publish(store.append(&[Write::request(slot(), Lsn(6), request(7, 10))]).unwrap());
    assert_eq!((known(&store, 7), store.highest_lsn().0 >= 6), (Some((10, 6)), true));
}

/// What a merge left of a published record is of a committed request, wherever the commit point on disk stands.
#[test]
fn a_remembered_request_is_known_at_once_after_an_opening() {
    let world = SimWorld::new(1);
    let store = open_copy(&world);
    put_as(&store, 1, "key", request(7, 1));
    put(&store, 2, "key", "w");
    merge_away(&store, 1_000);
    world.crash(CrashMode::Kept);
    drop(store);
    let (store, _) = reopen(&world);
    assert_eq!((store.commit_point(slot()), known(&store, 7)), (Some(Lsn(0)), Some((1, 1))));
    assert!(store.pending(slot()).iter().all(|info| !info.is_request_only));
}

#[test]
fn a_client_that_needs_its_request_no_more_is_forgotten_and_its_record_merged_away() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put_as(&store, 1, "key", request(7, 1));
    put(&store, 2, "key", "w");
    merge_away(&store, 1_000);
    assert_eq!(store.stats().request_len, 45);
    assert!(store.forget_request(slot(), 7) && !store.forget_request(slot(), 7));
    assert_eq!((known(&store, 7), store.stats().request_len), (None, 0));
    merge_away(&store, 2_000);
    let (store, _) = close_and_open(store, &world);
    assert_eq!(known(&store, 7), None);
}

#[test]
fn a_dropped_slot_takes_its_requests_along() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put_as(&store, 1, "key", request(7, 1));
    put(&store, 2, "key", "w");
    merge_away(&store, 1_000);
    store.drop_slot(slot()).unwrap();
    assert_eq!((known(&store, 7), store.requests(slot())), (None, vec![]));
    store.create_slots(&[slot()]).unwrap();
    store.maintain().unwrap();
    let (store, _) = close_and_open(store, &world);
    let stats = store.stats();
    assert_eq!((known(&store, 7), stats.request_count, stats.request_len), (None, 0, 0));
}

/// The limit is the same after a restart: whose newest request has the lowest lsn is forgotten.
#[test]
fn a_slot_remembers_the_newest_requests_of_1024_clients() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    for client in 0..1_100 {
        put_as(&store, 1 + client, "key", request(client, 1));
    }
    let check = |store: &Store| {
        let clients: Vec<_> =
            store.requests(slot()).iter().map(|(request, _)| request.client).collect();
        assert_eq!(clients, (76..1_100).collect::<Vec<_>>());
    };
    check(&store);
    merge_away(&store, 2_000);
    check(&store);
    let (store, _) = close_and_open(store, &world);
    check(&store);
    // The last one's record is still that of the key.
    assert_eq!(store.stats().request_len, 1_023 * 45);
}
