//! When the ring should grow, shrink or be levelled: tables of what is known and what follows from it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster::coordinator::elastic::{
    By, HotSlot, Known, Limits, Pace, Rest, Seated, Step, hot_key, hot_slot, judge, levelled,
};
use cluster::{ELASTIC_MUTANTS, Planted, ServerId, Time};
use hashring::{Ring, placement};

use crate::play::{id, ms, slot};
use crate::{days, scaling, spawning};

/// Slots of the ring.
const SLOT_COUNT: u16 = 256;
/// Servers have many, so that what placement counts for an empty slot is nothing beside it.
const GB: u64 = 1 << 30;
const LIMITS: Limits = Limits { up_bytes: 40 * GB, down_bytes: 20 * GB };

/// What is known of a cluster.
#[derive(Clone)]
pub struct Facts {
    ring: Ring,
    loads: Vec<u64>,
    rates: Vec<u64>,
    level_by: By,
    seated: Vec<Seated>,
    standbys: Vec<ServerId>,
    unknown_count: usize,
    is_half_seen: bool,
    move_count: usize,
}

/// Servers 1 to `count`, and one on standby; each server stores `bytes`, with its copies of the others' slots.
pub fn facts(count: u128, bytes: u64) -> Facts {
    let all = bytes * u64::try_from(count).unwrap() / u64::try_from(count.clamp(1, 3)).unwrap();
    let loads = vec![all / u64::from(SLOT_COUNT); usize::from(SLOT_COUNT)];
    let mut ring = Ring::new(SLOT_COUNT);
    for name in 1..=count {
        ring = placement::join(&ring, id(name), &loads, placement::Settings { tokens: 4 });
    }
    let seated = (1..=count).map(|name| Seated {
        id: id(name),
        is_seen: true,
        is_full: false,
        is_spawned: false,
    });
    Facts {
        ring,
        loads,
        rates: vec![0; usize::from(SLOT_COUNT)],
        level_by: By::Bytes,
        seated: seated.collect(),
        standbys: vec![id(100)],
        unknown_count: 0,
        is_half_seen: true,
        move_count: 0,
    }
}

impl Facts {
    fn judge(&self) -> Result<Step, Rest> {
        self.judge_by(Some(LIMITS))
    }

    fn judge_by(&self, limits: Option<Limits>) -> Result<Step, Rest> {
        let known = Known {
            ring: &self.ring,
            loads: &self.loads,
            rates: &self.rates,
            level_by: self.level_by,
            unknown_count: self.unknown_count,
            replica_count: 3,
            token_count: 4,
            seated: self.seated.clone(),
            standbys: self.standbys.clone(),
            is_half_seen: self.is_half_seen,
            move_count: self.move_count,
        };
        judge(limits, &known)
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut facts = self.clone();
        change(&mut facts);
        facts
    }
}

fn word(judged: Result<Step, Rest>) -> &'static str {
    judged.map_or("rest", |step| step.word())
}

#[test]
fn what_servers_store_says_whether_one_joins_or_goes() {
    for (count, bytes, expected) in [
        (3, 1, "rest"),        // the floor
        (3, 39 * GB, "rest"),  // below the limit
        (3, 41 * GB, "add"),   // above it
        (5, 10 * GB, "drain"), // 12.5 on each of four
        (5, 19 * GB, "rest"),  // the dead band: 24 on each of four
        (5, 30 * GB, "rest"),
        (5, 60 * GB, "add"),
        (2, 41 * GB, "add"),
        (2, 1, "rest"),
    ] {
        assert_eq!(word(facts(count, bytes).judge()), expected, "{count} servers with {bytes}");
    }
    let full = facts(3, 41 * GB);
    assert_eq!(word(full.with(|f| f.standbys.clear()).judge()), "start", "there is nobody");
    assert_eq!(full.judge_by(None), Err(Rest::Fits), "without limits");
    let Ok(Step::Add { server, bytes, .. }) = full.judge() else { panic!("it grows") };
    assert!(server == id(100) && bytes > LIMITS.up_bytes);
    let Ok(Step::Drain { then_bytes, bytes, .. }) = facts(5, 10 * GB).judge() else {
        panic!("it shrinks")
    };
    assert!(then_bytes > bytes && then_bytes <= LIMITS.down_bytes, "{then_bytes}");
}

#[test]
fn nothing_is_judged_while_something_is_not_known_or_not_done() {
    for facts in [facts(3, 60 * GB), facts(6, GB)] {
        assert!(facts.judge().is_ok());
        assert_eq!(facts.with(|f| f.is_half_seen = false).judge(), Err(Rest::Unseen));
        let silent = facts.with(|f| f.seated[1].is_seen = false);
        assert_eq!(silent.judge(), Err(Rest::Silent(id(2))));
        assert_eq!(facts.with(|f| f.move_count = 1).judge(), Err(Rest::Moving(1)));
        assert_eq!(facts.with(|f| f.unknown_count = 2).judge(), Err(Rest::Unknown(2)));
    }
    assert_eq!(facts(0, 0).judge(), Err(Rest::Nobody));
}

