//! What the connections of any server share, of one in a cluster and of one alone.

use std::path::Path;

use bitcask::Store;
use protocol::{Dialect, Limits, Reply};

use crate::counts::Counts;
use crate::info::About;

/// What does not depend on whether there are other servers.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) store: Store,
    pub(crate) dialect: Dialect,
    pub(crate) limits: Limits,
    pub(crate) counts: Counts,
    pub(crate) about: About,
}

impl Common {
    /// Makes a backup into the folder `path` of this machine.
    pub(crate) fn backup<'a>(&self, path: &'a [u8]) -> Reply<'a> {
        use std::os::unix::ffi::OsStrExt;
        let folder = Path::new(std::ffi::OsStr::from_bytes(path));
        if !folder.is_absolute() {
            let reason = "the path must be absolute: it is a folder on the server's machine".into();
            return Reply::BackupError { path: path.into(), reason };
        }
        if let Err(reason) = self.about.may_hold_backups(folder) {
            return Reply::BackupError { path: path.into(), reason: reason.into() };
        }
        match self.store.backup(folder) {
            Ok(report) => {
                log::info!("backup of {} bytes made in {}", report.len, folder.display());
                let file_count = report.file_count as u64;
                Reply::BackupSuccess { path: path.into(), file_count, len: report.len }
            }
            Err(error) => {
                Reply::BackupError { path: path.into(), reason: error.to_string().into() }
            }
        }
    }
}
