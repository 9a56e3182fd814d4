//! The ECS's folder: what a cluster's decisions are kept in, and how it is read at the start.
//!
//! ```text
//! <dir>/ecs.lock   held by the process that has the folder; the system lets go of it, however that process ends
//! <dir>/snapshot   checked lines: {"cluster":"<32 hexadecimal digits>"}, then the machine's snapshot (two lines)
//! <dir>/log        checked lines: one decision each, appended and synced
//! <dir>/spawned/   what `--spawn-command` started: see `spawn`
//! ```
//!
//! The folder is a cluster from the moment its first `snapshot` is there, in which stands what is fixed for good: the
//! cluster's number, how many slots, how many copies. A snapshot is written beside (`snapshot.new`), synced and renamed,
//! and the folder is synced; then the log is emptied. A crash in between leaves decisions in the log that the snapshot
//! covers, and they are passed over.
//!
//! **Torn tail.** An append that a crash cut short leaves a last line without its end, or (where the file grew before its
//! bytes were there) zeros. Nobody was told of it: it is cut off, with a warning. Anything else that is not as it was
//! written is an error with file and line, because a decision that was told must not be lost: the next one would
//! get its number.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cluster::coordinator::{Coordinator, Entry, Settings};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::checked::{read_line, write_line};

/// A folder that no other process has.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

/// What is kept in a folder.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The cluster's number.
    pub(crate) cluster: u128,
    pub(crate) machine: Coordinator,
    /// Bytes of the log that are whole.
    pub(crate) log_len: u64,
}

/// The snapshot's first line.
#[derive(Serialize, Deserialize)]
struct Head {
    cluster: String,
}

/// The machine's own first line, as far as it is needed here.
#[derive(Deserialize)]
struct Fixed {
    slot_count: u16,
    replica_count: usize,
}

