//! Measures the engine beside other embedded stores, and by itself.
//!
//! ```text
//! cargo run --release -- race                 puts, overwrites and gets of ours, fjall, LMDB, redb and sled
//! cargo run --release --features rocksdb -- race          and of RocksDB
//! cargo run --release -- memory | start | space | merge   ours alone
//! ```
//!
//! Run it in this folder: it is a package of its own, so that its rivals are built only by who wants them. Each
//! subcommand prints a Markdown table; `--json` prints one JSON object instead.
//!
//! | subcommand | figures |
//! |---|---|
//! | `race` | operations a second of each engine, 1 and 2 threads, and ours against the best of the others |
//! | `memory` | bytes of memory a key, all told and by the keydir's own account |
//! | `start` | time to open a store with hint files |
//! | `space` | bytes on disk per live byte and bytes written per byte put, under random overwrites |
//! | `merge` | latency of gets while a merge runs and without |
//!
//! How the numbers are kept honest:
//!
//! * Every engine runs the same loop (`race`) over the same keys in the same order (`load`), in a fresh process and
//!   folder for each run. Rounds are interleaved, each begins with another engine, and medians are reported; a ratio
//!   is the median of the ratios of runs of the same round, so that a noisy hour harms both sides.
//! * Every value read is compared with what was written, byte for byte; a run with a wrong value is no run.
//! * Nobody syncs. The settings of each engine are in its file under `engines`, chosen for this load.
//! * All data fit in the page cache; what is measured is the engine, not the disk.
//!
//! Left out: range scans, which a Bitcask does not have, and synced puts, which measure the disk.

mod child;
mod engines;
mod load;
mod memory;
mod merge;
mod ours;
mod race;
mod report;
mod space;
mod start;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What every fallible function here returns: a person reads the message, nobody matches on it.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures the engine beside other embedded stores, and by itself
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object instead of a Markdown table
    #[arg(long, global = true)]
    json: bool,
    /// Folder for the stores, each in a temporary folder of its own
    #[arg(long, global = true, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts, overwrites and gets of every engine
    Race(race::Args),
    /// One engine's run of a race, in this process
    #[command(hide = true)]
    RaceOnce(race::OnceArgs),
    /// Memory a key
    Memory(memory::Args),
    /// Time to open a store with hint files
    Start(start::Args),
    /// One opening, in this process
    #[command(hide = true)]
    StartOnce(start::OnceArgs),
    /// Bytes on disk per live byte under random overwrites
    Space(space::Args),
    /// Latency of gets while a merge runs
    Merge(merge::Args),
}

fn run(args: &Args) -> Result<()> {
    let report = match &args.command {
        Command::Race(race) => race::run(race, &args.folder)?,
        Command::RaceOnce(once) => return child::answer(&race::run_once(once, &args.folder)?),
        Command::Memory(memory) => memory::run(memory, &args.folder)?,
        Command::Start(start) => start::run(start, &args.folder)?,
        Command::StartOnce(once) => return child::answer(&start::run_once(once)?),
        Command::Space(space) => space::run(space, &args.folder)?,
        Command::Merge(merge) => merge::run(merge, &args.folder)?,
    };
    let text = if args.json { report.json() } else { report.markdown() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if even this cannot be said.
            drop(writeln!(std::io::stderr(), "peers: {error}"));
            ExitCode::FAILURE
        }
    }
}
