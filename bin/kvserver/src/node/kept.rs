//! What a server keeps of its cluster besides its records: the map in force, and what it must remember of itself.
//!
//! ```text
//! <dir>/cluster/about   one line of JSON: the cluster's number and shape, and how the last life went
//! <dir>/cluster/map     <crc32 of the rest, 8 hexadecimal digits> <the whole map as one Delta, JSON>
//! <dir>/cluster/log     the same for each change since, a line each
//! ```
//!
//! `about` and `map` are written beside, synced and renamed; `log` grows, and each line is synced before the change is in
//! force (R9). When the log is longer than [`LOG_LEN_MAX`] a new `map` takes its place; a crash in between leaves
//! lines that the map covers, which change nothing. A last line without its end is the tail of a write that nobody was told
//! of, and is cut off; any other damage ends the start.
//!
//! **Complete or not** (restart of a member). A server holds all it ever acknowledged if it synced before it acknowledged
//! (`always`), if it ended well, or if the machine has not gone down since: what a process wrote outlives it. Linux gives each
//! start of the machine an id. After a loss the debt stands in `about` until a life has registered and said so.
//!
//! Left out: the map in the engine's own log. A copy that `backup` makes must not carry the map of another server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cluster::lines::Welcome;
use cluster::{Delta, Map};
use serde::{Deserialize, Serialize};

/// Bytes of the log at which a new whole map takes its place: some hundred changes of a busy reconfiguration.
const LOG_LEN_MAX: u64 = 4 << 20;

/// Digits of a line's checksum.
const CRC_LEN: usize = 8;

/// Where Linux tells which start of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is wrong with the folder.
#[derive(Debug)]
pub enum KeptError {
    /// It cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// What stands there is not what was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The machine has no thread for the server's own work.
    Thread {
        /// What the operating system says.
        cause: io::Error,
    },
}

impl std::fmt::Display for KeptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { path, cause } => write!(f, "cannot use {}: {cause}", path.display()),
            Self::Damaged { path, line, what } => {
                write!(f, "{} is damaged in line {line}: {what}", path.display())
            }
            Self::Thread { cause } => write!(f, "cannot start a thread: {cause}"),
        }
    }
}

impl std::error::Error for KeptError {}

/// What the file `about` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// The cluster's number.
    #[serde(with = "hex")]
    pub(super) cluster: u128,
    /// How many slots the ring is cut into.
    pub(super) slot_count: u16,
    /// How many members a slot shall have.
    pub(super) replica_count: usize,
    /// Which start of the machine the last life saw.
    pub(super) boot: String,
    /// Whether the last life synced before it acknowledged.
    pub(super) is_synced: bool,
    /// Whether the last life ended well.
    pub(super) is_clean: bool,
    /// Whether an earlier life lost what it may have acknowledged, and no later one has registered.
    pub(super) owes: bool,
}

/// The cluster's number as 32 hexadecimal digits: JSON's numbers are too short.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// The folder of what is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    dir: PathBuf,
    pub(super) about: About,
    map: Map,
    log: File,
    log_len: u64,
}