impl Folder {
    /// Takes the folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Busy`], or [`Error::Io`].
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(failed(dir, "make folder"))?;
        let path = dir.join("ecs.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(failed(&path, "open"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { dir: dir.to_owned() }),
            Err(TryLockError::Error(cause)) => Err(failed(&path, "lock")(cause)),
        }
    }

    /// Returns whether a cluster is kept here.
    pub(crate) fn is_founded(&self) -> bool {
        self.path("snapshot").exists()
    }

    /// Returns the path of one of its files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Reads what is kept, and cuts off a torn tail. `asked` are the flags that are fixed, where they were given.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Fixed`], or [`Error::Io`].
    pub(crate) fn read(
        &self,
        settings: Settings,
        asked: (Option<u16>, Option<usize>),
    ) -> Result<Kept, Error> {
        let (cluster, snapshot, fixed) = self.read_snapshot()?;
        self.check_fixed("--slots", usize::from(fixed.slot_count), asked.0.map(usize::from))?;
        self.check_fixed("--replicas", fixed.replica_count, asked.1)?;
        let settings = Settings {
            slot_count: fixed.slot_count,
            replica_count: fixed.replica_count,
            ..settings
        };
        let (entries, log_len) = self.read_log()?;
        let mut line = 0;
        let counted = entries.into_iter().inspect(|_| line += 1);
        let machine = Coordinator::restore(settings, Some(&snapshot), counted);
        let machine = machine.map_err(|error| {
            let path = self.path(if line == 0 { "snapshot" } else { "log" });
            damaged(path, line.max(2), &error)
        })?;
        Ok(Kept { cluster, machine, log_len })
    }

    /// Writes the snapshot of the cluster of this number, durably.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there before is still in force.
    pub(crate) fn write_snapshot(&self, cluster: u128, snapshot: &str) -> Result<(), Error> {
        let mut lines = Vec::new();
        write_line(&mut lines, &format!("{{\"cluster\":\"{cluster:032x}\"}}"));
        snapshot.lines().for_each(|line| write_line(&mut lines, line));
        let (path, fresh) = (self.path("snapshot"), self.path("snapshot.new"));
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&lines)?;
            file.sync_all()
        });
        written.map_err(failed(&fresh, "write"))?;
        fs::rename(&fresh, &path).map_err(failed(&path, "put in place"))?;
        self.sync()
    }

    /// Opens the log for appending, cut to `len` bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open_log(&self, len: u64) -> Result<File, Error> {
        let path = self.path("log");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(failed(&path, "open"))?;
        let cut = file.set_len(len).and_then(|()| file.sync_all());
        cut.map_err(failed(&path, "cut"))?;
        self.sync()?;
        Ok(file)
    }

    /// Makes the folder's list of files durable, and that the folder itself is there.
    fn sync(&self) -> Result<(), Error> {
        let parent = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        for dir in [Some(self.dir.as_path()), parent].into_iter().flatten() {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(failed(dir, "sync folder"))?;
        }
        Ok(())
    }

    fn read_snapshot(&self) -> Result<(u128, String, Fixed), Error> {
        let path = self.path("snapshot");
        let bytes = fs::read(&path).map_err(failed(&path, "read"))?;
        let mut texts = Vec::new();
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let whole = line.strip_suffix(b"\n").ok_or("it has no end");
            let text = whole.and_then(read_line);
            texts.push(text.map_err(|what| damaged(path.clone(), index + 1, &what))?);
        }
        let [head, fixed, map] = texts.as_slice() else {
            return Err(damaged(path, texts.len().max(1), &"it has not three lines"));
        };
        let head: Head =
            serde_json::from_str(head).map_err(|error| damaged(path.clone(), 1, &error))?;
        let cluster = u128::from_str_radix(&head.cluster, 16)
            .map_err(|error| damaged(path.clone(), 1, &error))?;
        let text = format!("{fixed}\n{map}\n");
        let fixed: Fixed =
            serde_json::from_str(fixed).map_err(|error| damaged(path.clone(), 2, &error))?;
        if !fixed.slot_count.is_power_of_two() || fixed.slot_count > hashring::SLOT_COUNT {
            return Err(damaged(path, 2, &"no ring has so many slots"));
        }
        Ok((cluster, text, fixed))
    }

    /// Returns the log's decisions, and how many bytes of it are whole.
    fn read_log(&self) -> Result<(Vec<Entry>, u64), Error> {
        let path = self.path("log");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&path, "read")(error)),
        };
        let (mut entries, mut whole_len) = (Vec::new(), 0);
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let text = match line.strip_suffix(b"\n").ok_or("it has no end").and_then(read_line) {
                Ok(text) => text,
                Err(_) if is_torn(bytes.get(whole_len..).unwrap_or_default()) => {
                    let torn_len = bytes.len() - whole_len;
                    log::warn!(
                        "{}: cut off {torn_len} bytes behind line {index}, of a write that was not finished",
                        path.display()
                    );
                    break;
                }
                Err(what) => return Err(damaged(path, index + 1, &what)),
            };
            let entry = Entry::from_line(text);
            entries.push(entry.map_err(|error| damaged(path.clone(), index + 1, &error))?);
            whole_len += line.len();
        }
        Ok((entries, whole_len as u64))
    }

    fn check_fixed(
        &self,
        flag: &'static str,
        kept: usize,
        asked: Option<usize>,
    ) -> Result<(), Error> {
        match asked {
            Some(asked) if asked != kept => {
                Err(Error::Fixed { dir: self.dir.clone(), flag, kept, asked })
            }
            _ => Ok(()),
        }
    }
}

/// Returns whether the log's rest, which begins with a line that is not whole, is what a crash leaves.
fn is_torn(rest: &[u8]) -> bool {
    let is_unwritten = rest.contains(&0);
    let mut lines = rest.split_inclusive(|byte| *byte == b'\n');
    let has_end = lines.next().is_some_and(|line| line.ends_with(b"\n"));
    let is_whole = |line: &[u8]| line.strip_suffix(b"\n").is_some_and(|l| read_line(l).is_ok());
    (!has_end || is_unwritten) && !lines.any(is_whole)
}

fn damaged(path: PathBuf, line: usize, what: &dyn ToString) -> Error {
    Error::Damaged { path, line, what: what.to_string() }
}

/// Returns how to tell that something failed.
pub(crate) fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::Io { path, what, cause }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
