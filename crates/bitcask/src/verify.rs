//! Checking a store offline: every checksum of every file, without changing a byte.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data_file::{DataFile, FileId};
use crate::disk::{Disk, RealDisk};
use crate::error::{Context, Error, Result};
use crate::hint;
use crate::manifest;
use crate::recovery::{Damage, survey, survey_once_sealed};
use crate::store::LOCK_NAME;

/// How far a check has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file being read.
    pub path: PathBuf,
    /// Bytes read of all files.
    pub done_len: u64,
    /// Bytes of all files.
    pub total_len: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Data files read.
    pub file_count: usize,
    /// Records with good checksums.
    pub record_count: u64,
    /// Bytes read.
    pub len: u64,
    /// Bytes at the end of a file that was growing when its process ended, and which the next opening cuts off.
    pub torn_len: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Hint files that cannot be used; the next opening does without and builds them again.
    pub unusable_hints: Vec<PathBuf>,
    /// Data files that the manifest names and that are not there.
    pub missing: Vec<PathBuf>,
}

impl VerifyReport {
    /// Returns whether nothing is lost: a torn tail and a broken hint file lose nothing.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty()
    }
}

/// Checks the store in the folder `path`, which must not be open, and tells `progress` after each file.
///
/// # Errors
/// `Missing` when there is no store; `Busy` when it is open; `Corrupt` when its manifest is not readable; `Io`.
pub fn verify(path: &Path, progress: &mut dyn FnMut(&Progress)) -> Result<VerifyReport> {
    if !path.join(manifest::NAME).is_file() {
        let what = "no manifest here: this is no store's folder";
        return Err(Error::Missing { path: path.to_owned(), what });
    }
    let disk = RealDisk::open(path).context("open", || path.to_owned())?;
    verify_on(&(Arc::new(disk) as Arc<dyn Disk>), progress)
}

/// Checks the store on `disk`; see [`verify`].
///
/// # Errors
/// As [`verify`].
pub fn verify_on(
    disk: &Arc<dyn Disk>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<VerifyReport> {
    let _lock = lock(disk)?;
    let manifest = manifest::load(disk)?;
    let names = disk.list().context("list", || disk.path().to_owned())?;
    let mut report = VerifyReport::default();
    let (mut files, mut total_len) = (Vec::new(), 0);
    for id in &manifest.state.files {
        let path = disk.path().join(id.data_name());
        if !names.contains(&id.data_name()) {
            report.missing.push(path);
            continue;
        }
        let file = DataFile::open(disk, manifest.store, *id)?;
        total_len += file.data_end();
        files.push(file);
    }
    for file in files {
        let file_len = file.data_end();
        verify_file(disk, &manifest, &file, &mut report)?;
        report.len += file_len;
        progress(&Progress { path: file.path(), done_len: report.len, total_len });
    }
    Ok(report)
}

/// Makes sure that no process has the store open, where the medium can be written to at all.
fn lock(disk: &Arc<dyn Disk>) -> Result<Option<Box<dyn crate::disk::DiskLock>>> {
    match disk.lock(LOCK_NAME) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(Error::Busy { folder: disk.path().to_owned() })
        }
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(None),
        Err(error) => Err(error).context("lock", || disk.path().join(LOCK_NAME)),
    }
}

fn verify_file(
    disk: &Arc<dyn Disk>,
    manifest: &manifest::Parsed,
    file: &DataFile,
    report: &mut VerifyReport,
) -> Result<()> {
    report.file_count += 1;
    let footer = file.read_footer()?;
    // In a file that was sealed all damage is damage; a growing one may have torn.
    let found = match footer {
        Some(footer) => survey(file, footer.data_end)?,
        None if manifest.state.growing.contains(&file.id) => survey(file, 0)?,
        None => survey_once_sealed(file)?,
    };
    report.record_count += found.record_count;
    report.torn_len += found.torn_len;
    report.damage.extend(found.corruption);
    if let Some(footer) = footer
        && hint::read(disk, manifest.store, file, &footer, &mut |_| {}).is_err()
        && has_hint_file(disk, file.id)?
    {
        report.unusable_hints.push(disk.path().join(file.id.hint_name()));
    }
    Ok(())
}

fn has_hint_file(disk: &Arc<dyn Disk>, id: FileId) -> Result<bool> {
    let names = disk.list().context("list", || disk.path().to_owned())?;
    Ok(names.contains(&id.hint_name()))
}
