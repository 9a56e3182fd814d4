//! Seeded histories, and every single operation failing in turn.
//!
//! `RINGCASK_SEEDS=N` sets how many histories are run (two hundred by default, thousands in CI);
//! `RINGCASK_SEED=N` runs that one alone, and prints its steps when it fails.

use bitcask::{Fault, FaultKind};

use crate::driver::{Driver, Trouble};

/// Histories of one plain `cargo test`.
const SEED_COUNT: u64 = 200;
/// Histories of the heavy tests.
const HEAVY_SEED_COUNT: u64 = 5_000;
/// Histories that the heavy sweeps take apart, each run some thousand times.
const HEAVY_SWEEP_COUNT: u64 = 8;
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

/// Runs the history, and ends the test with its story when the store broke a promise.
fn must_hold(seed: u64, trouble: Trouble, step_count: usize) -> u64 {
    let mut driver = Driver::new(seed, trouble);
    if let Err(complaint) = driver.run(step_count) {
        let skipped_count = driver.steps.len().saturating_sub(SHOWN_COUNT);
        panic!(
            "seed {seed}, {trouble:?}: {complaint}\n\
             replay: RINGCASK_SEED={seed} cargo test -p bitcask --test engine\n\
             operations and steps, {skipped_count} left out:\n{}",
            driver.steps[skipped_count..].join("\n")
        );
    }
    driver.world.op_count()
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
#[ignore = "takes minutes; continuous integration runs it"]
fn no_crash_and_no_failing_disk_breaks_a_promise_in_thousands_of_histories() {
    for seed in 0..number_from("RINGCASK_SEEDS").unwrap_or(HEAVY_SEED_COUNT) {
        must_hold(seed, Trouble::Any, STEP_COUNT);
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
fn sweep(seed: u64, trouble_at: fn(u64) -> Trouble) {
    let op_count = must_hold(seed, Trouble::None, SWEEP_STEP_COUNT);
    for at in 1..=op_count {
        must_hold(seed, trouble_at(at), SWEEP_STEP_COUNT);
    }
}

#[test]
fn an_input_output_error_at_any_operation_is_survived() {
    sweep(0, SWEEPS[0]);
}

#[test]
fn a_disk_that_dies_at_any_operation_is_survived() {
    sweep(0, SWEEPS[1]);
}

#[test]
fn a_full_disk_at_any_operation_is_survived() {
    sweep(0, SWEEPS[2]);
}

#[test]
fn a_disk_that_stays_full_from_any_operation_on_is_survived() {
    sweep(0, SWEEPS[3]);
}

#[test]
fn a_power_cut_at_any_operation_is_survived() {
    sweep(0, SWEEPS[4]);
}

#[test]
#[ignore = "takes minutes; continuous integration runs it"]
fn any_failure_at_any_operation_of_many_histories_is_survived() {
    for seed in 1..=HEAVY_SWEEP_COUNT {
        SWEEPS.into_iter().for_each(|trouble_at| sweep(seed, trouble_at));
    }
}
