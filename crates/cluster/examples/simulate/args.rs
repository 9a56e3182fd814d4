//! What can be asked on the command line.

use std::path::PathBuf;
use std::thread;

use clap::{Parser, Subcommand, ValueEnum};

/// Whole clusters in virtual time, with everything going wrong that can.
#[derive(Debug, Parser)]
#[command(name = "simulate", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Live through this seed
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,

    /// Live through these seeds, without the last
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "1..1001", global = true)]
    pub seeds: (u64, u64),

    /// Live through so many seeds that nobody tried yet
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seed", "seeds"])]
    pub fresh: Option<u64>,

    /// Live through the seeds in this file too: one a line, `#` begins a remark
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Tell the whole story
    #[arg(long = "trace")]
    pub is_traced: bool,

    /// Write what the clients saw as JSON lines; needs --seed
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub history: Option<PathBuf>,

    /// Plant this defect
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,

    /// What lies under the servers
    #[arg(long, value_enum, default_value_t = Storage::Model, global = true)]
    pub storage: Storage,

    /// Have the coordinator grow and shrink the ring by itself, with loads that rise and fall
    #[arg(long = "elastic", global = true)]
    pub is_elastic: bool,

    /// Threads, each with a run of its own; 0: one a processor
    #[arg(long, value_name = "N", default_value_t = 0, global = true)]
    pub threads: usize,

    /// Stop after so many failing seeds
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub failures: u64,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plant each defect in turn and count the seeds until it is found; prints a table
    Mutants {
        /// Only defects whose names contain one of these
        names: Vec<String>,
        /// Give a defect up after so many seeds
        #[arg(long, value_name = "N", default_value_t = 20_000)]
        seeds_max: u64,
    },
    /// Measure how long a slot is out after a crash or a pause
    Measure {
        /// Runs of each kind
        #[arg(long, value_name = "N", default_value_t = 300)]
        runs: u64,
    },
    /// Check a history, of a simulated or a real cluster
    Check {
        /// JSON lines
        file: PathBuf,
    },
}

/// What lies under the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Storage {
    /// A model of the engine's contract
    Model,
    /// The engine itself on a simulated disk
    Bitcask,
}

impl Storage {
    /// Returns the word of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Bitcask => "bitcask",
        }
    }
}

impl Args {
    /// Returns how many threads to use.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("a range is A..B")?;
    let number = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok((from, to)) } else { Err("the range is empty".to_owned()) }
}
