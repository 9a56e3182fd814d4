//! The operating system's disk: positional reads and writes, `fdatasync`, an advisory lock on an open file.
//!
//! The lock is the kernel's own (`flock`): it ends with the process, however that ends, so there is
//! no stale lock file to clear away by hand.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Advice;

use super::{Disk, DiskFile, DiskLock};

/// A folder of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    folder: PathBuf,
}

impl RealDisk {
    /// Opens the folder `path`, creating it and its parents if need be.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            sync_parent(path)?;
        }
        Ok(Self { folder: path.to_owned() })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Makes the entry of `path` in its parent folder durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

impl Disk for RealDisk {
    fn path(&self) -> &Path {
        &self.folder
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(self.at(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.at(name);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            // A store on a read-only medium can still be read and verified.
            Err(error) if is_write_denied(&error) => File::open(&path)?,
            opened => opened?,
        };
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Names that are no UTF-8, and folders, are not the engine's.
            if let (true, Ok(name)) =
                (entry.file_type()?.is_file(), entry.file_name().into_string())
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(self.at(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn create_folder(&self, path: &Path) -> io::Result<Arc<dyn Disk>> {
        let disk = Self::open(path)?;
        if fs::read_dir(path)?.next().is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Arc::new(disk))
    }

    fn link(&self, name: &str, to: &Path) -> io::Result<()> {
        fs::hard_link(self.at(name), to.join(name))
    }

    fn free_len(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn is_write_denied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read_len) => filled += read_len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn begin_write_back(&self, offset: u64, len: u64) {
        // Linux writes dirty pages of the range without waiting, and lets go of clean ones only: these are not yet.
        rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(len), Advice::DontNeed).ok();
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn file_len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Holds the lock by holding the file open.
#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

impl DiskLock for RealLock {}
