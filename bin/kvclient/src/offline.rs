//! What needs no server: checking a folder, and making a server's folder of a backup.
//!
//! `restore` checks every byte of the backup first, then copies its files (never links them: a server may cut a torn
//! tail, and the backup must stay as it is) into `<folder>.restoring-<process>`, syncs them, gives the copy a server id of
//! its own, since it is not the server that the backup was taken from, and gives the folder its name last. A folder that
//! is there is a whole one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bitcask::VerifyReport;
use indicatif::HumanBytes;

use crate::progress::Progress;
use crate::show;
use crate::status::{Status, complain};

/// The file that a process holds locked while it uses a folder; it belongs to the process, not to the data.
const LOCK_NAME: &str = "LOCK";

/// Checks every checksum in `folder`, and writes what was found.
pub(crate) fn verify(folder: &Path, out: &mut impl Write) -> io::Result<Status> {
    match check(folder) {
        Ok(report) => {
            write_report(&report, out)?;
            Ok(if report.is_clean() { Status::Done } else { Status::Refused })
        }
        Err(error) => Ok(refuse(&error)),
    }
}

fn check(folder: &Path) -> bitcask::Result<VerifyReport> {
    let progress = Progress::bytes("checking", None);
    bitcask::verify(folder, &mut |step| {
        progress.set_len(step.total_len);
        progress.set(step.done_len);
    })
}

fn write_report(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    for damage in &report.damage {
        let path = damage.path.display();
        writeln!(
            out,
            "damaged: {path} at {}, {} bytes: {}",
            damage.offset, damage.len, damage.what
        )?;
    }
    for path in &report.missing {
        writeln!(out, "missing: {}", path.display())?;
    }
    for path in &report.unusable_hints {
        writeln!(out, "unusable, will be built again: {}", path.display())?;
    }
    if report.torn_len > 0 {
        writeln!(
            out,
            "cut short by a crash, nothing acknowledged is lost: {} bytes",
            report.torn_len
        )?;
    }
    let verdict = if report.is_clean() {
        "no damage".to_owned()
    } else {
        format!(
            "{}, {}",
            counted(report.damage.len(), "damaged place"),
            counted(report.missing.len(), "missing file")
        )
    };
    writeln!(
        out,
        "checked {}, {}, {}: {verdict}",
        counted(report.file_count, "file"),
        show::count(report.record_count, "record"),
        HumanBytes(report.len)
    )
}

/// Makes the folder `target` of the backup in `source`.
pub(crate) fn restore(source: &Path, target: &Path, out: &mut impl Write) -> io::Result<Status> {
    if let Err(message) = check_target(target) {
        return Ok(refuse(&message));
    }
    let report = match check(source) {
        Ok(report) => report,
        Err(error) => return Ok(refuse(&error)),
    };
    if !report.is_clean() {
        write_report(&report, out)?;
        return Ok(refuse(&"the backup is damaged, so nothing was restored"));
    }
    match copy_folder(source, target) {
        Ok((count, len)) => {
            writeln!(
                out,
                "restored {}, {}, to {}",
                counted(count, "file"),
                HumanBytes(len),
                target.display()
            )?;
            writeln!(out, "start a server on it with: kvserver --dir {}", target.display())?;
            Ok(Status::Done)
        }
        Err(error) => Ok(refuse(&format!("cannot restore to {}: {error}", target.display()))),
    }
}

/// Checks that `target` is not there, or an empty folder.
fn check_target(target: &Path) -> Result<(), String> {
    let name = target.display();
    match fs::read_dir(target).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{name} is not empty; restore into a new folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("cannot restore to {name}: {error}")),
    }
}

/// Copies the files of `source` into a new folder that is then named `target`; returns their count and length.
fn copy_folder(source: &Path, target: &Path) -> io::Result<(usize, u64)> {
    let files = files_of(source)?;
    let progress = Progress::bytes("copying", Some(files.iter().map(|(_, len)| len).sum()));
    let part = PartFolder::create(target)?;
    let mut done_len = 0_u64;
    for (name, len) in &files {
        let copy = part.0.join(name);
        fs::copy(source.join(name), &copy)?;
        File::open(&copy)?.sync_all()?;
        done_len = done_len.saturating_add(*len);
        progress.set(done_len);
    }
    File::open(&part.0)?.sync_all()?;
    bitcask::renew_server_id(&part.0).map_err(io::Error::other)?;
    fs::rename(&part.0, target)?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok((files.len(), done_len))
}

/// Returns the names and lengths of the plain files in a folder.
fn files_of(folder: &Path) -> io::Result<Vec<(OsString, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && entry.file_name() != LOCK_NAME {
            files.push((entry.file_name(), metadata.len()));
        }
    }
    Ok(files)
}

/// A folder under a name of its own, which vanishes unless it is renamed.
struct PartFolder(PathBuf);

impl PartFolder {
    fn create(target: &Path) -> io::Result<Self> {
        let mut name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        name.push(format!(".restoring-{}", std::process::id()));
        let path = target.with_file_name(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PartFolder {
    fn drop(&mut self) {
        // Not there any more when it was renamed; otherwise the error that led here is the one to tell.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn counted(number: usize, thing: &str) -> String {
    show::count(u64::try_from(number).unwrap_or(u64::MAX), thing)
}

/// Says why nothing was done.
fn refuse(message: &dyn std::fmt::Display) -> Status {
    complain(message);
    Status::Refused
}
