//! The simulated disk against what it promises: a test that runs on a wrong disk proves nothing.

use super::*;

const SEEDS: u64 = 64;

fn is_no_space(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

/// Writes `bytes`, durable name and all.
fn synced_file(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_folder().unwrap();
    file
}

/// Returns every different content that `file` can have after the crash, over many seeds.
fn images(mode: CrashMode, scenario: impl Fn(&SimDisk)) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        scenario(&disk);
        disk.world().crash(mode);
        found.push(disk.contents("file"));
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn what_was_synced_survives_every_crash() {
    for mode in CrashMode::ALL {
        let found = images(mode, |disk| drop(synced_file(disk, "file", b"kept")));
        assert_eq!(found, [Some(b"kept".to_vec())], "{mode:?}");
    }
}

#[test]
fn a_lost_tail_is_gone_and_a_killed_process_loses_nothing() {
    let scenario = |disk: &SimDisk| {
        let file = synced_file(disk, "file", b"kept");
        file.write_at(b" tail", 4).unwrap();
    };
    assert_eq!(images(CrashMode::Lost, scenario), [Some(b"kept".to_vec())]);
    assert_eq!(images(CrashMode::Kept, scenario), [Some(b"kept tail".to_vec())]);
}

#[test]
fn what_a_killed_process_left_unsynced_can_still_be_lost() {
    let disk = SimDisk::new(1);
    synced_file(&disk, "file", b"kept").write_at(b" tail", 4).unwrap();
    disk.world().crash(CrashMode::Kept);
    disk.world().crash(CrashMode::Lost);
    assert_eq!(disk.contents("file").unwrap(), b"kept");
}

#[test]
fn a_cut_tail_ends_at_any_byte() {
    let found = images(CrashMode::Cut, |disk| {
        let file = synced_file(disk, "file", b"");
        file.write_at(b"abcd", 0).unwrap();
    });
    for len in 0..=4 {
        assert!(found.contains(&Some(b"abcd"[..len].to_vec())), "never cut at {len}");
    }
    assert_eq!(found.len(), 5);
}

#[test]
fn a_zeroed_tail_ends_at_the_page_or_at_the_length_that_was_written() {
    let found = images(CrashMode::Zeroed, |disk| {
        let file = synced_file(disk, "file", b"ab");
        file.write_at(b"cdef", 2).unwrap();
    });
    assert!(found.contains(&Some(b"ab\0\0\0\0".to_vec())));
    let mut page = vec![0; inode::PAGE_LEN];
    page[..2].copy_from_slice(b"ab");
    assert!(found.contains(&Some(page)));
    assert!(found.iter().flatten().all(|image| image.starts_with(b"ab")));
}

#[test]
fn a_later_page_may_survive_an_earlier_one_that_is_lost() {
    let found = images(CrashMode::Reordered, |disk| {
        let file = synced_file(disk, "file", b"ab");
        file.write_at(&vec![b'x'; 3 * inode::PAGE_LEN], 2).unwrap();
    });
    let is_holed =
        |image: &Vec<u8>| image.get(2) == Some(&0) && image.get(inode::PAGE_LEN) == Some(&b'x');
    assert!(found.iter().flatten().any(is_holed));
    assert!(found.iter().flatten().all(|image| image.starts_with(b"ab")));
}

#[test]
fn a_name_is_durable_only_after_the_folders_sync() {
    let scenario = |disk: &SimDisk| {
        let file = disk.create("file").unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
    };
    assert_eq!(images(CrashMode::Lost, scenario), [None]);
    assert_eq!(images(CrashMode::Reordered, scenario), [None, Some(b"x".to_vec())]);
}

#[test]
fn a_rename_is_old_or_new_and_never_neither() {
    let found = images(CrashMode::Any, |disk| {
        drop(synced_file(disk, "file", b"old"));
        drop(synced_file(disk, "temp", b"new"));
        disk.rename("temp", "file").unwrap();
        assert_eq!(disk.contents("file").unwrap(), b"new");
    });
    assert_eq!(found, [Some(b"new".to_vec()), Some(b"old".to_vec())]);
}

#[test]
fn steps_on_names_survive_in_any_combination() {
    let found = images(CrashMode::Reordered, |disk| {
        drop(synced_file(disk, "file", b"1"));
        disk.remove("file").unwrap();
        let file = disk.create("file").unwrap();
        file.write_at(b"2", 0).unwrap();
        file.sync().unwrap();
    });
    assert_eq!(found, [None, Some(b"1".to_vec()), Some(b"2".to_vec())]);
}

#[test]
fn an_unlinked_file_is_read_as_long_as_it_is_open() {
    let disk = SimDisk::new(1);
    let file = synced_file(&disk, "file", b"abc");
    disk.remove("file").unwrap();
    disk.sync_folder().unwrap();
    assert_eq!(disk.open("file").unwrap_err().kind(), io::ErrorKind::NotFound);
    let mut buf = [0; 4];
    assert_eq!(file.read_at(&mut buf, 1).unwrap(), 2);
    assert_eq!(&buf[..2], b"bc");
}

#[test]
fn a_hard_link_shares_the_bytes_and_outlives_the_first_name() {
    let disk = SimDisk::new(1);
    let file = synced_file(&disk, "file", b"abc");
    let copy = disk.create_folder(Path::new("/copy")).unwrap();
    disk.link("file", Path::new("/copy")).unwrap();
    file.write_at(b"d", 3).unwrap();
    disk.remove("file").unwrap();
    copy.sync_folder().unwrap();
    disk.sync_folder().unwrap();
    let copy = disk.world().folder("/copy");
    assert_eq!(copy.contents("file").unwrap(), b"abcd");
    disk.world().crash(CrashMode::Lost);
    assert_eq!(copy.contents("file").unwrap(), b"abc");
}

#[test]
fn a_folder_is_made_only_where_nothing_is() {
    let disk = SimDisk::new(1);
    let path = Path::new("/copy");
    disk.create_folder(path).unwrap().create("file").unwrap();
    assert_eq!(disk.create_folder(path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn the_lock_has_one_holder_and_is_free_after_a_crash() {
    let disk = SimDisk::new(1);
    let held = disk.lock("LOCK").unwrap();
    assert_eq!(disk.lock("LOCK").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
    let held = disk.lock("LOCK").unwrap();
    disk.world().crash(CrashMode::Any);
    let disk = disk.world().folder("/sim");
    let _held_now = disk.lock("LOCK").unwrap();
    drop(held); // of the life before: frees nothing
    assert_eq!(disk.lock("LOCK").unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn handles_of_the_life_before_a_crash_are_dead() {
    let disk = SimDisk::new(1);
    let file = synced_file(&disk, "file", b"abc");
    disk.world().crash(CrashMode::Kept);
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(file.write_at(b"z", 0).is_err());
    assert!(disk.create("other").is_err());
    let disk = disk.world().folder("/sim");
    assert_eq!(disk.names(), ["file"]);
    assert_eq!(disk.contents("file").unwrap(), b"abc");
}

#[test]
fn after_the_power_goes_nothing_happens_until_the_crash() {
    let disk = SimDisk::new(3);
    let file = synced_file(&disk, "file", b"abc");
    disk.world().crash_at(disk.world().op_count() + 1);
    assert!(file.read_at(&mut [0], 0).is_err());
    let count = disk.world().op_count();
    assert!(file.write_at(b"z", 0).is_err());
    assert!(disk.sync_folder().is_err());
    assert_eq!(disk.world().op_count(), count);
    disk.world().crash(CrashMode::Lost);
    assert_eq!(disk.world().folder("/sim").contents("file").unwrap(), b"abc");
}

#[test]
fn a_failed_write_leaves_any_part_of_itself() {
    let mut lens = Vec::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let file = disk.create("file").unwrap();
        disk.world().fail(Fault::once(2, FaultKind::Enospc));
        assert!(is_no_space(&file.write_at(b"abc", 0).unwrap_err()));
        lens.push(disk.contents("file").unwrap().len());
        file.write_at(b"abc", 0).unwrap();
    }
    lens.sort_unstable();
    lens.dedup();
    assert_eq!(lens, [0, 1, 2, 3]);
}

#[test]
fn after_a_failed_sync_bytes_are_readable_but_never_durable() {
    let mut has_lost = false;
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let file = synced_file(&disk, "file", b"");
        file.write_at(b"abc", 0).unwrap();
        disk.world().fail(Fault::once(disk.world().op_count() + 1, FaultKind::Eio));
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert_eq!(disk.contents("file").unwrap(), b"abc");
        disk.world().crash(CrashMode::Lost);
        has_lost |= disk.contents("file").unwrap() != b"abc";
    }
    assert!(has_lost);
}

#[test]
fn a_lasting_fault_lets_reads_through() {
    let disk = SimDisk::new(1);
    let file = synced_file(&disk, "file", b"abc");
    disk.world().fail(Fault::lasting(disk.world().op_count() + 1, FaultKind::Eio));
    assert!(file.write_at(b"z", 9).is_err());
    assert!(file.sync().is_err());
    assert_eq!(file.read_at(&mut [0; 3], 0).unwrap(), 3);
    disk.world().heal();
    file.sync().unwrap();
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let disk = SimDisk::new(1);
    let file = disk.create("file").unwrap();
    disk.world().set_capacity(Some(5));
    assert_eq!(disk.free_len().unwrap(), 5);
    file.write_at(b"12345", 0).unwrap();
    assert_eq!(disk.free_len().unwrap(), 0);
    file.write_at(b"5", 4).unwrap();
    assert!(is_no_space(&file.write_at(b"56", 4).unwrap_err()));
    disk.world().set_capacity(Some(6));
    file.write_at(b"56", 4).unwrap();
    disk.remove("file").unwrap();
    assert_eq!(disk.free_len().unwrap(), 0, "an open file keeps its bytes");
    drop(file);
    assert_eq!(disk.free_len().unwrap(), 6);
}

#[test]
fn damage_by_hand_is_on_the_disk_too() {
    let disk = SimDisk::new(1);
    drop(synced_file(&disk, "file", b"abcdef"));
    disk.flip("file", 0, 0b11);
    disk.zero("file", 2..4);
    disk.cut("file", 5);
    disk.place("other", b"x".to_vec());
    disk.world().crash(CrashMode::Lost);
    assert_eq!(disk.contents("file").unwrap(), b"bb\0\0e");
    assert_eq!(disk.names(), ["file", "other"]);
    disk.take("other");
    assert_eq!(disk.names(), ["file"]);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        for index in 0..20_u8 {
            let name = format!("file{index}");
            let file = disk.create(&name).unwrap();
            file.write_at(&[index; 10_000], 0).unwrap();
        }
        let listed = disk.list().unwrap();
        disk.world().crash(CrashMode::Any);
        let contents: Vec<_> = disk.names().iter().map(|name| disk.contents(name)).collect();
        (listed, disk.names(), contents, disk.world().trace())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let disk = SimDisk::new(1);
    for name in ["", ".", "..", "a/b"] {
        assert_eq!(disk.create(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
