//! A disk that lives in memory, loses power on command, and fails at any operation asked for.
//!
//! [`SimWorld`] is a machine's storage: folders, files, locks, and a seed. [`SimDisk`] is one of its folders, as
//! the engine sees it. Each file has a *volatile* and a *durable* image, each folder too; between them lie the
//! changes that no sync has covered. A crash keeps some of those:
//!
//! | mode | of the bytes not yet synced | of the names not yet synced |
//! |---|---|---|
//! | `Kept` | all stay, still unsynced: the process died, the machine did not | all stay |
//! | `Lost` | none | none |
//! | `Cut` | the oldest writes, the last in part | the oldest |
//! | `Zeroed` | as `Cut`, then zeros to the end of the page, or of all that was written | any |
//! | `Reordered` | any 4 KiB pages; zeros or old bytes where one is missing | any |
//! | `Any` | one of the above, file by file | one of the above |
//!
//! After a crash the handles and folders of the life before give errors and the locks are free: a store left
//! over from before the crash can do no harm. The same seed and the same calls give the same world.
//!
//! Left out: torn 4 KiB pages at rest (the engine does not overwrite), sparse files, permissions, and time.

mod fault;
mod folder;
mod inode;
mod ops;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use super::{Disk, DiskFile, DiskLock};
pub use fault::{Fault, FaultKind, Operation};
use state::{Handle, State};

/// Bytes no simulated file may reach: 4 GiB, as it is all in memory.
const FILE_LEN_MAX: usize = 1 << 32;

/// What a crash leaves of what was not synced; see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Everything: only the process died.
    Kept,
    /// Nothing.
    Lost,
    /// A prefix, cut at any byte.
    Cut,
    /// A prefix, then zeros.
    Zeroed,
    /// Any pages.
    Reordered,
    /// One of the other power cuts, for each file by itself.
    Any,
}

impl CrashMode {
    /// Every mode.
    pub const ALL: [Self; 6] =
        [Self::Kept, Self::Lost, Self::Cut, Self::Zeroed, Self::Reordered, Self::Any];

    /// Returns the mode, or one of the power cuts in place of `Any`.
    fn or_any(self, rng: &mut Rng) -> Self {
        match (self, rng.u8(..4)) {
            (Self::Any, 0) => Self::Lost,
            (Self::Any, 1) => Self::Cut,
            (Self::Any, 2) => Self::Zeroed,
            (Self::Any, _) => Self::Reordered,
            (mode, _) => mode,
        }
    }
}

/// One operation, as the trace remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Its number, from 1.
    pub number: u64,
    /// What it was.
    pub operation: Operation,
    /// The file's name, as it was opened; empty for a folder.
    pub name: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How it was made to fail, if it was.
    pub failure: Option<FaultKind>,
}

/// A machine's storage. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct SimWorld(Arc<Mutex<State>>);

impl SimWorld {
    /// Returns an empty world whose every chance is decided by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while holding the lock left the state whole: no step of it can be seen half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the folder `path`, made if need be, as a process of the present life sees it.
    #[must_use]
    pub fn folder(&self, path: impl AsRef<Path>) -> SimDisk {
        let mut state = self.state();
        state.ensure_folder(path.as_ref());
        SimDisk { world: self.clone(), life: state.life, path: path.as_ref().to_owned() }
    }

    /// Crashes the machine, or the process, and starts it again.
    pub fn crash(&self, mode: CrashMode) {
        self.state().crash(mode);
    }

    /// Makes the operation numbered `at`, or the next one if that is past, the last before a crash.
    pub fn crash_at(&self, at: u64) {
        self.state().crash_at = Some(at);
    }

    /// Plans a failure, besides those planned already.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Forgets every planned failure, and the planned crash.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.crash_at = None;
    }

    /// Limits the disk to `capacity` bytes of files, or lifts the limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// Returns how many operations there have been, those that failed included.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.state().op_count
    }

    /// Returns the latest operations, oldest first.
    #[must_use]
    pub fn trace(&self) -> Vec<Traced> {
        self.state().trace.iter().cloned().collect()
    }
}

