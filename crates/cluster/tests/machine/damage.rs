//! Copies that cannot be read whole, or were half sent (R4).

use std::time::Duration;

use cluster::{Action, Ask, Change, Epoch, Event, Lsn, Refusal, Reply, SlotMessage, Storage as _};

use crate::host::{B, C, Host, ME, held, record, slot};

fn open(is_learner: bool) -> SlotMessage {
    SlotMessage::Open { commit: Lsn(0), is_learner, above: Lsn(0) }
}

fn prepare(counter: u64, key: &str, value_len: usize) -> SlotMessage {
    SlotMessage::Prepare { commit: None, record: record(1, counter, key, value_len) }
}

#[test]
fn a_member_that_cannot_read_a_record_states_nothing_and_resigns() {
    let mut host = Host::new(vec![(slot(0), held(1, B, &[ME, C], None))]);
    let link = host.greet(B);
    host.tell(link, 1, prepare(1, "a", 9));
    host.tell(link, 1, prepare(2, "b", 9));
    host.storage.unreadable.insert(Epoch(1).lsn(1));
    host.actions.clear();
    host.tell(link, 1, open(false));
    assert!(host.sent().is_empty(), "less than it holds is a lie");
    host.wait(Duration::from_millis(50));
    let change = Change::Resign { slot: slot(0), epoch: Epoch(1) };
    assert_eq!(host.asked(), [change]);
    host.wait(Duration::from_millis(200));
    assert_eq!(host.asked(), [change], "once, until it is settled");
    // It is asked back as a learner, and begins with nothing.
    host.change(vec![], vec![(slot(0), held(2, B, &[C], None))]);
    host.change(vec![], vec![(slot(0), held(3, B, &[C], Some(ME)))]);
    host.sent();
    host.tell(link, 3, open(true));
    let sent = host.sent();
    assert!(
        matches!(&sent[..], [SlotMessage::State(s)] if s.is_empty && s.is_last && s.records.is_empty()),
        "{sent:?}"
    );
}

#[test]
fn a_primary_with_an_unreadable_record_serves_no_more_until_its_resignation_is_settled() {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[], None))]);
    host.wait(Duration::from_millis(20));
    let put =
        Ask::Put { value: (*b"v").into(), expires_at_ms: None, condition: None, request: None };
    assert!(matches!(host.ask("k", put.clone()), Some(Reply::Stored(_))));
    host.ask("k", Ask::Get);
    let ticket = host.actions.iter().find_map(|action| match action {
        Action::Read { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let ticket = ticket.expect("a read");
    host.step(Event::ReadFailed(ticket));
    let failed = Reply::Refused(Refusal::Failed);
    assert_eq!(host.reply(ticket.op), Some(failed), "there is nobody else");
    host.wait(Duration::from_millis(100));
    assert_eq!(host.asked(), [], "the only copy stays");
    assert!(matches!(host.ask("other", put.clone()), Some(Reply::Stored(_))), "and serves");
    host.change(vec![], vec![(slot(0), held(2, ME, &[B], None))]);
    host.actions.clear();
    host.wait(Duration::from_millis(50));
    assert_eq!(host.asked(), [Change::Resign { slot: slot(0), epoch: Epoch(2) }]);
    assert_eq!(host.ask("k", Ask::Get), Some(Reply::Refused(Refusal::Stopped)));
    assert_eq!(host.ask("k", put.clone()), Some(Reply::Refused(Refusal::Stopped)));
    // The other is away: it was refused, and this copy is the best there is.
    host.settle();
    assert_eq!(host.ask("k", put), None, "it waits for the backup's acknowledgement");
}

#[test]
fn a_learner_whose_chunk_failed_half_way_is_not_empty() {
    let mut host = Host::new(vec![(slot(0), held(1, B, &[C], Some(ME)))]);
    let link = host.greet(B);
    host.storage.room = 1;
    let records = vec![record(1, 1, "a", 9), record(1, 2, "b", 9)];
    host.tell(link, 1, SlotMessage::Chunk { records, upto: Epoch(1).lsn(2) });
    assert!(host.actions.contains(&Action::Close(link)), "no room");
    host.storage.room = usize::MAX;
    let link = host.greet(B);
    host.sent();
    host.tell(link, 1, open(true));
    let sent = host.sent();
    assert!(
        matches!(&sent[..], [SlotMessage::State(s)] if !s.is_empty && s.held == Lsn(0)),
        "{sent:?}"
    );
}

#[test]
fn a_statement_is_made_in_parts_and_all_of_it_by_the_end() {
    const COUNT: u64 = 40;
    let mut host = Host::new(vec![(slot(0), held(1, B, &[ME], None))]);
    let link = host.greet(B);
    for counter in 1..=COUNT {
        host.tell(link, 1, prepare(counter, &format!("k{counter}"), 5_000));
    }
    host.sent();
    let mut above = Lsn(0);
    let mut stated = Vec::new();
    for part in 0.. {
        host.tell(link, 1, SlotMessage::Open { commit: Lsn(0), is_learner: false, above });
        let sent = host.sent();
        let [SlotMessage::State(state)] = &sent[..] else { panic!("{sent:?}") };
        assert!(state.records.len() <= 13, "about 64 KiB");
        stated.extend(state.records.iter().map(|record| record.lsn.counter()));
        if state.is_last {
            assert_eq!(part, 3);
            break;
        }
        above = state.records.last().unwrap().lsn;
    }
    assert_eq!(stated, (1..=COUNT).collect::<Vec<_>>());
    assert_eq!(host.storage.pending(slot(0)).len() as u64, COUNT);
}

#[test]
fn a_primary_asks_for_each_part_and_adopts_what_it_lacks() {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[B], None))]);
    host.wait(Duration::from_millis(20));
    host.connect_all();
    let link = host.out(B);
    host.sent();
    let state = |records: Vec<cluster::Record>, is_last| {
        let (commit, held, is_empty) = (Lsn(0), Lsn(0), false);
        SlotMessage::State(cluster::State { commit, held, is_empty, records, is_last })
    };
    let lsn = |counter| Epoch(0).lsn(counter);
    host.tell(link, 1, state(vec![record(0, 1, "a", 9)], false));
    let next = SlotMessage::Open { commit: Lsn(0), is_learner: false, above: lsn(1) };
    assert_eq!(host.sent(), [next]);
    assert_eq!(host.storage.pending(slot(0)).len(), 1, "kept as it came");
    host.tell(link, 1, state(vec![record(0, 2, "b", 9)], true));
    let pending: Vec<_> = host.storage.pending(slot(0)).iter().map(|info| info.lsn).collect();
    assert_eq!(pending, [lsn(1), lsn(2)]);
    assert_eq!(host.sent(), [], "it stated all there is");
    // A part that leads nowhere would be asked for for ever: the statement begins anew.
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[B], None))]);
    host.wait(Duration::from_millis(20));
    host.connect_all();
    let link = host.out(B);
    host.sent();
    host.tell(link, 1, state(vec![], false));
    assert_eq!(host.sent(), []);
    host.wait(Duration::from_millis(50));
    let again = SlotMessage::Open { commit: Lsn(0), is_learner: false, above: Lsn(0) };
    assert!(host.sent().contains(&again));
}
