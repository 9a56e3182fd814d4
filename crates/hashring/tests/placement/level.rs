//! How level shares and copies are after any history.

use std::time::{Duration, Instant};

use hashring::{Ring, SlotId, placement};

use crate::history::{Change, Draw, History, Measured, SLOT_LOAD_MIN, moved, uniform, zipf};

/// What the design promises of the busiest server, in fair shares, after any join or leave.
const BUSIEST_MAX: f64 = 1.10;
/// What is aimed at for the server that holds most as owner or backup, in means.
const HOLDS_MOST_MAX: f64 = 1.35;
/// Slots a server must have on average for these to be promised.
const SLOTS_A_SERVER_MIN: usize = 64;
/// Changes after which the promises must still hold.
const CHANGE_COUNT: usize = 200;

/// The worst of what was seen.
#[derive(Debug, Default)]
struct Worst {
    busiest: f64,
    holds_most: f64,
    arcs_max: usize,
}

impl Worst {
    /// Looks at a ring, and fails with `note` if a promise is broken.
    fn see(&mut self, history: &History, note: &str) {
        let measured = Measured::new(&history.ring, &history.loads);
        let (busiest, holds_most) = (measured.busiest(), measured.holds_most());
        self.arcs_max = self.arcs_max.max(measured.arcs_max());
        assert!(self.arcs_max <= 2 * history.settings.tokens, "{note}: {} arcs", self.arcs_max);
        if history.loads.len() / measured.own.len() < SLOTS_A_SERVER_MIN {
            return;
        }
        assert!(busiest <= BUSIEST_MAX, "{note}: the busiest has {busiest:.3}");
        assert!(holds_most <= HOLDS_MOST_MAX, "{note}: one holds {holds_most:.3}");
        self.busiest = self.busiest.max(busiest);
        self.holds_most = self.holds_most.max(holds_most);
    }
}

/// Lets rings of up to `server_count_max` servers live, one a seed.
fn live(seeds: std::ops::Range<u64>, server_count_max: usize) -> Worst {
    let mut worst = Worst::default();
    for seed in seeds {
        let mut history = History::new(seed, uniform(4096));
        let begin = history.draw.below(server_count_max) + 1;
        history.grow(begin);
        for step in 0..CHANGE_COUNT {
            history.step(server_count_max);
            worst.see(&history, &format!("seed {seed}, step {step}"));
        }
    }
    // For whoever asks with `-- --nocapture`.
    eprintln!("up to {server_count_max} servers: {worst:.3?}");
    worst
}

#[test]
fn any_200_joins_and_leaves_leave_few_servers_level() {
    live(0..4, 6);
    live(10..12, 16);
}

#[test]
fn any_200_joins_and_leaves_leave_many_servers_level() {
    live(20..21, 64);
    live(30..31, 100);
}

#[test]
fn growing_to_a_hundred_and_shrinking_to_one_keeps_shares_level() {
    let (mut history, mut worst) = (History::new(1, uniform(4096)), Worst::default());
    while history.servers.len() < 100 {
        history.join();
        worst.see(&history, "growing");
    }
    while history.servers.len() > 1 {
        history.leave();
        worst.see(&history, &format!("shrinking to {}", history.servers.len()));
    }
    eprintln!("to a hundred and back: {worst:.3?}");
}

#[test]
#[ignore = "minutes; for figures: cargo test --release -p hashring -- --ignored --nocapture"]
fn long_histories_of_many_seeds_keep_shares_level() {
    for server_count_max in [4, 6, 10, 16, 30, 64, 100] {
        live(1000..1020, server_count_max);
    }
}

#[test]
fn a_loss_spreads_over_several_heirs() {
    let mut history = History::new(5, uniform(4096));
    history.grow(30);
    for server in history.servers.clone() {
        let slots = history.ring.slots().filter(|slot| history.ring.owner(*slot) == Some(server));
        let heirs: std::collections::BTreeSet<_> =
            slots.map(|slot| history.ring.ideal(slot, 2)[1]).collect();
        assert!(heirs.len() >= 4, "{server} has {} heirs", heirs.len());
    }
}