/// A folder of a [`SimWorld`], in one life of the machine.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: SimWorld,
    life: u64,
    path: PathBuf,
}

impl SimDisk {
    /// Returns the only folder of a new world; see [`SimWorld`] for more than that.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SimWorld::new(seed).folder("/sim")
    }

    /// Returns the machine the folder is on.
    #[must_use]
    pub fn world(&self) -> &SimWorld {
        &self.world
    }

    /// Returns the names of the files, in order. Like all that follows, this is done past the store: it counts as
    /// no operation and cannot fail.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.world.state().names(&self.path)
    }

    /// Returns what the file `name` holds, if there is one.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.world.state().contents(&self.path, name)
    }

    /// Puts a file there, durable at once, in place of any of that name.
    pub fn place(&self, name: &str, bytes: Vec<u8>) {
        self.world.state().place(&self.path, name, bytes);
    }

    /// Takes the file `name` away for good.
    pub fn take(&self, name: &str) {
        self.world.state().take(&self.path, name);
    }

    /// Flips bits of the byte at `offset`: those set in `mask`.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        self.world.state().tamper(&self.path, name, |bytes| {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        });
    }

    /// Cuts the file to `len` bytes.
    pub fn cut(&self, name: &str, len: usize) {
        self.world.state().tamper(&self.path, name, |bytes| bytes.truncate(len));
    }

    /// Overwrites `range` of the file with zeros, as far as it reaches.
    pub fn zero(&self, name: &str, range: Range<usize>) {
        self.world.state().tamper(&self.path, name, |bytes| {
            let end = range.end.min(bytes.len());
            if let Some(place) = bytes.get_mut(range.start..end) {
                place.fill(0);
            }
        });
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.world.state().create(self.life, &self.path, check_name(name)?)?;
        Ok(self.file(inode, name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.world.state().open(self.life, &self.path, check_name(name)?)?;
        Ok(self.file(inode, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (check_name(from)?, check_name(to)?);
        self.world.state().rename(self.life, &self.path, from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.world.state().remove(self.life, &self.path, check_name(name)?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.world.state().list(self.life, &self.path)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.world.state().sync_folder(self.life, &self.path)
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>> {
        self.world.state().lock(self.life, &self.path, check_name(name)?)?;
        Ok(Box::new(SimLock { disk: self.clone(), name: name.to_owned() }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<Arc<dyn Disk>> {
        self.world.state().create_folder(self.life, path)?;
        Ok(Arc::new(Self { path: path.to_owned(), ..self.clone() }))
    }

    fn link(&self, name: &str, to: &Path) -> io::Result<()> {
        self.world.state().link(self.life, &self.path, check_name(name)?, to)
    }

    fn free_len(&self) -> io::Result<u64> {
        self.world.state().free_len(self.life)
    }
}

impl SimDisk {
    fn file(&self, inode: u64, name: &str) -> Arc<dyn DiskFile> {
        let handle = Handle { life: self.life, inode, name: name.to_owned() };
        Arc::new(SimFile { world: self.world.clone(), handle })
    }
}

/// Refuses a name that would lead out of the folder.
fn check_name(name: &str) -> io::Result<&str> {
    let is_plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    if is_plain { Ok(name) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[derive(Debug)]
struct SimFile {
    world: SimWorld,
    handle: Handle,
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.world.state().write(&self.handle, bytes, to_index(offset)?)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // Past any end there is nothing to read, however far past.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.world.state().read(&self.handle, buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.world.state().sync(&self.handle)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.world.state().set_len(&self.handle, to_index(len)?)
    }

    fn file_len(&self) -> io::Result<u64> {
        self.world.state().file_len(&self.handle)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.world.state().release(self.handle.life, self.handle.inode);
    }
}

fn to_index(offset: u64) -> io::Result<usize> {
    // No simulated file is anywhere near this long; such an offset was read from damaged bytes.
    let index = usize::try_from(offset).ok().filter(|&index| index < FILE_LEN_MAX);
    index.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    name: String,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.world.state().unlock(self.disk.life, &self.disk.path, &self.name);
    }
}
