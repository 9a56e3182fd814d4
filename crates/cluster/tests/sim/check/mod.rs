//! Checks of what clients were told, against the promises P1 to P3 and R24.
//!
//! | module | asks | by |
//! |---|---|---|
//! | `linear` | is every key a linearizable register? | a search, that of todc-utils |
//! | `unique` | is every key that was written once there, unless deleted, and gone for good once deleted? | one look at each read |
//! | `mortal` | is every value with an end there until then, and gone from then on? | one look at each read |
//! | `order` | do versions only rise, and does nobody read what was not yet written? | one sweep over a key's events |
//! | `once` | did every write take effect at most once, and every acknowledged one exactly once? | values, versions, counters |
//!
//! All but the first know nothing of the search: a mistake would have to be made twice. They are cheap and come first; what
//! they say is also shorter to read. All work on a [`History`] alone, so as well on one that was read from a file.

mod linear;
mod mortal;
mod once;
mod order;
#[cfg(test)]
mod samples;
mod unique;

use std::collections::BTreeMap;

use cluster::Bytes;

use crate::history::{History, Operation};

/// What was looked at without a complaint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Keys.
    pub key_count: usize,
    /// Keys that were written once.
    pub unique_count: usize,
    /// Those of them that nobody read after their last write: nothing was found out about their end.
    pub unread_count: usize,
}

/// The operations of one key, in the order of their calls.
pub type OfKey<'a> = Vec<&'a Operation>;

/// Returns each key's operations.
fn by_key(history: &History) -> BTreeMap<&Bytes, OfKey<'_>> {
    let mut keys: BTreeMap<&Bytes, OfKey<'_>> = BTreeMap::new();
    for operation in history.operations() {
        keys.entry(&operation.key).or_default().push(operation);
    }
    keys
}

/// Runs every check. An error is the text of what went against a promise; so is a search that found no end.
pub fn check(history: &History) -> Result<Summary, String> {
    let mut summary = Summary::default();
    for (key, operations) in by_key(history) {
        let found = check_key(key, &operations, &mut summary);
        found.map_err(|complaint| explain(key, &operations, &complaint))?;
    }
    Ok(summary)
}

fn check_key(key: &[u8], operations: &OfKey<'_>, summary: &mut Summary) -> Result<(), String> {
    summary.key_count += 1;
    order::check(operations)?;
    once::check(key, operations)?;
    if key.starts_with(b"u") {
        summary.unique_count += 1;
        summary.unread_count += usize::from(!unique::check(operations)?);
    }
    match key.starts_with(b"m") {
        true => mortal::check(operations),
        false => linear::check(operations),
    }
}

/// Operations that a complaint shows around its end.
const SHOWN_COUNT_MAX: usize = 30;

/// Returns the complaint with the operations that led to it.
fn explain(key: &[u8], operations: &OfKey<'_>, complaint: &str) -> String {
    let mut text = format!("key {}: {complaint}\n", String::from_utf8_lossy(key));
    let skipped = operations.len().saturating_sub(SHOWN_COUNT_MAX);
    let first_bad = Some(operations).filter(|_| !key.starts_with(b"m"));
    let (shown, end) = match first_bad.and_then(|operations| linear::first_bad(operations)) {
        // The search can say where it first fails; the rest would only distract.
        Some(end) => (operations.iter().take_while(|o| o.call <= end).collect::<Vec<_>>(), end),
        None => (operations.iter().skip(skipped).collect(), u64::MAX),
    };
    for operation in &shown[shown.len().saturating_sub(SHOWN_COUNT_MAX)..] {
        let is_last = operation.ret == Some(end);
        text += &format!("  {} {operation}\n", if is_last { "▶" } else { " " });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::samples::{BAD, GOOD};
    use super::*;
    use crate::history::History;

    fn history(lines: &str) -> History {
        super::samples::parse(lines)
    }

    #[test]
    fn every_bad_history_is_caught_and_told_with_its_operations() {
        for (name, lines, words) in BAD {
            let complaint = check(&history(lines)).expect_err(name);
            assert!(complaint.contains(words), "{name}: {complaint}");
            assert!(complaint.contains("client"), "{name}: {complaint}");
        }
    }

    #[test]
    fn the_search_alone_catches_what_the_cheap_checks_catch_by_values() {
        for (name, lines, _) in BAD {
            let history = history(lines);
            let is_caught = by_key(&history).values().any(|key| linear::check(key).is_err());
            // What only versions, counters' sums or request numbers tell is no matter of a register.
            let needs_versions = name.starts_with("versions:");
            assert!(is_caught || needs_versions, "{name}");
        }
    }

    #[test]
    fn every_good_history_passes_with_its_unknown_outcomes() {
        for (name, lines) in GOOD {
            let found = check(&history(lines));
            assert!(found.is_ok(), "{name}: {}", found.unwrap_err());
        }
    }

    #[test]
    fn a_unique_key_that_nobody_read_at_the_end_is_counted() {
        let summary = check(&history("0 u0-0 put a 1 2 ok stored 1.1")).unwrap();
        assert_eq!(summary, Summary { key_count: 1, unique_count: 1, unread_count: 1 });
        let lines = "0 u0-0 put a 1 2 ok stored 1.1\n1 u0-0 get a 3 4 ok found 1.1";
        assert_eq!(check(&history(lines)).unwrap().unread_count, 0);
    }
}
