//! The simulated world behind its lock: files, folders, locks, the count of operations and the planned faults.
//!
//! Every operation goes through [`State::step`], which counts it, notes it in the trace, and decides whether it
//! is done whole, done in part with an error, or not done at all. Nothing here iterates a hash map or reads
//! a clock, so the same calls with the same seed give the same world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::fault::{Fault, FaultKind, Operation};
use super::folder::{Folder, InodeId};
use super::inode::Inode;
use super::{CrashMode, Traced};

/// Operations the trace remembers: enough for one history, little enough for thousands of them.
const TRACE_COUNT_MAX: usize = 4096;

/// Free bytes of a disk without a set capacity: 1 TiB, more than any test writes.
const ROOMY_LEN: u64 = 1 << 40;

/// How much of an operation happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// It fails, and has happened in part, or in whole where there are no parts.
    Part,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    /// Rises at each crash; handles of earlier lives are dead.
    pub(super) life: u64,
    pub(super) op_count: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) crash_at: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) trace: VecDeque<Traced>,
    /// The power is off until the next call of `crash`.
    pub(super) is_down: bool,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    pub(super) locks: BTreeSet<(PathBuf, String)>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            life: 1,
            op_count: 0,
            faults: Vec::new(),
            crash_at: None,
            capacity: None,
            trace: VecDeque::new(),
            is_down: false,
            inodes: BTreeMap::new(),
            next_inode: 1,
            folders: BTreeMap::new(),
            locks: BTreeSet::new(),
        }
    }

    /// Counts an operation and does as much of it as is fated to happen.
    pub(super) fn step<T>(
        &mut self,
        life: u64,
        operation: Operation,
        what: (&str, u64),
        act: impl FnOnce(&mut Self, Extent) -> io::Result<T>,
    ) -> io::Result<T> {
        if life != self.life || self.is_down {
            return Err(FaultKind::Eio.error());
        }
        self.op_count += 1;
        let number = self.op_count;
        let planned = self.faults.iter().find_map(|fault| fault.strikes(number, operation));
        let failure = if self.crash_at.is_some_and(|at| at <= number) {
            self.is_down = true;
            Some(FaultKind::Eio)
        } else {
            planned
        };
        self.note(Traced { number, operation, name: what.0.to_owned(), offset: what.1, failure });
        let Some(kind) = failure else { return act(self, Extent::Whole) };
        let has_parts = match kind {
            FaultKind::Eio => true,
            FaultKind::Enospc => matches!(operation, Operation::Write | Operation::Sync),
        };
        if has_parts && self.rng.bool() {
            match act(self, Extent::Part) {
                Ok(_) | Err(_) => {}
            }
        }
        Err(kind.error())
    }

    fn note(&mut self, traced: Traced) {
        if self.trace.len() == TRACE_COUNT_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(traced);
    }

    /// Puts the world into the state in which a crash of this mode leaves it, with the power on again.
    pub(super) fn crash(&mut self, mode: CrashMode) {
        self.life += 1;
        self.is_down = false;
        self.crash_at = None;
        self.locks.clear();
        for folder in self.folders.values_mut() {
            folder.crash(mode, &mut self.rng);
        }
        for inode in self.inodes.values_mut() {
            inode.crash(mode, &mut self.rng);
        }
        self.forget_lost_inodes();
    }

    pub(super) fn forget_lost_inodes(&mut self) {
        let named: BTreeSet<InodeId> = self.folders.values().flat_map(Folder::inodes).collect();
        self.inodes.retain(|id, inode| inode.open_count > 0 || named.contains(id));
    }

    /// Makes the folder if there is none yet.
    pub(super) fn ensure_folder(&mut self, path: &Path) {
        self.folders.entry(path.to_owned()).or_default();
    }

    pub(super) fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        self.folders.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn find(&self, path: &Path, name: &str) -> io::Result<InodeId> {
        let folder = self.folders.get(path);
        let inode = folder.and_then(|folder| folder.volatile.get(name));
        inode.copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn add_inode(&mut self, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        id
    }

    pub(super) fn inode(&mut self, id: InodeId) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns how many bytes still fit.
    pub(super) fn room(&self) -> u64 {
        let Some(capacity) = self.capacity else { return ROOMY_LEN };
        let named = self.folders.values().flat_map(|folder| folder.volatile.values());
        let named: BTreeSet<InodeId> = named.copied().collect();
        let held =
            self.inodes.iter().filter(|(id, inode)| inode.open_count > 0 || named.contains(id));
        capacity.saturating_sub(held.map(|(_, inode)| inode.bytes().len() as u64).sum())
    }

    // What tests do past the store.

    pub(super) fn names(&self, path: &Path) -> Vec<String> {
        let folder = self.folders.get(path);
        folder.map(|folder| folder.volatile.keys().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn contents(&self, path: &Path, name: &str) -> Option<Vec<u8>> {
        let id = self.find(path, name).ok()?;
        self.inodes.get(&id).map(|inode| inode.bytes().to_vec())
    }

    pub(super) fn tamper(&mut self, path: &Path, name: &str, change: impl Fn(&mut Vec<u8>)) {
        if let Ok(id) = self.find(path, name)
            && let Ok(inode) = self.inode(id)
        {
            inode.tamper(change);
        }
    }

    pub(super) fn place(&mut self, path: &Path, name: &str, bytes: Vec<u8>) {
        self.ensure_folder(path);
        let id = self.add_inode(Inode::new(bytes));
        if let Ok(folder) = self.folder(path) {
            folder.place(name, id);
        }
    }

    pub(super) fn take(&mut self, path: &Path, name: &str) {
        if let Ok(folder) = self.folder(path) {
            folder.take(name);
        }
    }
}

/// An open file: which, in which life, and by which name it was opened.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) life: u64,
    pub(super) inode: InodeId,
    pub(super) name: String,
}

impl Handle {
    pub(super) fn at(&self, offset: usize) -> (&str, u64) {
        (&self.name, offset as u64)
    }
}
