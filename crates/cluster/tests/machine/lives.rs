//! Lives of servers: who is leaving, who is new, who is not known.

use std::time::Duration;

use cluster::{
    Action, Ask, Epoch, Event, Incarnation, Link, Message, ServerId, Session, SlotId, SlotLoad,
    Standing, StopReason, ToEcs, Version,
};

use crate::host::{B, C, Host, ME, held, info, slot};

#[test]
fn a_server_that_leaves_ends_when_it_holds_nothing_whoever_asked_for_it() {
    let mut host =
        Host::with(Default::default(), Standing::Leaving, vec![(slot(0), held(1, B, &[ME], None))]);
    host.wait(Duration::from_millis(100));
    assert!(!host.actions.contains(&Action::Stop(StopReason::Left)), "it holds a slot");
    host.change(vec![], vec![(slot(0), held(2, B, &[C], None))]);
    host.wait(Duration::from_millis(20));
    assert!(host.actions.contains(&Action::Stop(StopReason::Left)));
}

#[test]
fn one_that_waits_to_be_asked_onto_the_ring_does_not_end() {
    let mut host = Host::with(Default::default(), Standing::Standby, vec![]);
    host.wait(Duration::from_millis(100));
    assert!(!host.actions.contains(&Action::Stop(StopReason::Left)));
    host.step(Event::Leave);
    host.wait(Duration::from_millis(20));
    assert!(host.actions.contains(&Action::Stop(StopReason::Left)), "but by its own wish");
}

#[test]
fn a_connection_to_the_coordinator_on_which_nothing_comes_back_is_given_up_for_another() {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[B], None))]);
    let is_given_up = |host: &Host| host.actions.contains(&Action::CloseEcs);
    for _ in 0..5 {
        host.wait(Duration::from_millis(1000));
        host.settle();
    }
    assert!(!is_given_up(&host), "it is answered, if late");
    host.wait(Duration::from_millis(2600));
    assert!(is_given_up(&host));
    host.actions.clear();
    host.step(Event::EcsClosed);
    host.wait(Duration::from_millis(5000));
    assert!(!is_given_up(&host), "there is none");
    host.step(Event::EcsConnected);
    host.wait(Duration::from_millis(1490));
    assert!(!is_given_up(&host), "another has its own time");
    host.wait(Duration::from_millis(20));
    assert!(is_given_up(&host));
}

#[test]
fn a_server_says_that_it_lives_each_second_and_of_a_thousand_each_ten() {
    for (server_count, sign_count) in [(3, 100), (100, 100), (300, 34), (1000, 10)] {
        let mut host = Host::among(server_count);
        host.actions.clear();
        for _ in 0..1000 {
            host.wait(Duration::from_millis(100));
            host.settle();
        }
        assert!(host.signs().abs_diff(sign_count) <= 1, "{server_count}: {}", host.signs());
    }
}

/// Returns the connections asked for since, with where they lead, and those that were closed.
fn connections(host: &mut Host) -> (Vec<String>, usize) {
    let actions = std::mem::take(&mut host.actions);
    let closed = actions.iter().filter(|a| matches!(a, Action::Close(Link::Out(..)))).count();
    let asked = actions.into_iter().filter_map(|action| match action {
        Action::Connect { address, .. } => Some(address),
        _ => None,
    });
    (asked.collect(), closed)
}

#[test]
fn a_session_is_opened_anew_when_the_peer_s_life_or_address_is_another() {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[B], None))]);
    host.connect_all();
    host.actions.clear();
    host.change(vec![(C, info(C, Standing::Serving, 2))], vec![]);
    assert_eq!(connections(&mut host), (vec![], 0), "nothing of this peer changed");
    host.change(vec![(B, info(B, Standing::Serving, 2))], vec![]);
    assert_eq!(connections(&mut host), (vec!["a:2".to_owned()], 1));
    let moved = cluster::ServerInfo { address: "b:9".to_owned(), ..info(B, Standing::Serving, 2) };
    host.change(vec![(B, moved)], vec![]);
    assert_eq!(connections(&mut host), (vec!["b:9".to_owned()], 1));
}

#[test]
fn nothing_is_kept_for_one_that_the_map_does_not_know() {
    let mut host = Host::new(vec![(slot(0), held(1, B, &[ME], None))]);
    for id in 100..200 {
        let session = Session { incarnation: Incarnation(1), number: 1 };
        let link = Link::In(ServerId(id), session);
        host.actions.clear();
        host.step(Event::Received(link, Message::Hello { session, version: Version(7) }));
        assert_eq!(host.actions, [Action::Close(link)]);
        host.beacon(link);
    }
    assert!(!format!("{:?}", host.machine).contains("ServerId(150)"));
}