/// Returns the load of the heaviest slot, in fair shares.
fn heaviest(history: &History) -> f64 {
    let measured = Measured::new(&history.ring, &history.loads);
    (history.loads.iter().max().unwrap() + SLOT_LOAD_MIN) as f64 / measured.fair()
}

#[test]
fn skewed_loads_are_as_level_as_whole_slots_allow() {
    for (seed, server_count) in (0..4).zip([3, 8, 20, 50]) {
        let mut history = History::new(seed, zipf(4096, seed));
        history.grow(server_count);
        for step in 0..20 {
            history.step(server_count + 1);
            let (heaviest, note) = (heaviest(&history), format!("seed {seed}, step {step}"));
            let busiest = Measured::new(&history.ring, &history.loads).busiest();
            // A leaver's heaviest slot goes to one who has nearly a share already, and may not pass on anything.
            assert!(busiest <= BUSIEST_MAX + heaviest, "{note}: {busiest:.3}, {heaviest:.3}");
            let after = placement::rebalance(&history.ring, &history.loads, history.settings);
            let busiest = Measured::new(&after, &history.loads).busiest();
            let most = BUSIEST_MAX.max(heaviest + 1e-6);
            assert!(busiest <= most, "{note}, rebalanced: {busiest:.3}, {heaviest:.3}");
        }
    }
}

#[test]
fn a_rebalance_brings_skewed_loads_into_the_dead_band_or_to_single_slots() {
    for seed in 0..4 {
        let mut history = History::new(seed, uniform(4096));
        history.grow(12);
        history.loads = zipf(4096, seed);
        let before = Measured::new(&history.ring, &history.loads);
        let after = placement::rebalance(&history.ring, &history.loads, history.settings);
        let measured = Measured::new(&after, &history.loads);
        let heaviest = heaviest(&history) + 1e-6;
        assert!(before.busiest() > 1.2, "seed {seed}: nothing to do at {}", before.busiest());
        assert!(measured.busiest() <= heaviest.max(1.051), "seed {seed}: {}", measured.busiest());
        assert_eq!(after.servers(), history.ring.servers());
        assert!(measured.arcs_max() <= 2 * history.settings.tokens);
        let again = placement::rebalance(&after, &history.loads, history.settings);
        assert_eq!(again, after, "seed {seed}: the band is dead");
    }
}

#[test]
fn a_rebalance_moves_little_more_than_what_lies_outside_of_the_band() {
    let mut history = History::new(2, uniform(4096));
    history.grow(10);
    // The first server's slots come to hold half as much again.
    for slot in
        history.ring.slots().filter(|slot| history.ring.owner(*slot) == Some(history.servers[0]))
    {
        history.loads[usize::from(slot.index())] += 1 << 29;
    }
    let before = Measured::new(&history.ring, &history.loads);
    let after = placement::rebalance(&history.ring, &history.loads, history.settings);
    let load = |slot: SlotId| history.loads[usize::from(slot.index())] as f64;
    let bytes: f64 = moved(&history.ring, &after).iter().map(|(slot, ..)| load(*slot)).sum();
    let off = |own: &u64| (*own as f64 - before.fair()).abs() - before.fair() / 20.0;
    let (above, below): (Vec<&u64>, Vec<&u64>) =
        before.own.values().partition(|own| **own as f64 > before.fair());
    let sum = |side: Vec<&u64>| side.into_iter().map(off).filter(|off| *off > 0.0).sum::<f64>();
    let needed = sum(above).max(sum(below));
    assert!(bytes <= 1.25 * needed, "moved {:.3} of what is needed", bytes / needed);
}

