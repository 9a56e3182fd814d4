//! A Bitcask.
mod disk;
mod types;
pub use disk::{Disk, DiskFile, DiskLock, RealDisk};
pub use types::{Lsn, Op, Position, Request, SLOT_COUNT, SlotId, Write};
