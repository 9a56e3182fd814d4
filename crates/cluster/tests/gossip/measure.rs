//! Measurements of many machines, for the tables of `docs/SCALE.md` and, in small, for tests.

use std::time::Duration;

use cluster::gossip::{Seen, Settings};
use fastrand::Rng;

use crate::world::{World, nanos};

/// Servers that the coordinator tells of a change.
pub const TOLD_COUNT: usize = 3;

/// Time after which those who began together have told each other that they live.
const WARM_UP: Duration = Duration::from_secs(20);

/// Time between two looks at what servers see.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How the servers pause, each by itself.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// From one pause of a server to its next, at most; half of it on the average.
    pub every: Duration,
    /// A pause, at least and at most.
    pub time: (Duration, Duration),
}

/// Returns how long it took until a change of the map was everywhere, in periods, rising: one for each trial.
pub fn spread(count: usize, trial_count: usize, lost_permille: u64, seed: u64) -> Vec<f64> {
    let settings = Settings::default();
    let period = settings.period.as_secs_f64();
    let mut world = World::new(count, settings, seed);
    world.network.lost_permille = lost_permille;
    world.run(WARM_UP);
    let mut rng = Rng::with_seed(seed);
    let mut times = Vec::new();
    for _ in 0..trial_count {
        world.run(Duration::from_millis(rng.u64(0..400)));
        let version = world.change_map();
        let begin = world.now;
        for _ in 0..TOLD_COUNT {
            world.tell(rng.usize(..count));
        }
        let took = world.until(Duration::from_secs(60), |world| world.with_newest == count);
        assert!(took.is_some(), "version {version} is not everywhere after a minute");
        times.push(Duration::from_nanos(world.now - begin).as_secs_f64() / period);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// What servers say when nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Bytes that a server sends in a second.
    pub byte_rate: f64,
    /// Lines that a server sends in a second.
    pub line_rate: f64,
    /// How old the loads are that servers know of others, on the average, in seconds.
    pub load_age: f64,
}

pub fn idle(count: usize, time: Duration, seed: u64) -> Idle {
    let mut world = World::new(count, Settings::default(), seed);
    // With many servers it takes a while until each was heard of once.
    let period = Settings::default().report_interval(count);
    world.run(WARM_UP + period * 3);
    let before = world.traffic;
    world.run(time);
    let server_seconds = time.as_secs_f64() * count as f64;
    let rate = |now: u64, then: u64| (now - then) as f64 / server_seconds;
    let now = cluster::Time(world.now);
    let ages =
        world.nodes.iter().take(10).flat_map(|node| node.gossip.loads(now).into_iter().skip(1));
    // An age counts from when it was heard: what matters is how long the newest report lasts.
    let ages: Vec<_> = ages.map(|(_, _, age)| age.as_secs_f64()).collect();
    let heard_share = ages.len() as f64 / ((count - 1) * count.min(10)) as f64;
    assert!(heard_share > 0.99, "{heard_share} of the loads are known");
    Idle {
        byte_rate: rate(world.traffic.line_len, before.line_len),
        line_rate: rate(world.traffic.line_count, before.line_count),
        load_age: ages.iter().sum::<f64>() / ages.len() as f64,
    }
}

/// Bytes that a server sends because of one change of the map, gossip and deltas.
pub fn cost_of_a_change(count: usize, seed: u64) -> f64 {
    /// Changes that are made.
    const CHANGE_COUNT: u64 = 20;
    let time = Duration::from_secs(2);
    let mut world = World::new(count, Settings::default(), seed);
    world.run(WARM_UP + Settings::default().report_interval(count) * 3);
    let total = |world: &World| world.traffic.line_len + world.traffic.map_len;
    let before = total(&world);
    world.run(time * CHANGE_COUNT as u32);
    let idle = total(&world) - before;
    let before = total(&world);
    for change in 0..CHANGE_COUNT {
        world.change_map();
        (0..TOLD_COUNT).for_each(|at| world.tell((at + change as usize) % count));
        world.run(time);
    }
    let busy = total(&world) - before;
    busy.saturating_sub(idle) as f64 / (CHANGE_COUNT * count as u64) as f64
}

/// What was wrongly said of running servers in some time.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    /// Lives that anybody suspected.
    pub suspicion_count: usize,
    /// Lives that anybody took for dead.
    pub death_count: usize,
}

