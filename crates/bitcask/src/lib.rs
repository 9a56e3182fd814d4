//! A Bitcask.
mod disk;
mod types;
#[cfg(any(test, feature = "sim"))]
pub use disk::{CrashMode, Fault, FaultKind, Operation, SimDisk, SimWorld, Traced};
pub use disk::{Disk, DiskFile, DiskLock, RealDisk};
pub use types::{Lsn, Op, Position, Request, SLOT_COUNT, SlotId, Write};
