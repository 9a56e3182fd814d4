//! The coordinator that grows and shrinks: one server in each cool-down, shares level after each, and said or done.

use std::time::Duration;

use cluster::coordinator::elastic::{Elastic, Limits, Mode};
use cluster::coordinator::{Next, Settings, Wish};
use cluster::{SlotId, Standing};
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
        elastic: Elastic { mode, limits, cool_down: COOL_DOWN, move_rate: 100 * MB },
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
