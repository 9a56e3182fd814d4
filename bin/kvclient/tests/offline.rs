//! `verify` and `restore`, on folders that an engine wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use bitcask::{Config, Lsn, SlotId, Store, Write};
use support::{Ran, run};

/// Keys written by these tests.
const KEY_COUNT: u64 = 200;

fn slot() -> SlotId {
    SlotId::new(7).unwrap()
}

/// Opens the store in `folder`, made if it is not there.
fn open(folder: &Path) -> Store {
    fs::create_dir_all(folder).unwrap();
    Store::open(folder, Config::default()).unwrap().0
}

/// Makes a store with some keys in `folder`, and a backup of it in `backup`.
fn store_and_backup(folder: &Path, backup: &Path) {
    let store = open(folder);
    store.create_slots(&[slot()]).unwrap();
    for number in 1..=KEY_COUNT {
        let key = format!("key {number}");
        let write = Write::put(slot(), Lsn::new(1, number), key.as_bytes(), &[b'v'; 100]);
        store.publish(store.append(&[write]).unwrap());
    }
    store.backup(backup).unwrap();
    store.close().unwrap();
}

/// Returns the first data file of a folder.
fn data_file(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut data: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "data")).collect();
    data.sort();
    data.swap_remove(0)
}

/// Spoils a byte in the middle of a file, in a copy of its own.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    // A backup's file is linked to the original, which must stay as it is.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn verify(folder: &Path) -> Ran {
    run(&["verify", folder.to_str().unwrap()])
}

fn restore(backup: &Path, folder: &Path) -> Ran {
    run(&["restore", backup.to_str().unwrap(), folder.to_str().unwrap()])
}

#[test]
fn a_whole_folder_is_verified_and_a_spoilt_byte_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (folder, backup) = (home.path().join("store"), home.path().join("backup"));
    store_and_backup(&folder, &backup);
    let ran = verify(&folder);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("200 records"), "{ran:?}");
    assert!(ran.stdout.ends_with(": no damage\n"), "{ran:?}");

    let file = data_file(&backup);
    spoil(&file);
    let ran = verify(&backup);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.starts_with(&format!("damaged: {} at ", file.display())), "{ran:?}");
    assert!(ran.stdout.contains("1 damaged place, 0 missing files\n"), "{ran:?}");

    fs::remove_file(&file).unwrap();
    let ran = verify(&backup);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains(&format!("missing: {}\n", file.display())), "{ran:?}");
}

#[test]
fn a_folder_in_use_is_not_verified() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("store");
    let store = open(&folder);
    let ran = verify(&folder);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains(folder.to_str().unwrap()), "{ran:?}");
    store.close().unwrap();
}

#[test]
fn a_restored_folder_has_every_record_and_shares_nothing_with_the_backup() {
    let home = tempfile::tempdir().unwrap();
    let (folder, backup) = (home.path().join("store"), home.path().join("backup"));
    store_and_backup(&folder, &backup);
    let restored = home.path().join("restored");
    let mut servers = vec![open(&folder).server_id()];
    for is_there in [false, true] {
        if is_there {
            fs::remove_dir_all(&restored).unwrap();
            fs::create_dir(&restored).unwrap();
        }
        let ran = restore(&backup, &restored);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stdout.contains(&format!("kvserver --dir {}", restored.display())), "{ran:?}");
        let store = open(&restored);
        for number in 1..=KEY_COUNT {
            assert!(store.contains(slot(), format!("key {number}").as_bytes()).unwrap());
        }
        assert!(!servers.contains(&store.server_id()), "a copy claims to be another server");
        servers.push(store.server_id());
        store.close().unwrap();
    }
    assert_eq!(verify(&backup).code, 0, "the backup is as it was");
    let names: Vec<_> =
        fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn restore_refuses_a_folder_with_something_in_it_and_a_damaged_backup() {
    let home = tempfile::tempdir().unwrap();
    let (folder, backup) = (home.path().join("store"), home.path().join("backup"));
    store_and_backup(&folder, &backup);
    let ran = restore(&backup, &folder);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("is not empty; restore into a new folder"), "{ran:?}");

    spoil(&data_file(&backup));
    let restored = home.path().join("restored");
    let ran = restore(&backup, &restored);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("the backup is damaged, so nothing was restored"), "{ran:?}");
    assert!(!restored.exists());
}
