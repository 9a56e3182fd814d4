//! What random overwrites cost on disk: bytes held per live byte, and bytes written per byte put.
//!
//! Merges run in the background with their default settings while keys are overwritten at random, as many times a
//! round as there are keys. After the last round merges settle: the figure that stays. Bytes on disk are
//! those of every file in the folder, hint files too. They are given per live byte as the engine counts it (whole records)
//! and, stricter, per byte of live keys and values. Bytes written are what this process gave to system calls.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bitcask::Store;
use clap::Args as ClapArgs;

use crate::Result;
use crate::load::{self, KEY_LEN, VALUE_LEN, Values};
use crate::ours::{self, Writer};
use crate::report::{Figure, Report};

/// Time without a change of any file's length after which merges count as settled.
const SETTLED_FOR: Duration = Duration::from_secs(4);
/// The longest wait for that.
const SETTLE_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Rounds of overwrites
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Overwrites a second, at most [default: no limit]
    #[arg(long)]
    rate: Option<f64>,
}

/// What was put and written so far.
struct Ledger {
    put_len: u64,
    written_before: u64,
}

impl Ledger {
    /// Returns the figures of the store in `folder` as it is now.
    fn figures(&self, store: &Store, folder: &Path, keys: u64) -> Result<Vec<Figure>> {
        let disk_len = folder_len(folder)? as f64;
        let stats = store.stats();
        let pair_len = (KEY_LEN + VALUE_LEN) as f64 * keys as f64;
        let written_len = (written_len()? - self.written_before) as f64;
        Ok(vec![
            Figure::new("disk / live records", disk_len / stats.live_len as f64, 2, ""),
            Figure::new("disk / live keys and values", disk_len / pair_len, 2, ""),
            Figure::new("dead", 100.0 * stats.dead_len as f64 / stats.disk_len as f64, 0, " %"),
            Figure::new("written / put", written_len / self.put_len as f64, 2, ""),
            Figure::new("merges", stats.merge_count as f64, 0, ""),
        ])
    }
}

/// Overwrites at random and looks at the folder.
pub(crate) fn run(args: &Args, folder: &Path) -> Result<Report> {
    let folder = tempfile::tempdir_in(folder)?;
    let values = Values::new();
    let written_before = written_len()?;
    let store = ours::open(folder.path(), ours::config())?;
    let mut writer = Writer::new(&store);
    let mut ledger = Ledger { put_len: 0, written_before };
    let mut report = Report::new(format!("Disk; {} keys, overwritten at random", args.keys));
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..=args.rounds {
        let order: Vec<_> = match round {
            0 => (0..args.keys).collect(),
            _ => (0..args.keys).map(|_| random.u64(..args.keys)).collect(),
        };
        overwrite(&mut writer, &order, round, args.rate, &values)?;
        ledger.put_len += args.keys * (KEY_LEN + VALUE_LEN) as u64;
        let name = if round == 0 { "filled".to_owned() } else { format!("round {round}") };
        report.add(name, ledger.figures(&store, folder.path(), args.keys)?);
    }
    wait_until_settled(folder.path())?;
    report.add("settled", ledger.figures(&store, folder.path(), args.keys)?);
    Ok(report)
}

fn overwrite(
    writer: &mut Writer<'_>,
    order: &[u64],
    version: u64,
    rate: Option<f64>,
    values: &Values,
) -> Result<()> {
    let began_at = Instant::now();
    for (count, index) in order.iter().enumerate() {
        writer.put(&load::key(*index), &values.value(*index, version))?;
        if let (Some(rate), 0) = (rate, count % 64) {
            let due = Duration::from_secs_f64(count as f64 / rate);
            load::wait_out(due.saturating_sub(began_at.elapsed()));
        }
    }
    Ok(())
}

/// Waits until no file has changed for a while.
fn wait_until_settled(folder: &Path) -> Result<()> {
    let began_at = Instant::now();
    let (mut last, mut since) = (folder_len(folder)?, Instant::now());
    while since.elapsed() < SETTLED_FOR {
        if began_at.elapsed() > SETTLE_MAX {
            return Err("merges did not settle".into());
        }
        load::wait_out(LOOK_EVERY);
        let now = folder_len(folder)?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Returns the bytes of all files in the folder.
fn folder_len(folder: &Path) -> Result<u64> {
    let mut len = 0;
    for entry in fs::read_dir(folder)? {
        // A file that a merge has just removed counts as nothing.
        len += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(len)
}

/// Returns the bytes that this process has written so far.
fn written_len() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.ok_or("no `wchar` in /proc/self/io")?.parse()?)
}
