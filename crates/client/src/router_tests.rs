//! What the router decides, as tables: time is counted from one moment, and nothing is waited for.

use std::time::{Duration, Instant};

use hashring::{Arc, Token};
use protocol::Range;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// The lower half of the ring, and the upper.
const LOWER: Token = Token(7);
const UPPER: Token = Token(u128::MAX - 7);

/// Returns the map of two halves with these members, as servers tell it.
fn told(halves: [&[usize]; 2]) -> Vec<Range> {
    let arcs = [
        Arc { first: Token(0), last: Token(u128::MAX >> 1) },
        Arc { first: Token(1 << 127), last: Token(u128::MAX) },
    ];
    let range = |arc, server: &usize| Range { arc, server: address(*server).parse().unwrap() };
    arcs.iter()
        .zip(halves)
        .flat_map(|(arc, members)| members.iter().map(|server| range(*arc, server)))
        .collect()
}

fn address(server: usize) -> String {
    format!("10.0.0.{}:5153", server + 1)
}

/// Returns a router that knows servers 0, 1 and 2 and a map, and the moment it learned that.
fn router() -> (Router, Instant) {
    let now = Instant::now();
    let mut router = Router::new(vec![address(0), address(1), address(2)], true);
    assert!(router.learned(0, &told([&[0, 1, 2], &[1, 2, 0]]), Duration::ZERO, now));
    (router, now + LEARN_PAUSE_MIN)
}

fn write() -> Route {
    Route::new(LOWER, Need::Write)
}

fn read() -> Route {
    Route::new(LOWER, Need::Read)
}

#[test]
fn without_a_map_it_is_learned_first_from_the_servers_in_turn() {
    let now = Instant::now();
    let mut router = Router::new(vec![address(0), address(1)], true);
    assert_eq!(router.next(&mut write(), now), Step::Learn);
    assert_eq!(router.teacher(None, now), Ok(0));
    router.not_learned(0, now);
    assert_eq!(router.teacher(None, now), Ok(1));
    router.not_learned(1, now);
    let again_at = router.teacher(None, now).unwrap_err();
    assert!(again_at > now && again_at <= now + SUSPECT_MIN, "when the first is worth another try");
    assert!(router.teacher(None, again_at).is_ok());
}

#[test]
fn writes_go_to_the_primary_and_reads_in_turn() {
    let (mut router, now) = router();
    for (token, primary) in [(LOWER, 0), (UPPER, 1)] {
        for _ in 0..3 {
            let mut route = Route::new(token, Need::Write);
            assert_eq!(router.next(&mut route, now), Step::Ask(primary));
        }
    }
    let mut turns: Vec<Step> = (0..6).map(|_| router.next(&mut read(), now)).collect();
    turns.sort_by_key(|step| format!("{step:?}"));
    assert_eq!(turns, [0, 0, 1, 1, 2, 2].map(Step::Ask));
}

#[test]
fn what_each_answer_leads_to() {
    // From a write at the primary, or a read at a backup: the next step at once, or whether there is a pause.
    for (need, server, met, expected) in [
        (Need::Write, 0, Met::NotResponsible, Some(Step::Ask(1))),
        (Need::Write, 0, Met::Lost, Some(Step::Learn)),
        (Need::Write, 0, Met::WriteLock, None),
        (Need::Write, 0, Met::Stopped, None),
        (Need::Read, 1, Met::NotResponsible, Some(Step::Ask(0))),
        (Need::Read, 1, Met::Stopped, Some(Step::Ask(0))),
        (Need::Read, 1, Met::Lost, Some(Step::Ask(0))),
        (Need::Read, 0, Met::NotResponsible, Some(Step::Ask(1))),
        (Need::Read, 0, Met::Lost, Some(Step::Ask(1))),
        (Need::Read, 0, Met::Stopped, None),
        (Need::Read, 0, Met::WriteLock, None),
    ] {
        let (mut router, now) = router();
        let mut route = Route::new(LOWER, need);
        let at = router.met(&mut route, server, met, now);
        match expected {
            Some(step) => {
                assert_eq!(at, None, "{need:?} {met:?}");
                assert_eq!(router.next(&mut route, now), step, "{need:?} at {server}: {met:?}");
            }
            None => assert!(at.is_some_and(|at| at > now), "{need:?} {met:?}"),
        }
    }
}

