//! Backups: a second folder with the same files, by hard links, while writes go on.
//!
//! The growing file is sealed, so that everything there is lies in files that never change; each is linked
//! into the new folder, hint files too; a manifest of exactly these is written last. Merges wait meanwhile.
//! The copy shares its bytes with the original until one of them merges them away; it is a store of its own.
//!
//! The *store id* is mixed into every checksum, so a copy has that of its original. What a cluster knows a server by is
//! the *server id* in the manifest, which a copy does not share: two servers that claim to be one, of which one
//! lacks what the other has acknowledged since, would lose it.

use std::path::Path;
use std::sync::Arc;

use crate::data_file::FileId;
use crate::disk::{Disk, RealDisk};
use crate::error::{Context, Error, Result};
use crate::inner::Inner;
use crate::manifest;
use crate::store::lock;

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Data files.
    pub file_count: usize,
    /// Their bytes.
    pub len: u64,
}

pub(crate) fn run(store: &Inner, to: &Path) -> Result<BackupReport> {
    let _no_merges = store.lock_merging();
    store.health.check()?;
    store.log.seal(&store.around())?;
    let target = store.disk.create_folder(to).context("create", || to.to_owned())?;
    // Files begun after the seal are left out: everything acknowledged before the call is in those sealed.
    let mut state = store.lock_manifest().state.clone();
    let sealed: Vec<_> = store.files.all().into_iter().filter(|file| file.is_sealed()).collect();
    state.files.retain(|id| sealed.iter().any(|file| file.id == *id));
    // All that is left is sealed; a file that a write has begun since would be named by this alone.
    state.growing.clear();
    let mut report = BackupReport::default();
    for file in sealed.iter().filter(|file| state.files.contains(&file.id)) {
        link(store, &file.id.data_name(), to)?;
        if file.has_hint() {
            link(store, &file.id.hint_name(), to)?;
        }
        report.file_count += 1;
        report.len += file.data_end();
    }
    state.server = Some(new_id());
    state.last_file = state.files.last().copied().unwrap_or(FileId(0)).max(state.last_file);
    manifest::write_anew(&target, store.id, &state)?;
    Ok(report)
}

/// Returns an id that no other store or server has: 128 random bits.
pub(crate) fn new_id() -> u128 {
    fastrand::u128(1..)
}

/// Gives the copy of a store in the folder `path`, which must not be open, a server id of its own, and returns it.
///
/// # Errors
/// `Missing` when there is no store; `Busy` when it is open; `Corrupt` when its manifest is not readable; `Io`.
pub fn renew_server_id(path: &Path) -> Result<u128> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(path).context("open", || path.to_owned())?);
    if !disk.list().context("list", || path.to_owned())?.iter().any(|name| name == manifest::NAME) {
        let what = "no manifest here: this is no store's folder";
        return Err(Error::Missing { path: path.to_owned(), what });
    }
    let _lock = lock(&*disk)?;
    let mut found = manifest::load(&disk)?;
    let server = new_id();
    found.state.server = Some(server);
    manifest::write_anew(&disk, found.store, &found.state)?;
    Ok(server)
}

fn link(store: &Inner, name: &str, to: &Path) -> Result<()> {
    store.disk.link(name, to).context("link", || to.join(name))
}
