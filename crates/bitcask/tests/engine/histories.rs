//! Seeded histories, and every single operation failing in turn.
//!
//! `RINGCASK_SEEDS=N` sets how many histories are run (two hundred by default, thousands in CI);
//! `RINGCASK_SEED=N` runs that one alone, and prints its steps when it fails.

use bitcask::{Fault, FaultKind};

use crate::driver::{Driver, Trouble};
use crate::replica::Replica;

/// Histories of one plain `cargo test`.
const SEED_COUNT: u64 = 200;
/// Histories of the heavy tests.
const HEAVY_SEED_COUNT: u64 = 5_000;
/// Histories that the heavy sweeps take apart, each run some thousand times.
const HEAVY_SWEEP_COUNT: u64 = 8;
/// Of how many seeds one is run with copied slots too: their model takes longer to check.
const COPIES_EVERY: usize = 3;
/// Steps of a history: enough for some rotations, merges and restarts.
const STEP_COUNT: usize = 120;
/// Steps of a history whose operations are made to fail one by one.
const SWEEP_STEP_COUNT: usize = 40;
/// Steps that a failing history shows of its end.
const SHOWN_COUNT: usize = 60;

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed_count() -> u64 {
    number_from("RINGCASK_SEEDS").unwrap_or(SEED_COUNT)
}

/// Returns the seeds to run: one, if one was asked for.
fn seeds() -> std::ops::Range<u64> {
    match number_from("RINGCASK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..seed_count(),
    }
}

/// Runs a history and returns how many operations of the disk it had.
type Run = fn(u64, Trouble, usize) -> u64;

/// Runs the history of a server that stands alone, and ends the test with its story when the store broke a promise.
fn must_hold(seed: u64, trouble: Trouble, step_count: usize) -> u64 {
    let mut driver = Driver::new(seed, trouble);
    let outcome = driver.run(step_count);
    tell_if_broken(seed, trouble, outcome, &driver.steps);
    driver.world.op_count()
}

/// Runs the history of copied slots, as [`must_hold`].
fn must_hold_of_copies(seed: u64, trouble: Trouble, step_count: usize) -> u64 {
    let mut replica = Replica::new(seed, trouble);
    let outcome = replica.run(step_count);
    tell_if_broken(seed, trouble, outcome, &replica.steps);
    replica.world.op_count()
}

fn tell_if_broken(seed: u64, trouble: Trouble, outcome: Result<(), String>, steps: &[String]) {
    if let Err(complaint) = outcome {
        let skipped_count = steps.len().saturating_sub(SHOWN_COUNT);
        panic!(
            "seed {seed}, {trouble:?}: {complaint}\n\
             replay: RINGCASK_SEED={seed} cargo test -p bitcask --test engine\n\
             operations and steps, {skipped_count} left out:\n{}",
            steps[skipped_count..].join("\n")
        );
    }
}

#[test]
fn a_store_without_trouble_shows_what_was_written() {
    for seed in seeds() {
        must_hold(seed, Trouble::None, STEP_COUNT);
    }
}

#[test]
fn no_crash_and_no_failing_disk_makes_a_store_break_its_promises() {
    for seed in seeds() {
        must_hold(seed, Trouble::Any, STEP_COUNT);
    }
}

#[test]
fn copied_slots_without_trouble_show_what_was_published_and_keep_what_is_pending() {
    for seed in seeds().step_by(COPIES_EVERY) {
        must_hold_of_copies(seed, Trouble::None, STEP_COUNT);
    }
}

#[test]
fn no_crash_and_no_failing_disk_publishes_or_loses_a_pending_record() {
    for seed in seeds().step_by(COPIES_EVERY) {
        must_hold_of_copies(seed, Trouble::Any, STEP_COUNT);
    }
}

#[test]
#[ignore = "takes minutes; continuous integration runs it"]
fn no_crash_and_no_failing_disk_breaks_a_promise_in_thousands_of_histories() {
    for seed in 0..number_from("RINGCASK_SEEDS").unwrap_or(HEAVY_SEED_COUNT) {
        must_hold(seed, Trouble::Any, STEP_COUNT);
        must_hold_of_copies(seed, Trouble::Any, STEP_COUNT);
    }
}

/// What goes wrong at operation N, in the sweeps.
const SWEEPS: [fn(u64) -> Trouble; 5] = [
    |at| Trouble::Fault(Fault::once(at, FaultKind::Eio)),
    |at| Trouble::Fault(Fault::lasting(at, FaultKind::Eio)),
    |at| Trouble::Fault(Fault::once(at, FaultKind::Enospc)),
    |at| Trouble::Fault(Fault::lasting(at, FaultKind::Enospc)),
    Trouble::CrashAt,
];

/// Runs a history as often as it has operations, with another one failing each time.
fn sweep(run: Run, seed: u64, trouble_at: fn(u64) -> Trouble) {
    let op_count = run(seed, Trouble::None, SWEEP_STEP_COUNT);
    for at in 1..=op_count {
        run(seed, trouble_at(at), SWEEP_STEP_COUNT);
    }
}

#[test]
fn an_input_output_error_at_any_operation_is_survived() {
    sweep(must_hold, 0, SWEEPS[0]);
}

#[test]
fn a_disk_that_dies_at_any_operation_is_survived() {
    sweep(must_hold, 0, SWEEPS[1]);
}

#[test]
fn a_full_disk_at_any_operation_is_survived() {
    sweep(must_hold, 0, SWEEPS[2]);
}

#[test]
fn a_disk_that_stays_full_from_any_operation_on_is_survived() {
    sweep(must_hold, 0, SWEEPS[3]);
}

#[test]
fn a_power_cut_at_any_operation_is_survived() {
    sweep(must_hold, 0, SWEEPS[4]);
}

#[test]
fn copied_slots_survive_a_power_cut_at_any_operation() {
    sweep(must_hold_of_copies, 0, SWEEPS[4]);
}

#[test]
#[ignore = "takes minutes; continuous integration runs it"]
fn any_failure_at_any_operation_of_many_histories_is_survived() {
    for seed in 1..=HEAVY_SWEEP_COUNT {
        for trouble_at in SWEEPS {
            sweep(must_hold, seed, trouble_at);
            sweep(must_hold_of_copies, seed, trouble_at);
        }
    }
}

/// Planted defects that histories of copied slots find by themselves.
const FOUND: [&str; 11] = [
    "commit point before its records",
    "commit point falls",
    "lower request lsn wins",
    "merge drops what a pending record will replace",
    "merge drops what is pending",
    "pending record not relocated",
    "pending record published at opening",
    "request below the floor",
    "request dropped with its record",
    "request noted before it is published",
    "request of an overwritten record lost",
];
/// Histories within which each of them is found; the rarest by the 38th.
const FINDING_COUNT: u64 = 100;

#[test]
fn histories_of_copied_slots_find_the_planted_defects_of_commit_points_and_requests() {
    for name in FOUND {
        let is_found = (0..FINDING_COUNT).any(|seed| {
            let _planted = bitcask::Planted::new(name);
            let mut replica = Replica::new(seed, Trouble::Any);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| replica.run(STEP_COUNT)))
                .map_or(true, |outcome| outcome.is_err())
        });
        assert!(is_found, "{name} was planted, and no history fails");
    }
}
