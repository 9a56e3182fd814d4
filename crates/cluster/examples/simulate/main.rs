//! The simulator's command line: runs seeds, replays one, plants defects, measures.
//!
//! ```text
//! cargo run --release -p cluster --example simulate -- --seeds 1..1000       live through seeds, on all processors
//! … -- --seed 7 --trace                                                      one seed, told as a story
//! … -- --seed 7 --history FILE                                               what its clients saw, as JSON lines
//! … -- mutants                                                               after how many seeds each planted defect is found
//! … -- measure                                                               how long a failover takes
//! … -- check FILE                                                            the checks, on a history from anywhere
//! ```
//!
//! It ends with 0 if nothing went against a promise, 1 if something did, 2 if it could not do what it was asked.
//!
//! The simulator itself is the test `sim`; its files are read here a second time, since a test cannot be a library.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "most of it is the test's own files"
)]

#[path = "../../tests/sim/ambush.rs"]
mod ambush;
#[path = "../../tests/sim/asks.rs"]
mod asks;
#[path = "../../tests/sim/check/mod.rs"]
mod check;
#[path = "../../tests/sim/client.rs"]
mod client;
#[path = "../../tests/sim/disk.rs"]
mod disk;
#[path = "../../tests/sim/ecs.rs"]
mod ecs;
#[path = "../../tests/sim/engine.rs"]
mod engine;
#[path = "../../tests/sim/faults.rs"]
mod faults;
#[path = "../../tests/sim/gather.rs"]
mod gather;
#[path = "../../tests/sim/gossip.rs"]
mod gossip;
#[path = "../../tests/sim/hang.rs"]
mod hang;
#[path = "../../tests/sim/history.rs"]
mod history;
#[path = "../../tests/sim/invariants.rs"]
mod invariants;
#[path = "../../tests/sim/measure.rs"]
mod measure;
#[path = "../../tests/sim/network.rs"]
mod network;
#[path = "../../tests/sim/node.rs"]
mod node;
#[path = "../../tests/sim/operator.rs"]
mod operator;
#[path = "../../tests/sim/plan.rs"]
mod plan;
#[path = "../../tests/sim/queue.rs"]
mod queue;
#[path = "../../tests/sim/reads.rs"]
mod reads;
#[path = "../../tests/sim/report.rs"]
mod report;
#[path = "../../tests/sim/run.rs"]
mod run;
#[path = "../../tests/sim/trace.rs"]
mod trace;
#[path = "../../tests/sim/watch.rs"]
mod watch;
#[path = "../../tests/sim/wishes.rs"]
mod wishes;
#[path = "../../tests/sim/words.rs"]
mod words;
#[path = "../../tests/sim/world.rs"]
mod world;

mod args;
mod figures;
mod mutants;
mod pool;
mod seeds;

use std::io::{self, BufReader, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// How it ended; an error could not do what was asked.
pub type Outcome = Result<bool, String>;

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.is_traced {
        // A machine that panics is a violation, and is told as one.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let outcome = match &args.command {
        None => seeds::run(&args),
        Some(Command::Mutants { names, seeds_max }) => mutants::run(&args, names, *seeds_max),
        Some(Command::Measure { runs }) => figures::run(*runs),
        Some(Command::Check { file }) => check_file(file),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(text) => {
            say(&format!("simulate: {text}"));
            ExitCode::from(2)
        }
    }
}

/// Writes a line. A reader that went away is no reason to stop counting.
pub fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}

fn check_file(path: &std::path::Path) -> Outcome {
    let context = |error: io::Error| format!("{}: {error}", path.display());
    let file = std::fs::read(path).map_err(context)?;
    let history = history::History::read(BufReader::new(&file[..]))?;
    let counts = history.counts();
    say(&format!(
        "{} operations: {} ok, {} failed, {} unknown, {} without an end",
        history.operations().len(),
        counts.ok,
        counts.fail,
        counts.info,
        counts.open
    ));
    match check::check(&history) {
        Ok(summary) => {
            say(&format!("{} keys, no complaint", summary.key_count));
            Ok(true)
        }
        Err(complaint) => {
            say(&complaint);
            Ok(false)
        }
    }
}
