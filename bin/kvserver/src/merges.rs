//! Says in the log what merges did: the engine itself does not log.

use bitcask::Stats;

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Merges {
    merge_count: u64,
    failed_count: u64,
    merged_len: u64,
}

impl Merges {
    /// Logs what is new in `stats` since the last call; nothing when nothing is.
    pub(crate) fn report(&mut self, stats: &Stats) {
        let merge_count = stats.merge_count - self.merge_count;
        if merge_count > 0 {
            log::info!(
                "{merge_count} merges copied {} bytes; {} files, {} bytes on disk, {} of them dead",
                stats.merged_len - self.merged_len,
                stats.file_count,
                stats.disk_len,
                stats.dead_len,
            );
        }
        let failed_count = stats.merge_failed_count - self.failed_count;
        if failed_count > 0 {
            log::warn!(
                "{failed_count} merges were given up; disk full: {}, damaged files: {}; `kvclient verify` tells which",
                stats.is_full,
                stats.damaged_file_count,
            );
        }
        self.merge_count = stats.merge_count;
        self.failed_count = stats.merge_failed_count;
        self.merged_len = stats.merged_len;
    }
}
