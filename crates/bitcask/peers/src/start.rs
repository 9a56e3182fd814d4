//! How long it takes to open a store whose data files have hint files.
//!
//! The store is filled, closed, opened again so that the last file gets its hint too, and closed. Then it is opened
//! some times, each in a fresh process, with its files in the page cache.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bitcask::Store;
use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::child;
use crate::load::Values;
use crate::ours::{self, Writer};
use crate::report::{Figure, Report, median};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Keys
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// Openings
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct OnceArgs {
    #[arg(long)]
    store: PathBuf,
}

/// What one opening found, and how long it took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    seconds: f64,
    key_count: usize,
    file_count: usize,
    hint_count: usize,
}

/// Opens the store once, in this process.
pub(crate) fn run_once(args: &OnceArgs) -> Result<Opening> {
    let began_at = Instant::now();
    let (store, recovery) = Store::open(&args.store, ours::config())?;
    let seconds = began_at.elapsed().as_secs_f64();
    let key_count = store.stats().key_count;
    let (file_count, hint_count) = (recovery.file_count, recovery.hint_count);
    store.close()?;
    Ok(Opening { seconds, key_count, file_count, hint_count })
}

/// Fills a store and opens it again and again.
pub(crate) fn run(args: &Args, folder: &Path) -> Result<Report> {
    let folder = tempfile::tempdir_in(folder)?;
    fill(folder.path(), args.keys)?;
    let store = folder.path().display();
    let mut seconds = Vec::new();
    let mut file_count = 0;
    for _ in 0..args.rounds {
        let found: Opening = child::ask(&["start-once".to_owned(), format!("--store={store}")])?;
        if found.key_count as u64 != args.keys || found.hint_count != found.file_count {
            return Err(format!("not all keys, or not by hint files: {found:?}").into());
        }
        seconds.push(found.seconds);
        file_count = found.file_count;
    }
    let mut report = Report::new(format!("Opening; {} keys, {file_count} files", args.keys));
    let max = seconds.iter().copied().fold(0.0, f64::max);
    report.add(
        "time",
        vec![
            Figure::new("median", median(seconds.iter().copied()), 2, " s"),
            Figure::new("longest", max, 2, " s"),
        ],
    );
    Ok(report)
}

fn fill(folder: &Path, key_count: u64) -> Result<()> {
    let store = ours::open(folder, ours::config())?;
    Writer::new(&store).fill(0..key_count, 1, &Values::new())?;
    store.close()?;
    drop(store);
    let store = ours::open(folder, ours::config())?;
    store.maintain()?;
    Ok(store.close()?)
}
