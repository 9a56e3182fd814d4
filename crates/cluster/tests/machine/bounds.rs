//! What waits, and how long and how much.

use std::time::Duration;

use cluster::{
    Action, Ask, Beacon, Condition, Config, Epoch, Event, Link, Lsn, Message, OpId, Planted,
    Refusal, Reply, SlotMessage, Standing, State, Storage as _,
};

use crate::host::{B, C, Host, ME, held, slot};

fn put(value_len: usize) -> Ask {
    let value = vec![b'v'; value_len].into();
    Ask::Put { value, expires_at_ms: None, condition: None, request: None }
}

fn put_as(client: u64, number: u64) -> Ask {
    let request = Some((client, number));
    Ask::Put { value: (*b"v").into(), expires_at_ms: None, condition: None, request }
}

fn nothing(commit: Lsn) -> SlotMessage {
    let (held, is_empty, records, is_last) = (commit, commit == Lsn(0), Vec::new(), true);
    SlotMessage::State(State { commit, held, is_empty, records, is_last })
}

/// Returns a primary with a backup that states nothing and acknowledges nothing, but the reconciliation.
fn primary(config: Config) -> Host {
    let mut host = Host::with(config, Standing::Serving, vec![(slot(0), held(1, ME, &[B], None))]);
    host.connect_all();
    let link = host.out(B);
    host.tell(link, 1, nothing(Lsn(0)));
    host.ack(link);
    host.wait(Duration::from_millis(20));
    host
}

#[test]
fn writes_wait_for_their_commit_up_to_the_bytes_allowed_and_not_one_past() {
    const HEAD_LEN: usize = 48 + 1;
    let config = Config { pending_len_max: 1000, ..Config::default() };
    let mut host = primary(config);
    assert_eq!(host.ask("a", put(999 - HEAD_LEN)), None, "it waits");
    assert_eq!(host.ask("b", put(0)), None, "one byte was left");
    assert_eq!(host.ask("c", put(0)), Some(Reply::Refused(Refusal::Busy)));
    let mut host = primary(Config { pending_len_max: 1000, ..Config::default() });
    assert_eq!(host.ask("a", put(1000 - HEAD_LEN)), None);
    assert_eq!(host.ask("b", put(0)), Some(Reply::Refused(Refusal::Busy)));
    let link = host.out(B);
    host.ack(link);
    assert_eq!(host.ask("b", put(0)), None, "what is committed makes room");
}

#[test]
fn the_only_member_with_a_failed_disk_answers_reads_of_what_is_committed() {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[], None))]);
    assert!(matches!(host.ask("k", put(1)), Some(Reply::Stored(_))));
    host.step(Event::StorageFailed);
    assert_eq!(host.ask("k", put(1)), Some(Reply::Refused(Refusal::Failed)));
    assert_eq!(host.ask("k", Ask::Get), None, "it is being read");
    assert!(host.actions.iter().any(|action| matches!(action, Action::Read { .. })));
    host.change(vec![], vec![(slot(0), held(2, ME, &[B], None))]);
    assert_eq!(host.ask("k", Ask::Get), Some(Reply::Refused(Refusal::Failed)), "another can");
}

#[test]
fn a_learner_that_is_counted_holds_up_commits_for_half_a_second_at_most() {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[], None))]);
    host.ask("before", put(1));
    host.change(vec![], vec![(slot(0), held(2, ME, &[], Some(B)))]);
    host.connect_all();
    let link = host.out(B);
    host.tell(link, 2, nothing(Lsn(0)));
    // It gets everything, acknowledges it, and knows that it is level; it has not acknowledged the next write.
    for _ in 0..10 {
        let pages: Vec<_> = host
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::ReadPage(ticket) => Some(*ticket),
                _ => None,
            })
            .collect();
        host.actions.retain(|action| !matches!(action, Action::ReadPage(_)));
        for ticket in pages {
            let page = host.storage.page(ticket.slot, ticket.above, ticket.len_max);
            host.step(Event::PageDone(ticket, page));
        }
        host.ack(link);
        host.wait(Duration::from_millis(50));
    }
    // Without a lease of its own it is counted, and not asked for.
    assert_eq!(host.asked(), []);
    let mut longest = Duration::ZERO;
    let mut taken = 0;
    for round in 0..10 {
        // It acknowledges steadily, one of forty every 90 ms.
        let (begun, before) = (host.now, host.count(link));
        for index in 0..39 {
            host.ask(&format!("k{round}-{index}"), put(1));
        }
        let mut reply = host.ask("last", put(1));
        while reply.is_none() && host.now.since(begun) < Duration::from_secs(3) {
            host.wait(Duration::from_millis(90));
            let acked = host.now.since(begun).as_millis() as u64 / 90;
            host.ack_upto(link, before + acked);
            reply = host.last_reply();
        }
        longest = longest.max(host.now.since(begun));
        taken += usize::from(host.now.since(begun) > Duration::from_millis(100));
        host.ack(link);
        host.wait(Duration::from_millis(70));
    }
    assert!(longest <= Duration::from_millis(600), "{longest:?}");
    assert!(taken > 0, "it was never counted: this test shows nothing");
}

