//! The coordinator on disk: a log of entries, one JSON line each, and now and then a snapshot that the log can be cut behind.
//!
//! ```text
//! snapshot   {"format":1,"slot_count":4096,"replica_count":3}     settings that are fixed at the cluster's start
//!            {"from":0,"to":41,"servers":{…},"ring":{…},"slots":[…]}   the whole map, as a delta from nothing
//! log        {"delta":{"from":41,"to":42,…},"why":"…"}            one decision, one version
//! ```
//!
//! Lines have no newline here; checksums, syncs and torn tails are the host's. After a crash between a snapshot and the cut
//! the log begins before the snapshot's version: such entries are passed over. Otherwise each entry must follow the one
//! before, and keeps the rules of [`super::check`]. The fixed settings are only in the snapshot, so a host writes one when
//! the cluster is founded.

use serde::{Deserialize, Serialize};

use super::check;
use super::error::Error;
use super::event::{Entry, Settings};
use crate::map::{Delta, Map};
use crate::types::Version;

/// The format of a snapshot.
const FORMAT: u32 = 1;

/// The first line of a snapshot.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    slot_count: u16,
    replica_count: usize,
}

impl Entry {
    /// Returns the entry as one line of JSON, without its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        line(self)
    }

    /// Returns the entry that a line holds.
    ///
    /// # Errors
    /// [`Error::Line`] when the line is not an entry.
    pub fn from_line(line: &str) -> Result<Self, Error> {
        parse("a log's entry", line)
    }
}

/// Returns the snapshot of a map.
pub(super) fn snapshot(map: &Map) -> String {
    let head =
        Head { format: FORMAT, slot_count: map.slot_count(), replica_count: map.replica_count() };
    format!("{}\n{}\n", line(&head), line(&map.since(Version(0))))
}

/// Returns the map that a snapshot and the entries after it lead to.
pub(super) fn restore(
    settings: &Settings,
    snapshot: Option<&str>,
    entries: impl Iterator<Item = Entry>,
) -> Result<Map, Error> {
    let mut map = Map::new(settings.slot_count, settings.replica_count);
    if let Some(text) = snapshot {
        let delta = parse_snapshot(settings, text)?;
        let (from, version) = (delta.from, delta.to);
        if from != Version(0) {
            return Err(Error::Order { expected: Version(0), found: from });
        }
        map.apply(&delta).map_err(|cause| Error::Shape { version, cause })?;
    }
    let mut last = None;
    for entry in entries {
        let Delta { from, to, .. } = entry.delta;
        // The first may be older than the snapshot; from there on there is no gap.
        let expected = last.map_or(map.version().min(from), |last: Version| last).next();
        if to != expected || from.next() != to {
            return Err(Error::Order { expected, found: to });
        }
        last = Some(to);
        if to > map.version() {
            take(&mut map, &entry.delta)?;
        }
    }
    Ok(map)
}

/// Takes an entry into the map, if it keeps the rules.
fn take(map: &mut Map, delta: &Delta) -> Result<(), Error> {
    let version = delta.to;
    if let Some(rule) = check::broken_rule(map, delta) {
        return Err(Error::Rule { version, rule });
    }
    map.apply(delta).map_err(|cause| Error::Shape { version, cause })
}

fn parse_snapshot(settings: &Settings, text: &str) -> Result<Delta, Error> {
    let mut lines = text.lines();
    let (Some(head), Some(map), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(Error::Snapshot);
    };
    let head: Head = parse("a snapshot's head", head)?;
    if head.format != FORMAT {
        return Err(Error::Snapshot);
    }
    for (setting, kept, asked) in [
        ("slot_count", usize::from(head.slot_count), usize::from(settings.slot_count)),
        ("replica_count", head.replica_count, settings.replica_count),
    ] {
        if kept != asked {
            return Err(Error::Fixed { setting, kept, asked });
        }
    }
    parse("a snapshot's map", map)
}

fn parse<'a, T: Deserialize<'a>>(of: &'static str, line: &'a str) -> Result<T, Error> {
    serde_json::from_str(line).map_err(|cause| Error::Line { of, cause })
}

#[expect(
    clippy::expect_used,
    reason = "numbers, texts and lists with text keys always have a JSON form"
)]
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a JSON form")
}
