//! The log and the snapshot: what they hold, and what is refused.

use cluster::coordinator::{Coordinator, Entry, Error, Settings};
use cluster::{Epoch, Incarnation, Version};

use crate::play::{Play, id, small};

fn restore(snapshot: Option<&str>, entries: &[Entry]) -> Result<Coordinator, Error> {
    Coordinator::restore(small(), snapshot, entries.iter().cloned())
}

#[test]
fn every_version_is_reached_again_from_every_snapshot() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    play.start_as(id(2), false, false);
    for cut in 0..=play.map().version().0 {
        assert_eq!(play.restored(Version(cut)).map(), play.map());
    }
}

#[test]
fn entries_older_than_the_snapshot_are_passed_over() {
    let play = Play::with_servers(&[1, 2]);
    let snapshot = play.restored(Version(3)).snapshot();
    for begin in 0..play.log.len() {
        let restored = restore(Some(&snapshot), &play.log[begin..]).unwrap();
        assert_eq!(restored.map(), play.map());
    }
}

#[test]
fn a_log_with_an_entry_missing_twice_or_in_another_place_is_refused() {
    let play = Play::with_servers(&[1, 2]);
    let log = &play.log;
    let (mut missing, mut twice, mut swapped) = (log.clone(), log.clone(), log.clone());
    missing.remove(2);
    twice.insert(2, log[1].clone());
    swapped.swap(1, 2);
    for (entries, expected, found) in
        [(&missing, 3, 4), (&twice, 3, 2), (&swapped, 2, 3), (&log[1..].to_vec(), 1, 2)]
    {
        let error = restore(None, entries).unwrap_err();
        let is_right = matches!(error, Error::Order { expected: e, found: f }
            if (e, f) == (Version(expected), Version(found)));
        assert!(is_right, "{error}");
    }
    let snapshot = play.restored(Version(2)).snapshot();
    let at_two = Coordinator::restore(small(), Some(&snapshot), std::iter::empty()).unwrap();
    assert_eq!(at_two.map(), play.map());
    let early = restore(None, &log[..2]).unwrap().snapshot();
    assert!(matches!(restore(Some(&early), &log[3..]), Err(Error::Order { .. })));
}

#[test]
fn entries_that_break_a_rule_are_refused_by_the_rule_s_name() {
    let play = Play::with_servers(&[1, 2, 3]);
    let is_slot = |entry: &&Entry| !entry.delta.slots.is_empty() && entry.delta.to > Version(1);
    let at = play.log.iter().position(|entry| is_slot(&entry)).unwrap();
    let broken = |spoil: &dyn Fn(&mut Entry)| {
        let mut log = play.log.clone();
        spoil(&mut log[at]);
        match restore(None, &log).unwrap_err() {
            Error::Rule { rule, .. } => rule.to_owned(),
            other => other.to_string(),
        }
    };
    for (expected, found) in [
        ("epoch rises by one", broken(&|e| e.delta.slots[0].1.epoch = Epoch(1))),
        ("epoch rises by one", broken(&|e| e.delta.slots[0].1.epoch = Epoch(3))),
        ("R19", broken(&|e| e.delta.slots[0].1.term = Epoch(2))),
        ("members are registered", broken(&|e| e.delta.slots[0].1.backups.push(id(9)))),
        ("a server is one thing", broken(&|e| e.delta.slots[0].1.backups.push(id(1)))),
        ("a slot knows", broken(&|e| e.delta.slots[0].1.changed = Version(0))),
        ("R17", {
            broken(&|e| {
                let slot = &mut e.delta.slots[0].1;
                slot.primary = slot.learner.take();
                slot.term = slot.epoch;
            })
        }),
        ("R19", {
            broken(&|e| {
                let slot = &mut e.delta.slots[0].1;
                slot.primary = slot.learner.take();
            })
        }),
        ("without a primary", broken(&|e| e.delta.slots[0].1.primary = None)),
        ("newest life", {
            broken(&|e| e.delta.slots[0].1.primary = Some((id(1), Incarnation(7))))
        }),
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn a_snapshot_of_other_settings_or_of_no_sense_is_refused() {
    let snapshot = Play::with_servers(&[1]).machine.snapshot();
    let (head, map) = snapshot.trim_end().split_once('\n').unwrap();
    assert_eq!(head, r#"{"format":1,"slot_count":16,"replica_count":3}"#);
    for (text, expected) in [
        (snapshot.replace("\"format\":1", "\"format\":2"), "not a snapshot of this format"),
        (head.to_owned(), "not a snapshot of this format"),
        (format!("{snapshot}{map}\n"), "not a snapshot of this format"),
        (format!("x\n{map}\n"), "bad line of a snapshot's head"),
        (format!("{head}\n{}\n", &map[1..]), "bad line of a snapshot's map"),
    ] {
        assert_eq!(restore(Some(&text), &[]).unwrap_err().to_string(), expected);
    }
    let other = Settings { slot_count: 32, ..small() };
    let error = Coordinator::restore(other, Some(&snapshot), std::iter::empty()).unwrap_err();
    assert_eq!(error.to_string(), "slot_count is fixed to 16, asked for 32");
    let other = Settings { replica_count: 2, ..small() };
    let error = Coordinator::restore(other, Some(&snapshot), std::iter::empty()).unwrap_err();
    assert_eq!(error.to_string(), "replica_count is fixed to 3, asked for 2");
}

#[test]
fn an_entry_is_one_line_of_known_text() {
    let settings = Settings { slot_count: 1, ..small() };
    let mut play = Play::new(settings);
    play.start(id(0xab));
    let expected = concat!(
        r#"{"delta":{"from":0,"to":1,"servers":{"000000000000000000000000000000ab":"#,
        r#"{"address":"127.0.0.1:171","incarnation":1,"life":1,"standing":"serving","changed":1}},"#,
        r#""ring":{"changed":1,"slots":1,"tokens":[[0,"000000000000000000000000000000ab"]]},"#,
        r#""slots":[[0,{"epoch":1,"term":1,"changed":1,"#,
        r#""primary":["000000000000000000000000000000ab",1],"backups":[],"learner":null}]]},"#,
        r#""why":"000000000000000000000000000000ab registered, complete, as life 1: begun 1"}"#
    );
    assert_eq!(play.log[0].to_line(), expected);
    assert!(Entry::from_line(&expected[1..]).is_err());
}
