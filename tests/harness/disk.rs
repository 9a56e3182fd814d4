//! Small file systems of a test's own, to be filled or cut off.
//!
//! Mounting needs root. A mount is undone on drop, lazily, so that a process that still has a file open there
//! cannot keep it; the server that used it is to be dropped first.

use super::binaries::scratch;
use super::keeper::{self, Item};
use super::tool::{Ended, run};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Bytes of a disk in a file: the smallest that `mkfs.xfs` makes is 300 MiB.
const IMAGE_LEN: u64 = 320 << 20;

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Mount {
    home: TempDir,
    image: Option<PathBuf>,
}

impl Mount {
    /// Mounts an empty file system in memory of `len` bytes.
    pub(crate) fn memory(len: usize) -> Self {
        let mount = Self::of(home(), None);
        let size = format!("size={len}");
        command("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &mount.path()).succeeded();
        mount
    }

    /// Mounts an empty XFS on a disk that is a file.
    pub(crate) fn xfs() -> Self {
        let home = home();
        let image = home.path().join("image");
        let file = File::create(&image).expect("a file can be made");
        file.set_len(IMAGE_LEN).expect("a file can be long");
        command("mkfs.xfs", &["-q"], &image).succeeded();
        let mount = Self::of(home, Some(image));
        mount.attach();
        mount
    }

    /// A mount that is still to be made; it will be undone whatever happens.
    fn of(home: TempDir, image: Option<PathBuf>) -> Self {
        let mount = Self { home, image };
        keeper::keep(Item::Mount(&mount.path()));
        mount
    }

    /// Returns the folder it is mounted at.
    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("mounted")
    }

    /// Drops all that has not reached the disk and refuses all further work, as a power cut does, and then
    /// mounts what is left. Nobody may have a file open by the time `meanwhile` returns, which runs in between.
    ///
    /// Who writes there must be paused first. A sync that is under way when XFS is shut down returns success
    /// now and then for what it has just thrown away (5 of 100 cuts under a bare loop of `pwrite` and
    /// `fdatasync`, Linux 6.18), which a disk without power does not: nobody is left to be told.
    pub(crate) fn cut_power(&self, meanwhile: impl FnOnce()) {
        // Without -f: the log in memory is not flushed, it is lost too.
        command("xfs_io", &["-x", "-c", "shutdown"], &self.path()).succeeded();
        meanwhile();
        command("umount", &[], &self.path()).succeeded();
        self.attach();
    }

    fn attach(&self) {
        let image = self.image.as_ref().expect("a disk in a file");
        let image = image.to_string_lossy();
        command("mount", &["-t", "xfs", "-o", "loop", &image], &self.path()).succeeded();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // It is not mounted if a test failed between two mounts.
        let _ended = command("umount", &["-l"], &self.path());
        keeper::forget(Item::Mount(&self.path()));
    }
}

fn home() -> TempDir {
    let home = TempDir::new_in(scratch()).expect("a folder can be made below the target folder");
    std::fs::create_dir(home.path().join("mounted")).expect("a folder can be made in it");
    home
}

fn command(name: &str, arguments: &[&str], last: &Path) -> Ended {
    run(Command::new(name).args(arguments).arg(last).env("PATH", search_path()))
}

/// Returns the search path with the folders of the administrator's commands.
fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::wait::{has_command, is_root, skip};
    use super::*;
    use std::fs;
    use std::io::Write as _;

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_loses_the_rest() {
        if !is_root() || !has_command("mkfs.xfs") || !has_command("xfs_io") {
            return skip("cutting a file system off needs root, mkfs.xfs and xfs_io");
        }
        let disk = Mount::xfs();
        let write = |name: &str| {
            let mut file = File::create(disk.path().join(name)).expect("a file can be made");
            file.write_all(b"text").expect("a file can be written");
            file
        };
        write("synced").sync_all().expect("a file can be synced");
        File::open(disk.path()).and_then(|folder| folder.sync_all()).expect("so can its folder");
        drop(write("unsynced"));
        disk.cut_power(|| ());
        let text = |name: &str| fs::read(disk.path().join(name)).unwrap_or_default();
        assert_eq!(text("synced"), b"text");
        assert_ne!(text("unsynced"), b"text", "a cut that loses nothing proves nothing");
    }
}
