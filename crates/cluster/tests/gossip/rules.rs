//! Each rule of the machine, by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster::gossip::{
    Action, Event, Gossip, HEALTH_MAX, Identity, Kind, Life, Load, MEMBER_COUNT_MAX,
    MESSAGE_LEN_MAX, Message, RELAY_COUNT_MAX, Report, Rumor, Seen, Settings, Status,
};
use cluster::lines::{GossipLine, write_gossip};
use cluster::{Delta, Incarnation, Map, ServerId, ServerInfo, Standing, Time, Version};

/// The machine under test is server 0; the others are 1 and up, in their first lives.
pub struct One {
    pub gossip: Gossip,
    now: Time,
    map: Map,
    actions: Vec<Action>,
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn id(number: usize) -> ServerId {
    ServerId(number as u128)
}

fn life(refutation: u32) -> Life {
    Life { incarnation: Incarnation(1), refutation }
}

fn said(kind: Kind) -> Message {
    let (rumors, reports) = (Vec::new(), Vec::new());
    Message { kind, life: life(0), version: Version(1), rumors, reports }
}

fn suspect(of: usize, refutation: u32, by: &[usize]) -> Rumor {
    let by = by.iter().map(|at| id(*at)).collect();
    Rumor { server: id(of), life: life(refutation), status: Status::Suspect { by } }
}

fn alive(of: usize, refutation: u32, version: u64) -> Rumor {
    let status = Status::Alive { version: Version(version), address: Arc::from("10.1.1.1:1") };
    Rumor { server: id(of), life: life(refutation), status }
}

fn info(incarnation: u64, standing: Standing, changed: Version) -> ServerInfo {
    let address = "10.0.0.1:5153".to_owned();
    let incarnation = Incarnation(incarnation);
    ServerInfo { address, incarnation, life: 1, standing, changed }
}

impl One {
    /// Returns the machine among `count` servers, the others included.
    pub fn among(count: usize) -> Self {
        let (server, address) = (id(0), Arc::from("10.0.0.0:5153"));
        let me = Identity { server, incarnation: Incarnation(1), address };
        let gossip = Gossip::new(Settings::default(), me, 7);
        let now = Time(1_000_000_000);
        let mut one = Self { gossip, now, map: Map::new(16, 3), actions: Vec::new() };
        let servers = 0..count;
        one.map(servers.map(|at| (at, 1, Standing::Serving)));
        one
    }

