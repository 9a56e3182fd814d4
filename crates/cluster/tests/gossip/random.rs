//! Random histories of many machines: pauses, crashes, new lives, partitions, lost lines, changes of the map; then all is
//! healed, and what must be true is checked.
//!
//! * A server that runs and can be reached is seen alive by everybody [`HEAL_MAX`] after the healing.
//! * One that ended is seen dead by everybody [`DEATH_MAX`] after its end.
//! * Nobody's map goes back, and in the end all have the newest that any of them has.
//! * Nobody knows more members than there are, and in the end nobody has anything left to tell.
//!
//! `RINGCASK_SEEDS=N` sets how many histories are run, `RINGCASK_SEED=N` runs that one alone.

use std::time::Duration;

use cluster::gossip::{Seen, Settings};
use cluster::{Standing, Time, Version};
use fastrand::Rng;

use crate::world::World;

/// Histories that are run unless told otherwise: some seconds in a debug build.
const SEED_COUNT: u64 = 25;

/// After this long a live server is seen alive by all: each second one of the dead is tried, a partition has cut a
/// dozen apart, and news of it takes a second.
pub const HEAL_MAX: Duration = Duration::from_secs(30);

/// After this long a server that ended is seen dead by all: the longest suspicion, at the worst health.
pub const DEATH_MAX: Duration = Duration::from_secs(40);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn act(world: &mut World, rng: &mut Rng) {
    let at = rng.usize(..world.nodes.len());
    match rng.u8(..100) {
        0..=29 => world.pause(at, ms(rng.u64(50..2500))),
        30..=39 => world.end(at),
        40..=54 => world.begin_again(at),
        55..=64 => world.nodes[at].side = rng.u8(..2),
        65..=69 => world.nodes.iter_mut().for_each(|node| node.side = 0),
        70..=79 => world.network.lost_permille = *rng.choice(&[0, 10, 50, 200]).unwrap(),
        _ => {
            world.change_map();
            for _ in 0..3 {
                let at = rng.usize(..world.nodes.len());
                if world.nodes[at].is_up {
                    world.tell(at);
                }
            }
        }
    }
}

/// Checks that a history has come to a good end.
pub fn check_end(world: &World) -> Result<(), String> {
    let count = world.nodes.len();
    // What only those heard who have ended since is for the coordinator to tell again.
    let running = world.nodes.iter().filter(|node| node.is_up);
    let newest = running.map(|node| node.map.version()).max().unwrap_or_default();
    for by in (0..count).filter(|by| world.nodes[*by].is_up) {
        let node = &world.nodes[by];
        if node.map.version() != newest {
            return Err(format!("{by} has map {} of {newest}", node.map.version()));
        }
        for of in (0..count).filter(|of| *of != by) {
            let expected = if world.nodes[of].is_up { Seen::Alive } else { Seen::Dead };
            if world.seen(by, of) != Some(expected) {
                return Err(format!("{by} sees {of} {:?}, not {expected:?}", world.seen(by, of)));
            }
        }
        let (rumor_count, _) = node.gossip.waiting_count();
        if rumor_count > 0 {
            return Err(format!("{by} has {rumor_count} rumours left to tell"));
        }
        if node.gossip.views(Time(world.now)).len() > count {
            return Err(format!("{by} knows too many"));
        }
    }
    Ok(())
}

/// Lives through a history. Returns what went wrong.
pub fn live(seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(rng.usize(3..=12), Settings::default(), seed);
    world.is_read = true;
    let mut versions = vec![Version(0); world.nodes.len()];
    for _ in 0..rng.usize(10..60) {
        act(&mut world, &mut rng);
        world.run(ms(rng.u64(0..1500)));
        for (at, version) in versions.iter_mut().enumerate() {
            let now = world.nodes[at].map.version();
            if now < *version {
                return Err(format!("seed {seed}: the map of {at} went back"));
            }
            *version = now;
        }
    }
    world.network.lost_permille = 0;
    for node in &mut world.nodes {
        node.side = 0;
    }
    let healed = |world: &World| check_end(world).is_ok();
    world.until(HEAL_MAX + DEATH_MAX, |world| {
        world.nodes.iter().all(|n| n.stands_until <= world.now)
    });
    match world.until(HEAL_MAX + DEATH_MAX, healed) {
        Some(_) => Ok(()),
        None => Err(format!("seed {seed}: {}", check_end(&world).unwrap_err())),
    }
}

#[test]
fn random_histories_end_with_everybody_knowing_the_truth() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let one = number("RINGCASK_SEED").map(|seed| seed..seed + 1);
    for seed in one.unwrap_or(0..number("RINGCASK_SEEDS").unwrap_or(SEED_COUNT)) {
        assert_eq!(live(seed), Ok(()));
    }
}

#[test]
fn a_server_that_ends_is_seen_dead_by_all_in_time_and_nobody_else_is() {
    for (count, seed) in [(2, 1), (3, 2), (10, 3), (40, 4)] {
        let mut world = World::new(count, Settings::default(), seed);
        world.network.lost_permille = 20;
        world.run(ms(10_000));
        world.end(0);
        let is_over = |world: &World| (1..count).all(|by| world.seen(by, 0) == Some(Seen::Dead));
        let took = world.until(DEATH_MAX, is_over);
        assert!(took.is_some_and(|took| took <= ms(15_000)), "{count} servers: {took:?}");
        assert_eq!(world.false_talk.deaths.len(), 0, "{count} servers");
    }
}

#[test]
fn a_partition_that_heals_leaves_nobody_dead() {
    let mut world = World::new(12, Settings::default(), 5);
    world.run(ms(5_000));
    world.nodes.iter_mut().take(6).for_each(|node| node.side = 1);
    world.run(ms(20_000));
    assert!((0..6).all(|by| (6..12).all(|of| world.seen(by, of) == Some(Seen::Dead))));
    world.nodes.iter_mut().for_each(|node| node.side = 0);
    let took = world.until(HEAL_MAX, |world| check_end(world).is_ok());
    assert!(took.is_some(), "{:?}", check_end(&world));
}

#[test]
fn who_left_for_good_is_forgotten_by_all() {
    let mut world = World::new(8, Settings::default(), 6);
    world.run(ms(3_000));
    world.step(7, cluster::gossip::Event::Leave);
    let has_left = |world: &World| (0..7).all(|by| world.seen(by, 7) == Some(Seen::Left));
    assert!(world.until(ms(3_000), has_left).is_some());
    world.end(7);
    world.change_server(7, 1, Standing::Leaving);
    world.tell(3);
    let is_forgotten = |world: &World| (0..7).all(|by| world.seen(by, 7).is_none());
    assert!(world.until(ms(3_000), is_forgotten).is_some());
    world.run(ms(30_000));
    assert!(is_forgotten(&world), "and stays so");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = |seed| {
        let mut world = World::new(7, Settings::default(), seed);
        world.network.lost_permille = 50;
        world.run(ms(20_000));
        (world.traffic.line_count, world.traffic.line_len, world.false_talk.suspicions)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
