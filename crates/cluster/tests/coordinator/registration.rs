//! Lives and incarnations, and what a new life does to the slots that its server holds.

use cluster::coordinator::{Event, Settings};
use cluster::{Epoch, Incarnation, Slot, SlotId, Standing, ToEcs, Version};

use crate::play::{Play, id, ms, small};

#[test]
fn the_first_server_becomes_primary_of_every_slot_and_the_next_join_by_moves() {
    let mut play = Play::new(small());
    play.start(id(1));
    assert!(play.map().slots().all(|(_, slot)| {
        slot.primary == Some((id(1), Incarnation(1))) && slot.epoch == Epoch(1)
    }));
    assert_eq!(play.map().version(), Version(1));
    assert_eq!(play.actor(id(1)).map, *play.map());
    play.start(id(2));
    play.start(id(3));
    let held = |slot: &Slot| slot.members().eq([id(1)]);
    assert!(play.map().slots().all(|(_, slot)| held(slot)), "nobody else holds anything yet");
    play.settle();
    assert_eq!(play.machine.moves().count(), 0);
    assert!(play.map().slots().all(|(_, slot)| slot.members().count() == 3));
}

#[test]
fn a_registration_sent_twice_is_one_life_and_a_new_life_a_new_incarnation() {
    let mut play = Play::with_servers(&[1, 2]);
    let version = play.map().version();
    play.register(id(2));
    play.deliver_all();
    assert_eq!(play.map().version(), version, "nothing to decide");
    assert_eq!(play.actor(id(2)).incarnation, Incarnation(1));
    play.start(id(2));
    assert_eq!(play.actor(id(2)).incarnation, Incarnation(2));
    assert_eq!(play.map().servers()[&id(2)].incarnation, Incarnation(2));
}

#[test]
fn a_server_that_comes_back_with_another_address_is_the_same_server() {
    let mut play = Play::with_servers(&[1, 2]);
    let connection = play.connect(id(2));
    let ToEcs::Register { server, life, is_complete, is_standby, version, .. } =
        play.registration(id(2))
    else {
        unreachable!()
    };
    let address = "10.0.0.9:1".to_owned();
    let said = ToEcs::Register { server, address, life, is_complete, is_standby, version };
    play.step(Event::Received(connection, said));
    let known = &play.map().servers()[&id(2)];
    assert_eq!((known.address.as_str(), known.incarnation), ("10.0.0.9:1", Incarnation(1)));
}

/// The slots that a server is in, by what it is there.
fn by_role(play: &Play, name: u128) -> (Vec<SlotId>, Vec<SlotId>) {
    let slots = |is: &dyn Fn(&Slot) -> bool| {
        play.map().slots().filter(|(_, slot)| is(slot)).map(|(id, _)| id).collect()
    };
    let primary = |slot: &Slot| slot.primary_id() == Some(id(name));
    (slots(&primary), slots(&|slot: &Slot| slot.backups.contains(&id(name))))
}

#[test]
fn a_complete_server_keeps_its_memberships_and_its_primacies_get_a_new_term() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let before = play.map().clone();
    let (primary, backup) = by_role(&play, 2);
    assert!(!primary.is_empty() && !backup.is_empty());
    play.start(id(2));
    for slot in primary {
        let now = play.map().slot(slot);
        assert_eq!(now.primary, Some((id(2), Incarnation(2))));
        assert_eq!(now.epoch, before.slot(slot).epoch.next());
        assert_eq!(now.term, now.epoch, "R19");
        assert_eq!(now.backups, before.slot(slot).backups);
    }
    for slot in backup {
        assert_eq!(play.map().slot(slot), before.slot(slot), "a backup's epoch need not rise");
    }
}

#[test]
fn an_incomplete_server_is_taken_out_and_a_backup_follows_it() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let before = play.map().clone();
    let (primary, backup) = by_role(&play, 2);
    play.cut(id(3));
    play.start_as(id(2), false, false);
    let taken_out = &play.maps[usize::try_from(before.version().0 + 1).unwrap()];
    for slot in primary {
        let now = taken_out.slot(slot);
        assert!(!now.is_holder(id(2)));
        assert_eq!(now.primary_id(), Some(id(1)), "the one that is connected");
        assert_eq!(now.term, before.slot(slot).epoch.next());
    }
    for slot in backup {
        assert!(!taken_out.slot(slot).is_holder(id(2)));
    }
    play.start(id(3));
    play.settle();
    assert_eq!(play.machine.moves().count(), 0, "it came back as a learner");
}

