//! A file that appears under its name only when all of it is there and safe on the disk.
//!
//! It is written as `.<name>.part-<process>` beside its place, synced, renamed, and its folder synced; an older file
//! of the name stays whole until then. What is not a plain file (a device, a pipe) cannot be replaced, so
//! it is written to directly.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file being written; it vanishes when it is dropped before [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    /// The temporary name and the one to be; none if the file is written to directly.
    names: Option<(PathBuf, PathBuf)>,
}

impl NewFile {
    /// Begins a file that will be `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        // A link goes on pointing to what it points to.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Ok(Self { file: File::options().write(true).open(&path)?, names: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut part = OsString::from(".");
        part.push(name);
        part.push(format!(".part-{}", std::process::id()));
        let part = path.with_file_name(part);
        let file = File::create_new(&part)?;
        Ok(Self { file, names: Some((part, path)) })
    }

    /// Puts the file in its place, synced.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let Some((part, path)) = &self.names else { return Ok(()) };
        self.file.sync_all()?;
        fs::rename(part, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let synced =
            File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        // Renamed: nothing is left to remove.
        self.names = None;
        synced
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.names {
            // The error that led here is the one to tell.
            drop(fs::remove_file(part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_device_is_written_to_and_a_folder_refused() {
        let mut file = NewFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"x").unwrap();
        file.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(NewFile::create(folder.path()).is_err());
    }
}
