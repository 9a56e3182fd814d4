//! A Bitcask: a log-structured key-value store with a key directory in memory.
//!
//! ```text
//!            append ──▶ | data file, growing |        one write and, for all who wait, one sync
//!                             │ full
//!                             ▼
//!  get ──▶ keydir ──▶ | sealed | sealed | sealed | ──▶ merge ──▶ | sealed |
//!          key → place
//! ```
//!
//! A write is [appended](Store::append) to the growing file, becomes durable with a [sync](Store::sync) that many share, and
//! becomes visible when it is [published](Store::publish): then the keydir, a table in memory, points to it. A
//! [get](Store::get) is one look into the keydir and one read. What is overwritten stays behind as dead bytes until a
//! [merge](Store::merge) copies what lives and removes the rest.
//!
//! Where several servers keep copies of a slot, records wait as [pending](Store::keep_pending) until they are known to be committed, and
//! the slot's [commit point](Store::set_commit_points) tells an opening which those are. The newest
//! [request](Store::request) of each client is remembered, so that a retry is told from a new write.
//!
//! Keys live in *slots*, up to [`SLOT_COUNT`] separate key spaces that can be created and dropped as a whole. Each record carries an
//! [`Lsn`] given by the caller, and **the highest lsn of a key wins**, wherever two records of a key meet.
//!
//! | module | |
//! |---|---|
//! | `disk` | the disk behind two traits |
//! | `record`, `data_file`, `hint`, `manifest` | the files' formats |
//! | `scan` | reading a data file past its damage |
//! | `keydir` | where each key's newest record is; pending records; requests; records read lately |
//! | `batch`, `log`, `durability` | appending, rotation, group commit |
//! | `publish` | how records come into force |
//! | `recovery` | opening |
//! | `merge`, `living`, `ends`, `output`, `pace` | winning back dead bytes |
//! | `walk`, `backup`, `verify`, `stats` | reading a slot, copying a store, checking one, counting |
//! | `slots`, `commit_point`, `pending`, `requests` | what callers do with slots, copies of slots and requests |
//! | `store`, `inner`, `maintain`, `health` | the whole, its parts and threads, and when it stops taking writes |
//!
//! After Sheehy and Smith, *Bitcask: A Log-Structured Hash Table for Fast Key/Value Data*, 2010. Left out, for the
//! layers above: replication, ordered scans, transactions over several keys.

#[macro_use]
mod mutants;

mod backup;
mod batch;
mod codec;
mod commit_point;
mod config;
mod data_file;
mod disk;
mod durability;
mod ends;
mod error;
mod files;
mod health;
mod hint;
mod inner;
mod keydir;
mod living;
mod log;
mod maintain;
mod manifest;
mod merge;
mod output;
mod pace;
mod pending;
#[cfg(any(test, feature = "sim"))]
pub mod probe;
mod publish;
mod record;
mod recovery;
mod requests;
mod scan;
mod slots;
mod stats;
mod store;
mod types;
mod verify;
mod walk;

pub use backup::{BackupReport, renew_server_id};
pub use batch::{Appended, Prepared};
pub use config::{Config, MergeConfig, SyncPolicy};
#[cfg(any(test, feature = "sim"))]
pub use disk::{CrashMode, Fault, FaultKind, Operation, SimDisk, SimWorld, Traced};
pub use disk::{Disk, DiskFile, DiskLock, RealDisk};
pub use error::{Error, Result};
pub use merge::MergeReport;
#[cfg(feature = "mutants")]
pub use mutants::{MUTANTS, Planted};
pub use pending::PendingInfo;
pub use recovery::{Damage, Recovery};
pub use stats::{SlotStats, Stats};
pub use store::{EntryInfo, Found, Store};
pub use types::{Lsn, Op, Position, Request, SLOT_COUNT, SlotId, Write};
pub use verify::{Progress, VerifyReport, verify, verify_on};
pub use walk::{Page, Record, Records};