impl Kept {
    /// Returns whether the folder `dir` is that of a server of a cluster.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join("cluster").join("about").exists()
    }

    /// Returns what an earlier life kept in `dir`, with the map, or `None` if there was none.
    ///
    /// # Errors
    /// [`KeptError`].
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, KeptError> {
        let dir = dir.join("cluster");
        let path = dir.join("about");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(KeptError::Io { path, cause }),
        };
        let about: About = serde_json::from_str(text.trim_end()).map_err(|error| {
            KeptError::Damaged { path: path.clone(), line: 1, what: error.to_string() }
        })?;
        let mut map = Map::new(about.slot_count, about.replica_count);
        read_lines(&dir.join("map"), &mut map, false)?;
        let len = read_lines(&dir.join("log"), &mut map, true)?;
        let (log, log_len) = open_log(&dir.join("log"), len)?;
        let mut kept = Self { dir, about, map, log, log_len };
        if len > 0 {
            // A sync that failed in the life before left lines that only the page cache has, and another sync would
            // say that all is well: they are written again.
            kept.write_map()?;
        }
        Ok(Some(kept))
    }

    /// Begins to keep what concerns the cluster that welcomed this server.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn create(dir: &Path, welcome: &Welcome) -> Result<Self, KeptError> {
        let dir = dir.join("cluster");
        let made = fs::create_dir_all(&dir)
            .and_then(|()| dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()));
        made.map_err(|cause| KeptError::Io { path: dir.clone(), cause })?;
        let about = About {
            cluster: welcome.cluster,
            slot_count: welcome.slot_count,
            replica_count: welcome.replica_count,
            boot: boot_id(),
            is_synced: true,
            is_clean: true,
            owes: false,
        };
        let map = Map::new(about.slot_count, about.replica_count);
        let (log, log_len) = open_log(&dir.join("log"), 0)?;
        let mut kept = Self { dir, about, map, log, log_len };
        kept.write_map()?;
        kept.write_about()?;
        Ok(kept)
    }

    /// Returns which cluster this is, and its shape.
    pub(super) fn welcome(&self) -> Welcome {
        let About { cluster, slot_count, replica_count, .. } = self.about;
        Welcome { cluster, slot_count, replica_count }
    }

    /// Returns the map.
    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// Returns whether all that was ever acknowledged is here, as far as this folder knows.
    pub(super) fn is_complete(&self) -> bool {
        let about = &self.about;
        let is_same_boot = !about.boot.is_empty() && about.boot == boot_id();
        !about.owes && (about.is_synced || about.is_clean || is_same_boot)
    }

    /// Notes that a life begins, with what it owes.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn begin(&mut self, is_synced: bool, is_complete: bool) -> Result<(), KeptError> {
        self.about.owes = !is_complete;
        self.about.boot = boot_id();
        self.about.is_synced = is_synced;
        self.about.is_clean = false;
        self.write_about()
    }

    /// Notes that the coordinator was told what is owed.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn settle(&mut self) -> Result<(), KeptError> {
        self.about.owes = false;
        self.write_about()
    }

    /// Notes that the disk failed under this life, and acknowledged writes may go with it.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn fail(&mut self) -> Result<(), KeptError> {
        self.about.owes |= !self.about.is_synced;
        self.write_about()
    }

    /// Notes that this life ended well, or that it lost something.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn end(&mut self, is_clean: bool) -> Result<(), KeptError> {
        self.about.is_clean = is_clean;
        self.about.owes |= !is_clean && !self.about.is_synced;
        self.write_about()
    }

    /// Makes changes of the map durable.
    ///
    /// # Errors
    /// `Io`: it may be tried again.
    pub(super) fn keep(&mut self, deltas: &[Delta]) -> Result<(), KeptError> {
        let mut lines = Vec::new();
        for delta in deltas {
            write_line(&mut lines, delta);
        }
        let path = self.dir.join("log");
        // What an attempt before this one left behind the log's end is cut off first.
        let written = self
            .log
            .set_len(self.log_len)
            .and_then(|()| (&self.log).write_all(&lines))
            .and_then(|()| self.log.sync_data());
        written.map_err(|cause| KeptError::Io { path, cause })?;
        self.log_len += lines.len() as u64;
        for delta in deltas {
            // One that does not fit is refused by the machine as well.
            if let Err(error) = self.map.apply(delta) {
                log::warn!("a change of the map does not fit: {error:?}");
            }
        }
        if self.log_len > LOG_LEN_MAX {
            self.write_map()?;
        }
        Ok(())
    }

    /// Writes the whole map, and empties the log.
    fn write_map(&mut self) -> Result<(), KeptError> {
        let mut line = Vec::new();
        write_line(&mut line, &self.map.since(cluster::Version(0)));
        replace(&self.dir, "map", &line)?;
        let path = self.dir.join("log");
        let emptied = self.log.set_len(0).and_then(|()| self.log.sync_data());
        emptied.map_err(|cause| KeptError::Io { path, cause })?;
        self.log_len = 0;
        Ok(())
    }

    fn write_about(&self) -> Result<(), KeptError> {
        let mut line = serde_json::to_vec(&self.about).map_err(|error| KeptError::Io {
            path: self.dir.join("about"),
            cause: io::Error::other(error),
        })?;
        line.push(b'\n');
        replace(&self.dir, "about", &line)
    }
}

/// Opens the log for appending, without what stands behind its `len` good bytes.
fn open_log(path: &Path, len: u64) -> Result<(File, u64), KeptError> {
    let opened = OpenOptions::new().create(true).append(true).open(path).and_then(|file| {
        file.set_len(len)?;
        file.sync_data()?;
        Ok(file)
    });
    let file = opened.map_err(|cause| KeptError::Io { path: path.to_path_buf(), cause })?;
    Ok((file, len))
}

