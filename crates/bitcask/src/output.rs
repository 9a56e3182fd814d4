//! Records copied into new data files, by merges and by recovery.
//!
//! Nothing points to the copies before the files are finished: sealed, synced, their names durable. Until then
//! they can be thrown away without a trace.

use std::path::PathBuf;
use std::sync::Arc;

use crate::data_file::{DataFile, FILE_HEADER_LEN, FileId, Footer};
use crate::disk::Disk;
use crate::error::{Context, Result};
use crate::inner::Inner;
use crate::record::{Head, stamp};
use crate::types::Lsn;

/// Bytes gathered before they are written.
const CHUNK_LEN: usize = 1 << 20;

/// Data files being written.
pub(crate) struct Output<'a> {
    store: &'a Inner,
    file_len_max: u64,
    finished: Vec<Arc<DataFile>>,
    current: Option<Current>,
}

struct Current {
    file: DataFile,
    /// What the footer will say; its end counts the gathered bytes too.
    footer: Footer,
    gathered: Vec<u8>,
    written_to: u64,
}

impl Current {
    fn flush(&mut self) -> Result<()> {
        self.file.write(&self.gathered, self.written_to)?;
        // Else the sync at the end would have the log's syncs wait behind all of it.
        self.file.begin_write_back(self.written_to, self.gathered.len() as u64);
        self.written_to += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl<'a> Output<'a> {
    /// Begins with no file; a file that reaches `file_len_max` bytes is followed by another.
    pub(crate) fn new(store: &'a Inner, file_len_max: u64) -> Self {
        Self { store, file_len_max, finished: Vec::new(), current: None }
    }

    /// Copies a whole record, whose value was found whole. Its head gets the checksum of its new place; the value's
    /// checksum stays the one it was written with.
    pub(crate) fn copy(&mut self, record: &[u8], head_len: usize, lsn: Lsn) -> Result<()> {
        let current = self.room(record.len())?;
        let start = current.gathered.len();
        current.gathered.extend_from_slice(record);
        let place = current.gathered.get_mut(start..).unwrap_or_default();
        stamp(place, head_len, current.file.seed, current.footer.data_end);
        current.footer.count(lsn, record.len());
        if current.gathered.len() >= CHUNK_LEN { current.flush() } else { Ok(()) }
    }

    /// Writes a record that was not there before.
    pub(crate) fn write(&mut self, head: &Head<'_>, value: &[u8]) -> Result<()> {
        let mut record = Vec::with_capacity(head.record_len());
        head.encode(value, &mut record);
        self.copy(&record, head.len(), head.lsn)
    }

    /// Returns the file to write `len` bytes to.
    fn room(&mut self, len: usize) -> Result<&mut Current> {
        let is_over = self.current.as_ref().is_some_and(|current| {
            current.footer.record_count > 0
                && current.footer.data_end + len as u64 > self.file_len_max
        });
        if is_over {
            self.finish_current()?;
        }
        match &mut self.current {
            Some(current) => Ok(current),
            empty => {
                let file = self.store.create_data_file()?;
                let (footer, gathered) = (Footer::empty(), Vec::with_capacity(CHUNK_LEN));
                Ok(empty.insert(Current { file, footer, gathered, written_to: FILE_HEADER_LEN }))
            }
        }
    }

    fn finish_current(&mut self) -> Result<()> {
        if let Some(current) = &mut self.current {
            current.flush()?;
            current.file.seal(&current.footer)?;
        }
        self.finished.extend(self.current.take().map(|current| Arc::new(current.file)));
        Ok(())
    }

    /// Finishes the files and returns them.
    pub(crate) fn finish(&mut self) -> Result<Vec<Arc<DataFile>>> {
        self.finish_current()?;
        let folder = || self.store.disk.path().to_owned();
        if !mutant!("name of a merged file never synced") {
            self.store.disk.sync_folder().context("sync", folder)?;
        }
        Ok(std::mem::take(&mut self.finished))
    }

    /// Throws the files away. What cannot be removed now is cleared away at the next opening: the manifest does not
    /// know it.
    pub(crate) fn discard(self) {
        let current = self.current.iter().map(|current| current.file.id);
        for id in self.finished.iter().map(|file| file.id).chain(current) {
            drop(remove(&*self.store.disk, &id.data_name()));
        }
    }
}

fn remove(disk: &dyn Disk, name: &str) -> Result<()> {
    disk.remove(name).context("remove", || PathBuf::from(name))
}

/// Takes the names of a data file and its hint file away. A name that is not there is none to take away.
pub(crate) fn remove_file(disk: &dyn Disk, id: FileId) -> Result<()> {
    for name in [id.hint_name(), id.data_name()] {
        match disk.remove(&name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.context("remove", || disk.path().join(&name))?,
        }
    }
    Ok(())
}
