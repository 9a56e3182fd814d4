//! The simulator: whole clusters in virtual time, with everything going wrong that can. `world.rs` tells how.

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
    reason = "the whole crate is a test, and a test says what it expects by failing"
)]

mod asks;
mod check;
mod client;
mod disk;
mod ecs;
mod engine;
mod faults;
mod history;
mod invariants;
mod measure;
mod network;
mod node;
mod plan;
mod planted;
mod queue;
#[cfg(test)]
mod rehearsal;
mod report;
mod run;
mod trace;
mod wishes;
mod words;
mod world;

use plan::{Plan, Under};
use report::Report;

/// Seeds that the ordinary test run lives through.
const SEED_COUNT: u64 = 50;
/// Seeds that it lives through with the engine under the servers.
const ENGINE_SEED_COUNT: u64 = 5;

/// Fails with the seed, its faults and the end of its story.
fn assert_whole(report: &Report) {
    let Some(violation) = &report.violation else { return };
    panic!(
        "seed {}: {violation}\n  {}\n{}\n",
        report.seed,
        report.faults.join("\n  "),
        report.trace.join("\n")
    );
}

#[test]
fn clusters_keep_their_promises_through_drawn_faults() {
    for seed in 1..=SEED_COUNT {
        assert_whole(&run::run_told(&Plan::new(seed)));
    }
}

#[test]
fn clusters_on_the_engine_itself_keep_their_promises() {
    for seed in 1..=ENGINE_SEED_COUNT {
        assert_whole(&run::run_told(&Plan { storage: Under::Engine, ..Plan::new(seed) }));
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for storage in [Under::Model, Under::Engine] {
        let plan = Plan { is_traced: true, storage, ..Plan::new(7) };
        let runs = [(); 2].map(|()| run::run(&plan));
        assert_eq!(runs[0].trace, runs[1].trace);
        assert_eq!(runs[0].history, runs[1].history);
    }
}