/// Appends a line: checksum and change.
fn write_line(out: &mut Vec<u8>, delta: &Delta) {
    // The types are ours, and none of them can fail to be written.
    let json = serde_json::to_vec(delta).unwrap_or_default();
    out.extend_from_slice(format!("{:08x} ", crc32fast::hash(&json)).as_bytes());
    out.extend_from_slice(&json);
    out.push(b'\n');
}

/// Applies the lines of a file to the map, and returns the bytes of those that are whole. The last may be torn if
/// `may_be_torn`; a file that is not there has no lines.
fn read_lines(path: &Path, map: &mut Map, may_be_torn: bool) -> Result<u64, KeptError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(cause) => return Err(KeptError::Io { path: path.to_path_buf(), cause }),
    };
    let mut good_len = 0;
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_last = good_len + line.len() == bytes.len();
        match read_line(line) {
            Ok(delta) => {
                map.apply(&delta).map_err(|error| KeptError::Damaged {
                    path: path.to_path_buf(),
                    line: index + 1,
                    what: format!("it does not fit the line before it: {error:?}"),
                })?;
                good_len += line.len();
            }
            Err(_) if is_last && may_be_torn => {
                log::info!("{}: cut off a torn line of {} bytes", path.display(), line.len());
                break;
            }
            Err(what) => {
                let path = path.to_path_buf();
                return Err(KeptError::Damaged { path, line: index + 1, what });
            }
        }
    }
    Ok(good_len as u64)
}

fn read_line(line: &[u8]) -> Result<Delta, String> {
    let line = line.strip_suffix(b"\n").ok_or("it has no end")?;
    let (digits, json) = line.split_at_checked(CRC_LEN).ok_or("it is too short")?;
    let json = json.strip_prefix(b" ").ok_or("no space behind the checksum")?;
    let digits = std::str::from_utf8(digits).map_err(|error| error.to_string())?;
    let crc = u32::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
    match crc == crc32fast::hash(json) {
        true => serde_json::from_slice(json).map_err(|error| error.to_string()),
        false => Err("its checksum is wrong".into()),
    }
}

/// Puts a file in the place of the one of that name, durably.
fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), KeptError> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|cause| KeptError::Io { path: path.clone(), cause })
}