#[test]
fn a_read_that_every_member_passed_on_learns_the_map_and_begins_anew() {
    let (mut router, now) = router();
    let mut route = read();
    for server in [1, 2] {
        assert_eq!(router.met(&mut route, server, Met::NotResponsible, now), None);
    }
    assert_eq!(router.next(&mut route, now), Step::Ask(0));
    router.met(&mut route, 0, Met::NotResponsible, now);
    assert_eq!(router.next(&mut route, now), Step::Learn);
    assert_eq!(router.teacher(None, now), Ok(0), "who passed on last should know");
    router.learned(0, &told([&[2, 1], &[1, 2]]), Duration::ZERO, now);
    assert!(matches!(router.next(&mut route, now), Step::Ask(1 | 2)));
}

/// Has every member of the lower half refuse an operation.
fn refused_by_all(router: &mut Router, route: &mut Route, now: Instant) {
    for _ in 0..3 {
        let Step::Ask(server) = router.next(route, now) else { panic!("nobody is asked") };
        assert_eq!(router.met(route, server, Met::NotResponsible, now), None);
    }
}

#[test]
fn a_member_that_took_a_write_of_a_slot_is_its_primary_until_there_is_another_map() {
    let (mut router, now) = router();
    let mut route = write();
    router.met(&mut route, 0, Met::NotResponsible, now);
    assert_eq!(router.next(&mut route, now), Step::Ask(1));
    router.met(&mut route, 1, Met::NotResponsible, now);
    assert_eq!(router.next(&mut route, now), Step::Ask(2));
    router.answered(&route, 2);
    assert_eq!(router.next(&mut write(), now), Step::Ask(2));
    assert!(router.is_on_route(&write(), 2) && !router.is_on_route(&write(), 0));
    let mut elsewhere = Route::new(Token(1 << 120), Need::Write);
    assert_eq!(router.next(&mut elsewhere, now), Step::Ask(0), "another slot of the same arc");
    assert!(!router.learned(1, &told([&[0, 1, 2], &[1, 2, 0]]), Duration::ZERO, now));
    assert_eq!(router.next(&mut write(), now), Step::Ask(2), "the teacher knows nothing newer");
    assert!(router.learned(1, &told([&[1, 0, 2], &[1, 2, 0]]), Duration::ZERO, now));
    assert_eq!(router.next(&mut write(), now), Step::Ask(1));
}

#[test]
fn the_newcomer_is_asked_for_a_write_that_no_member_takes_before_the_map_is() {
    let (mut router, now) = router();
    assert!(router.learned(0, &told([&[0, 1, 2], &[1, 2, 3]]), Duration::ZERO, now));
    let route = &mut write();
    for server in 0..3 {
        assert_eq!(router.next(route, now), Step::Ask(server));
        router.met(route, server, Met::NotResponsible, now);
    }
    assert_eq!(router.next(route, now), Step::Ask(3), "it is not listed here yet");
    router.answered(route, 3);
    assert_eq!(router.next(&mut write(), now), Step::Ask(3));
    let route = &mut write();
    for server in [3, 0, 1, 2] {
        assert_eq!(router.next(route, now), Step::Ask(server));
        router.met(route, server, Met::NotResponsible, now);
    }
    assert_ne!(router.next(route, now), Step::Ask(3), "once is enough");
}