    fn map(&mut self, servers: impl Iterator<Item = (usize, u64, Standing)>) -> Vec<Action> {
        let (from, to) = (self.map.version(), self.map.version().next());
        let servers = servers.map(|(at, number, standing)| (id(at), info(number, standing, to)));
        let delta = Delta { from, to, servers: servers.collect(), ring: None, slots: Vec::new() };
        self.map.apply(&delta).unwrap();
        self.gossip.step(self.now, Event::Map(&self.map), &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn step(&mut self, event: Event<'_>) -> Vec<Action> {
        self.gossip.step(self.now, event, &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn hear(&mut self, from: usize, message: Message) -> Vec<Action> {
        self.step(Event::Received { from: id(from), message })
    }

    fn hear_rumors(&mut self, from: usize, rumors: Vec<Rumor>) -> Vec<Action> {
        self.hear(from, Message { rumors, ..said(Kind::News) })
    }

    /// Lets time pass with ticks when they are due. Nobody answers.
    fn wait(&mut self, time: Duration) -> Vec<Action> {
        self.wait_with(time, |_, _| ())
    }

    /// Lets time pass; every ping and ask is answered by whoever was asked.
    fn wait_answered(&mut self, time: Duration) {
        self.wait_with(time, |one, actions| {
            for (to, message) in sends(actions) {
                if let Kind::Ping { number } | Kind::Ask { number, .. } = message.kind {
                    let message = said(Kind::Pong { number });
                    one.step(Event::Received { from: to, message });
                }
            }
        });
    }

    fn wait_with(&mut self, time: Duration, each: impl Fn(&mut Self, &[Action])) -> Vec<Action> {
        let (end, mut all) = (self.now + time, Vec::new());
        loop {
            let due = self.gossip.wake_at().max(self.now);
            if due > end {
                self.now = end;
                return all;
            }
            self.now = due;
            let actions = self.step(Event::Tick);
            each(self, &actions);
            all.extend(actions);
        }
    }

    fn seen(&self, of: usize) -> Option<Seen> {
        self.gossip.seen(id(of))
    }
}

fn sends(actions: &[Action]) -> Vec<(ServerId, Message)> {
    let send = |action: &Action| match action {
        Action::Send { to, message, .. } => Some((*to, message.clone())),
        Action::Pull { .. } | Action::Doubts(_) | Action::Changed { .. } => None,
    };
    actions.iter().filter_map(send).collect()
}

fn pulls(actions: &[Action]) -> Vec<ServerId> {
    let pull = |action: &Action| match action {
        Action::Pull { from, .. } => Some(*from),
        Action::Send { .. } | Action::Doubts(_) | Action::Changed { .. } => None,
    };
    actions.iter().filter_map(pull).collect()
}

#[test]
pub fn a_server_that_is_doubted_refutes_and_doubts_itself() {
    let mut one = One::among(5);
    one.hear_rumors(1, vec![suspect(0, 0, &[1])]);
    assert_eq!((one.gossip.life(), one.gossip.health()), (life(1), 1));
    let answer = sends(&one.hear(2, said(Kind::Ping { number: 9 }))).remove(0);
    assert_eq!((answer.1.kind, answer.1.life), (Kind::Pong { number: 9 }, life(1)));
    let is_mine = |rumor: &Rumor| rumor.server == id(0) && rumor.life == life(1);
    assert!(answer.1.rumors.iter().any(is_mine));
    one.hear_rumors(1, vec![suspect(0, 0, &[2])]);
    assert_eq!(one.gossip.life(), life(1), "that is refuted already");
    one.hear_rumors(1, vec![Rumor { server: id(0), life: life(6), status: Status::Dead }]);
    assert_eq!(one.gossip.life(), life(7));
    let max = Life::REFUTATION_MAX;
    one.hear_rumors(1, vec![suspect(0, max, &[2])]);
    assert_eq!(one.gossip.life(), life(max), "the last there is");
}

#[test]
pub fn a_suspect_hears_of_it_first_of_all() {
    let mut one = One::among(30);
    one.hear_rumors(1, (3..30).map(|of| suspect(of, 0, &[1])).collect());
    let answer = sends(&one.hear(29, said(Kind::Ping { number: 1 }))).remove(0).1;
    assert_eq!(answer.rumors[0], suspect(29, 0, &[1]));
}

#[test]
pub fn only_a_later_life_ends_a_suspicion() {
    let mut one = One::among(5);
    one.hear_rumors(1, vec![suspect(2, 0, &[1])]);
    assert_eq!(one.seen(2), Some(Seen::Suspect));
    one.hear_rumors(1, vec![alive(2, 0, 1)]);
    assert_eq!(one.seen(2), Some(Seen::Suspect));
    one.hear_rumors(1, vec![alive(2, 1, 1)]);
    assert_eq!(one.seen(2), Some(Seen::Alive));
    one.hear_rumors(1, vec![suspect(2, 0, &[3])]);
    assert_eq!(one.seen(2), Some(Seen::Alive), "it has refuted that");
    one.hear_rumors(1, vec![suspect(2, 1, &[3])]);
    one.hear(2, Message { life: life(2), ..said(Kind::News) });
    assert_eq!(one.seen(2), Some(Seen::Alive), "its own word does as well");
}

#[test]
pub fn a_suspicion_ends_in_death_the_sooner_the_more_confirm_it() {
    for (accusers, seconds) in
        [(vec![1], 6_000), (vec![1, 1, 1], 6_000), (vec![1, 2], 4_500), (vec![1, 2, 4, 5], 3_000)]
    {
        let mut one = One::among(10);
        let said = |by: &usize| vec![suspect(3, 0, &[*by])];
        accusers.iter().for_each(|by| drop(one.hear_rumors(1, said(by))));
        one.wait_answered(ms(seconds - 10));
        assert_eq!(one.seen(3), Some(Seen::Suspect), "{accusers:?}");
        one.wait(ms(20));
        assert_eq!(one.seen(3), Some(Seen::Suspect), "it has a last word, {accusers:?}");
        one.wait_answered(ms(400));
        assert_eq!(one.seen(3), Some(Seen::Dead), "{accusers:?}");
    }
}

#[test]
pub fn a_suspect_is_asked_for_a_last_word_before_it_is_taken_for_dead() {
    let mut one = One::among(10);
    one.hear_rumors(1, vec![suspect(3, 0, &[1, 2, 4, 5])]);
    one.wait_answered(ms(2_990));
    let actions = one.wait(ms(20));
    let is_asked = |(to, m): &(ServerId, Message)| {
        *to == id(3) && m.rumors.first().is_some_and(|rumor| rumor.server == id(3))
    };
    assert!(sends(&actions).iter().any(is_asked), "and hears that it is a suspect");
    one.hear(3, Message { life: life(1), ..said(Kind::Pong { number: 999 }) });
    one.wait_answered(ms(10_000));
    assert_eq!(one.seen(3), Some(Seen::Alive));
}

#[test]
pub fn one_accuser_alone_waits_for_the_longest_time() {
    let mut one = One::among(10);
    one.hear_rumors(1, vec![suspect(3, 0, &[1])]);
    one.wait_answered(ms(5_950));
    assert_eq!(one.seen(3), Some(Seen::Suspect));
}

#[test]
fn a_probe_without_a_pong_asks_three_helpers_and_then_suspects() {
    let mut one = One::among(6);
    let actions = one.wait(ms(195));
    let (target, ping) = sends(&actions).remove(0);
    assert!(matches!(ping.kind, Kind::Ping { .. }));
    let asks: Vec<_> = sends(&actions)
        .into_iter()
        .chain(sends(&one.wait(ms(90))))
        .filter(|(_, message)| matches!(message.kind, Kind::Ask { .. }))
        .collect();
    let helpers: BTreeSet<_> = asks.iter().map(|(to, _)| *to).collect();
    assert!(helpers.len() == 3 && !helpers.contains(&target), "{helpers:?}");
    assert_eq!(one.gossip.seen(target), Some(Seen::Alive), "not yet");
    one.wait(ms(200));
    assert_eq!(one.gossip.seen(target), Some(Seen::Suspect));
    assert_eq!(one.gossip.health(), 3, "three helpers said nothing either");
}

#[test]
fn a_pong_that_comes_through_a_helper_is_as_good() {
    let mut one = One::among(6);
    one.wait_with(ms(5_000), |one, actions| {
        for (to, message) in sends(actions) {
            if let Kind::Ask { number, .. } = message.kind {
                one.step(Event::Received { from: to, message: said(Kind::Pong { number }) });
            }
        }
    });
    assert!((1..6).all(|of| one.seen(of) == Some(Seen::Alive)));
    assert_eq!(one.gossip.health(), 0);
}

#[test]
pub fn an_ill_server_probes_less_often_and_recovers_by_pongs() {
    let mut one = One::among(6);
    for refutation in 0..20 {
        one.hear_rumors(1, vec![suspect(0, refutation, &[2])]);
    }
    assert_eq!(one.gossip.health(), HEALTH_MAX);
    let actions = one.wait(ms(3_000));
    let pings = sends(&actions).into_iter().filter(|(_, m)| matches!(m.kind, Kind::Ping { .. }));
    let count = pings.count();
    assert!((1..=3).contains(&count), "{count} pings in 15 periods, each nine times as long");
    one.wait_answered(ms(60_000));
    assert_eq!(one.gossip.health(), 0);
}

#[test]
fn helpers_that_say_that_there_is_silence_do_not_make_the_asker_ill() {
    let mut one = One::among(6);
    let answer = |one: &mut One, actions: &[Action]| {
        for (to, message) in sends(actions) {
            if let Kind::Ask { number, .. } = message.kind {
                one.step(Event::Received { from: to, message: said(Kind::Silent { number }) });
            }
        }
    };
    one.wait_with(ms(390), answer);
    assert!((1..6).any(|of| one.seen(of) == Some(Seen::Suspect)));
    assert_eq!(one.gossip.health(), 0);
}

#[test]
pub fn a_server_that_stood_still_accuses_nobody() {
    let mut one = One::among(6);
    one.hear_rumors(1, vec![suspect(3, 0, &[1, 2])]);
    let (_, ping) = sends(&one.wait(ms(200))).remove(0);
    let Kind::Ping { number } = ping.kind else { panic!("a ping comes first") };
    one.now = one.now + ms(10_000);
    one.step(Event::Tick);
    let suspects = (1..6).filter(|of| one.seen(*of) == Some(Seen::Suspect)).count();
    assert_eq!((suspects, one.seen(3)), (1, Some(Seen::Suspect)), "what others say stays");
    assert_eq!(one.gossip.health(), 1);
    one.hear(1, said(Kind::Pong { number }));
    assert_eq!(one.gossip.health(), 0, "the answer was waiting");
}

#[test]
fn a_helper_passes_the_pong_on_or_says_that_there_is_silence() {
    let mut one = One::among(6);
    let sent = sends(&one.hear(1, said(Kind::Ask { number: 77, target: id(2) })));
    let (to, Kind::Ping { number }) = (sent[0].0, sent[0].1.kind) else { panic!("{sent:?}") };
    assert_eq!(to, id(2));
    let by_another = one.hear(3, said(Kind::Pong { number }));
    assert_eq!(sends(&by_another), [], "that is not the target");
    let sent = sends(&one.hear(2, said(Kind::Pong { number })));
    assert_eq!((sent[0].0, sent[0].1.kind), (id(1), Kind::Pong { number: 77 }));
    one.hear(1, said(Kind::Ask { number: 78, target: id(2) }));
    let silent = sends(&one.wait(ms(61)));
    let is_it =
        |(to, m): &(ServerId, Message)| *to == id(1) && m.kind == Kind::Silent { number: 78 };
    assert!(silent.iter().any(is_it));
    let unknown = sends(&one.hear(1, said(Kind::Ask { number: 79, target: id(99) })));
    assert_eq!(unknown[0].1.kind, Kind::Silent { number: 79 });
}

#[test]
fn a_server_probes_for_others_up_to_the_limit() {
    let mut one = One::among(6);
    let limit = RELAY_COUNT_MAX as u64;
    for number in 0..=limit {
        let sent = sends(&one.hear(1, said(Kind::Ask { number, target: id(2) })));
        let is_taken = matches!(sent[0].1.kind, Kind::Ping { .. });
        assert_eq!(is_taken, number < limit, "the {number}th");
    }
    one.wait(ms(250));
    let sent = sends(&one.hear(1, said(Kind::Ask { number: 1, target: id(2) })));
    assert!(matches!(sent[0].1.kind, Kind::Ping { .. }), "there is room again");
}

#[test]
fn a_target_that_cannot_be_connected_to_has_helpers_asked_at_once() {
    let mut one = One::among(6);
    let actions = one.wait(one.gossip.wake_at().since(one.now));
    let (target, _) = sends(&actions).remove(0);
    let sent = sends(&one.step(Event::Unreachable(target)));
    assert_eq!(sent.len(), 3);
    assert_eq!(sends(&one.step(Event::Unreachable(target))), [], "once is enough");
}

#[test]
pub fn who_is_behind_pulls_from_one_at_a_time_and_then_from_another() {
    let mut one = One::among(6);
    let ahead = |version| Message { version: Version(version), ..said(Kind::News) };
    assert_eq!(pulls(&one.hear(1, ahead(5))), [id(1)]);
    assert_eq!(pulls(&one.hear(2, ahead(6))), [], "one at a time");
    let mut asked = Vec::new();
    one.wait_answered(ms(190));
    asked.extend(pulls(&one.wait(ms(20))));
    assert_eq!(asked, [id(2)], "another, when the first does not bring it");
    assert_eq!(pulls(&one.hear(3, ahead(1 << 49))), [], "that cannot be a version");
}

#[test]
fn a_map_that_came_ends_the_pull() {
    let mut one = One::among(6);
    let ahead = |version| Message { version: Version(version), ..said(Kind::News) };
    one.hear(1, ahead(2));
    one.map([(5, 2, Standing::Serving)].into_iter());
    one.wait_answered(ms(2_000));
    assert_eq!(pulls(&one.hear(1, ahead(2))), []);
    assert_eq!(pulls(&one.hear(1, ahead(3))), [id(1)]);
}

#[test]
pub fn a_newer_map_is_told_to_three_at_once_but_not_more_often_than_the_limit() {
    let mut one = One::among(10);
    let news = |actions: &[Action]| {
        sends(actions).into_iter().filter(|(_, m)| m.kind == Kind::News).collect::<Vec<_>>()
    };
    let first = news(&one.map([(5, 2, Standing::Serving)].into_iter()));
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|(_, message)| message.version == Version(2)));
    for life in 3..6 {
        assert_eq!(news(&one.map([(5, life, Standing::Serving)].into_iter())), []);
    }
    let later = news(&one.wait(ms(50)));
    assert_eq!(later.len(), 3);
    assert!(later.iter().all(|(_, message)| message.version == Version(5)));
}

#[test]
pub fn who_has_gone_for_good_is_forgotten_and_comes_back_by_the_map_alone() {
    let mut one = One::among(5);
    one.map([(3, 1, Standing::Away), (4, 1, Standing::Leaving)].into_iter());
    assert_eq!((one.seen(3), one.seen(4)), (None, None), "both hold nothing");
    one.hear_rumors(1, vec![alive(3, 5, 2), suspect(4, 5, &[1])]);
    assert_eq!((one.seen(3), one.seen(4)), (None, None));
    one.map([(3, 2, Standing::Serving)].into_iter());
    assert_eq!(one.seen(3), Some(Seen::Alive));
}

#[test]
fn a_member_of_a_newer_map_is_learned_from_a_rumour_until_ours_is_as_new() {
    let mut one = One::among(3);
    one.hear_rumors(1, vec![alive(9, 0, 2)]);
    assert_eq!(one.seen(9), Some(Seen::Alive));
    let view = one.gossip.view(one.now, id(9)).unwrap();
    assert_eq!(&*view.address, "10.1.1.1:1");
    one.map([(2, 2, Standing::Serving)].into_iter());
    assert_eq!(one.seen(9), None, "the map of that version does not list it");
}

#[test]
fn members_are_learned_up_to_the_limit_and_those_of_the_map_beyond_it() {
    let mut one = One::among(3);
    for of in 10..MEMBER_COUNT_MAX + 20 {
        one.hear_rumors(1, vec![alive(of, 0, 2)]);
    }
    assert_eq!(one.gossip.views(one.now).len(), MEMBER_COUNT_MAX + 1);
    one.map([(100_000, 1, Standing::Serving)].into_iter());
    assert_eq!(one.seen(100_000), Some(Seen::Alive));
}

#[test]
fn a_message_of_an_earlier_life_counts_for_nothing() {
    let mut one = One::among(5);
    one.map([(2, 2, Standing::Serving)].into_iter());
    let rumors = vec![suspect(3, 0, &[2])];
    let actions = one.hear(2, Message { rumors, ..said(Kind::Ping { number: 1 }) });
    assert_eq!((sends(&actions), one.seen(3)), (Vec::new(), Some(Seen::Alive)));
}

#[test]
pub fn the_newest_report_of_a_life_counts() {
    let mut one = One::among(5);
    let report = |beat, key_count| Report {
        server: id(2),
        incarnation: Incarnation(1),
        beat,
        version: Version(1),
        load: Load { key_count, stored_len: 10, op_rate: 1 },
    };
    let hear = |one: &mut One, report| {
        one.hear(1, Message { reports: vec![report], ..said(Kind::News) });
        one.gossip
            .loads(one.now)
            .iter()
            .find(|(id, ..)| id.0 == 2)
            .map(|(_, load, _)| load.key_count)
    };
    assert_eq!(hear(&mut one, report(5, 50)), Some(50));
    assert_eq!(hear(&mut one, report(4, 40)), Some(50));
    assert_eq!(hear(&mut one, report(6, 60)), Some(60));
    let other = Report { incarnation: Incarnation(2), ..report(7, 70) };
    assert_eq!(hear(&mut one, other), Some(60));
    one.map([(2, 2, Standing::Serving)].into_iter());
    assert_eq!(hear(&mut one, Report { beat: 1, ..other }), Some(70), "beats begin again");
}

#[test]
fn a_message_is_never_longer_than_the_limit_and_everything_is_told_in_turn() {
    let mut one = One::among(300);
    one.hear_rumors(1, (2..300).map(|of| suspect(of, 0, &[1, 301, 302, 303])).collect());
    let mut told = BTreeSet::new();
    for number in 0..60 {
        let message = sends(&one.hear(1, said(Kind::Ping { number }))).remove(0).1;
        told.extend(message.rumors.iter().map(|rumor| rumor.server));
        let mut line = Vec::new();
        write_gossip(&mut line, &GossipLine::Message(message));
        assert!(line.len() <= MESSAGE_LEN_MAX, "{} bytes", line.len());
    }
    assert_eq!(told.len(), 299, "all suspects and this server itself");
}

#[test]
pub fn a_rumour_is_told_a_limited_number_of_times() {
    let mut one = One::among(10);
    one.hear_rumors(1, vec![alive(2, 3, 1)]);
    let mut count = 0;
    for number in 0..100 {
        let message = sends(&one.hear(1, said(Kind::Ping { number }))).remove(0).1;
        count += message.rumors.iter().filter(|rumor| rumor.server == id(2)).count();
    }
    assert_eq!(count, 12);
    assert_eq!(one.gossip.waiting_count().0, 0);
}

#[test]
fn everybody_doubts_a_suspect_when_this_server_and_all_others_that_live_found_it_out_themselves_r15()
 {
    for (count, accusers, is_doubted) in [
        (5, vec![1, 3, 4], false),
        (5, vec![0], false),
        (5, vec![0, 1], false),
        (5, vec![0, 1, 3], true),
        (3, vec![1], false),
        (3, vec![0, 1], true),
        (20, vec![0, 3], false),
        (20, vec![0, 3, 4], true),
    ] {
        let mut one = One::among(count);
        one.hear_rumors(1, vec![suspect(2, 0, &accusers)]);
        let found = one.gossip.is_doubted_by_all(id(2));
        assert_eq!(found, is_doubted, "{count} servers, accused by {accusers:?}");
    }
}

#[test]
fn whom_everybody_doubts_is_told_once_and_again_when_it_was_heard_of_r15() {
    let mut one = One::among(3);
    let told = |actions: Vec<Action>| {
        let doubts = |action| match action {
            Action::Doubts(servers) => Some(servers.into_iter().collect::<Vec<_>>()),
            _ => None,
        };
        actions.into_iter().filter_map(doubts).collect::<Vec<_>>()
    };
    assert!(told(one.hear_rumors(1, vec![suspect(2, 0, &[1])])).is_empty(), "by another only");
    assert_eq!(told(one.hear_rumors(1, vec![suspect(2, 0, &[0])])), [vec![id(2)]]);
    let dead = Rumor { server: id(2), life: life(0), status: Status::Dead };
    assert!(told(one.hear_rumors(1, vec![dead])).is_empty(), "dead is worse, and said already");
    assert_eq!(one.seen(2), Some(Seen::Dead));
    assert_eq!(told(one.hear_rumors(1, vec![alive(2, 1, 1)])), [vec![]]);
}

#[test]
fn a_server_that_leaves_says_so_and_refutes_no_more() {
    let mut one = One::among(6);
    let sent = sends(&one.step(Event::Leave));
    let left = Rumor { server: id(0), life: life(0), status: Status::Left };
    assert!(sent.len() == 3 && sent.iter().all(|(_, m)| m.rumors.contains(&left)));
    one.hear_rumors(1, vec![suspect(0, 0, &[2])]);
    assert_eq!(one.gossip.life(), life(0));
    one.hear_rumors(1, vec![Rumor { server: id(3), ..left.clone() }]);
    one.hear_rumors(1, vec![Rumor { server: id(3), life: life(0), status: Status::Dead }]);
    assert_eq!(one.seen(3), Some(Seen::Left));
}
