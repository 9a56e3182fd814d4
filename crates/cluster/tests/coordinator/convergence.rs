//! Learners in their order and number; servers that stay away.

use std::collections::BTreeMap;

use cluster::coordinator::{Answer, Command, Event, Settings};
use cluster::{Change, ServerId, Slot, SlotId, Standing};

use crate::play::{Play, id, ms, small};

/// How many learners each primary has.
fn learners(play: &Play) -> BTreeMap<ServerId, usize> {
    let mut counts = BTreeMap::new();
    for (_, slot) in play.map().slots().filter(|(_, slot)| slot.learner.is_some()) {
        *counts.entry(slot.primary_id().unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn a_primary_has_as_many_learners_as_the_limit_and_the_next_follows_when_one_is_promoted() {
    let mut play = Play::with_servers(&[1]);
    play.start(id(2));
    assert_eq!(learners(&play), BTreeMap::from([(id(1), 4)]));
    let wish = play.wishes(id(1)).into_iter().take(1).collect();
    play.ask(id(1), wish);
    assert_eq!(learners(&play), BTreeMap::from([(id(1), 4)]));
    assert_eq!(play.map().slots().filter(|(_, s)| s.backups == vec![id(2)]).count(), 1);
}

#[test]
fn lost_copies_are_made_good_before_anything_is_moved_for_balance() {
    let settings = Settings { learner_count_max: 1, ..small() };
    let mut play = Play::new(settings);
    for name in [1, 2, 3] {
        play.start(id(name));
    }
    play.settle();
    play.start(id(4));
    // All primaries are busy moving slots to the fourth server when one slot loses two copies.
    let named = |play: &Play| -> Vec<SlotId> {
        play.map().slots().filter(|(_, s)| s.learner.is_some()).map(|(id, _)| id).collect()
    };
    let busy = named(&play)[0];
    let primary = play.map().slot(busy).primary_id();
    let is_its = |(id, s): &(SlotId, &Slot)| s.primary_id() == primary && *id != busy;
    let (at, _) = play.map().slots().filter(is_its).last().unwrap();
    for backup in play.map().slot(at).backups.clone() {
        let epoch = play.map().slot(at).epoch;
        play.ask(primary.unwrap(), vec![Change::Remove { slot: at, epoch, member: backup }]);
    }
    assert!(play.map().slot(at).learner.is_none(), "the only place is taken");
    let slot_busy = play.map().slot(busy);
    let (epoch, learner) = (slot_busy.epoch, slot_busy.learner.unwrap());
    play.ask(primary.unwrap(), vec![Change::Promote { slot: busy, epoch, learner }]);
    assert!(play.map().slot(at).learner.is_some(), "it is the next");
}

#[test]
fn a_learner_that_takes_too_long_is_given_up_and_others_get_their_turn() {
    let mut play = Play::with_servers(&[1]);
    play.start(id(2));
    let named = |play: &Play| -> Vec<SlotId> {
        play.map().slots().filter(|(_, s)| s.learner.is_some()).map(|(id, _)| id).collect()
    };
    let mut tried = Vec::new();
    for place_count in [4, 2, 1, 1, 1, 1] {
        let now = named(&play);
        assert_eq!(now.len(), place_count, "half the places each time, but one always");
        assert!(now.iter().all(|id| !tried.contains(id)), "others come first");
        tried.extend(now);
        play.wait(play.settings.learner_max + ms(200));
    }
    let wishes = play.wishes(id(1));
    play.ask(id(1), wishes);
    assert_eq!(named(&play).len(), 4, "when it succeeds it gets all of them again");
}

#[test]
fn a_learner_that_the_ring_wants_no_longer_is_given_up_at_once() {
    let mut play = Play::with_servers(&[1]);
    play.start(id(2));
    assert!(!learners(&play).is_empty());
    play.ask(id(2), vec![Change::Leave]);
    assert!(learners(&play).is_empty());
}

#[test]
fn a_bad_learner_does_not_keep_a_good_one_waiting() {
    let mut play = Play::with_servers(&[1]);
    play.start(id(2));
    play.start(id(3));
    let mut rounds = 0;
    // Only promotions of the third server are asked for: the second never gets level.
    let is_done = |play: &Play| {
        play.map().slots().all(|(_, s)| s.is_member(id(3))) || play.now.0 > 600_000_000_000
    };
    while !is_done(&play) {
        let wishes = play
            .wishes(id(1))
            .into_iter()
            .filter(|wish| matches!(wish, Change::Promote { learner, .. } if learner.0 == id(3)));
        let wishes: Vec<_> = wishes.collect();
        play.ask(id(1), wishes);
        play.wait(ms(1000));
        rounds += 1;
    }
    assert!(rounds < 300, "{rounds} s");
    assert!(play.map().slots().all(|(_, s)| s.is_member(id(3))));
}

#[test]
fn a_learner_that_falls_silent_is_given_up_after_a_while_and_not_at_once() {
    let mut play = Play::with_servers(&[1]);
    play.wait(ms(2000));
    play.start(id(2));
    play.cut(id(2));
    play.wait(ms(2500));
    assert!(!learners(&play).is_empty(), "it may come back with what it has");
    play.wait(ms(1000));
    assert!(learners(&play).is_empty());
    play.register(id(2));
    play.wait(ms(100));
    assert!(!learners(&play).is_empty());
}

#[test]
fn a_server_that_stays_away_loses_its_tokens_and_gets_them_back_when_it_returns() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    play.cut(id(2));
    play.wait(ms(9_900));
    assert!(play.map().ring().contains(id(2)));
    play.wait(ms(1_000));
    assert!(!play.map().ring().contains(id(2)));
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Away);
    play.start(id(2));
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Serving);
    assert!(play.map().ring().contains(id(2)));
    play.settle();
    assert_eq!(play.machine.moves().count(), 0);
}