#[test]
fn many_changes_of_the_map_in_a_row_share_their_beacons() {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[B], None))]);
    host.connect_all();
    host.wait(Duration::from_millis(200));
    host.actions.clear();
    for epoch in 2..52 {
        host.change(vec![], vec![(slot(0), held(epoch, ME, &[B], None))]);
        host.wait(Duration::from_millis(10));
    }
    let is_beacon = |a: &&Action| matches!(a, Action::Send(Link::Out(..), Message::Beacon(_)));
    let beacons = host.actions.iter().filter(is_beacon).count();
    assert!((10..=22).contains(&beacons), "{beacons} in half a second");
    let last = host.actions.iter().rfind(is_beacon);
    let newest = host.machine.map().version();
    let Some(Action::Send(_, Message::Beacon(Beacon { version, .. }))) = last else { panic!() };
    assert!(version.0 + 3 >= newest.0, "the news goes out soon");
}

#[test]
fn requests_of_silent_clients_are_forgotten_after_an_age_here_and_at_the_backups_r24() {
    let age = Duration::from_secs(60);
    let mut host = primary(Config { request_age: age, ..Config::default() });
    let link = host.out(B);
    assert_eq!(host.ask("a", put_as(7, 1)), None);
    host.ack(link);
    let keep_alive = |host: &mut Host, time: Duration| {
        let peer = host.greet(B);
        let end = host.now + time;
        while host.now < end {
            host.beacon(peer);
            host.wait(Duration::from_millis(100));
            host.ack(link);
        }
    };
    keep_alive(&mut host, age);
    assert!(host.storage.request(slot(0), 7).is_some(), "an age has not passed since");
    assert_eq!(host.ask("b", put_as(8, 1)), None);
    host.ack(link);
    host.actions.clear();
    keep_alive(&mut host, age);
    assert_eq!(host.storage.request(slot(0), 7), None);
    assert!(host.storage.request(slot(0), 8).is_some(), "this one is younger");
    let told = host.sent().into_iter().any(|sent| {
        matches!(sent, SlotMessage::Commit { request_floor, .. } if request_floor > Epoch(1).lsn(1))
    });
    assert!(told, "the backup forgets what its primary forgets");
    let mut backup = Host::new(vec![(slot(0), held(1, B, &[ME, C], None))]);
    let link = backup.greet(B);
    let (commit, floor, request_floor) = (Epoch(1).lsn(9), Lsn(0), Epoch(1).lsn(5));
    for _ in 0..3 {
        backup.tell(link, 1, SlotMessage::Commit { commit, floor, request_floor, has_reads: true });
        backup.wait(Duration::from_millis(20));
    }
    assert_eq!(backup.storage.request_floors, [(slot(0), request_floor)], "once");
}

#[test]
fn a_table_of_clients_goes_in_chunks_of_the_usual_length() {
    const COUNT: u64 = 100;
    let config = Config { chunk_len: 48 * 30, ..Config::default() };
    let mut host = Host::with(config, Standing::Serving, vec![(slot(0), held(1, ME, &[], None))]);
    for client in 0..COUNT {
        host.ask("k", put_as(client, 1));
    }
    host.change(vec![], vec![(slot(0), held(2, ME, &[], Some(B)))]);
    host.connect_all();
    let link = host.out(B);
    host.sent();
    host.tell(link, 2, nothing(Lsn(0)));
    let lens = host.sent().into_iter().filter_map(|sent| match sent {
        SlotMessage::Chunk { records, .. } => Some(records.len()),
        _ => None,
    });
    assert_eq!(lens.collect::<Vec<_>>(), [30, 30, 30, 10]);
}

/// Returns what a condition is told that waited for a pending record, when its primary had no lease.
fn told_of_what_was_pending() -> Option<Reply> {
    let absent = Ask::Put {
        value: (*b"w").into(),
        expires_at_ms: None,
        condition: Some(Condition::Absent),
        request: None,
    };
    let mut host = primary(Config::default());
    assert_eq!(host.ask("k", put(1)), None);
    assert_eq!(host.ask("k", absent), None, "it waits for the record");
    let second = host.last_op();
    let link = host.out(B);
    host.ack(link);
    assert!(matches!(host.reply(OpId(second.0 - 1)), Some(Reply::Stored(_))));
    host.reply(second)
}

/// The acknowledgement of a record may be older than who waits for it: it proves that the record is committed, and not that
/// this server is still the primary.
#[test]
fn what_a_pending_record_leads_to_is_told_only_with_the_leases_of_a_read_r13() {
    assert_eq!(told_of_what_was_pending(), Some(Reply::Refused(Refusal::Stopped)));
    let _planted = Planted::new("a pending state told without a lease");
    let told = told_of_what_was_pending();
    assert!(matches!(told, Some(Reply::ConditionFailed(_))), "the planted defect shows: {told:?}");
}

#[test]
fn what_names_an_lsn_of_an_epoch_to_come_ends_the_connection_and_is_not_taken_p7() {
    let mut host = Host::new(vec![(slot(0), held(1, B, &[ME], None))]);
    let link = host.greet(B);
    host.tell(link, 1, SlotMessage::Open { commit: Lsn(0), is_learner: false, above: Lsn(0) });
    let far = Lsn::new(2, 1);
    let commit = |commit| SlotMessage::Commit {
        commit,
        floor: Lsn(0),
        request_floor: Lsn(0),
        has_reads: true,
    };
    host.actions.clear();
    host.tell(link, 1, commit(Lsn::new(1, 0)));
    assert!(!host.actions.contains(&Action::Close(link)));
    host.tell(link, 1, commit(far));
    assert!(host.actions.contains(&Action::Close(link)));
    assert_eq!(host.storage.commit_point(slot(0)), Lsn::new(1, 0));
    host.tell(link, 1, commit(Lsn::new(1, 1)));
    assert_eq!(host.storage.commit_point(slot(0)), Lsn::new(1, 0), "the session is over");
}
