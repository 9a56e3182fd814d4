//! Where decisions become durable: behind one small trait, so that a log on several machines could take its place.
//!
//! The log on disk is appended to and synced, many decisions at once where many wait. When it is longer than
//! [`LOG_LEN_MAX`] a snapshot takes its place.
//!
//! | the disk … | then |
//! |---|---|
//! | is full | what was written of the append is cut off again; it is tried again every [`FULL_RETRY`], and until it succeeds nobody is told anything |
//! | fails a write or a sync | the ECS ends: after a sync that failed nobody knows what is on the disk, and the next start reads what is |
//! | is full when a snapshot is due | the log stays and grows; the snapshot is tried again when it has grown as much once more |

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cluster::coordinator::Entry;

use crate::Error;
use crate::checked::write_line;
use crate::folder::{Folder, failed};

/// Bytes of the log from which on a snapshot takes its place: a snapshot of 4,096 slots has about 1 MiB.
const LOG_LEN_MAX: u64 = 8 << 20;

/// How long a full disk is left alone before the next try.
const FULL_RETRY: Duration = Duration::from_millis(250);

/// Makes decisions durable.
pub(crate) trait Journal: Send + fmt::Debug {
    /// Makes `entries` durable, in their order, before it returns.
    ///
    /// # Errors
    /// Nobody may be told of the entries, now or later.
    fn append(&mut self, entries: &[&Entry]) -> Result<(), Error>;

    /// Returns whether it is time for a snapshot.
    fn is_long(&self) -> bool;

    /// Lets a snapshot, in which all that was appended is, take the place of the log.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn cut(&mut self, snapshot: &str) -> Result<(), Error>;
}

/// What the log needs of a file, so that tests can have one that fails.
pub(crate) trait LogFile: Send + fmt::Debug {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }
}

/// The log in the ECS's folder.
#[derive(Debug)]
pub(crate) struct Log<F> {
    folder: Folder,
    cluster: u128,
    path: PathBuf,
    file: F,
    /// Bytes that are whole and durable.
    len: u64,
    /// The length from which on a snapshot is due.
    len_max: u64,
    /// Ends the waiting for a full disk.
    is_ending: Arc<AtomicBool>,
}

impl Log<File> {
    /// Opens the log of `folder` behind its first `len` bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(
        folder: Folder,
        cluster: u128,
        len: u64,
        is_ending: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let (file, path) = (folder.open_log(len)?, folder.path("log"));
        Ok(Self { folder, cluster, path, file, len, len_max: LOG_LEN_MAX, is_ending })
    }
}

impl<F: LogFile> Log<F> {
    /// Writes `bytes` behind the log's end, waiting for room on the disk.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut is_told = false;
        loop {
            match self.file.write(bytes) {
                Ok(()) => break,
                Err(error) if is_full(&error) && !self.is_ending.load(Ordering::Relaxed) => {
                    if !is_told {
                        log::error!(
                            "{}: {error}; nothing is decided until there is room",
                            self.path.display()
                        );
                        is_told = true;
                    }
                    self.file.set_len(self.len).map_err(failed(&self.path, "cut"))?;
                    thread::park_timeout(FULL_RETRY);
                }
                Err(error) => return Err(failed(&self.path, "write")(error)),
            }
        }
        if is_told {
            log::info!("{}: there is room again", self.path.display());
        }
        Ok(())
    }
}

impl<F: LogFile> Journal for Log<F> {
    fn append(&mut self, entries: &[&Entry]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| write_line(&mut bytes, &entry.to_line()));
        self.write(&bytes)?;
        self.file.sync().map_err(failed(&self.path, "sync"))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.len > self.len_max
    }

    fn cut(&mut self, snapshot: &str) -> Result<(), Error> {
        match self.folder.write_snapshot(self.cluster, snapshot) {
            Ok(()) => {}
            Err(Error::Io { path, cause, .. }) if is_full(&cause) => {
                log::warn!("{}: {cause}; the log stays as it is", path.display());
                // What was begun takes room that the log may need.
                fs::remove_file(self.folder.path("snapshot.new")).unwrap_or_default();
                self.len_max = self.len.saturating_add(LOG_LEN_MAX);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let cut = self.file.set_len(0).and_then(|()| self.file.sync());
        cut.map_err(failed(&self.path, "cut"))?;
        log::info!("wrote a snapshot, and cut the log of {} bytes", self.len);
        (self.len, self.len_max) = (0, LOG_LEN_MAX);
        Ok(())
    }
}

/// Returns whether there was no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