#[test]
fn slots_that_come_and_go_together_cost_one_sync() {
    let all = |epoch, primary, backups: &[ServerId]| {
        (0..4).map(|index| (slot(index), held(epoch, primary, backups, None))).collect::<Vec<_>>()
    };
    let mut host = Host::new(all(1, B, &[ME]));
    assert_eq!(host.storage.calls, [("create", 4)]);
    host.change(vec![], all(2, ME, &[]));
    assert_eq!(host.storage.calls.len(), 1, "they are here");
    // The ring says that B and C hold everything.
    let ring = hashring::Ring::from_tokens(4, [(slot(1), B), (slot(3), C)]).unwrap();
    host.change_ring(ring, all(3, B, &[C]));
    assert_eq!(host.storage.calls, [("create", 4), ("drop", 4)]);
}

/// Returns the loads that were told since.
fn loads(host: &mut Host) -> Vec<Vec<(SlotId, SlotLoad)>> {
    let told = std::mem::take(&mut host.actions).into_iter().filter_map(|action| match action {
        Action::ToEcs(ToEcs::Request { loads, .. }) => Some(loads),
        _ => None,
    });
    told.filter(|loads| !loads.is_empty()).collect()
}

#[test]
fn the_bytes_of_slots_led_here_are_told_once_a_second_and_all_of_them_to_a_new_coordinator() {
    let second = Duration::from_secs(1);
    let led = |index| (slot(index), held(1, ME, &[B], None));
    let mut host = Host::new(vec![led(0), led(1), (slot(2), held(1, B, &[ME], None))]);
    let len = |index, len| (slot(index), SlotLoad::of_len(len));
    let all = vec![len(0, 0), len(1, 0)];
    assert_eq!(loads(&mut host), std::slice::from_ref(&all), "with the first request");
    host.storage.lens = [(slot(0), 3200), (slot(2), 77)].into();
    host.settle();
    for _ in 0..4 {
        host.wait(second);
        host.settle();
    }
    let told = loads(&mut host);
    assert_eq!(told[0], [len(0, 3200), len(1, 0)]);
    assert!((3..=4).contains(&told.len()), "{told:?}");
    host.storage.lens.insert(slot(0), 3300);
    host.step(Event::EcsClosed);
    host.step(Event::EcsConnected);
    assert_eq!(loads(&mut host), [[len(0, 3300), len(1, 0)]], "it may know nothing");
}

#[test]
fn the_operations_of_slots_led_here_are_told_for_about_a_minute() {
    let second = Duration::from_secs(1);
    let mut host =
        Host::new(vec![(slot(0), held(1, ME, &[], None)), (slot(1), held(1, B, &[ME], None))]);
    host.settle();
    let put =
        || Ask::Put { value: (*b"v").into(), expires_at_ms: None, condition: None, request: None };
    let told = |host: &mut Host, seconds: u64| {
        for _ in 0..seconds {
            host.wait(second);
            host.settle();
        }
        let told: Vec<_> = loads(host).into_iter().flatten().collect();
        assert!(told.iter().all(|(id, _)| *id == slot(0)), "what is led elsewhere is told there");
        told.last().expect("it is told again and again").1.op_rate
    };
    assert_eq!(told(&mut host, 2), 0);
    for _ in 0..600 {
        host.ask("k", put());
    }
    assert!((550..=600).contains(&told(&mut host, 2)));
    let after = told(&mut host, 60);
    assert!((180..=240).contains(&after), "a third is left after a minute: {after}");
    assert!(told(&mut host, 600) < 5);
}

#[test]
fn the_newest_map_heard_of_has_what_the_disk_has_not_taken_r9() {
    let mut host = Host::new(vec![(slot(0), held(1, B, &[ME], None))]);
    let before = host.machine.map().version();
    host.keeps = false;
    host.change(vec![], vec![(slot(1), held(1, B, &[ME], None))]);
    host.change(vec![], vec![(slot(2), held(1, C, &[ME], None))]);
    host.change(vec![], vec![(slot(1), held(2, C, &[ME], None))]);
    assert_eq!(host.machine.map().version(), before, "the first is being kept, the others wait");
    let heard = host.machine.newest_heard();
    assert_eq!(heard.version(), Version(before.0 + 3));
    assert_eq!((heard.slot(slot(1)).epoch, heard.slot(slot(2)).epoch), (Epoch(2), Epoch(1)));
}