#[test]
fn a_full_disk_counts_as_full_however_little_is_stored() {
    let facts = facts(5, GB).with(|f| f.seated[3].is_full = true);
    let judged = facts.judge();
    assert!(matches!(judged, Ok(Step::Add { fullest: ServerId(4), .. })), "{judged:?}");
    let nobody = facts.with(|f| f.standbys.clear()).judge();
    assert_eq!(word(nobody), "start", "and nobody is drained");
}

#[test]
fn of_two_that_could_go_one_that_was_started_for_this_goes_first() {
    let spawned = facts(5, 10 * GB).with(|f| f.seated[1].is_spawned = true);
    let judged = spawned.judge();
    assert!(matches!(judged, Ok(Step::Drain { server: ServerId(2), .. })), "{judged:?}");
    let full = facts(5, 19 * GB).with(|f| f.seated[1].is_spawned = true);
    assert_eq!(full.judge(), Err(Rest::Fits), "and not because it was");
}

#[test]
fn nobody_is_drained_below_as_many_servers_as_copies() {
    assert_eq!(word(facts(4, 1).judge()), "drain");
    assert_eq!(facts(3, 1).judge(), Err(Rest::Fits));
}

#[test]
fn the_copies_of_all_slots_must_fit_on_those_who_stay() {
    // 5 servers store 18 each with their copies: 22.5 on each of four is too much, one copy of each slot would fit twice.
    assert_eq!(facts(5, 18 * GB).judge(), Err(Rest::Fits));
    // And a server that stores too much with its copies owns only a third of it.
    assert_eq!(word(facts(3, 50 * GB).judge()), "add");
}

#[test]
fn shares_that_left_the_band_are_levelled_unless_a_server_comes_or_goes_anyway() {
    let uneven = |bytes: u64| {
        facts(4, bytes).with(|f| {
            let owner = f.ring.owner(slot(0)).unwrap();
            for (at, load) in f.ring.slots().zip(&mut f.loads) {
                *load = if f.ring.owner(at) == Some(owner) { *load * 2 } else { *load };
            }
        })
    };
    let Ok(Step::Level { before_percent, after_percent, .. }) = uneven(20 * GB).judge() else {
        panic!("{:?}", uneven(20 * GB).judge())
    };
    assert!(before_percent > 130 && after_percent <= 112, "{before_percent} {after_percent}");
    assert_eq!(word(uneven(10 * GB).judge_by(None)), "rebalance", "without limits, too");
    assert_eq!(word(uneven(60 * GB).judge()), "add", "where levelling is not enough");
    assert_eq!(word(uneven(10 * GB).judge()), "drain", "and else it would be moved twice");
}

#[test]
fn a_slot_that_alone_is_too_much_is_told_and_not_chased() {
    let hot = facts(4, 2 * GB).with(|f| f.loads[7] = 20 * GB);
    let told = hot_slot(&hot.ring, &hot.loads);
    assert!(matches!(told, Some(HotSlot { bytes, .. }) if bytes == 20 * GB), "{told:?}");
    // What can be moved away from beside it is; then it is let alone.
    let loads = hot.loads.clone();
    let settings = placement::Settings { tokens: 4 };
    let levelled = hot.with(|f| f.ring = placement::rebalance(&f.ring, &loads, settings));
    let judged = levelled.judge_by(None);
    assert_eq!(judged, Err(Rest::Fits), "{:?}", placement::shares(&levelled.ring, &loads));
    assert_eq!(hot_slot(&facts(4, 8 * GB).ring, &facts(4, 8 * GB).loads), None);
}

/// One server's slots are asked for a hundred times as often as the others'.
fn asked(count: u128, bytes: u64) -> Facts {
    facts(count, bytes).with(|f| {
        f.level_by = By::Operations;
        let busy = f.ring.owner(slot(0));
        for (at, rate) in f.ring.slots().zip(&mut f.rates) {
            *rate = if f.ring.owner(at) == busy { 60_000 } else { 600 };
        }
    })
}

#[test]
fn shares_of_operations_are_levelled_where_that_is_wanted_and_nobody_stores_too_much_then() {
    let facts = asked(4, 25 * GB);
    let Ok(Step::Level { by: By::Operations, before_percent, after_percent, .. }) = facts.judge()
    else {
        panic!("{:?}", facts.judge())
    };
    assert!(before_percent > 300 && after_percent <= 112, "{before_percent} {after_percent}");
    let by_bytes = facts.with(|f| f.level_by = By::Bytes);
    assert_eq!(by_bytes.judge(), Err(Rest::Fits), "what is asked for weighs nothing there");
    let levelled = facts.with(|f| {
        let settings = placement::Settings { tokens: 4 };
        f.ring = levelled(&f.ring, By::Operations, (&f.loads, &f.rates), settings);
    });
    assert_eq!(levelled.judge(), Err(Rest::Fits), "once");
    // Nobody shall store more for it than a server may.
    let most = |facts: &Facts| {
        let mut stored = std::collections::BTreeMap::new();
        for (at, load) in facts.ring.slots().zip(&facts.loads) {
            facts.ring.ideal(at, 3).iter().for_each(|id| *stored.entry(*id).or_insert(0) += load);
        }
        stored.into_values().max().unwrap()
    };
    let (before, after) = (most(&facts), most(&levelled));
    assert!(before < after, "{before} {after}");
    assert_eq!(facts.judge_by(Limits::new(after - 1, 1)), Err(Rest::Fits));
    assert_eq!(word(facts.judge_by(Limits::new(after, 1))), "rebalance");
    assert_eq!(word(asked(4, 60 * GB).judge()), "add", "bytes come first");
    assert_eq!(asked(4, 25 * GB).with(|f| f.rates.fill(3)).judge(), Err(Rest::Fits), "nobody asks");
}

