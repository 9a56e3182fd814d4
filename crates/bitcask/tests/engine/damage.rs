//! Every cut and every flip of small files: what is read is right, or it is an error, or it was told as damage.

use std::sync::Arc;

use bitcask::{SimWorld, Store};

use crate::small::{config, copy, data_names, delete, disk, open, put, reopen, slot, try_get};

const KEY_COUNT: u64 = 8;

/// Returns a world whose store has eight keys, one of them deleted and one overwritten, closed or not.
fn world(is_closed: bool) -> SimWorld {
    let world = SimWorld::new(1);
    let (store, _) = open(&world);
    put(&store, 1, "key0", "older");
    (0..KEY_COUNT).for_each(|index| put(&store, 10 + index, &format!("key{index}"), "the value"));
    delete(&store, 30, "key7");
    store.sync().unwrap();
    // What is known to be durable is noted with the record that follows.
    put(&store, 40, "last", "the value");
    store.sync().unwrap();
    if is_closed {
        store.close().unwrap();
    }
    world
}

/// How many keys do not have what they should have.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Their newest record is as if it had never been written.
    missing_count: u64,
    error_count: u64,
}

/// Looks at every key: each is right, or as it was before its newest record, or an error, and nothing else.
fn look(store: &Store, what: &str) -> Found {
    let mut result = Found::default();
    for index in 0..KEY_COUNT {
        let key = format!("key{index}");
        match try_get(store, &key) {
            Ok(Some(value)) if index == 0 && value == "older" => result.missing_count += 1,
            Ok(Some(value)) => {
                assert_eq!(value, "the value", "{what}: {key}");
                result.missing_count += u64::from(index == 7);
            }
            Ok(None) => result.missing_count += u64::from(index != 7),
            Err(_) => result.error_count += 1,
        }
    }
    result
}

#[test]
fn a_flipped_byte_in_a_sealed_file_is_told_and_costs_at_most_one_record() {
    let world = world(true);
    let name = data_names(&world).pop().unwrap();
    for at in 0..disk(&world).contents(&name).unwrap().len() {
        let flipped = copy(&world);
        disk(&flipped).flip(&name, at, 0x10);
        let (store, recovery) = open(&flipped);
        let found = look(&store, &format!("byte {at}"));
        assert!(found.missing_count + found.error_count <= 1, "byte {at}: {found:?}");
        let is_told = found.missing_count == 0 || !recovery.damage.is_empty();
        assert!(is_told, "byte {at}: {found:?} {recovery:?}");
    }
}

#[test]
fn a_flipped_byte_in_the_growing_file_is_told_and_costs_at_most_one_record() {
    let world = world(false);
    let name = data_names(&world).pop().unwrap();
    for at in 0..disk(&world).contents(&name).unwrap().len() {
        let flipped = copy(&world);
        disk(&flipped).flip(&name, at, 0x10);
        let (store, recovery) = open(&flipped);
        let found = look(&store, &format!("byte {at}"));
        assert!(found.missing_count + found.error_count <= 1, "byte {at}: {found:?}");
        let is_lost = found != Found::default();
        assert!(!is_lost || !recovery.damage.is_empty(), "byte {at}: {found:?} {recovery:?}");
    }
}

#[test]
fn a_growing_file_cut_at_any_byte_keeps_a_prefix() {
    let world = world(false);
    let name = data_names(&world).pop().unwrap();
    let len = disk(&world).contents(&name).unwrap().len();
    let mut last_missing_count = u64::MAX;
    for at in 0..=len {
        let cut = copy(&world);
        disk(&cut).cut(&name, at);
        let (store, _) = open(&cut);
        let mut missing_count = 0;
        for index in 0..KEY_COUNT {
            let found = try_get(&store, &format!("key{index}")).unwrap();
            missing_count += u64::from(found.as_deref().is_none_or(|value| value == "older"));
        }
        // The delete at the end makes one more of them missing again.
        assert!(missing_count <= last_missing_count.saturating_add(1), "cut at {at}");
        last_missing_count = missing_count;
    }
    assert_eq!(last_missing_count, 1);
}

#[test]
fn a_sealed_file_cut_anywhere_is_told_as_damage_where_records_are_missing() {
    let world = world(true);
    // Another file is begun: the first one is known to have been sealed.
    let (store, _) = open(&world);
    let name = data_names(&world).pop().unwrap();
    put(&store, 50, "another", "file");
    store.close().unwrap();
    drop(store);
    let len = disk(&world).contents(&name).unwrap().len();
    for at in 0..len {
        let cut = copy(&world);
        disk(&cut).cut(&name, at);
        let (store, recovery) = open(&cut);
        let found = look(&store, &format!("cut at {at}"));
        let is_told = found == Found::default() || !recovery.damage.is_empty();
        assert!(is_told, "cut at {at}: {found:?} {recovery:?}");
    }
}

#[test]
fn a_flipped_byte_in_the_manifest_stops_the_opening_or_changes_nothing() {
    let world = world(true);
    let len = disk(&world).contents("MANIFEST").unwrap().len();
    let mut opened_count = 0;
    for at in 0..len {
        let flipped = copy(&world);
        disk(&flipped).flip("MANIFEST", at, 0x10);
        let Ok((store, _)) = Store::open_on(Arc::new(disk(&flipped)), config()) else { continue };
        opened_count += 1;
        assert!(store.has_slot(slot()), "byte {at}");
        assert_eq!(look(&store, &format!("byte {at}")), Found::default(), "byte {at}");
    }
    assert!(opened_count < len / 2, "{opened_count} of {len}");
}

#[test]
fn a_manifest_cut_at_any_byte_opens_with_right_values_or_not_at_all() {
    let world = world(true);
    let len = disk(&world).contents("MANIFEST").unwrap().len();
    for at in 0..len {
        let cut = copy(&world);
        disk(&cut).cut("MANIFEST", at);
        if let Ok((store, _)) = Store::open_on(Arc::new(disk(&cut)), config())
            && store.has_slot(slot())
        {
            assert_eq!(look(&store, &format!("cut at {at}")), Found::default(), "cut at {at}");
        }
    }
    disk(&world).take("MANIFEST");
    assert!(Store::open_on(Arc::new(disk(&world)), config()).is_err(), "data without a manifest");
}

#[test]
fn what_is_no_file_of_the_store_is_left_alone() {
    let world = world(true);
    disk(&world).place("notes.txt", b"mine".to_vec());
    disk(&world).place("0000000099.data.damaged", b"set aside".to_vec());
    let (store, _) = reopen(&world);
    assert_eq!(look(&store, "with notes"), Found::default());
    assert_eq!(disk(&world).contents("notes.txt").unwrap(), b"mine");
    assert!(disk(&world).contents("0000000099.data.damaged").is_some());
}
