//! The goals of gossip, coordinator and ring at scale, in virtual time, so that they are the same on every machine.

use std::time::Duration;

use crate::arbiter;
use crate::measure::{self, Pauses};

fn percentile(rising: &[f64], percent: usize) -> f64 {
    rising[(rising.len() * percent).div_ceil(100).max(1) - 1]
}

#[test]
fn a_change_of_the_map_is_with_all_of_a_hundred_servers_within_eight_periods() {
    let times = measure::spread(100, 50, 0, 1);
    assert!(percentile(&times, 99) <= 8.0, "{times:?}");
    let times = measure::spread(100, 20, 50, 2);
    assert!(percentile(&times, 99) <= 16.0, "with lost lines: {times:?}");
}

#[test]
fn ten_servers_that_idle_send_less_than_two_kibibytes_a_second_each() {
    let idle = measure::idle(10, Duration::from_secs(60), 1);
    assert!(idle.byte_rate <= 2048.0, "{idle:?}");
}

#[test]
fn a_slow_server_among_eight_gets_no_healthy_one_taken_for_dead() {
    for seed in 0..4 {
        let found = measure::slow(8, Duration::from_secs(120), seed);
        assert_eq!(found.healthy_deaths, 0, "seed {seed}: {found:?}");
    }
}

#[test]
fn pauses_of_two_seconds_and_lost_lines_are_no_deaths() {
    let (least, most) = (Duration::from_millis(200), Duration::from_secs(2));
    let pauses = Pauses { every: Duration::from_secs(60), time: (least, most) };
    for (lost_permille, pauses) in [(0, None), (10, None), (50, None), (10, Some(pauses))] {
        let found = measure::wrong(20, Duration::from_secs(60), lost_permille, pauses, 1);
        assert_eq!(found.death_count, 0, "{lost_permille} lost, {pauses:?}: {found:?}");
    }
}

#[test]
fn the_coordinator_sends_as_many_messages_for_a_change_to_ten_servers_as_to_twenty() {
    let few = Some(measure::TOLD_COUNT);
    assert_eq!(arbiter::told(10, few), arbiter::told(20, few));
    assert_eq!(arbiter::told(10, few), 1 + measure::TOLD_COUNT as u64);
    assert_eq!(arbiter::told(10, None), 10);
}

#[test]
fn shares_stay_level_by_bytes_whoever_joins_and_leaves() {
    for count in [3, 10, 50] {
        let found = arbiter::balance(count, 200_000, 30, 1);
        assert!(found.last().is_some_and(|most| *most <= 1.10), "{count} servers: {found:?}");
    }
}

#[test]
fn third_copies_are_back_the_sooner_the_more_servers_there_are() {
    let times = [4, 7, 12].map(|count| arbiter::restore(count, 4 << 30, 1).time.as_secs_f64());
    let alone = f64::from(4 << 10) / 64.0;
    assert!(times[0] < alone, "three share the work of one: {times:?}");
    assert!(times[0] > times[1] && times[1] > times[2], "{times:?}");
}
