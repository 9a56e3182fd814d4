//! What servers ask for: the right ones get it, once, in the order of their numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::coordinator::{ConnectionId, Event, Settings};
use cluster::{
    Change, Epoch, Incarnation, Number, ServerId, Slot, SlotId, SlotLoad, Standing, ToEcs,
};

use crate::play::{Play, id, slot, small};

/// A slot, its members as (primary, backup, backup), its epoch.
fn some_slot(play: &Play) -> (SlotId, [ServerId; 3], Epoch) {
    let at = play.map().slot(slot(3));
    let members: Vec<_> = at.members().collect();
    (slot(3), members.try_into().unwrap(), at.epoch)
}

fn now(play: &Play, slot: SlotId) -> &Slot {
    play.map().slot(slot)
}

#[test]
fn a_change_is_told_to_as_few_servers_as_is_set_however_many_there_are() {
    for count in [5, 12] {
        let settings = Settings { told_count_max: Some(3), ..small() };
        let mut play = Play::new(settings);
        (1..=count).for_each(|name| play.start(id(name)));
        play.settle();
        let mut told = BTreeSet::new();
        for _ in 0..20 {
            let wish = |server| {
                let has_backup = |(_, at): &(SlotId, &Slot)| {
                    at.primary_id() == Some(server) && !at.backups.is_empty()
                };
                let (slot, at) = play.map().slots().find(has_backup)?;
                Some((server, Change::HandOver { slot, epoch: at.epoch, to: at.backups[0] }))
            };
            let (asker, change) = (1..=count).find_map(|name| wish(id(name))).unwrap();
            let Change::HandOver { to, .. } = change else { panic!("that is what was wished") };
            let connection = play.actor(asker).connection.unwrap();
            let said = play.request(asker, vec![change]);
            let version = play.map().version();
            play.step(Event::Received(connection, said));
            assert_eq!(play.sent_count, 1 + 3, "the asker, and three of {count}");
            play.deliver_all();
            let version_of = |server: ServerId| play.actor(server).map.version();
            assert!(version_of(asker) > version && version_of(to) > version, "who must act");
            let knows = |name: &u128| version_of(id(*name)) > version;
            told.extend((1..=count).filter(knows));
            play.step(Event::Tick);
            assert_eq!(play.sent_count, 0, "and nobody later");
        }
        assert_eq!(told.len(), usize::try_from(count).unwrap(), "each in turn");
    }
}

#[test]
fn a_backup_that_deposes_is_primary_in_a_new_term() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (slot, [p, b, c], epoch) = some_slot(&play);
    play.ask(c, vec![Change::Depose { slot, epoch }]);
    let at = play.maps.iter().map(|map| map.slot(slot)).find(|at| at.epoch == epoch.next());
    let at = at.unwrap().clone();
    assert_eq!((at.primary_id(), &at.backups), (Some(c), &vec![b]));
    assert_eq!(at.term, epoch.next());
    let entry = play.log.iter().find(|entry| entry.about == vec![p]);
    assert!(entry.unwrap().why.ends_with("asked: deposed 1"), "{entry:?}");
    // When the other backup's accusation comes, it is late.
    let count = play.log.len();
    play.ask(b, vec![Change::Depose { slot, epoch }]);
    assert_eq!(play.log.len(), count);
    assert_eq!(play.actor(b).answered, play.actor(b).number, "it is answered all the same");
    assert_eq!(play.actor(b).map, *play.map());
}

#[test]
fn a_decision_is_told_once_to_the_asker_and_once_to_everybody_else() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (slot, [p, b, c], epoch) = some_slot(&play);
    let connection = play.actor(p).connection.unwrap();
    let said = play.request(p, vec![Change::HandOver { slot, epoch, to: b }]);
    play.step(Event::Received(connection, said));
    assert_eq!(play.sent_count, 3);
    play.deliver_all();
    assert!([p, b, c].iter().all(|server| play.actor(*server).map == *play.map()));
    play.step(Event::Tick);
    assert_eq!(play.sent_count, 0);
}

#[test]
fn of_two_that_accuse_each_other_the_first_wins() {
    for is_primary_first in [true, false] {
        let mut play = Play::with_servers(&[1, 2, 3]);
        let (slot, [p, b, _], epoch) = some_slot(&play);
        let remove = vec![Change::Remove { slot, epoch, member: b }];
        let depose = vec![Change::Depose { slot, epoch }];
        let mut asks = vec![(p, remove), (b, depose)];
        if !is_primary_first {
            asks.reverse();
        }
        asks.into_iter().for_each(|(server, changes)| play.ask(server, changes));
        let (winner, loser) = if is_primary_first { (p, b) } else { (b, p) };
        assert_eq!(now(&play, slot).primary_id(), Some(winner));
        assert!(!now(&play, slot).is_member(loser));
    }
}

