//! The disk as the engine sees it: one flat folder of files, behind two small traits.
//!
//! [`RealDisk`] is the operating system's; `SimDisk` (feature `sim`) keeps a *volatile* and
//! a *durable* image of each file and folder, and can crash or fail at any operation. The engine does
//! every bit of its I/O through these traits, so that every such moment can be tried.
//!
//! What the engine relies on, and nothing more:
//!
//! | operation | visible to this process | survives power loss |
//! |---|---|---|
//! | `write_at` | at once | after the file's `sync` |
//! | `create`, `rename`, `remove`, `link` | at once | after the folder's `sync_folder` |
//! | `set_len` | at once | after the file's `sync` |
//!
//! An operation that fails may have happened in part. After a failed `sync` nothing is known about any
//! byte written since the last good one, and repeating it proves nothing (Rebello et al., *Can
//! Applications Recover from fsync Failures?*, ATC 2020).

mod real;
#[cfg(any(test, feature = "sim"))]
mod sim;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim::{CrashMode, Fault, FaultKind, Operation, SimDisk, SimWorld, Traced};

/// One folder of files, without subfolders.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Returns where the folder is, for messages.
    fn path(&self) -> &Path;

    /// Creates the file `name`, empty, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one; anything else the disk says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens the file `name` for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none; anything else the disk says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives the file `from` the name `to`, in place of a file of that name if there is one.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the name `name`; who has the file open can go on reading it.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns the names of the files, in no promised order.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals so far durable.
    ///
    /// # Errors
    /// What the disk says; they may then be durable or not.
    fn sync_folder(&self) -> io::Result<()>;

    /// Takes the exclusive lock of the file `name`, which is created if need be. The lock ends with the value.
    ///
    /// # Errors
    /// `WouldBlock` when another holder has it; anything else the disk says.
    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>>;

    /// Creates the new folder `path`, which must not exist or be empty, and returns it.
    ///
    /// # Errors
    /// `AlreadyExists` when it holds something; anything else the disk says.
    fn create_folder(&self, path: &Path) -> io::Result<Arc<dyn Disk>>;

    /// Gives the file `name` a second name, the same one, in the folder `to`, which `create_folder` made.
    ///
    /// # Errors
    /// What the disk says, `CrossesDevices` among it.
    fn link(&self, name: &str, to: &Path) -> io::Result<()>;

    /// Returns how many bytes can still be written to this disk.
    ///
    /// # Errors
    /// What the disk says.
    fn free_len(&self) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`; the file grows if need be.
    ///
    /// # Errors
    /// What the disk says; a part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buf` from `offset` on and returns how many bytes there were: fewer than `buf` only at the file's end.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the file's bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the disk says; see the module's words on failed syncs.
    fn sync(&self) -> io::Result<()>;

    /// Has the disk begin to write `len` bytes from `offset` on, so that a later `sync` need not wait long. Promises nothing.
    fn begin_write_back(&self, _offset: u64, _len: u64) {}

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns the file's length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn file_len(&self) -> io::Result<u64>;
}

/// An exclusive lock on a folder, given up when dropped.
pub trait DiskLock: fmt::Debug + Send + Sync {}
