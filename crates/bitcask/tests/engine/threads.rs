//! Many threads at once, and the power going off under them: group commit promises to each what it told it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bitcask::{CrashMode, Lsn, SimWorld, Store, Write};

use crate::small::{config, disk, open, reopen, slot, try_get};

const THREAD_COUNT: u64 = 4;
/// Writes of each thread, if nothing stops it before.
const WRITE_COUNT: u64 = 60;

/// Writes keys of its own until the disk is gone; returns how many writes were told to be durable.
fn write_on(store: &Store, thread: u64, lsns: &AtomicU64) -> u64 {
    for count in 0..WRITE_COUNT {
        let (key, value) = (key(thread, count), value(thread, count));
        let lsn = Lsn(lsns.fetch_add(1, Ordering::Relaxed));
        let write = Write::put(slot(), lsn, key.as_bytes(), value.as_bytes());
        let Ok(appended) = store.append(&[write]) else { return count };
        if store.wait_durable(appended.position()).is_err() {
            return count;
        }
        store.publish(appended);
        if try_get(store, &key).is_ok_and(|found| found != Some(value)) {
            panic!("a thread does not find its own write");
        }
    }
    WRITE_COUNT
}

fn key(thread: u64, count: u64) -> String {
    // Every key is written three times, so that merges have something to do.
    format!("key {thread} {}", count / 3)
}

fn value(thread: u64, count: u64) -> String {
    format!("{thread} {count} {}", "x".repeat(150))
}

#[test]
fn every_write_that_a_group_commit_confirmed_survives_the_power_cut() {
    for seed in 0..100 {
        let world = SimWorld::new(seed);
        let (store, _) = open(&world);
        let mut random = fastrand::Rng::with_seed(seed);
        world.crash_at(world.op_count() + random.u64(1..700));
        let lsns = AtomicU64::new(1);
        let confirmed: Vec<u64> = thread::scope(|scope| {
            let writers: Vec<_> = (0..THREAD_COUNT)
                .map(|thread| {
                    scope.spawn({
                        let (store, lsns) = (&store, &lsns);
                        move || write_on(store, thread, lsns)
                    })
                })
                .collect();
            while writers.iter().any(|writer| !writer.is_finished()) {
                drop(store.merge());
                thread::yield_now();
            }
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(store);
        world.crash(random.choice(CrashMode::ALL).unwrap());
        let (store, recovery) = reopen(&world);
        assert_eq!(recovery.damage, [], "seed {seed}");
        for (thread, confirmed_count) in (0..).zip(confirmed) {
            for count in (0..confirmed_count).filter(|count| {
                // The newest confirmed write of each key, which one more may have replaced.
                key(thread, *count) != key(thread, count + 1) || count + 1 == confirmed_count
            }) {
                let found = try_get(&store, &key(thread, count)).unwrap();
                let may_be = [Some(value(thread, count)), Some(value(thread, count + 1))];
                assert!(may_be.contains(&found), "seed {seed}, thread {thread}, write {count}");
            }
        }
    }
}

#[test]
fn a_store_that_is_open_twice_in_one_process_is_refused_too() {
    let world = SimWorld::new(1);
    let (_store, _) = open(&world);
    assert!(Store::open_on(Arc::new(disk(&world)), config()).is_err());
}

/// Writes of a thread whose records wait as pending.
const PENDING_COUNT: u64 = 3_000;

/// Appends records, resends some that wait, and publishes them, the newer ones often before the older.
fn pend_and_publish(store: &Store, thread: u64) {
    let mut random = fastrand::Rng::with_seed(thread);
    let mut waiting: Vec<(Lsn, String)> = Vec::new();
    for count in 0..PENDING_COUNT {
        let (lsn, key) = (Lsn(1 + count * THREAD_COUNT + thread), key(thread, random.u64(..300)));
        let value = pending_value(lsn, &key);
        let write = Write::put(slot(), lsn, key.as_bytes(), value.as_bytes());
        store.append_pending(&[write]).unwrap();
        waiting.push((lsn, key));
        if let Some((lsn, key)) = random.choice(&waiting) {
            let read = store.read_pending(slot(), *lsn, key.as_bytes()).unwrap().unwrap();
            assert_eq!(read.value, Some(pending_value(*lsn, key).into_bytes()));
        }
        if waiting.len() > 20 || count + 1 == PENDING_COUNT {
            random.shuffle(&mut waiting);
            for (lsn, key) in waiting.drain(..) {
                assert!(store.publish_pending(slot(), lsn, key.as_bytes()));
                let found = store.entry(slot(), key.as_bytes()).unwrap();
                assert!(found.lsn >= lsn, "the highest lsn wins");
            }
        }
    }
}

fn pending_value(lsn: Lsn, key: &str) -> String {
    format!("{key} {lsn} {}", "x".repeat(100))
}

#[test]
fn records_are_read_and_published_while_merges_move_them_r2() {
    let world = SimWorld::new(1);
    let (store, _) = reopen(&world);
    store.create_copies(&[slot()]).unwrap();
    thread::scope(|scope| {
        let store = &store;
        let writers: Vec<_> = (0..THREAD_COUNT)
            .map(|thread| scope.spawn(move || pend_and_publish(store, thread)))
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            store.merge().unwrap();
        }
    });
    store.maintain().unwrap();
    let stats = store.stats();
    assert!(stats.merge_count > 0);
    assert_eq!((stats.pending_count, stats.pending_len), (0, 0));
    let live_len = stats.disk_len - 32 * stats.file_count as u64 - stats.dead_len;
    assert_eq!(live_len, stats.live_len);
    for record in store.records(slot(), Lsn(0)).unwrap() {
        let record = record.unwrap();
        let key = String::from_utf8(record.key).unwrap();
        assert_eq!(record.value, Some(pending_value(record.lsn, &key).into_bytes()));
    }
}