#[test]
fn who_is_doubted_by_everybody_as_a_third_server_says_accuses_in_vain_r15() {
    // Who says so, of whom; whether the accusation of the backup against the primary is believed.
    type Said<'a> = &'a [(usize, &'a [usize])];
    let cases: [(Said<'_>, bool); 6] = [
        (&[], true),
        (&[(2, &[1])], false),
        // The accused has an interest, and so has the accuser.
        (&[(0, &[1])], true),
        (&[(1, &[0]), (2, &[1])], false),
        // A server that hears nobody doubts all others.
        (&[(2, &[0, 1])], true),
        (&[(2, &[1]), (3, &[0])], true),
    ];
    for (said, is_believed) in cases {
        let mut play = Play::with_servers(&[1, 2, 3, 4]);
        let (slot, members, epoch) = some_slot(&play);
        let other = [1, 2, 3, 4].map(id).into_iter().find(|id| !members.contains(id)).unwrap();
        let all = [members[0], members[1], members[2], other];
        for (by, doubted) in said {
            play.doubt(all[*by], &doubted.iter().map(|at| all[*at]).collect::<Vec<_>>());
        }
        play.ask(members[1], vec![Change::Depose { slot, epoch }]);
        assert_eq!(now(&play, slot).epoch > epoch, is_believed, "deposed, {said:?}");
        let actor = play.actor(members[1]);
        assert_eq!(actor.answered, actor.number, "it is answered all the same");
        // The same for the primary against its backup, where the parts are exchanged.
        let mut play = Play::with_servers(&[1, 2, 3, 4]);
        let all = [members[1], members[0], members[2], other];
        for (by, doubted) in said {
            play.doubt(all[*by], &doubted.iter().map(|at| all[*at]).collect::<Vec<_>>());
        }
        play.ask(members[0], vec![Change::Remove { slot, epoch, member: members[1] }]);
        assert_eq!(now(&play, slot).epoch > epoch, is_believed, "removed, {said:?}");
    }
}

#[test]
fn a_doubt_counts_while_its_server_is_heard_and_until_it_says_otherwise_r15() {
    let is_believed = |then: &dyn Fn(&mut Play, [ServerId; 3])| {
        let mut play = Play::with_servers(&[1, 2, 3]);
        let (slot, members, epoch) = some_slot(&play);
        play.doubt(members[2], &[members[1]]);
        then(&mut play, members);
        play.ask(members[1], vec![Change::Depose { slot, epoch }]);
        now(&play, slot).epoch > epoch
    };
    assert!(!is_believed(&|_, _| {}));
    assert!(is_believed(&|play, [.., third]| play.doubt(third, &[])), "it was heard again");
    let again = |play: &mut Play, [.., third]: [ServerId; 3]| {
        play.connect(third);
        play.ask(third, Vec::new());
    };
    assert!(is_believed(&again), "it says nothing of it on a new connection");
    assert!(
        !is_believed(&|play, _| play.wait(Duration::from_secs(60))),
        "it is heard all the time"
    );
    let silent = |time| move |play: &mut Play, _: [ServerId; 3]| play.now = play.now + time;
    assert!(!is_believed(&silent(small().unseen_after)), "it was heard a moment ago");
    assert!(is_believed(&silent(small().unseen_after + Duration::from_millis(1))), "too long ago");
}

#[test]
fn only_the_primary_removes_hands_over_and_promotes() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (slot, [p, b, c], epoch) = some_slot(&play);
    let count = play.log.len();
    play.ask(b, vec![Change::Remove { slot, epoch, member: c }]);
    play.ask(b, vec![Change::HandOver { slot, epoch, to: c }]);
    play.ask(p, vec![Change::HandOver { slot, epoch, to: p }]);
    play.ask(p, vec![Change::Depose { slot, epoch }]);
    play.ask(p, vec![Change::Promote { slot, epoch, learner: (b, Incarnation(1)) }]);
    assert_eq!(play.log.len(), count);
    play.ask(p, vec![Change::HandOver { slot, epoch, to: c }]);
    let at = now(&play, slot);
    assert_eq!((at.primary, at.term), (Some((c, Incarnation(1))), epoch.next()));
    assert!(at.backups.contains(&p) && at.backups.contains(&b));
}

#[test]
fn a_second_change_of_a_slot_in_one_request_finds_the_epoch_gone() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (slot, [p, b, c], epoch) = some_slot(&play);
    let remove = |member| Change::Remove { slot, epoch, member };
    let version = play.map().version();
    play.ask(p, vec![remove(b), remove(c)]);
    let first = &play.maps[usize::try_from(version.0 + 1).unwrap()];
    assert_eq!(first.slot(slot).backups, vec![c]);
}

#[test]
fn a_late_request_is_dropped_without_an_answer() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (slot, [p, b, _], epoch) = some_slot(&play);
    let late = play.request(p, vec![Change::Remove { slot, epoch, member: b }]);
    play.ask(p, Vec::new());
    let answered = play.actor(p).answered;
    let count = play.log.len();
    let connection = play.actor(p).connection.unwrap();
    play.step(Event::Received(connection, late.clone()));
    play.deliver_all();
    assert_eq!((play.log.len(), play.actor(p).answered), (count, answered));
    // Nor is one that comes twice answered twice.
    let again = play.request(p, Vec::new());
    play.step(Event::Received(connection, again.clone()));
    assert_eq!(play.sent_count, 1);
    play.step(Event::Received(connection, again));
    assert_eq!(play.sent_count, 0);
    // A new connection of the same life does not make it new.
    play.register(p);
    let connection = play.actor(p).connection.unwrap();
    play.step(Event::Received(connection, late));
    assert_eq!(play.log.len(), count);
}

