//! Tests of the folder: what is read back, what is cut off, what is refused.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::journal::{Journal as _, Log};
use crate::testing::{decided, small};

const CLUSTER: u128 = 0xabc;

/// Returns a folder with the decisions of a short history, its bytes of the log, and the version of its map.
fn written() -> (TempDir, Vec<u8>, Coordinator) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::take(dir.path()).unwrap();
    folder.write_snapshot(CLUSTER, &Coordinator::new(small()).snapshot()).unwrap();
    let (machine, entries) = decided(3);
    let mut log = Log::open(folder, CLUSTER, 0, Arc::default()).unwrap();
    for entry in &entries {
        log.append(&[entry]).unwrap();
    }
    let bytes = fs::read(dir.path().join("log")).unwrap();
    (dir, bytes, machine)
}

fn read(dir: &TempDir) -> Result<Kept, Error> {
    let folder = Folder::take(dir.path()).unwrap();
    let kept = folder.read(small(), (None, None))?;
    folder.open_log(kept.log_len).unwrap();
    Ok(kept)
}

/// Returns the file and the line that are told to be damaged.
fn damage(outcome: Result<Kept, Error>) -> (String, usize) {
    match outcome {
        Err(Error::Damaged { path, line, .. }) => {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), line)
        }
        other => unreachable!("{other:?}"),
    }
}

fn line_lens(bytes: &[u8]) -> Vec<usize> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).collect()
}

#[test]
fn what_was_written_is_read_back() {
    let (dir, bytes, machine) = written();
    for _ in 0..2 {
        let kept = read(&dir).unwrap();
        assert_eq!((kept.cluster, kept.log_len), (CLUSTER, bytes.len() as u64));
        assert_eq!(kept.machine.map(), machine.map());
    }
}

#[test]
fn a_tail_torn_at_any_byte_of_the_last_line_is_cut_off() {
    let (dir, bytes, machine) = written();
    let last_len = *line_lens(&bytes).last().unwrap();
    let whole = bytes.len() - last_len;
    for len in whole..bytes.len() {
        fs::write(dir.path().join("log"), &bytes[..len]).unwrap();
        let kept = read(&dir).unwrap();
        assert_eq!(kept.log_len, whole as u64, "cut to {len}");
        assert_eq!(kept.machine.map().version().0 + 1, machine.map().version().0);
        assert_eq!(fs::read(dir.path().join("log")).unwrap(), bytes[..whole], "cut to {len}");
    }
    // A file that grew before its bytes were there.
    for zeros in [1, 10, last_len] {
        let mut holed = bytes.clone();
        let end = holed.len();
        holed[end - zeros..].fill(0);
        fs::write(dir.path().join("log"), &holed).unwrap();
        assert_eq!(read(&dir).unwrap().log_len, whole as u64, "{zeros} zeros");
    }
}

#[test]
fn any_other_damage_of_the_log_is_refused_with_file_and_line() {
    let (dir, bytes, _) = written();
    let lens = line_lens(&bytes);
    assert!(lens.len() >= 3);
    let mut begin = 0;
    for (index, len) in lens.iter().enumerate() {
        for at in [0, 8, 9, len / 2, len - 2] {
            let mut spoilt = bytes.clone();
            spoilt[begin + at] ^= 1;
            fs::write(dir.path().join("log"), &spoilt).unwrap();
            assert_eq!(damage(read(&dir)), ("log".to_owned(), index + 1), "byte {at}");
            assert_eq!(fs::read(dir.path().join("log")).unwrap(), spoilt, "it is left as it is");
        }
        begin += len;
    }
    // Zeros in the middle have whole lines behind them.
    let mut holed = bytes.clone();
    holed[lens[0]..lens[0] + lens[1]].fill(0);
    fs::write(dir.path().join("log"), &holed).unwrap();
    assert_eq!(damage(read(&dir)), ("log".to_owned(), 2));
    // A line that is missing, or twice there.
    let gap = [&bytes[..lens[0]], &bytes[lens[0] + lens[1]..]].concat();
    fs::write(dir.path().join("log"), gap).unwrap();
    assert_eq!(damage(read(&dir)), ("log".to_owned(), 2));
    let twice = [&bytes[..lens[0]], &bytes[..]].concat();
    fs::write(dir.path().join("log"), twice).unwrap();
    assert_eq!(damage(read(&dir)), ("log".to_owned(), 2));
    // A whole line that is no decision.
    let mut strange = bytes.clone();
    write_line(&mut strange, "{}");
    fs::write(dir.path().join("log"), strange).unwrap();
    assert_eq!(damage(read(&dir)), ("log".to_owned(), lens.len() + 1));
}

#[test]
fn every_flipped_bit_and_every_cut_of_the_snapshot_is_refused() {
    let (dir, _, _) = written();
    let path = dir.path().join("snapshot");
    let bytes = fs::read(&path).unwrap();
    for index in 0..bytes.len() {
        let mut spoilt = bytes.clone();
        spoilt[index] ^= 1;
        fs::write(&path, &spoilt).unwrap();
        assert_eq!(damage(read(&dir)).0, "snapshot", "byte {index}");
        fs::write(&path, &bytes[..index]).unwrap();
        assert_eq!(damage(read(&dir)).0, "snapshot", "cut to {index}");
    }
}

#[test]
fn a_snapshot_takes_the_log_s_place_wherever_a_crash_comes() {
    let (dir, bytes, machine) = written();
    let folder = Folder::take(dir.path()).unwrap();
    // Before the rename: what was begun is written over the next time.
    fs::write(dir.path().join("snapshot.new"), b"begun").unwrap();
    drop(folder);
    assert_eq!(read(&dir).unwrap().machine.map(), machine.map());
    // Between the rename and the cut.
    let folder = Folder::take(dir.path()).unwrap();
    folder.write_snapshot(CLUSTER, &machine.snapshot()).unwrap();
    drop(folder);
    let kept = read(&dir).unwrap();
    assert_eq!(kept.machine.map(), machine.map());
    assert_eq!(kept.log_len, bytes.len() as u64);
    // After it.
    let folder = Folder::take(dir.path()).unwrap();
    let mut log = Log::open(folder, CLUSTER, kept.log_len, Arc::default()).unwrap();
    log.cut(&machine.snapshot()).unwrap();
    drop(log);
    let kept = read(&dir).unwrap();
    assert_eq!((kept.machine.map(), kept.log_len), (machine.map(), 0));
}

#[test]
fn a_second_holder_of_the_folder_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Folder::take(dir.path()).unwrap();
    assert!(matches!(Folder::take(dir.path()), Err(Error::Busy { .. })));
    drop(first);
    assert!(Folder::take(dir.path()).is_ok());
}