#[test]
fn a_slot_that_alone_is_asked_for_too_often_is_told_and_not_chased() {
    let hot = facts(4, 25 * GB).with(|f| {
        f.level_by = By::Operations;
        f.rates[7] = 6_000_000;
    });
    let (slot, rate, mean) = hot_key(&hot.ring, &hot.rates).expect("it is hot");
    assert_eq!((slot.index(), rate), (7, 6_000_000));
    assert!((1_500_000..1_600_000).contains(&mean), "{mean}");
    let settings = placement::Settings { tokens: 4 };
    let once = hot.with(|f| {
        f.ring = levelled(&f.ring, By::Operations, (&f.loads, &f.rates), settings);
    });
    assert_eq!(once.judge(), Err(Rest::Fits), "what could be moved away from it was");
    for (rate, is_hot) in [(6000, true), (5999, false)] {
        let rates = hot.with(|f| f.rates[7] = rate).rates;
        let ring = facts(16, GB).ring;
        assert_eq!(hot_key(&ring, &rates).is_some(), is_hot, "{rate} a minute");
    }
}

#[test]
fn the_limits_have_a_dead_band_between_them() {
    for (up, down, is_good) in [
        (100, 80, true),
        (100, 81, false),
        (100, 0, false),
        (0, 0, false),
        (1, 1, false),
        (u64::MAX, u64::MAX / 2, true),
    ] {
        assert_eq!(Limits::new(up, down).is_some(), is_good, "{up} {down}");
    }
}

#[test]
fn a_step_is_due_when_it_was_right_for_long_enough_and_the_ring_has_rested() {
    let add = Step::Add { server: id(9), fullest: id(1), bytes: 1 };
    let drain = Step::Drain { server: id(1), bytes: 1, then_bytes: 1 };
    let cool_down = ms(8000);
    let at = |ms: u64| Time(ms * 1_000_000);
    let mut pace = Pace::new(at(0), cool_down);
    assert_eq!(pace.wait(at(0), &add), cool_down, "a start is followed by a cool-down");
    assert_eq!(pace.wait(at(7999), &add), ms(1));
    assert_eq!(pace.wait(at(8000), &add), ms(0));
    pace.ring_changed(at(8000));
    assert_eq!(pace.wait(at(8000), &add), cool_down);
    pace.rest();
    assert_eq!(pace.wait(at(20_000), &add), ms(1000), "an eighth, since it is right");
    assert_eq!(pace.wait(at(21_000), &add), ms(0));
    assert_eq!(pace.wait(at(21_000), &drain), cool_down, "another wish begins anew");
    assert_eq!(pace.wait(at(28_999), &drain), ms(1));
    pace.rest();
    assert_eq!(pace.wait(at(29_000), &drain), cool_down, "a break begins anew");
}

/// Every rule has a table or a history here that fails without it.
#[test]
fn every_planted_defect_of_growing_and_shrinking_is_found() {
    let tests: [fn(); 14] = [
        what_servers_store_says_whether_one_joins_or_goes,
        nothing_is_judged_while_something_is_not_known_or_not_done,
        a_full_disk_counts_as_full_however_little_is_stored,
        nobody_is_drained_below_as_many_servers_as_copies,
        the_copies_of_all_slots_must_fit_on_those_who_stay,
        a_slot_that_alone_is_too_much_is_told_and_not_chased,
        a_step_is_due_when_it_was_right_for_long_enough_and_the_ring_has_rested,
        scaling::after_a_start_a_whole_cool_down_is_waited,
        scaling::a_cluster_grows_and_shrinks_by_itself_one_server_in_each_cool_down,
        shares_of_operations_are_levelled_where_that_is_wanted_and_nobody_stores_too_much_then,
        spawning::one_is_started_after_the_other_while_servers_are_wanted_and_no_more_than_may_be,
        spawning::what_is_drained_and_not_wanted_for_long_enough_is_ended_and_its_number_used_again,
        spawning::after_each_failure_the_next_start_waits_twice_as_long_until_one_is_on_the_ring,
        || days::assert_calm(60),
    ];
    for (name, rule) in ELASTIC_MUTANTS {
        let _planted = Planted::new(name);
        let is_found = tests.iter().any(|test| catch_unwind(AssertUnwindSafe(test)).is_err());
        assert!(is_found, "{name:?}, against {rule:?}, passes");
    }
}
