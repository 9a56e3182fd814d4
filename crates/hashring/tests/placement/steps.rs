//! What one join, leave or rebalance may and may not do.

use hashring::placement::{self, Settings};
use hashring::{Arc, Ring, ServerId, SlotId, Token};

use crate::history::{Change, History, Measured, moved, uniform, zipf};

/// Slots, and servers that take turns on them.
const SIZES: [(usize, usize); 7] = [(1, 3), (2, 3), (8, 4), (8, 12), (16, 7), (64, 9), (4096, 30)];

/// Checks what holds for every ring.
fn check_whole(ring: &Ring, note: &str) {
    let servers = ring.servers();
    for slot in ring.slots() {
        let owner = ring.owner(slot).unwrap();
        for count in 0..=4 {
            let ideal = ring.ideal(slot, count);
            assert_eq!(ideal.len(), count.min(servers.len()), "{note}");
            assert_eq!(ideal.first().copied(), (count > 0).then_some(owner), "{note}");
            assert!((1..ideal.len()).all(|at| !ideal[..at].contains(&ideal[at])), "{note}");
        }
    }
    let arcs: Vec<(Arc, ServerId)> = ring.arcs().collect();
    let mut covered = 0_u128;
    for ((arc, owner), (next, other)) in arcs.iter().zip(arcs.iter().cycle().skip(1)) {
        assert_eq!(arc.last.0.wrapping_add(1), next.first.0, "{note}: no gap and no overlap");
        assert!(arcs.len() == 1 || owner != other, "{note}: neighbours of one owner are one arc");
        covered = covered.wrapping_add(arc.last.0.wrapping_sub(arc.first.0).wrapping_add(1));
        assert_eq!(ring.owner(ring.slot_of(arc.first)), Some(*owner), "{note}");
    }
    assert_eq!(covered, 0, "{note}: 2^128 positions, counted modulo 2^128");
    assert_eq!(arcs.iter().filter(|(arc, _)| arc.contains(Token(0))).count(), 1, "{note}");
    assert_eq!(Ring::from_tokens(ring.slot_count(), ring.tokens()).as_ref(), Ok(ring), "{note}");
}

fn check_join(before: &Ring, after: &Ring, joiner: ServerId, history: &History, note: &str) {
    let moves = moved(before, after);
    assert!(moves.iter().all(|(.., to)| *to == Some(joiner)), "{note}: only to the joiner");
    let measured = Measured::new(after, &history.loads);
    let is_full = before.servers().len() == usize::from(before.slot_count());
    assert_eq!(after.contains(joiner), !is_full, "{note}: there is room");
    assert!(before.servers().is_subset(&after.servers()), "{note}: nobody loses the last slot");
    let share = measured.own.get(&joiner).copied().unwrap_or(0) as f64 / measured.fair();
    assert!(share <= 1.15 || moves.len() == 1, "{note}: {share} of a fair share");
    let arcs = measured.arcs.get(&joiner).copied().unwrap_or(0);
    assert!(arcs <= history.settings.tokens, "{note}: {arcs} arcs");
}

fn check_leave(before: &Ring, after: &Ring, leaver: ServerId, note: &str) {
    let is_leavers = |from: &Option<ServerId>| *from == Some(leaver);
    assert!(moved(before, after).iter().all(|(_, from, _)| is_leavers(from)), "{note}");
    assert!(!after.contains(leaver), "{note}");
}

fn live(mut history: History, count_max: usize, step_count: usize, note: &str) {
    for step in 0..step_count {
        let before = history.ring.clone();
        let change = history.step(count_max);
        let note = format!("{note}, step {step}");
        check_whole(&history.ring, &note);
        match change {
            Change::Join(server) => check_join(&before, &history.ring, server, &history, &note),
            Change::Leave(server) => check_leave(&before, &history.ring, server, &note),
        }
        let arcs_max = Measured::new(&history.ring, &history.loads).arcs_max();
        assert!(arcs_max <= 2 * history.settings.tokens, "{note}: {arcs_max} arcs");
        if history.servers.len() > usize::from(history.ring.slot_count()) {
            history.servers.retain(|server| history.ring.contains(*server));
        }
    }
}

#[test]
fn a_join_moves_slots_only_to_the_joiner_and_a_leave_only_the_leavers() {
    for (slot_count, server_count) in SIZES {
        let (seeds, step_count) = if slot_count > 64 { (2, 40) } else { (6, 120) };
        for seed in 0..seeds {
            let note = format!("{slot_count} slots, seed {seed}");
            live(History::new(seed, uniform(slot_count)), server_count, step_count, &note);
            let skewed = History::new(seed, zipf(slot_count, seed));
            live(skewed, server_count, step_count, &format!("{note}, skewed"));
        }
    }
}

#[test]
fn any_number_of_tokens_is_kept_to() {
    for tokens in [0, 1, 2, 3, 32] {
        let mut history = History::new(7, uniform(256));
        history.settings = Settings { tokens };
        for step in 0..60 {
            let is_join = matches!(history.step(12), Change::Join(_));
            let measured = Measured::new(&history.ring, &history.loads);
            let arcs = history.servers.last().map_or(0, |server| measured.arcs[server]);
            assert!(!is_join || arcs <= tokens.max(1), "{tokens} tokens, step {step}: {arcs}");
            assert!(measured.arcs_max() <= 2 * tokens.max(1), "{tokens} tokens, step {step}");
        }
    }
}

#[test]
fn a_ring_has_room_for_as_many_servers_as_slots() {
    let mut history = History::new(1, uniform(8));
    history.grow(8);
    assert_eq!(history.ring.servers().len(), 8);
    let full = history.ring.clone();
    history.join();
    assert_eq!(history.ring, full, "nobody has a slot to spare");
}

#[test]
fn who_is_on_the_ring_cannot_join_and_who_is_not_cannot_leave() {
    let mut history = History::new(1, uniform(16));
    history.grow(3);
    let (ring, loads, settings) = (&history.ring, &history.loads, history.settings);
    assert_eq!(placement::join(ring, history.servers[1], loads, settings), *ring);
    assert_eq!(placement::leave(ring, ServerId(9), loads, settings), *ring);
    let nobody = Ring::new(16);
    assert_eq!(placement::leave(&nobody, ServerId(9), loads, settings), nobody);
    assert_eq!(placement::rebalance(&nobody, loads, settings), nobody);
    let one = placement::join(&nobody, ServerId(9), loads, settings);
    assert_eq!(one.tokens().collect::<Vec<_>>(), [(SlotId::new(15).unwrap(), ServerId(9))]);
    assert_eq!(placement::rebalance(&one, loads, settings), one);
    assert_eq!(placement::leave(&one, ServerId(9), loads, settings), nobody);
}

#[test]
fn the_same_changes_give_the_same_ring() {
    let last = |seed| {
        let mut history = History::new(seed, zipf(512, seed));
        for _ in 0..60 {
            history.step(20);
        }
        placement::rebalance(&history.ring, &history.loads, history.settings)
    };
    for seed in 0..3 {
        assert_eq!(last(seed), last(seed), "seed {seed}");
    }
}

#[test]
fn empty_slots_count_so_that_a_ring_without_data_is_shared_out_too() {
    let mut history = History::new(3, vec![0; 4096]);
    history.grow(7);
    assert!(Measured::new(&history.ring, &history.loads).busiest() <= 1.10);
}

#[test]
#[should_panic(expected = "one load for each slot")]
fn loads_of_another_ring_are_a_bug() {
    drop(placement::join(&Ring::new(8), ServerId(1), &[0; 9], Settings::default()));
}
