//! `info`: the server's figures as names and values.
//!
//! Names end in their unit. What is counted is counted since the start.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bitcask::{Stats, SyncPolicy};
use net::Counters;
use protocol::InfoPair;

use crate::common::Common;
use crate::counts::Kind;

/// What does not change while a server runs.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) started_at: Instant,
    pub(crate) address: SocketAddr,
    /// What `keyrange` says instead of the address a client reached.
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) dir: PathBuf,
    /// Where backups may be made, if that was said.
    pub(crate) backup_dir: Option<PathBuf>,
    pub(crate) sync: SyncPolicy,
    pub(crate) connection_count_max: usize,
    pub(crate) connections: Arc<Counters>,
}

impl About {
    /// Says whether a client may have a backup made in `folder`. Whoever is on this machine may name any; others only what
    /// the server was told.
    pub(crate) fn may_hold_backups(&self, folder: &Path) -> Result<(), &'static str> {
        let is_plain =
            |folder: &Path| !folder.components().any(|part| part == Component::ParentDir);
        match &self.backup_dir {
            Some(root) if folder.starts_with(root) && is_plain(folder) => Ok(()),
            Some(_) => Err("backups of this server are made inside the folder of its --backup-dir"),
            None if self.address.ip().is_loopback() => Ok(()),
            None => Err(
                "this server can be reached from other machines: it must be started with --backup-dir first",
            ),
        }
    }
}

/// Returns all figures; `more` are those of a server alone, or of one in a cluster.
pub(crate) fn pairs(common: &Common, more: Vec<InfoPair<'static>>) -> Vec<InfoPair<'static>> {
    let mut pairs = of_server(common);
    pairs.extend(more);
    pairs.extend(of_store(&common.store.stats()));
    let poisoned = common.store.poison_cause();
    pairs.push(pair("writes", if poisoned.is_some() { "refused" } else { "accepted" }));
    pairs.push(pair("writes_refused_because", poisoned.unwrap_or_default()));
    pairs
}

fn of_server(common: &Common) -> Vec<InfoPair<'static>> {
    let (about, counts) = (&common.about, &common.counts);
    let connections = about.connections.read();
    vec![
        pair("version", env!("CARGO_PKG_VERSION")),
        pair("uptime_s", about.started_at.elapsed().as_secs().to_string()),
        pair("process", std::process::id().to_string()),
        pair("address", about.address.to_string()),
        pair("dir", about.dir.display().to_string()),
        pair("sync", sync_name(about.sync)),
        pair("dialect", common.dialect.name()),
        pair("connections", connections.open.to_string()),
        pair("connections_max", about.connection_count_max.to_string()),
        pair("connections_accepted", connections.accepted.to_string()),
        pair("connections_refused", connections.refused.to_string()),
        pair("connections_timed_out", connections.timed_out.to_string()),
        pair("connections_too_slow", connections.too_slow.to_string()),
        pair("connections_panicked", connections.panicked.to_string()),
        pair("connections_starved", connections.starved.to_string()),
        pair("input_bytes", connections.input_held_len.to_string()),
        pair("input_waiting", connections.input_waiting.to_string()),
        pair("reply_bytes", connections.reply_len.to_string()),
        pair("reply_waiting", connections.reply_waiting.to_string()),
        pair("owed_bytes", connections.owed_len.to_string()),
        pair("gets", counts.total(Kind::Get).to_string()),
        pair("puts", counts.total(Kind::Put).to_string()),
        pair("deletes", counts.total(Kind::Delete).to_string()),
        pair("others", counts.total(Kind::Other).to_string()),
        pair("memory_bytes", resident_len().map_or("unknown".into(), |len| len.to_string())),
    ]
}

fn of_store(stats: &Stats) -> Vec<InfoPair<'static>> {
    vec![
        pair("slots", stats.slot_count.to_string()),
        pair("keys", stats.key_count.to_string()),
        pair("tombstones", stats.tombstone_count.to_string()),
        pair("live_bytes", stats.live_len.to_string()),
        pair("dead_bytes", stats.dead_len.to_string()),
        pair("disk_bytes", stats.disk_len.to_string()),
        pair("data_files", stats.file_count.to_string()),
        pair("damaged_files", stats.damaged_file_count.to_string()),
        pair("keydir_bytes", stats.keydir_len.to_string()),
        pair("merges", stats.merge_count.to_string()),
        pair("merges_failed", stats.merge_failed_count.to_string()),
        pair("merged_bytes", stats.merged_len.to_string()),
        pair("disk_full", if stats.is_full { "yes" } else { "no" }),
    ]
}

/// Returns a figure.
pub(crate) fn pair(name: &'static str, value: impl Into<Cow<'static, str>>) -> InfoPair<'static> {
    (name.into(), value.into())
}

/// Returns the policy as `--sync` takes it.
pub(crate) fn sync_name(sync: SyncPolicy) -> String {
    match sync {
        SyncPolicy::Always => "always".into(),
        SyncPolicy::Never => "never".into(),
        SyncPolicy::Interval(interval) => format!("interval={}", interval.as_millis()),
    }
}

/// Returns the bytes of memory the process has resident, as Linux says.
fn resident_len() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(address: &str, backup_dir: Option<&str>) -> About {
        About {
            started_at: Instant::now(),
            address: address.parse().unwrap(),
            advertise: None,
            dir: PathBuf::new(),
            backup_dir: backup_dir.map(PathBuf::from),
            sync: SyncPolicy::Always,
            connection_count_max: 1,
            connections: Arc::default(),
        }
    }

    #[test]
    fn backups_are_made_where_the_server_was_told_unless_only_this_machine_can_ask() {
        for (address, backup_dir, folder, is_allowed) in [
            ("127.0.0.1:1", None, "/anywhere", true),
            ("192.0.2.1:1", None, "/anywhere", false),
            ("192.0.2.1:1", Some("/backups"), "/backups/monday", true),
            ("192.0.2.1:1", Some("/backups"), "/backups/../etc", false),
            ("192.0.2.1:1", Some("/backups"), "/backups2/monday", false),
            ("127.0.0.1:1", Some("/backups"), "/anywhere", false),
        ] {
            let outcome = about(address, backup_dir).may_hold_backups(Path::new(folder));
            assert_eq!(outcome.is_ok(), is_allowed, "{address} {backup_dir:?} {folder}");
        }
    }
}
