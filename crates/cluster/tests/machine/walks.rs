//! Transfers to learners that are broken off, or cannot go on, and a server that must not say that it lives.

use std::time::Duration;

use cluster::{
    Action, Config, Epoch, Event, Link, Lsn, Message, Page, PageTicket, Slot, SlotId, SlotMessage,
    Standing, State, ToEcs,
};

use crate::host::{B, C, Host, ME, held, record, slot};

const OPEN: SlotMessage = SlotMessage::Open { commit: Lsn(0), is_learner: true, above: Lsn(0) };

/// Returns up to where the learner states that it has been sent everything.
fn stated(host: &mut Host, link: Link, epoch: u32) -> Lsn {
    host.sent();
    host.tell(link, epoch, OPEN);
    let sent = host.sent();
    let [SlotMessage::State(state)] = &sent[..] else { panic!("{sent:?}") };
    state.held
}

#[test]
fn a_learner_goes_on_with_the_walk_of_its_primary_and_not_with_another_s_r5() {
    let mut host = Host::new(vec![(slot(0), held(1, B, &[], Some(ME)))]);
    let link = host.greet(B);
    assert_eq!(stated(&mut host, link, 1), Lsn(0));
    let upto = Epoch(1).lsn(5);
    host.tell(link, 1, SlotMessage::Chunk { records: vec![record(1, 5, "k", 9)], upto });
    let again = host.greet(B);
    assert_eq!(stated(&mut host, again, 1), upto, "it is resumed");
    host.change(vec![], vec![(slot(0), held(2, C, &[], Some(ME)))]);
    let link = host.greet(C);
    assert_eq!(stated(&mut host, link, 2), Lsn(0), "B may have left out tombstones that C has");
}

fn pages(host: &Host) -> Vec<PageTicket> {
    let pages = host.actions.iter().filter_map(|action| match action {
        Action::ReadPage(ticket) => Some(*ticket),
        _ => None,
    });
    pages.collect()
}

#[test]
fn a_walk_that_cannot_go_on_leaves_its_place_to_others_r4() {
    let of = |index: u16| -> (SlotId, Slot) { (slot(index), held(1, ME, &[], Some(B))) };
    let config = Config { transfer_count_max: 1, ..Config::default() };
    let mut host = Host::with(config, Standing::Serving, vec![of(0), of(1)]);
    host.wait(Duration::from_millis(20));
    host.connect_all();
    let link = host.out(B);
    for slot in [slot(0), slot(1)] {
        let (commit, held, is_empty, is_last) = (Lsn(0), Lsn(0), true, true);
        let state = State { commit, held, is_empty, records: vec![], is_last };
        let body = SlotMessage::State(state);
        host.step(Event::Received(link, Message::Slot { slot, epoch: Epoch(1), body }));
    }
    host.wait(Duration::from_millis(20));
    let [first] = pages(&host)[..] else { panic!("one at a time: {:?}", pages(&host)) };
    host.actions.clear();
    host.step(Event::PageDone(first, Page { has_unreadable: true, ..Page::default() }));
    host.wait(Duration::from_millis(20));
    let next: Vec<SlotId> = pages(&host).iter().map(|ticket| ticket.slot).collect();
    assert_eq!(next, [slot(1 - first.slot.index())]);
}

fn beacons(host: &mut Host) -> usize {
    let actions = std::mem::take(&mut host.actions);
    let is_beacon = |a: &&Action| matches!(a, Action::Send(_, Message::Beacon(_)));
    actions.iter().filter(is_beacon).count()
}

#[test]
fn no_beacon_is_sent_while_the_disk_keeps_neither_record_nor_map_r16() {
    for is_map in [false, true] {
        let mut host = Host::new(vec![(slot(0), held(1, B, &[ME], None))]);
        host.wait(Duration::from_millis(20));
        host.connect_all();
        let link = host.greet(B);
        host.wait(Duration::from_millis(500));
        assert!(beacons(&mut host) >= 4);
        (host.syncs, host.keeps) = (is_map, !is_map);
        match is_map {
            true => host.change(vec![], vec![(slot(1), held(1, B, &[ME], None))]),
            false => {
                let record = record(1, 1, "k", 9);
                host.tell(link, 1, SlotMessage::Prepare { commit: None, record });
            }
        }
        host.wait(Config::default().sync_max - Duration::from_millis(20));
        assert!(beacons(&mut host) >= 2, "a slow disk is no dead one");
        host.wait(Duration::from_millis(500));
        assert!(beacons(&mut host) <= 1, "map: {is_map}");
        host.wait(Duration::from_millis(500));
        assert_eq!(beacons(&mut host), 0, "map: {is_map}");
    }
}

#[test]
fn no_beacon_is_sent_and_nobody_accused_while_no_connection_is_taken_r16() {
    let mut host = Host::new(vec![(slot(0), held(1, B, &[ME], None))]);
    host.wait(Duration::from_millis(20));
    host.connect_all();
    host.greet(B);
    host.wait(Duration::from_millis(500));
    assert!(beacons(&mut host) >= 4);
    host.step(Event::Accepting(false));
    host.wait(Config::default().grace * 3);
    let asks = |host: &Host| {
        let is_ask = |a: &&Action| matches!(a, Action::ToEcs(ToEcs::Request { changes, .. }) if !changes.is_empty());
        host.actions.iter().filter(is_ask).count()
    };
    assert_eq!(asks(&host), 0, "B was silent for long, but who is deaf judges nobody");
    assert_eq!(beacons(&mut host), 0);
    host.step(Event::Accepting(true));
    host.wait(Duration::from_millis(500));
    assert!(beacons(&mut host) >= 4);
}
