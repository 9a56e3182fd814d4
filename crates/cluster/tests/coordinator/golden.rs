//! Golden histories: a ring of four slots that a, b, c and d own in turn, and what becomes of slot 0, step by step.
//!
//! A slot stands as `epoch/term primary backups learner`, a server with its incarnation where the map keeps it:
//! `4/3 b2 ca d5`. `ask 0 depose b`: b asks for it with the epoch that it knows.

use cluster::coordinator::Settings;
use cluster::{Change, ServerId, SlotId};

use crate::play::{Play, id, ms};

const NAMES: [u128; 4] = [0xa, 0xb, 0xc, 0xd];

/// Four servers in their first lives; slot 0 is held by a, b and c, as it shall be, and so is every other by its own.
fn play() -> Play {
    let ids: Vec<_> = NAMES.iter().map(|name| id(*name).to_string()).collect();
    let server = |(index, id): (usize, &String)| {
        let rest = r#""incarnation":1,"standing":"serving","changed":1"#;
        format!(r#""{id}":{{"address":"127.0.0.1:{}","life":{index},{rest}}}"#, NAMES[index])
    };
    let token = |(index, id): (usize, &String)| format!(r#"[{index},"{id}"]"#);
    let slot = |(index, id): (usize, &String)| {
        let (b, c) = (&ids[(index + 1) % 4], &ids[(index + 2) % 4]);
        let members = format!(r#""primary":["{id}",1],"backups":["{b}","{c}"],"learner":null"#);
        format!(r#"[{index},{{"epoch":1,"term":1,"changed":1,{members}}}]"#)
    };
    let all = |each: &dyn Fn((usize, &String)) -> String| {
        ids.iter().enumerate().map(each).collect::<Vec<_>>().join(",")
    };
    let snapshot = format!(
        "{}\n{{\"from\":0,\"to\":1,\"servers\":{{{}}},\"ring\":{{{},\"tokens\":[{}]}},\"slots\":[{}]}}\n",
        r#"{"format":1,"slot_count":4,"replica_count":3}"#,
        all(&server),
        r#""changed":1,"slots":4"#,
        all(&token),
        all(&slot),
    );
    let settings = Settings { slot_count: 4, learner_count_max: 4, ..Settings::default() };
    Play::from_snapshot(settings, &snapshot, &NAMES)
}

fn server(name: &str) -> ServerId {
    id(u128::from_str_radix(name, 16).unwrap())
}

fn told(play: &Play, slot: SlotId) -> String {
    let slot = play.map().slot(slot);
    let life = |life: Option<(ServerId, cluster::Incarnation)>| {
        life.map_or_else(|| "-".to_owned(), |(id, life)| format!("{:x}{life}", id.0))
    };
    let backups: String = slot.backups.iter().map(|id| format!("{:x}", id.0)).collect();
    let (primary, learner) = (life(slot.primary), life(slot.learner));
    format!("{}/{} {primary} {backups} {learner}", slot.epoch, slot.term)
}

/// Carries out one line of a history.
fn carry_out(play: &mut Play, line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        ["start", name] => play.start(server(name)),
        ["lose", name] => play.start_as(server(name), false, false),
        ["cut", name] => play.cut(server(name)),
        ["back", name] => {
            play.register(server(name));
            play.deliver_all();
        }
        ["wait", time] => play.wait(ms(time.parse().unwrap())),
        ["ask", name, ref change @ ..] => {
            let slot = SlotId::new(0).unwrap();
            let known = play.actor(server(name)).map.slot(slot);
            let (epoch, learner) = (known.epoch, known.learner);
            let change = match *change {
                ["depose"] => Change::Depose { slot, epoch },
                ["remove", member] => Change::Remove { slot, epoch, member: server(member) },
                ["give", to] => Change::HandOver { slot, epoch, to: server(to) },
                ["promote"] => Change::Promote { slot, epoch, learner: learner.unwrap() },
                ["resign"] => Change::Resign { slot, epoch },
                ["fail"] => Change::Fail,
                ["leave"] => Change::Leave,
                _ => panic!("{line}"),
            };
            play.ask(server(name), vec![change]);
        }
        _ => panic!("{line}"),
    }
}

fn check(history: &[(&str, &str)]) {
    let mut play = play();
    for (line, expected) in history {
        carry_out(&mut play, line);
        assert_eq!(told(&play, SlotId::new(0).unwrap()), *expected, "{line}");
    }
}

#[test]
fn a_primary_that_crashes_is_deposed_comes_back_as_a_learner_and_is_primary_again() {
    check(&[
        ("wait 1000", "1/1 a1 bc -"),
        ("cut a", "1/1 a1 bc -"),
        ("ask b depose", "2/2 b1 c -"),
        ("start a", "3/2 b1 c a2"),
        ("ask c promote", "3/2 b1 c a2"),
        ("ask b promote", "4/2 b1 ca -"),
        ("ask b give a", "5/5 a2 cb -"),
        ("ask b give a", "5/5 a2 cb -"),
    ]);
}

#[test]
fn a_primary_back_in_time_begins_a_term_and_a_late_accusation_fails() {
    check(&[
        ("wait 1000", "1/1 a1 bc -"),
        ("start a", "2/2 a2 bc -"),
        ("start b", "2/2 a2 bc -"),
        ("start a", "3/3 a3 bc -"),
        ("back a", "3/3 a3 bc -"),
    ]);
}

#[test]
fn an_incomplete_primary_is_followed_by_the_next_clockwise_that_is_there() {
    check(&[("wait 100", "1/1 a1 bc -"), ("lose a", "3/2 b1 c a2"), ("lose a", "5/2 b1 c a3")]);
    check(&[("cut b", "1/1 a1 bc -"), ("lose a", "3/2 c1 b a2")]);
    check(&[
        ("ask a remove b", "3/1 a1 c b1"),
        ("ask a promote", "4/1 a1 cb -"),
        ("lose a", "6/5 b1 c a2"),
    ]);
}

#[test]
fn every_copy_may_be_lost_but_one() {
    check(&[
        ("cut b", "1/1 a1 bc -"),
        ("cut c", "1/1 a1 bc -"),
        ("ask a remove b", "2/1 a1 c -"),
        ("ask a remove c", "3/1 a1  -"),
        ("ask a fail", "3/1 a1  -"),
        ("ask a remove a", "3/1 a1  -"),
        ("lose a", "4/1 -  -"),
        ("start a", "4/1 -  -"),
        ("start b", "4/1 -  -"),
    ]);
}

#[test]
fn a_failed_disk_leaves_when_another_member_is_there_to_stay() {
    check(&[
        ("cut b", "1/1 a1 bc -"),
        ("cut c", "1/1 a1 bc -"),
        ("ask a fail", "1/1 a1 bc -"),
        ("back c", "1/1 a1 bc -"),
        ("ask a fail", "2/2 c1 b -"),
        ("start a", "3/2 c1 b a2"),
    ]);
}

#[test]
fn a_slot_that_lacks_two_gets_its_ideal_primary_last_and_nobody_while_its_primary_is_away() {
    check(&[
        ("cut a", "1/1 a1 bc -"),
        ("cut c", "1/1 a1 bc -"),
        ("ask b depose", "2/2 b1 c -"),
        ("ask b remove c", "3/2 b1  -"),
        ("cut b", "3/2 b1  -"),
        ("back a", "3/2 b1  -"),
        ("back c", "3/2 b1  -"),
        ("back b", "4/2 b1  c1"),
        ("ask b promote", "6/2 b1 c a1"),
        ("ask b promote", "7/2 b1 ca -"),
        ("ask b give a", "8/8 a1 cb -"),
    ]);
}

#[test]
fn a_silent_learner_is_given_up_and_named_again_when_it_speaks() {
    check(&[
        ("ask a remove c", "3/1 a1 b c1"),
        ("wait 1000", "3/1 a1 b c1"),
        ("cut c", "3/1 a1 b c1"),
        ("wait 2900", "3/1 a1 b c1"),
        ("wait 300", "4/1 a1 b -"),
        ("back c", "5/1 a1 b c1"),
        ("wait 30100", "6/1 a1 b -"),
        ("wait 1700", "6/1 a1 b -"),
        ("wait 300", "7/1 a1 b c1"),
    ]);
}