#[test]
fn a_map_that_is_out_of_date_is_asked_for_now_and_then() {
    let (mut router, now) = router();
    assert!(!router.is_stale(now + STALE_PAUSE));
    router.met(&mut write(), 0, Met::NotResponsible, now);
    let learned_at = now - LEARN_PAUSE_MIN;
    assert!(!router.is_stale(learned_at + STALE_PAUSE - MS));
    assert!(router.is_stale(learned_at + STALE_PAUSE));
    router.learned(1, &told([&[2, 1], &[1, 2]]), Duration::ZERO, now);
    assert!(!router.is_stale(now + STALE_PAUSE), "it is new");
}

#[test]
fn a_map_that_took_long_to_come_is_asked_for_less_often() {
    let (mut router, now) = router();
    let cost = 50 * MS;
    router.learned(0, &told([&[1], &[1, 2, 0]]), cost, now);
    let at = router.learn_at(now).unwrap();
    let most = cost * LEARN_COST_FACTOR;
    assert!(at >= now + most / 2 && at <= now + most);
}

#[test]
fn questions_for_the_map_that_bring_nothing_new_get_rarer_up_to_the_limit() {
    let (mut router, mut now) = router();
    let same = told([&[0, 1, 2], &[1, 2, 0]]);
    let mut pause = LEARN_PAUSE_MIN;
    for _ in 0..8 {
        let mut route = write();
        refused_by_all(&mut router, &mut route, now);
        assert_eq!(router.next(&mut route, now), Step::Learn);
        assert!(!router.learned(1, &same, Duration::ZERO, now));
        pause = (pause * 2).min(LEARN_PAUSE_MAX);
        assert_eq!(router.next(&mut route, now), Step::Ask(0), "the map may be right after all");
        refused_by_all(&mut router, &mut route, now);
        let Step::Wait(at) = router.next(&mut route, now) else { panic!("no pause") };
        assert!(at >= now + pause / 2 && at <= now + pause, "{:?} of {pause:?}", at - now);
        now = at;
    }
    assert_eq!(pause, LEARN_PAUSE_MAX);
    assert!(router.learned(1, &told([&[2, 1], &[1, 2]]), Duration::ZERO, now), "something new");
    assert!(router.learn_at(now).is_some_and(|at| at <= now + LEARN_PAUSE_MIN));
}

#[test]
fn whoever_doubted_a_map_is_content_with_one_that_was_learned_since() {
    let (mut router, now) = router();
    let (mut first, mut second) = (write(), write());
    for route in [&mut first, &mut second] {
        refused_by_all(&mut router, route, now);
        assert_eq!(router.next(route, now), Step::Learn);
    }
    router.learned(0, &told([&[2, 1], &[1, 2]]), Duration::ZERO, now);
    assert_eq!(router.next(&mut first, now), Step::Ask(2));
    assert_eq!(router.next(&mut second, now), Step::Ask(2), "no second question");
}

#[test]
fn a_lost_server_is_left_alone_longer_and_longer_up_to_the_limit() {
    let (mut router, now) = router();
    router.lost(0, now);
    assert_eq!(router.next(&mut write(), now), Step::Ask(0), "it may have closed one connection");
    let mut pause = SUSPECT_MIN;
    for _ in 0..10 {
        router.unreachable(0, Duration::ZERO, now);
        let mut route = Route::new(LOWER, Need::Write);
        assert_ne!(router.next(&mut route, now), Step::Ask(0));
        for _ in 0..3 {
            assert_ne!(router.next(&mut read(), now), Step::Ask(0));
        }
        let mut later = Route::new(LOWER, Need::Write);
        assert_ne!(router.next(&mut later, now + pause / 2 - MS), Step::Ask(0));
        let mut after = Route::new(LOWER, Need::Write);
        assert_eq!(router.next(&mut after, now + pause), Step::Ask(0));
        pause = (pause * 2).min(SUSPECT_MAX);
    }
    assert_eq!(pause, SUSPECT_MAX);
    router.answered(&write(), 0);
    assert_eq!(router.next(&mut write(), now), Step::Ask(0), "it answered: it is well");
}

