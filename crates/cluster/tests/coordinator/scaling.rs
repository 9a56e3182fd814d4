//! The coordinator that grows and shrinks: one server in each cool-down, shares level after each, and said or done.

use std::time::Duration;

use cluster::coordinator::elastic::{By, Elastic, Limits, Mode};
use cluster::coordinator::{Next, Settings, Wish};
use cluster::{SlotId, SlotLoad, Standing};
use hashring::placement;

use crate::play::{Play, id, ms};

const COOL_DOWN: Duration = Duration::from_secs(20);
const MB: u64 = 1 << 20;
/// The ring's slots: enough for shares to be level among six.
const SLOT_COUNT: u16 = 1024;

fn elastic(mode: Mode) -> Settings {
    let limits = Limits::new(1000 * MB, 600 * MB);
    Settings {
        slot_count: SLOT_COUNT,
        learner_count_max: 1024,
        elastic: Elastic {
            mode,
            limits,
            level_by: By::Bytes,
            cool_down: COOL_DOWN,
            move_rate: 100 * MB,
        },
        ..Settings::default()
    }
}

/// Three servers on the ring, and three on standby.
fn play(mode: Mode) -> Play {
    let mut play = Play::new(elastic(mode));
    for name in 1..=6 {
        play.start_as(id(name), true, name > 3);
    }
    play.settle();
    play
}

/// Uneven loads that make so many bytes together.
fn uneven(all: u64) -> impl Fn(SlotId) -> u64 {
    let weight = |at: u16| 50 + u64::from(at) * 7919 % 100;
    let weights: u64 = (0..SLOT_COUNT).map(weight).sum();
    move |slot| all / weights * weight(slot.index())
}

/// Lets time pass with these loads told, until the ring changes or a limit; returns how long that was.
fn until_change(play: &mut Play, all: u64, limit: Duration) -> Option<Duration> {
    let (from, tokens) = (play.now, play.map().ring().clone());
    while play.now.since(from) < limit {
        play.tell_loads(uneven(all));
        play.wait(ms(500));
        if *play.map().ring() != tokens {
            let took = play.now.since(from);
            play.settle();
            return Some(took);
        }
    }
    None
}

fn next(play: &Play) -> Next {
    play.machine.plan(play.now, Wish::Nothing).next.unwrap()
}

fn on_ring(play: &Play) -> usize {
    play.map().ring().servers().len()
}

/// The busiest share, in hundredths of the mean.
fn busiest_percent(play: &Play) -> u64 {
    let shares = placement::shares(play.map().ring(), play.machine.loads());
    let (most, all) = (shares.values().max().unwrap(), shares.values().sum::<u64>());
    most * 100 * u64::try_from(shares.len()).unwrap() / all
}

#[test]
pub fn a_cluster_grows_and_shrinks_by_itself_one_server_in_each_cool_down() {
    let mut play = play(Mode::On);
    assert_eq!(on_ring(&play), 3);
    // 5,000 MB three times: above 1,000 on each of six, and there are no more than six.
    let mut counts = Vec::new();
    while let Some(took) = until_change(&mut play, 5000 * MB, 3 * COOL_DOWN) {
        assert!(counts.is_empty() || took >= COOL_DOWN - ms(2000), "{took:?} after {counts:?}");
        counts.push(on_ring(&play));
        assert!(busiest_percent(&play) <= 110, "{} % at {counts:?}", busiest_percent(&play));
    }
    counts.dedup();
    assert_eq!(counts, [4, 5, 6]);
    assert_eq!(next(&play).step, "start");
    assert!(play.machine.is_lacking() && play.notes.len() == 1, "{:?}", play.notes);

    let mut counts = vec![6];
    while let Some(took) = until_change(&mut play, 100 * MB, 3 * COOL_DOWN) {
        assert!(took >= COOL_DOWN - ms(2000), "{took:?} after {counts:?}");
        counts.push(on_ring(&play));
        assert!(busiest_percent(&play) <= 110, "{} % at {counts:?}", busiest_percent(&play));
    }
    counts.dedup();
    assert_eq!(counts, [6, 5, 4, 3], "down to as many as there are copies");
    let standing = |name| play.map().servers()[&id(name)].standing;
    let standbys = (1..=6).filter(|name| standing(*name) == Standing::Standby).count();
    assert_eq!(standbys, 3, "who was drained waits again");
    assert_eq!(next(&play).step, "none");
    let whys = play.log.iter().filter(|entry| entry.why.starts_with("elastic: ")).count();
    assert!(whys >= 6, "each decision says why");
    let decided = play.machine.status(play.now, 1).decided.unwrap();
    assert!(decided.why.contains("stores") || decided.why.contains("owns"), "{decided:?}");
}

#[test]
fn what_would_be_done_is_said_once_with_its_numbers_and_not_done() {
    let mut play = play(Mode::Suggest);
    assert_eq!(until_change(&mut play, 5000 * MB, 2 * COOL_DOWN), None);
    assert_eq!(play.notes.len(), 1, "{:?}", play.notes);
    assert!(play.notes[0].contains("suggested: add"), "{:?}", play.notes);
    let next = next(&play);
    assert_eq!((next.step.as_str(), next.in_ms), ("add", Some(0)));
    assert_eq!(next.server, Some(id(4).to_string()));
    // A quarter of three copies goes to the newcomer, and three servers send it at 100 MB a second.
    assert!((3400 * MB..4200 * MB).contains(&next.bytes), "{next:?}");
    assert!((11_000..25_000).contains(&next.transfer_ms), "{next:?}");
}

