//! What a key costs in memory, all told.
//!
//! Resident memory of the process (`/proc/self/statm`) before the store is opened and after it was filled, divided by the
//! keys: so allocator losses, locks and threads count. Data files are read and written by system calls, so
//! the page cache is not in it. Beside it stands the keydir's own account, which `stats` reports.

use std::fs;
use std::path::Path;

use clap::Args as ClapArgs;

use crate::Result;
use crate::load::{KEY_LEN, Values};
use crate::ours::{self, Writer};
use crate::report::{Figure, Report};

/// Bytes of a page, in which `statm` counts.
const PAGE_LEN: u64 = 4096;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Keys
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
}

/// Fills a store and measures its memory.
pub(crate) fn run(args: &Args, folder: &Path) -> Result<Report> {
    let folder = tempfile::tempdir_in(folder)?;
    let values = Values::new();
    let before = resident_len()?;
    let store = ours::open(folder.path(), ours::config())?;
    Writer::new(&store).fill(0..args.keys, 1, &values)?;
    let resident_len = resident_len()?.saturating_sub(before);
    let stats = store.stats();
    if stats.key_count as u64 != args.keys {
        return Err(format!("{} keys, not {}", stats.key_count, args.keys).into());
    }
    let a_key = |len: u64| len as f64 / args.keys as f64;
    let all = a_key(resident_len);
    let mut report = Report::new(format!("Memory; {} keys of {KEY_LEN} B", args.keys));
    report.add(
        "bytes a key",
        vec![
            Figure::new("resident", all, 1, ""),
            Figure::new("resident without the key", all - KEY_LEN as f64, 1, ""),
            Figure::new("keydir", a_key(stats.keydir_len as u64), 1, ""),
        ],
    );
    Ok(report)
}

/// Returns the bytes of memory that this process has resident.
fn resident_len() -> Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_ascii_whitespace().nth(1).ok_or("no second number in statm")?;
    Ok(pages.parse::<u64>()? * PAGE_LEN)
}