#[test]
fn shares_of_something_else_are_levelled_in_as_few_bytes_as_will_do() {
    let mut history = History::new(5, uniform(1024));
    history.grow(6);
    let (ring, busy) = (&history.ring, history.servers[0]);
    // One server's slots are asked for twice as often as the others'; those in one half of the ring are nearly empty.
    let asked: Vec<u64> = ring
        .slots()
        .map(|slot| 1 << if ring.owner(slot) == Some(busy) { 26 } else { 25 })
        .collect();
    let stored: Vec<u64> =
        ring.slots().map(|slot| if slot.index() < 512 { 1 << 20 } else { 1 << 30 }).collect();
    let bytes = |after: &Ring| -> u64 {
        let moved = moved(ring, after);
        moved.iter().map(|(slot, ..)| stored[usize::from(slot.index())]).sum()
    };
    let thrifty = placement::rebalance_at(ring, &asked, &stored, history.settings);
    let careless = placement::rebalance(ring, &asked, history.settings);
    for after in [&thrifty, &careless] {
        let busiest = Measured::new(after, &asked).busiest();
        assert!(busiest <= 1.06, "the busiest answers {busiest:.3}");
    }
    let (thrifty, careless) = (bytes(&thrifty), bytes(&careless));
    assert!(thrifty * 2 < careless, "{thrifty} bytes moved, and {careless} if they cost nothing");
}

#[test]
fn random_tokens_are_what_the_design_says_they_are_and_placed_ones_are_better() {
    for (tokens, stated) in [(1, 2.95), (8, 1.60), (128, 1.14)] {
        let mut draw = Draw(tokens);
        let mut sum = 0.0;
        for _ in 0..50 {
            let mut ring = Ring::new(4096);
            while ring.servers().len() < 10 {
                let drawn = (0..10 * tokens).map(|at| (draw.below(4096), u128::from(at % 10)));
                let tokens: std::collections::BTreeMap<_, _> = drawn.collect();
                let slot = |index: usize| SlotId::new(u16::try_from(index).unwrap()).unwrap();
                let owned = tokens.into_iter().map(|(at, id)| (slot(at), hashring::ServerId(id)));
                ring = Ring::from_tokens(4096, owned).unwrap();
            }
            sum += Measured::new(&ring, &uniform(4096)).busiest();
        }
        let mean = sum / 50.0;
        assert!((mean / stated - 1.0).abs() < 0.15, "{tokens} tokens: {mean:.2}, not {stated}");
    }
    let mut history = History::new(1, uniform(4096));
    history.grow(10);
    let placed = Measured::new(&history.ring, &history.loads);
    let (busiest, holds_most) = (placed.busiest(), placed.holds_most());
    eprintln!("ten servers placed: the busiest has {busiest:.3}, one holds {holds_most:.3}");
    assert!(busiest <= 1.05, "{busiest:.3}");
}

#[test]
fn a_join_among_a_thousand_servers_takes_milliseconds() {
    let mut history = History::new(9, uniform(4096));
    // Four slots each: a thousand joins one by one would test nothing more.
    let servers: Vec<_> = (0..1000).map(|_| history.draw.server()).collect();
    let owner = |slot: SlotId| servers[usize::from(slot.index()) * 7 % 1000];
    history.ring =
        Ring::from_tokens(4096, history.ring.slots().map(|slot| (slot, owner(slot)))).unwrap();
    history.servers = servers;
    let fastest = |history: &mut History, change: fn(&mut History) -> Change| {
        let timed = |_| {
            let begin = Instant::now();
            change(history);
            begin.elapsed()
        };
        (0..5).map(timed).min().unwrap()
    };
    let join = fastest(&mut history, History::join);
    let leave = fastest(&mut history, History::leave);
    eprintln!("a thousand servers: a join in {join:?}, a leave in {leave:?}");
    assert!(join.max(leave) < Duration::from_millis(500), "join {join:?}, leave {leave:?}");
}