#[test]
fn a_life_that_is_over_is_told_so() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (slot, [p, b, _], epoch) = some_slot(&play);
    let old = play.request(p, vec![Change::Remove { slot, epoch, member: b }]);
    play.start(p);
    let connection = play.actor(p).connection.unwrap();
    play.step(Event::Received(connection, old));
    assert!(play.actor(p).is_superseded);
    assert!(now(&play, slot).is_member(b));
    assert_eq!(play.closed.last(), Some(&connection));
}

#[test]
fn an_unknown_server_and_a_life_of_the_future_are_sent_away() {
    let mut play = Play::with_servers(&[1]);
    let request = |server, incarnation| ToEcs::Request {
        server,
        incarnation: Incarnation(incarnation),
        number: Number(1),
        version: cluster::Version(0),
        is_full: false,
        changes: Vec::new(),
        loads: Vec::new(),
    };
    for (connection, said) in [(70, request(id(8), 1)), (71, request(id(1), 2))] {
        let connection = ConnectionId(connection);
        play.step(Event::Connected(connection));
        play.step(Event::Received(connection, said));
        assert_eq!(play.closed.last(), Some(&connection));
    }
}

#[test]
fn a_server_whose_disk_failed_leaves_every_slot_that_somebody_else_holds() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    play.ask(id(2), vec![Change::Fail]);
    assert!(play.map().slots().all(|(_, slot)| !slot.is_holder(id(2))));
    play.wait(crate::play::ms(5000));
    assert!(play.map().slots().all(|(_, slot)| !slot.is_holder(id(2))), "nor is it asked back");
    play.start(id(2));
    play.settle();
    assert_eq!(play.machine.moves().count(), 0, "in its next life it is");
    let mut play = Play::with_servers(&[1]);
    play.ask(id(1), vec![Change::Fail]);
    assert!(play.map().slots().all(|(_, slot)| slot.primary_id() == Some(id(1))));
}

#[test]
fn a_member_that_cannot_read_its_copy_is_taken_out_where_another_is_seen_r4() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (slot, [p, b, c], epoch) = some_slot(&play);
    play.ask(p, vec![Change::Resign { slot, epoch }]);
    let after = play.map().slot(slot).clone();
    assert!(!after.is_member(p) && after.is_member(b) && after.is_member(c));
    assert!(after.epoch > epoch && after.term == epoch.next());
    play.ask(p, vec![Change::Resign { slot, epoch: after.epoch }]);
    assert_eq!(play.map().slot(slot).members().count(), 2, "it is no member any more");
    play.settle();
    assert!(play.map().slot(slot).is_member(p), "it was asked back, with nothing");
    let mut play = Play::with_servers(&[1]);
    let epoch = play.map().slot(slot).epoch;
    play.ask(id(1), vec![Change::Resign { slot, epoch }]);
    assert_eq!(play.map().slot(slot).primary_id(), Some(id(1)), "the only copy stays");
}

#[test]
fn a_leaving_server_gives_everything_away_and_the_last_one_stays() {
    let mut play = Play::with_servers(&[1, 2, 3, 4]);
    play.ask(id(2), vec![Change::Leave]);
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Leaving);
    play.settle();
    assert!(play.map().slots().all(|(_, slot)| !slot.is_holder(id(2))));
    let mut play = Play::with_servers(&[1]);
    play.ask(id(1), vec![Change::Leave]);
    assert_eq!(play.map().servers()[&id(1)].standing, Standing::Serving);
}

#[test]
fn loads_are_taken_from_primaries_and_nonsense_closes_the_connection() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let (at, [p, b, _], _) = some_slot(&play);
    for (server, load, expected) in [(p, 70, 70), (b, 80, 70), (p, 60, 60)] {
        let ToEcs::Request { server, incarnation, number, version, is_full, changes, .. } =
            play.request(server, Vec::new())
        else {
            unreachable!()
        };
        let loads = vec![(at, SlotLoad::of_len(load))];
        let said = ToEcs::Request { server, incarnation, number, version, is_full, changes, loads };
        let connection = play.actor(server).connection.unwrap();
        play.step(Event::Received(connection, said));
        assert_eq!(play.machine.loads()[3], expected);
    }
    let ToEcs::Request { server, incarnation, number, version, is_full, changes, .. } =
        play.request(p, Vec::new())
    else {
        unreachable!()
    };
    let loads = vec![(slot(16), SlotLoad::of_len(1))];
    let said = ToEcs::Request { server, incarnation, number, version, is_full, changes, loads };
    let connection = play.actor(p).connection.unwrap();
    play.step(Event::Received(connection, said));
    assert_eq!(play.closed.last(), Some(&connection));
}
