//! Tests of the log on a disk that is full or fails.

use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::testing::decided;

/// A file with a disk under it that does as it is told.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    synced_len: usize,
    /// How many more writes find the disk full, each after some bytes.
    full_count: usize,
    is_failing_sync: bool,
    is_failing_write: bool,
}

impl LogFile for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.is_failing_write {
            return Err(io::Error::other("the disk is gone"));
        }
        if state.full_count > 0 {
            state.full_count -= 1;
            state.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.is_failing_sync {
            return Err(io::Error::other("the disk is gone"));
        }
        state.synced_len = state.bytes.len();
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().bytes.truncate(len.try_into().unwrap());
        Ok(())
    }
}

fn log() -> (TempDir, Disk, Log<Disk>) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::take(dir.path()).unwrap();
    let disk = Disk::default();
    let log = Log {
        path: folder.path("log"),
        folder,
        cluster: 1,
        file: disk.clone(),
        len: 0,
        len_max: 1000,
        is_ending: Arc::default(),
    };
    (dir, disk, log)
}

/// Returns the lines of these decisions.
fn lines(entries: &[Entry]) -> Vec<u8> {
    let mut lines = Vec::new();
    entries.iter().for_each(|entry| write_line(&mut lines, &entry.to_line()));
    lines
}

#[test]
fn decisions_together_share_one_sync_and_are_durable_when_it_returns() {
    let (_dir, disk, mut log) = log();
    let (_, entries) = decided(3);
    log.append(&entries.iter().collect::<Vec<_>>()).unwrap();
    let state = disk.0.lock().unwrap();
    assert_eq!(state.bytes, lines(&entries));
    assert_eq!(state.synced_len, state.bytes.len());
}

#[test]
fn a_full_disk_is_waited_for_and_leaves_no_half_lines() {
    let (_dir, disk, mut log) = log();
    let (_, entries) = decided(2);
    log.append(&[&entries[0]]).unwrap();
    disk.0.lock().unwrap().full_count = 2;
    log.append(&[&entries[1]]).unwrap();
    assert_eq!(disk.0.lock().unwrap().bytes, lines(&entries[..2]));
}

#[test]
fn waiting_for_a_full_disk_ends_with_the_program() {
    let (_dir, disk, mut log) = log();
    let (_, entries) = decided(1);
    disk.0.lock().unwrap().full_count = usize::MAX;
    log.is_ending.store(true, Ordering::Relaxed);
    let error = log.append(&[&entries[0]]).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
}

#[test]
fn a_failed_write_or_sync_is_an_error_and_never_tried_again() {
    let (_, entries) = decided(1);
    for is_sync in [false, true] {
        let (_dir, disk, mut log) = log();
        disk.0.lock().unwrap().is_failing_sync = is_sync;
        disk.0.lock().unwrap().is_failing_write = !is_sync;
        let error = log.append(&[&entries[0]]).unwrap_err();
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        assert_eq!(disk.0.lock().unwrap().synced_len, 0);
    }
}

#[test]
fn the_log_is_long_one_byte_past_its_limit_and_short_after_the_cut() {
    let (dir, disk, mut log) = log();
    let (machine, entries) = decided(3);
    let first_len = lines(&entries[..1]).len() as u64;
    log.len_max = first_len;
    log.append(&[&entries[0]]).unwrap();
    assert!(!log.is_long());
    log.len_max -= 1;
    assert!(log.is_long());
    log.cut(&machine.snapshot()).unwrap();
    assert!(!log.is_long());
    assert!(disk.0.lock().unwrap().bytes.is_empty());
    let snapshot = fs::read_to_string(dir.path().join("snapshot")).unwrap();
    assert_eq!(snapshot.lines().count(), 3);
}