#[test]
fn of_many_servers_one_that_is_away_is_missed_later_because_they_speak_less_often() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    for name in 4..=200 {
        play.start_as(id(name), true, true);
    }
    play.cut(id(2));
    play.wait(ms(12_900));
    assert!(play.map().ring().contains(id(2)), "three seconds more than among three");
    play.wait(ms(1_000));
    assert!(!play.map().ring().contains(id(2)));
}

#[test]
fn a_server_that_was_only_silent_comes_back_with_its_next_request() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let connection = play.actors.get_mut(&id(2)).unwrap().connection.take();
    play.wait(ms(11_000));
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Away);
    let request = play.request(id(2), Vec::new());
    play.step(Event::Received(connection.unwrap(), request));
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Serving);
}

#[test]
fn while_fewer_than_half_are_seen_nothing_happens_by_itself() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    play.cut(id(2));
    play.cut(id(3));
    let version = play.map().version();
    play.wait(ms(60_000));
    assert_eq!(play.map().version(), version);
    // Requests are judged all the same.
    let deposed = play.map().slots().find(|(_, slot)| slot.backups.contains(&id(1)));
    let (slot, epoch) = deposed.map(|(id, slot)| (id, slot.epoch)).unwrap();
    play.ask(id(1), vec![Change::Depose { slot, epoch }]);
    assert_eq!(play.map().slot(slot).primary_id(), Some(id(1)));
    // With the third server back, two of three are seen.
    play.register(id(3));
    play.wait(ms(500));
    assert!(!play.map().ring().contains(id(2)));
}

#[test]
fn after_its_own_start_the_coordinator_gives_everybody_time_to_come_back() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    play.wait(ms(20_000));
    let version = play.map().version();
    play.restart_ecs(version);
    play.step(Event::Tick);
    play.register(id(1));
    play.register(id(2));
    play.wait(ms(10_900));
    assert_eq!(play.map().version(), version);
    play.wait(ms(200));
    assert!(!play.map().ring().contains(id(3)));
}

#[test]
fn the_ring_keeps_its_last_server() {
    let mut play = Play::with_servers(&[1]);
    play.cut(id(1));
    play.wait(ms(60_000));
    assert!(play.map().ring().contains(id(1)));
}

#[test]
fn who_was_leaving_stays_where_the_others_are_gone_for_good() {
    let mut play = Play::with_servers(&[1, 2]);
    assert_eq!(play.command(Command::Leave(id(1))), Answer::Done);
    play.cut(id(2));
    play.wait(ms(9_900));
    assert_eq!(play.map().servers()[&id(1)].standing, Standing::Leaving, "it may come back");
    play.wait(ms(1_000));
    assert_eq!(play.map().servers()[&id(1)].standing, Standing::Serving);
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Away);
    assert!(play.map().slots().all(|(slot, _)| play.map().ideal(slot) == [id(1)]));
}