/// Returns what is wrongly said of `count` servers in `time`.
pub fn wrong(
    count: usize,
    time: Duration,
    lost_permille: u64,
    pauses: Option<Pauses>,
    seed: u64,
) -> Wrong {
    let mut world = World::new(count, Settings::default(), seed);
    world.network.lost_permille = lost_permille;
    let mut rng = Rng::with_seed(seed);
    let end = world.now + nanos(time);
    let draw = |rng: &mut Rng, pauses: &Pauses| rng.u64(0..nanos(pauses.every));
    let mut next: Vec<u64> = pauses
        .iter()
        .flat_map(|p| (0..count).map(|_| world.now + draw(&mut rng, p)).collect::<Vec<_>>())
        .collect();
    while world.now < end {
        world.run(Duration::from_millis(20));
        let Some(pauses) = &pauses else { continue };
        for (at, next) in next.iter_mut().enumerate() {
            if *next <= world.now {
                let (least, most) = pauses.time;
                let pause = Duration::from_nanos(rng.u64(nanos(least)..=nanos(most)));
                world.pause(at, pause);
                *next = world.now + nanos(pause) + draw(&mut rng, pauses);
            }
        }
    }
    let (suspicion_count, death_count) =
        (world.false_talk.suspicions.len(), world.false_talk.deaths.len());
    Wrong { suspicion_count, death_count }
}

/// One slow server among healthy ones: it runs for a moment and stands still for 300 ms, again and again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slow {
    /// Healthy servers that anybody took for dead.
    pub healthy_deaths: usize,
    /// Lives of healthy servers that anybody suspected.
    pub healthy_suspicions: usize,
    /// How often the slow one was taken for dead.
    pub slow_deaths: usize,
    /// How often it was suspected.
    pub slow_suspicions: usize,
}

pub fn slow(count: usize, time: Duration, seed: u64) -> Slow {
    let mut world = World::new(count, Settings::default(), seed);
    let mut rng = Rng::with_seed(seed);
    let end = world.now + nanos(time);
    while world.now < end {
        world.run(Duration::from_millis(rng.u64(20..150)));
        world.pause(0, Duration::from_millis(300));
        world.run(Duration::from_millis(300));
    }
    let of = |all: &std::collections::BTreeSet<(usize, u64, u32)>, is_slow: bool| {
        all.iter().filter(|(at, ..)| (*at == 0) == is_slow).count()
    };
    let talk = &world.false_talk;
    Slow {
        healthy_deaths: of(&talk.deaths, false),
        healthy_suspicions: of(&talk.suspicions, false),
        slow_deaths: of(&talk.deaths, true),
        slow_suspicions: of(&talk.suspicions, true),
    }
}

/// Returns after how long the first suspects a server that ended, and all others see it dead.
pub fn death(count: usize, lost_permille: u64, seed: u64) -> (Duration, Duration) {
    let mut world = World::new(count, Settings::default(), seed);
    world.network.lost_permille = lost_permille;
    world.run(WARM_UP);
    world.end(0);
    let begin = world.now;
    // Looked at every so often: to ask a thousand servers after each line would take longer than all the rest.
    let look = |world: &mut World, seen: Seen, wanted: usize| loop {
        world.run(LOOK_EVERY);
        let sees = (1..count).filter(|by| world.seen(*by, 0) == Some(seen)).count();
        if sees >= wanted {
            return world.now - begin;
        }
        assert!(world.now - begin < nanos(Duration::from_secs(120)), "a death is found out");
    };
    let suspected = look(&mut world, Seen::Suspect, 1);
    let dead = look(&mut world, Seen::Dead, count - 1);
    (Duration::from_nanos(suspected), Duration::from_nanos(dead))
}
