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

mod ambush;
mod asks;
mod check;
mod client;
#[cfg(test)]
mod deaf;
mod disk;
mod ecs;
mod engine;
mod faults;
mod gather;
mod gossip;
mod hang;
mod history;
mod invariants;
mod measure;
mod network;
mod node;
mod operator;
mod plan;
mod planted;
mod queue;
mod reads;
#[cfg(test)]
mod rehearsal;
mod report;
mod run;
mod trace;
mod watch;
mod wishes;
mod words;
mod world;

use std::time::Duration;

use cluster::coordinator::Settings;
use plan::{Kind, Plan, Policy, Under};
use queue::SECOND;
use report::Report;

/// Seeds that the ordinary test run lives through.
const SEED_COUNT: u64 = 50;
/// Seeds that it lives through with a coordinator that grows and shrinks the ring by itself.
const ELASTIC_SEED_COUNT: u64 = 30;
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
fn clusters_that_grow_and_shrink_by_themselves_keep_their_promises() {
    let mut decided_count = 0;
    for seed in 1..=ELASTIC_SEED_COUNT {
        let report = run::run_told(&Plan::elastic(seed));
        assert_whole(&report);
        decided_count += report.elastic;
    }
    assert!(decided_count >= ELASTIC_SEED_COUNT, "{decided_count} decisions");
}

#[test]
fn clusters_on_the_engine_itself_keep_their_promises() {
    for seed in 1..=ENGINE_SEED_COUNT {
        assert_whole(&run::run_told(&Plan { storage: Under::Engine, ..Plan::new(seed) }));
    }
}

/// Servers are lost, others leave, and nobody is taken off in time: fewer than half of the ring are left.
#[test]
fn servers_that_never_come_back_are_taken_off_by_the_operator_where_the_cluster_waits_for_that() {
    let mut taken_off_count = 0;
    for seed in 1..=20 {
        let plan = Plan::new(seed);
        let settings =
            Settings { rejoin_grace: Duration::from_secs(120), replica_count: 3, ..plan.settings };
        let kinds = vec![(Kind::Lose, 3), (Kind::Leave, 1)];
        let (servers, standbys, policy) = (4, 0, Policy::Always);
        let faulty_for = 20 * SECOND;
        let plan = Plan { settings, kinds, servers, standbys, policy, faulty_for, ..plan };
        let report = run::run_told(&plan);
        assert_whole(&report);
        taken_off_count +=
            report.faults.iter().filter(|what| what.contains("never comes back")).count();
    }
    assert!(taken_off_count > 0, "{taken_off_count}");
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
