//! Values whose time is over: merges win their bytes back, and they hide what is older as long as they must.

use bitcask::{Lsn, Request, SimWorld, Store, Write};

use crate::small::{close_and_open, get, open, put, slot};

/// Long past, and not yet for long.
const PAST_MS: u64 = 1;
const FUTURE_MS: u64 = 10_000_000_000_000;

fn put_until(store: &Store, lsn: u64, key: &str, end_ms: u64) {
    let value = [b'x'; 900];
    let write = Write {
        expires_at_ms: Some(end_ms),
        request: Some(Request { client: lsn, number: 1, outcome: 0 }),
        ..Write::put(slot(), Lsn(lsn), key.as_bytes(), &value)
    };
    store.publish(store.append(&[write]).unwrap());
}

#[test]
fn merges_win_back_values_that_have_ended_and_leave_their_lsns_and_requests() {
    let world = SimWorld::new(1);
    let (mut store, _) = open(&world);
    (1..=20).for_each(|lsn| put_until(&store, lsn, &format!("past{lsn}"), PAST_MS));
    for is_merged in [false, true] {
        store = close_and_open(store, &world).0;
        if !is_merged {
            assert!(store.stats().disk_len > 18_000);
            store.maintain().unwrap();
        }
        let stats = store.stats();
        assert!(stats.disk_len < 20 * 70, "{stats:?}");
        assert_eq!((stats.key_count, stats.tombstone_count), (0, 20));
        let records = store.page(slot(), Lsn(0), 100, 1 << 20).unwrap().records;
        assert_eq!(records.len(), 20);
        for (lsn, record) in (1..).zip(records) {
            assert_eq!((record.lsn, record.value), (Lsn(lsn), None));
            assert_eq!(record.request.map(|request| request.client), Some(lsn));
            assert_eq!(store.request(slot(), lsn).map(|(_, at)| at), Some(Lsn(lsn)));
        }
    }
}

#[test]
fn a_value_that_has_ended_and_that_nobody_needs_goes_at_once() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    (1..=20).for_each(|lsn| put_until(&store, lsn, &format!("past{lsn}"), PAST_MS));
    store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
    store.set_request_floors(&[(slot(), Lsn(100))]).unwrap();
    let (store, _) = close_and_open(store, &world);
    store.maintain().unwrap();
    let stats = store.stats();
    assert_eq!((stats.key_count, stats.tombstone_count, stats.disk_len), (0, 0, 0), "{stats:?}");
}

#[test]
fn a_value_that_ends_later_is_merged_as_it_is() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put_until(&store, 1, "future", FUTURE_MS);
    put_until(&store, 2, "past", PAST_MS);
    (0..30).for_each(|index| put(&store, 10 + index, "filler", &"x".repeat(900)));
    store.maintain().unwrap();
    let (store, _) = close_and_open(store, &world);
    assert!(get(&store, "future").is_some());
    assert!(store.entry(slot(), b"future").is_some_and(|entry| entry.has_expiry));
    assert!(store.entry(slot(), b"past").is_some_and(|entry| entry.is_tombstone));
}

/// The first file has the old value among much that lives, the second the one that ended among much that is dead.
#[test]
pub(crate) fn a_value_that_has_ended_hides_an_older_one_after_a_merge_too() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "key", "old");
    put(&store, 2, "live", &"x".repeat(3_000));
    let (store, _) = close_and_open(store, &world);
    put_until(&store, 3, "key", PAST_MS);
    put(&store, 4, "dead", &"x".repeat(900));
    let (store, _) = close_and_open(store, &world);
    put(&store, 5, "dead", "");
    store.set_tombstone_floors(&[(slot(), Lsn(100))]).unwrap();
    let report = store.merge().unwrap().expect("the second file is nearly all dead");
    assert_eq!(report.removed_count, 1, "not what this test is about");
    assert_eq!(get(&store, "key"), None);
    let (store, _) = close_and_open(store, &world);
    assert_eq!(get(&store, "key"), None);
}

#[test]
fn values_that_have_ended_are_won_back_from_beside_one_that_ends_much_later() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put_until(&store, 1, "future", FUTURE_MS);
    (2..=7).for_each(|lsn| put_until(&store, lsn, &format!("past{lsn}"), PAST_MS));
    let (store, _) = close_and_open(store, &world);
    store.maintain().unwrap();
    let stats = store.stats();
    assert!(stats.disk_len < 1_000 + 6 * 90, "{stats:?}");
    assert_eq!((stats.key_count, stats.tombstone_count), (1, 6));
    let (store, _) = close_and_open(store, &world);
    assert!(get(&store, "future").is_some());
}

#[test]
pub(crate) fn values_that_end_later_are_no_reason_to_merge() {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    (1..=7).for_each(|lsn| put_until(&store, lsn, &format!("future{lsn}"), FUTURE_MS));
    let (store, _) = close_and_open(store, &world);
    assert_eq!(store.merge().unwrap(), None, "nothing is dead");
    (1..=7).for_each(|lsn| assert!(get(&store, &format!("future{lsn}")).is_some()));
}
