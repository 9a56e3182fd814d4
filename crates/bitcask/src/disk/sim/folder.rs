//! One simulated folder: its names as the process sees them, and what a power cut may leave of them.
//!
//! A name made, moved or removed is durable only after the folder's sync. Until then a crash keeps or loses each
//! such step by itself, in any combination: POSIX promises no order. A rename is one step: its two halves
//! happen together or not at all. A failed sync gives no name up, unlike a file's bytes: names are the file system's own
//! journal, and one that cannot write it stops altogether (Rebello et al., ATC 2020, on ext4 and XFS).

use std::collections::BTreeMap;

use fastrand::Rng;

use super::CrashMode;

/// The number of a file in the simulated world.
pub(super) type InodeId = u64;

/// A change of a folder's names that no sync has covered yet.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A new name, by creation or by linking.
    Insert { name: String, inode: InodeId },
    /// `from` becomes `to`.
    Rename { from: String, to: String, inode: InodeId },
    /// A name goes.
    Remove { name: String },
}

type Names = BTreeMap<String, InodeId>;

/// A folder's names.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) volatile: Names,
    durable: Names,
    pending: Vec<Step>,
}

impl Folder {
    pub(super) fn change(&mut self, step: Step) {
        step.apply(&mut self.volatile);
        self.pending.push(step);
    }

    /// Makes every change so far durable.
    pub(super) fn sync(&mut self) {
        for step in self.pending.drain(..) {
            step.apply(&mut self.durable);
        }
    }

    /// Does what a sync that fails does: each change reaches the disk or stays to be synced.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        for step in std::mem::take(&mut self.pending) {
            if rng.bool() {
                step.apply(&mut self.durable);
            } else {
                self.pending.push(step);
            }
        }
    }

    /// Puts the folder into the state in which a crash of this mode leaves it.
    pub(super) fn crash(&mut self, mode: CrashMode, rng: &mut Rng) {
        let mode = mode.or_any(rng);
        if mode == CrashMode::Kept {
            return;
        }
        let kept_count = rng.usize(..=self.pending.len());
        for (index, step) in self.pending.drain(..).enumerate() {
            let is_kept = match mode {
                CrashMode::Lost | CrashMode::Kept | CrashMode::Any => false,
                CrashMode::Cut => index < kept_count,
                CrashMode::Zeroed | CrashMode::Reordered => rng.bool(),
            };
            if is_kept {
                step.apply(&mut self.durable);
            }
        }
        self.volatile.clone_from(&self.durable);
    }

    /// Puts the name there for good, past any crash.
    pub(super) fn place(&mut self, name: &str, inode: InodeId) {
        self.volatile.insert(name.to_owned(), inode);
        self.durable.insert(name.to_owned(), inode);
    }

    /// Takes the name away for good.
    pub(super) fn take(&mut self, name: &str) {
        self.volatile.remove(name);
        self.durable.remove(name);
    }

    /// Returns the files that have a name here, or may have one after a crash.
    pub(super) fn inodes(&self) -> impl Iterator<Item = InodeId> {
        let pending = self.pending.iter().filter_map(Step::inode);
        self.volatile.values().chain(self.durable.values()).copied().chain(pending)
    }
}

impl Step {
    fn inode(&self) -> Option<InodeId> {
        match self {
            Self::Insert { inode, .. } | Self::Rename { inode, .. } => Some(*inode),
            Self::Remove { .. } => None,
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Insert { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}