#[test]
fn nothing_is_said_or_done_when_it_is_off() {
    let mut play = play(Mode::Off);
    assert_eq!(until_change(&mut play, 5000 * MB, 2 * COOL_DOWN), None);
    assert!(play.notes.is_empty());
    assert_eq!(play.machine.plan(play.now, Wish::Nothing).next, None);
}

#[test]
fn nothing_is_decided_by_loads_that_were_not_told() {
    let mut play = play(Mode::On);
    play.wait(3 * COOL_DOWN);
    assert_eq!(on_ring(&play), 3);
    assert!(next(&play).why.contains("1024 slots are not known"), "{:?}", next(&play));
}

#[test]
pub fn after_a_start_a_whole_cool_down_is_waited() {
    let mut play = play(Mode::On);
    play.wait(3 * COOL_DOWN);
    let cut = play.map().version();
    play.restart_ecs(cut);
    for name in 1..=6 {
        play.connect(id(name));
    }
    let started_at = play.now;
    assert!(until_change(&mut play, 5000 * MB, 2 * COOL_DOWN).is_some());
    assert!(play.now.since(started_at) >= COOL_DOWN);
}

#[test]
fn an_order_of_an_operator_begins_a_cool_down_too() {
    let mut play = play(Mode::On);
    play.wait(3 * COOL_DOWN);
    play.command(cluster::coordinator::Command::Join(id(4)));
    play.settle();
    let took = until_change(&mut play, 100 * MB, 3 * COOL_DOWN);
    assert!(took.is_some_and(|took| took + ms(2000) >= COOL_DOWN), "{took:?}");
}

#[test]
fn a_server_whose_disk_is_full_counts_as_full_however_little_it_stores() {
    let mut play = play(Mode::On);
    play.wait(2 * COOL_DOWN);
    for full in [id(2), id(5)] {
        play.full = vec![full];
        for _ in 0..COOL_DOWN.as_secs() {
            play.tell(|_| SlotLoad::of_len(MB / 100));
            play.wait(ms(500));
        }
        play.settle();
        let status = play.machine.status(play.now, 1);
        let names: Vec<_> = status.servers.iter().filter(|s| s.is_full).map(|s| s.id).collect();
        assert_eq!(names, [full]);
        assert!(status.hints.iter().any(|hint| hint.contains("is full")), "{:?}", status.hints);
        // One more joined for the second's disk; a standby's own disk concerns nobody.
        assert_eq!(on_ring(&play), 4);
    }
    assert!(play.map().ring().contains(id(4)), "the first that waits");
    let why = &play.log.iter().rev().find(|entry| entry.why.starts_with("elastic")).unwrap().why;
    assert!(why.contains(&format!("relieve {}", id(2))), "{why}");
}

#[test]
fn operations_are_levelled_by_hand_and_shown() {
    let mut play = play(Mode::Off);
    let rate = |slot: SlotId| if slot.index() < 64 { 60_000 } else { 600 };
    let load = |slot| SlotLoad { stored_len: MB, op_rate: rate(slot) };
    play.tell(load);
    let shares = |play: &Play| -> Vec<u64> {
        let status = play.machine.status(play.now, 1);
        let on_ring = status.servers.into_iter().filter(|server| server.owned > 0);
        on_ring.map(|server| server.operations_a_second).collect()
    };
    let all = 64 * 1000 + (u64::from(SLOT_COUNT) - 64) * 10;
    let before = shares(&play);
    assert!((all - 3..=all).contains(&before.iter().sum::<u64>()), "{before:?}");
    assert!(before.iter().max() > Some(&(all / 3 * 12 / 10)), "it is uneven: {before:?}");
    let wish = Wish::Rebalance(By::Operations);
    assert!(!play.machine.plan(play.now, wish).moves.is_empty());
    play.command(cluster::coordinator::Command::Rebalance(By::Operations));
    play.settle();
    play.tell(load);
    let after = shares(&play);
    assert!(after.iter().max() <= Some(&(all / 3 * 11 / 10)), "{after:?}");
    let why = &play.log.iter().rev().find(|entry| entry.why.contains("rebalance")).unwrap().why;
    assert!(why.starts_with("operator: rebalance by operations"), "{why}");
    play.tell(|slot| SlotLoad {
        stored_len: MB,
        op_rate: if slot.index() == 9 { 9000 } else { 0 },
    });
    let hints = play.machine.plan(play.now, Wish::Nothing).hints;
    assert!(hints.is_empty(), "a mean share of empty slots is more: {hints:?}");
    play.tell(|slot| SlotLoad {
        stored_len: MB,
        op_rate: if slot.index() == 9 { 90_000 } else { 0 },
    });
    for hints in
        [play.machine.plan(play.now, Wish::Nothing).hints, play.machine.status(play.now, 1).hints]
    {
        assert!(
            hints.iter().any(|h| h.contains("slot 9 alone answers 1500 operations")),
            "{hints:?}"
        );
    }
}