#[test]
fn a_server_that_took_long_to_find_away_is_left_alone_at_least_as_long() {
    let (mut router, now) = router();
    router.unreachable(0, 400 * MS, now);
    assert_ne!(router.next(&mut write(), now + 399 * MS), Step::Ask(0));
    assert_eq!(router.next(&mut write(), now + 800 * MS), Step::Ask(0));
    router.unreachable(0, SUSPECT_MAX * 5, now);
    assert_eq!(router.next(&mut write(), now + SUSPECT_MAX), Step::Ask(0), "but not for ever");
}

#[test]
fn a_write_to_a_lost_primary_waits_for_it_or_for_another_map() {
    let (mut router, now) = router();
    let mut route = write();
    router.unreachable(0, Duration::ZERO, now);
    router.met(&mut route, 0, Met::Lost, now);
    assert_eq!(router.next(&mut route, now), Step::Learn);
    assert_ne!(router.teacher(None, now), Ok(0));
    router.learned(1, &told([&[0, 1, 2], &[1, 2, 0]]), Duration::ZERO, now);
    let Step::Wait(at) = router.next(&mut route, now) else { panic!("nothing changed") };
    assert_eq!(router.next(&mut route, at), Step::Learn);
    router.learned(1, &told([&[1, 2], &[1, 2]]), Duration::ZERO, at);
    assert_eq!(router.next(&mut route, at), Step::Ask(1));
}

#[test]
fn a_map_of_one_server_is_asked_where_it_was_found() {
    let now = Instant::now();
    let mut router = Router::new(vec!["name:1".to_owned(), "other:1".to_owned()], true);
    router.learned(1, &told([&[9], &[9]]), Duration::ZERO, now);
    assert_eq!(router.next(&mut write(), now), Step::Ask(1));
    assert_eq!((router.server_count(), router.address(1)), (2, "other:1"));
}

#[test]
fn servers_that_were_learned_are_asked_when_the_given_ones_are_away() {
    let now = Instant::now();
    let mut router = Router::new(vec![address(0)], true);
    router.learned(0, &told([&[0, 1, 2], &[1, 2, 0]]), Duration::ZERO, now);
    router.unreachable(0, Duration::ZERO, now);
    let teachers = [router.teacher(None, now), router.teacher(None, now)];
    assert_eq!(teachers, [Ok(1), Ok(2)]);
    assert_eq!(router.teacher(Some(1), now), Ok(2), "not the one that is slow");
    // A server that left the map is still asked when nobody else can be.
    router.learned(1, &told([&[1], &[1]]), Duration::ZERO, now);
    router.unreachable(1, Duration::ZERO, now);
    assert_eq!(router.teacher(None, now), Ok(2));
}

#[test]
fn a_hole_in_the_map_is_doubted() {
    let now = Instant::now();
    let mut router = Router::new(vec![address(0)], true);
    router.learned(0, &told([&[], &[1, 2]]), Duration::ZERO, now);
    assert!(matches!(router.next(&mut write(), now), Step::Wait(_)));
    assert_eq!(router.next(&mut write(), now + LEARN_PAUSE_MIN), Step::Learn);
}

#[test]
fn servers_are_forgotten_one_past_the_limit() {
    for (count, is_many) in [(KNOWN_COUNT_MAX, false), (KNOWN_COUNT_MAX + 1, true)] {
        let mut router = Router::new(vec![address(0)], true);
        let number = |n: usize| format!("10.1.{}.{}:1", n / 250, n % 250).parse().unwrap();
        let ranges: Vec<Range> =
            (1..count).map(|n| Range { arc: Arc::WHOLE, server: number(n) }).collect();
        router.learned(0, &ranges, Duration::ZERO, Instant::now());
        assert_eq!((router.server_count(), router.forget_many()), (count, is_many));
        assert_eq!(router.server_count() == 1, is_many);
        assert_eq!(router.address(0), address(0));
    }
}
