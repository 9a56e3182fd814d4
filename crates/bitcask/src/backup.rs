//! Backups: a second folder with the same files, by hard links, while writes go on.
//!
//! The growing file is sealed, so that everything there is lies in files that never change; each is linked
//! into the new folder, hint files too; a manifest of exactly these is written last. Merges wait meanwhile.
//! The copy shares its bytes with the original until one of them merges them away; it is a store of its own.

use std::path::Path;

use crate::data_file::FileId;
use crate::error::{Context, Result};
use crate::inner::Inner;
use crate::manifest;

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
    state.last_file = state.files.last().copied().unwrap_or(FileId(0)).max(state.last_file);
    manifest::write_anew(&target, store.id, &state)?;
    Ok(report)
}

fn link(store: &Inner, name: &str, to: &Path) -> Result<()> {
    store.disk.link(name, to).context("link", || to.join(name))
}