/// Returns which start of the machine this is; empty where the system does not say.
fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use cluster::{Incarnation, ServerId, ServerInfo, Standing, Version};

    use super::*;

    const WELCOME: Welcome = Welcome { cluster: 0xAB, slot_count: 4, replica_count: 3 };

    /// Returns a change that adds server number `to`.
    fn delta(to: u64) -> Delta {
        let server = ServerInfo {
            address: format!("127.0.0.1:{to}"),
            incarnation: Incarnation(1),
            life: to,
            standing: Standing::Standby,
            changed: Version(to),
        };
        let servers = vec![(ServerId(u128::from(to)), server)];
        Delta { from: Version(to - 1), to: Version(to), servers, ring: None, slots: Vec::new() }
    }

    fn kept_with(dir: &Path, count: u64) -> Kept {
        let mut kept = Kept::create(dir, &WELCOME).unwrap();
        for to in 1..=count {
            kept.keep(&[delta(to)]).unwrap();
        }
        kept
    }

    #[test]
    fn what_was_kept_is_there_in_the_next_life() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Kept::open(dir.path()).unwrap().is_none());
        let map = kept_with(dir.path(), 3).map().clone();
        let again = Kept::open(dir.path()).unwrap().unwrap();
        assert_eq!((again.map(), again.welcome()), (&map, WELCOME));
        assert_eq!(again.map().version(), Version(3));
    }

    #[test]
    fn a_log_cut_at_any_byte_gives_the_changes_that_are_whole_r9() {
        let dir = tempfile::tempdir().unwrap();
        drop(kept_with(dir.path(), 3));
        let log = dir.path().join("cluster/log");
        let map = dir.path().join("cluster/map");
        let (whole, start) = (fs::read(&log).unwrap(), fs::read(&map).unwrap());
        for len in 0..=whole.len() {
            fs::write(&map, &start).unwrap();
            fs::write(&log, &whole[..len]).unwrap();
            let mut kept = Kept::open(dir.path()).unwrap().unwrap();
            let count = whole[..len].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(kept.map().version(), Version(count as u64), "cut at {len}");
            // What comes next stands behind the last whole line, not behind the torn one.
            kept.keep(&[delta(count as u64 + 1)]).unwrap();
            let again = Kept::open(dir.path()).unwrap().unwrap();
            assert_eq!(again.map(), kept.map(), "cut at {len}");
        }
    }

    /// Copies the files of `from` to an empty folder, and returns that.
    fn copied(from: &Path) -> tempfile::TempDir {
        let to = tempfile::tempdir().unwrap();
        fs::create_dir(to.path().join("cluster")).unwrap();
        for file in fs::read_dir(from.join("cluster")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.path().join("cluster").join(file.file_name())).unwrap();
        }
        to
    }

    #[test]
    fn a_kill_at_any_step_of_keeping_leaves_the_old_map_or_the_new_one_r9() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = kept_with(dir.path(), 3);
        let old = copied(dir.path());
        kept.keep(&[delta(4)]).unwrap();
        let appended = copied(dir.path());
        kept.write_map().unwrap();
        let emptied = copied(dir.path());
        let read = |folder: &Path, name: &str| fs::read(folder.join("cluster").join(name)).unwrap();
        let (log, map) = (read(appended.path(), "log"), read(emptied.path(), "map"));
        assert!(
            read(emptied.path(), "log").is_empty() && log.len() > read(old.path(), "log").len()
        );

        // Before each step of `keep`, and of the whole map that follows a long log: what is there, and what it comes to.
        let mut states = vec![("nothing written", old, 3), ("the line written", appended, 4)];
        for len in [0, 1, map.len() / 2, map.len() - 1, map.len()] {
            let state = copied(states[1].1.path());
            fs::write(state.path().join("cluster/map.new"), &map[..len]).unwrap();
            states.push(("a new map beside, part of it or all", state, 4));
        }
        let renamed = copied(emptied.path());
        fs::write(renamed.path().join("cluster/log"), &log).unwrap();
        states.push(("the new map in place, the log as it was", renamed, 4));
        states.push(("the log emptied", emptied, 4));
        for (what, folder, version) in states {
            let mut again = Kept::open(folder.path()).unwrap().unwrap();
            assert_eq!(again.map().version(), Version(version), "{what}");
            again.keep(&[delta(version + 1)]).unwrap();
            let last = Kept::open(folder.path()).unwrap().unwrap();
            assert_eq!(last.map(), again.map(), "{what}: it goes on");
            assert_eq!(last.map().version(), Version(version + 1), "{what}");
        }
    }

    #[test]
    fn a_flipped_byte_before_the_last_line_is_damage_with_its_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        drop(kept_with(dir.path(), 3));
        let log = dir.path().join("cluster/log");
        let mut bytes = fs::read(&log).unwrap();
        bytes[20] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let error = Kept::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("log") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn a_long_log_gives_way_to_a_whole_map() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = kept_with(dir.path(), 3);
        kept.log_len = LOG_LEN_MAX;
        // The file is made as long, so that what is cut off behind the last line is nothing that was kept.
        kept.log.set_len(LOG_LEN_MAX).unwrap();
        kept.keep(&[delta(4)]).unwrap();
        assert_eq!(kept.log_len, 0);
        let again = Kept::open(dir.path()).unwrap().unwrap();
        assert_eq!((again.map(), again.log_len), (kept.map(), 0));
    }

    #[test]
    fn a_server_is_complete_unless_something_acknowledged_may_be_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::create(dir.path(), &WELCOME).unwrap();
        assert!(kept.is_complete(), "new");
        for (is_synced, is_clean, is_same_boot, is_complete) in [
            (true, false, false, true),
            (false, true, false, true),
            (false, false, true, true),
            (false, false, false, false),
        ] {
            kept.begin(is_synced, true).unwrap();
            kept.about.is_clean = is_clean;
            if !is_same_boot {
                kept.about.boot = "an earlier one".into();
            }
            assert_eq!(kept.is_complete(), is_complete, "{:?}", kept.about);
        }
    }

    #[test]
    fn what_is_owed_stands_through_lives_until_the_coordinator_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::create(dir.path(), &WELCOME).unwrap();
        kept.begin(false, false).unwrap();
        for _ in 0..2 {
            kept = Kept::open(dir.path()).unwrap().unwrap();
            assert!(!kept.is_complete(), "a life that did not register");
            kept.begin(true, kept.is_complete()).unwrap();
        }
        kept.settle().unwrap();
        assert!(Kept::open(dir.path()).unwrap().unwrap().is_complete());
    }
}
