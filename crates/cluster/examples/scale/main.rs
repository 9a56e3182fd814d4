//! The tables of `docs/SCALE.md`: gossip, coordinator and ring at up to 1,000 servers, in virtual time.
//!
//! ```text
//! cargo run --release -p cluster --example scale -- spread          a map change on all servers
//! … -- idle                                                         what servers say when nothing happens
//! … -- wrong [--pauses]                                             false suspicions and deaths an hour
//! … -- slow                                                         one slow server among eight
//! … -- death                                                        how soon a death is known
//! … -- told                                                         messages of the coordinator for a change
//! … -- signs                                                        signs of life that the coordinator gets
//! … -- balance                                                      shares after random joins and leaves
//! … -- restore                                                      third copies after the loss of a server
//! … -- all                                                          all of it: about an hour on two processors
//! ```
//!
//! The machines are the real ones, and so are the lines that are counted; network, clocks and pauses are made up from
//! seeds, so every figure but the time it took comes out the same again. The world itself is the test `gossip`; its files are
//! read here a second time, since a test cannot be a library.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "most of it is the test's own files"
)]

#[path = "../../tests/gossip/arbiter.rs"]
mod arbiter;
#[path = "../../tests/sim/disk.rs"]
mod disk;
#[path = "../../tests/machine/fake.rs"]
mod fake;
#[path = "../../tests/machine/host.rs"]
mod host;
#[path = "../../tests/gossip/measure.rs"]
mod measure;
#[path = "../simulate/pool.rs"]
mod pool;
#[path = "../../tests/gossip/world.rs"]
mod world;

mod arbitration;
mod talk;

use std::io::{self, Write};

use clap::{Parser, ValueEnum};

/// Servers in each row of a table.
pub const COUNTS: [usize; 6] = [3, 10, 30, 100, 300, 1000];

/// Gossip, coordinator and ring at scale, in virtual time.
#[derive(Debug, Parser)]
#[command(name = "scale", version)]
pub struct Args {
    /// Which table
    #[arg(value_enum)]
    pub table: Table,

    /// Only rows of up to so many servers
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub servers_max: usize,

    /// A tenth of the trials and times: a look in minutes
    #[arg(long)]
    pub quick: bool,

    /// Threads, each with a row or a seed of its own; 0: one a processor
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,

    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// A map change on all servers
    Spread,
    /// What servers say when nothing happens
    Idle,
    /// False suspicions and deaths an hour
    Wrong,
    /// One slow server among eight
    Slow,
    /// How soon a death is known
    Death,
    /// Messages of the coordinator for a change
    Told,
    /// Signs of life that the coordinator gets
    Signs,
    /// Shares after random joins and leaves
    Balance,
    /// Third copies after the loss of a server
    Restore,
    /// Every table
    All,
}

impl Args {
    /// Returns the rows' numbers of servers.
    pub fn counts(&self) -> Vec<usize> {
        COUNTS.into_iter().filter(|count| *count <= self.servers_max).collect()
    }

    /// Returns `full`, or a tenth of it for a quick look.
    pub fn share(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(1) } else { full }
    }

    /// Works through jobs on all threads, and returns the results in the jobs' order.
    pub fn each<J: Sync, R: Send>(&self, jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
        let threads = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let numbered: Vec<_> = jobs.iter().enumerate().collect();
        let mut results: Vec<_> = jobs.iter().map(|_| None).collect();
        pool::each(
            &numbered,
            threads,
            |(_, job)| work(job),
            |(index, _), result| {
                results[*index] = Some(result);
                true
            },
        );
        results.into_iter().map(|result| result.expect("every job was done")).collect()
    }
}

/// Writes a line. A reader that went away is no reason to stop counting.
pub fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}

/// Works a table out, and prints it.
type Run = fn(&Args);

fn main() {
    let args = Args::parse();
    let tables: [(Table, Run); 9] = [
        (Table::Spread, talk::spread),
        (Table::Idle, talk::idle),
        (Table::Wrong, talk::wrong),
        (Table::Slow, talk::slow),
        (Table::Death, talk::death),
        (Table::Told, arbitration::told),
        (Table::Signs, arbitration::signs),
        (Table::Balance, arbitration::balance),
        (Table::Restore, arbitration::restore),
    ];
    for (table, run) in tables {
        if args.table == table || args.table == Table::All {
            run(&args);
            say("");
        }
    }
}