#[test]
fn a_slot_whose_only_member_is_incomplete_is_refused_and_says_who_held_it() {
    let mut play = Play::with_servers(&[1]);
    play.start_as(id(1), false, false);
    assert!(play.map().slots().all(|(_, s)| s.primary.is_none() && s.former == vec![id(1)]));
    assert_eq!(play.machine.moves().refused.len(), 16);
    play.start_as(id(1), true, false);
    play.start(id(2));
    play.wait(ms(30_000));
    assert!(play.map().slots().all(|(_, s)| s.primary.is_none()), "nobody takes it by itself");
}

#[test]
fn a_learner_that_begins_a_new_life_is_a_learner_no_longer() {
    let mut play = Play::with_servers(&[1]);
    play.start(id(2));
    let learners = |play: &Play| play.map().slots().filter(|(_, s)| s.learner.is_some()).count();
    assert_eq!(learners(&play), 4, "as many as a primary may have");
    let named = play.map().version();
    play.start(id(2));
    let dropped = &play.maps[usize::try_from(named.0 + 1).unwrap()];
    assert!(dropped.slots().all(|(_, slot)| slot.learner.is_none()));
    assert_eq!(learners(&play), 4, "and is named anew in its new life");
    let lives = play.map().slots().filter_map(|(_, slot)| slot.learner);
    assert!(lives.into_iter().all(|learner| learner == (id(2), Incarnation(2))));
}

#[test]
fn of_two_connections_of_a_server_the_later_counts_and_late_registrations_find_nobody() {
    let mut play = Play::with_servers(&[1, 2]);
    // The old process has a connection on which its registration is still on its way; nobody has closed it.
    let late = play.connect(id(2));
    let old = play.registration(id(2));
    play.actors.get_mut(&id(2)).unwrap().life = 77;
    play.register(id(2));
    play.deliver_all();
    assert_eq!(play.actor(id(2)).incarnation, Incarnation(2));
    let version = play.map().version();
    play.step(Event::Received(late, old));
    assert_eq!(play.map().version(), version);
    assert_eq!(play.closed.last(), Some(&late));
    assert_eq!(play.map().servers()[&id(2)].incarnation, Incarnation(2));
}

#[test]
fn a_standby_server_waits_and_a_leaving_one_stays_leaving() {
    let mut play = Play::with_servers(&[1]);
    play.start_as(id(2), true, true);
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Standby);
    assert!(!play.map().ring().contains(id(2)));
    play.start_as(id(2), true, false);
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Serving);
    play.settle();
    play.ask(id(2), vec![cluster::Change::Leave]);
    play.start(id(2));
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Leaving);
    assert!(!play.map().ring().contains(id(2)));
}

#[test]
fn nonsense_closes_the_connection_and_decides_nothing() {
    let long = |len: usize| "a".repeat(len);
    for (address, version, is_taken) in [
        (long(261), Version(0), true),
        (long(262), Version(0), false),
        (String::new(), Version(0), false),
        ("a b".to_owned(), Version(0), false),
        ("a\n".to_owned(), Version(0), false),
        ("a:1".to_owned(), Version(1), false),
    ] {
        let mut play = Play::new(small());
        let connection = cluster::coordinator::ConnectionId(9);
        play.step(Event::Connected(connection));
        let (server, life) = (id(1), 5);
        let (is_complete, is_standby) = (true, true);
        let said = ToEcs::Register { server, address, life, is_complete, is_standby, version };
        play.step(Event::Received(connection, said));
        assert_eq!(play.map().servers().len(), usize::from(is_taken));
        assert_eq!(play.closed.is_empty(), is_taken);
    }
}

#[test]
fn as_many_servers_as_the_limit_are_registered_and_not_one_more() {
    let settings = Settings { slot_count: 1, ..small() };
    let mut machine = cluster::coordinator::Coordinator::new(settings);
    let mut actions = Vec::new();
    for name in 0..=4096_u64 {
        let connection = cluster::coordinator::ConnectionId(name);
        let said = ToEcs::Register {
            server: id(u128::from(name)),
            address: "a:1".to_owned(),
            life: name,
            is_complete: true,
            is_standby: true,
            version: machine.map().version(),
        };
        actions.clear();
        let now = cluster::Time(1);
        machine.step(now, Event::Connected(connection), &mut actions);
        machine.step(now, Event::Received(connection, said), &mut actions);
        machine.step(now, Event::Closed(connection), &mut actions);
        assert_eq!(machine.map().servers().len() as u64, (name + 1).min(4096));
    }
}
