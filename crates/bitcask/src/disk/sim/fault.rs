//! What goes wrong and when: operations are counted, and faults are set by number.
//!
//! | planned | operation N | operations after N |
//! |---|---|---|
//! | `Fault::once` | fails | work |
//! | `Fault::lasting` | fails | fail too if they change the disk; reads go on |
//! | `SimWorld::crash_at` | fails, done or not | fail, undone, until `SimWorld::crash` |
//!
//! An `EIO` leaves its operation done, half done or undone, as the seed has it. `ENOSPC` strikes only what
//! takes space, and leaves it undone, but for a write, which may stop half-way, and a sync.

use std::io;

/// What an operation does, as far as faults care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::create`](crate::Disk::create).
    Create,
    /// [`Disk::open`](crate::Disk::open).
    Open,
    /// [`Disk::rename`](crate::Disk::rename).
    Rename,
    /// [`Disk::remove`](crate::Disk::remove).
    Remove,
    /// [`Disk::list`](crate::Disk::list).
    List,
    /// [`Disk::sync_folder`](crate::Disk::sync_folder).
    SyncFolder,
    /// [`Disk::lock`](crate::Disk::lock).
    Lock,
    /// [`Disk::create_folder`](crate::Disk::create_folder).
    CreateFolder,
    /// [`Disk::link`](crate::Disk::link).
    Link,
    /// [`Disk::free_len`](crate::Disk::free_len).
    FreeLen,
    /// [`DiskFile::write_at`](crate::DiskFile::write_at).
    Write,
    /// [`DiskFile::read_at`](crate::DiskFile::read_at).
    Read,
    /// [`DiskFile::sync`](crate::DiskFile::sync).
    Sync,
    /// [`DiskFile::set_len`](crate::DiskFile::set_len).
    SetLen,
    /// [`DiskFile::file_len`](crate::DiskFile::file_len).
    FileLen,
}

impl Operation {
    /// Says whether a disk on which every write fails refuses it.
    fn is_change(self) -> bool {
        match self {
            Self::Create
            | Self::Rename
            | Self::Remove
            | Self::SyncFolder
            | Self::CreateFolder
            | Self::Link
            | Self::Write
            | Self::Sync
            | Self::SetLen => true,
            Self::Open | Self::List | Self::Lock | Self::FreeLen | Self::Read | Self::FileLen => {
                false
            }
        }
    }

    /// Says whether a full disk may refuse it.
    fn takes_space(self) -> bool {
        match self {
            Self::Create
            | Self::CreateFolder
            | Self::Link
            | Self::Write
            | Self::Sync
            | Self::SetLen => true,
            Self::Rename
            | Self::Remove
            | Self::SyncFolder
            | Self::Open
            | Self::List
            | Self::Lock
            | Self::FreeLen
            | Self::Read
            | Self::FileLen => false,
        }
    }
}

/// The error an operation fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device does not answer: the operation may have happened, in whole or in part.
    Eio,
    /// There is no space left.
    Enospc,
}

impl FaultKind {
    /// Returns the error as the operating system words it.
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Eio => rustix::io::Errno::IO.raw_os_error(),
            Self::Enospc => rustix::io::Errno::NOSPC.raw_os_error(),
        })
    }
}

/// A planned failure of one operation, or of all changes from one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    first: u64,
    is_lasting: bool,
    kind: FaultKind,
}

impl Fault {
    /// Returns the fault that strikes the operation numbered `at` (see [`SimWorld::op_count`](super::SimWorld::op_count)).
    #[must_use]
    pub fn once(at: u64, kind: FaultKind) -> Self {
        Self { first: at, is_lasting: false, kind }
    }

    /// Returns the fault that strikes the operation numbered `first` and every change of the disk after it.
    #[must_use]
    pub fn lasting(first: u64, kind: FaultKind) -> Self {
        Self { first, is_lasting: true, kind }
    }

    /// Says which error, if any, operation number `number` meets.
    pub(super) fn strikes(&self, number: u64, operation: Operation) -> Option<FaultKind> {
        let is_due = number == self.first
            || (self.is_lasting && number > self.first && operation.is_change());
        let is_apt = match self.kind {
            FaultKind::Eio => true,
            FaultKind::Enospc => operation.takes_space(),
        };
        (is_due && is_apt).then_some(self.kind)
    }
}
