//! The client against a ring of servers that move arcs, lock, hang, die and forget.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use client::{
    ATTEMPT_TIMEOUT_DEFAULT, Answer, Client, Condition, Config, Error, Outcome, PutOptions, Stored,
};

use support::ring::{Mode, Ring, half, keys};
use support::{PATIENCE, SHORT, nobody};

/// Returns a client that is given the first server's address only.
fn client_of(ring: &Ring) -> Client {
    Client::new(vec![ring.address(0)], Config { timeout: PATIENCE, ..Config::default() })
}

fn key_of(half: usize) -> String {
    keys(half, 1).remove(0)
}

#[test]
fn writes_go_to_the_primary_and_reads_to_every_member_in_turn() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    for key in keys(0, 5).into_iter().chain(keys(1, 5)) {
        assert_eq!(client.put(key.as_bytes(), b"v").done(), Some(Stored::New));
        for _ in 0..3 {
            assert_eq!(client.get(key.as_bytes()).unwrap(), Some(b"v".to_vec()));
        }
    }
    assert_eq!((0..3).map(|s| ring.count(Some(s), "with ")).collect::<Vec<_>>(), [5, 5, 0]);
    assert_eq!((0..3).map(|s| ring.count(Some(s), "get ")).collect::<Vec<_>>(), [10, 10, 10]);
    assert_eq!(ring.count(None, "keyrange"), 1, "the map is learned once");
}

#[test]
fn reads_go_to_the_primary_alone_if_they_are_not_to_be_spread() {
    let ring = Ring::start(3);
    let config = Config { spreads_reads: false, ..Config::default() };
    let mut client = Client::new(vec![ring.address(0)], config);
    for _ in 0..6 {
        assert_eq!(client.get(key_of(1).as_bytes()).unwrap(), None);
    }
    assert_eq!(ring.count(Some(1), "get "), 6);
}

#[test]
fn a_moved_arc_is_followed_without_asking_for_the_map_each_time() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let keys = keys(0, 20);
    assert!(client.put(keys[0].as_bytes(), b"v").is_done());
    ring.set(|state| state.map = [vec![2, 1], vec![1, 2]]);
    for key in keys.iter().chain(&keys) {
        assert!(client.put(key.as_bytes(), b"v").is_done());
        assert_eq!(client.get(key.as_bytes()).unwrap(), Some(b"v".to_vec()));
    }
    assert_eq!(ring.set(|state| state.write_count), 41);
    let found_out = ring.count(Some(0), "with ");
    assert!(found_out <= 21, "each slot's new primary is remembered: {found_out}");
    assert!(ring.count(None, "keyrange") <= 3);
}

#[test]
fn a_map_that_stays_wrong_is_asked_for_less_and_less_often() {
    let ring = Ring::start(2);
    let config = Config { timeout: SHORT, ..Config::default() };
    let mut client = Client::new(vec![ring.address(0)], config);
    let key = key_of(0);
    assert_eq!(client.get(key.as_bytes()).unwrap(), None);
    // Both know of a third server; nobody answers for the lower half.
    let nobody = nobody();
    ring.set(|state| {
        state.addresses.push(nobody.address.parse().unwrap());
        state.map[0] = vec![2];
    });
    let outcome = client.put(key.as_bytes(), b"v");
    assert!(
        matches!(&outcome, Outcome::Refused(Error::Unreachable { server, .. }) if *server == nobody.address),
        "{outcome:?}"
    );
    let count = ring.count(None, "keyrange");
    assert!((3..30).contains(&count), "asked {count} times in a second");
}

#[test]
fn a_write_lock_and_a_stop_are_waited_out() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let key = key_of(0);
    for mode in [Mode::Locked(4), Mode::Stopped(3)] {
        ring.set(|state| state.modes[0] = mode);
        assert!(client.put(key.as_bytes(), b"v").is_done());
        assert_eq!(ring.set(|state| state.modes[0]), Mode::Serves);
    }
    assert_eq!(ring.set(|state| state.write_count), 2);
    assert_eq!(client.write_lock_count(), 4);
}

#[test]
fn a_read_that_a_backup_passes_on_goes_to_the_primary() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let key = key_of(0);
    assert!(client.put(key.as_bytes(), b"v").is_done());
    ring.set(|state| state.modes[1] = Mode::Stopped(u32::MAX));
    ring.set(|state| state.modes[2] = Mode::Stopped(u32::MAX));
    for _ in 0..6 {
        assert_eq!(client.get(key.as_bytes()).unwrap(), Some(b"v".to_vec()));
    }
    assert_eq!(ring.count(Some(0), "get "), 6);
    assert_eq!(ring.count(None, "keyrange"), 1, "the map is not to blame");
}

#[test]
fn a_write_whose_answer_is_lost_is_sent_again_and_done_once() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let key = key_of(0);
    ring.set(|state| state.modes[0] = Mode::DiesAfterWrite);
    assert_eq!(client.put(key.as_bytes(), b"v").done(), Some(Stored::New));
    ring.set(|state| state.modes[0] = Mode::DiesAfterWrite);
    assert_eq!(client.delete(key.as_bytes()).done(), Some(true));
    assert_eq!(ring.set(|state| state.write_count), 2);
    let sent = ring.set(|state| {
        let writes = state.log.iter().filter(|(_, line)| line.starts_with("with "));
        writes.map(|(_, line)| line.clone()).collect::<Vec<_>>()
    });
    assert_eq!(sent.len(), 4);
    assert_eq!(sent[0], sent[1], "the same id");
    assert_eq!(sent[2], sent[3], "the same id");
    drop(client);
}

#[test]
fn a_write_that_the_server_is_not_sure_of_is_sent_again() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let key = key_of(0);
    ring.set(|state| state.modes[0] = Mode::Doubtful(2));
    assert_eq!(client.put(key.as_bytes(), b"v").done(), Some(Stored::New));
    assert_eq!(ring.set(|state| state.write_count), 1);
}

#[test]
fn a_delete_that_finds_nothing_when_asked_again_is_unknown() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    ring.set(|state| state.modes[0] = Mode::DiesAfterWrite);
    let outcome = client.delete(key_of(0).as_bytes());
    assert!(matches!(outcome, Outcome::Unknown(Error::Doubt { .. })), "{outcome:?}");
}

#[test]
fn a_primary_that_hangs_is_left_as_soon_as_the_map_names_another() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let key = key_of(0);
    assert!(client.put(key.as_bytes(), b"1").is_done());
    // It takes the write and never answers; the third question for the map finds its place taken.
    ring.set(|state| {
        state.modes[0] = Mode::Hangs;
        state.next_map = Some((2, [vec![1, 2], vec![1, 2]]));
    });
    let began_at = Instant::now();
    assert_eq!(client.put(key.as_bytes(), b"2").done(), Some(Stored::Replaced));
    assert!(ring.count(Some(1), "with ") == 1 && began_at.elapsed() < PATIENCE);
    assert_eq!(client.get(key.as_bytes()).unwrap(), Some(b"2".to_vec()));
}

#[test]
fn a_read_does_not_wait_for_a_member_that_hangs() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let keys = keys(1, 6);
    for key in &keys {
        assert!(client.put(key.as_bytes(), b"v").is_done());
    }
    ring.set(|state| state.modes[2] = Mode::Hangs);
    let began_at = Instant::now();
    for key in &keys {
        assert_eq!(client.get(key.as_bytes()).unwrap(), Some(b"v".to_vec()));
    }
    let spent = began_at.elapsed();
    assert!(spent < ATTEMPT_TIMEOUT_DEFAULT * 6, "{spent:?}");
}

#[test]
fn a_primary_that_hangs_for_good_makes_a_write_unknown_and_nothing_is_forgotten() {
    let ring = Ring::start(3);
    let config = Config { timeout: SHORT, ..Config::default() };
    let mut client = Client::new(vec![ring.address(1)], config);
    let (lower, upper) = (key_of(0), key_of(1));
    assert!(client.put(upper.as_bytes(), b"v").is_done());
    ring.set(|state| state.modes[0] = Mode::Hangs);
    let outcome = client.put(lower.as_bytes(), b"v");
    assert!(matches!(outcome, Outcome::Unknown(Error::Late { .. })), "{outcome:?}");
    assert!(client.put(upper.as_bytes(), b"v").is_done(), "the others go on");
    drop(client);
    let mut other = Client::new(vec![ring.address(1)], Config::default());
    assert!(other.put(upper.as_bytes(), b"v").is_done());
    assert_eq!(ring.count(None, "forget "), 0, "the write may still arrive");
}

#[test]
fn a_client_that_leaves_says_that_its_ids_are_needed_no_more() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    assert!(client.put(key_of(0).as_bytes(), b"v").is_done());
    drop(client);
    ring.wait_for("forget ");
    assert_eq!(ring.count(Some(0), "forget "), 1);
    assert_eq!(ring.count(None, "forget "), 1, "only where there is something to forget");
}

#[test]
fn a_client_that_wrote_much_leaves_forgetting_to_age() {
    let ring = Ring::start(2);
    for (count, forgets) in [(32, 1), (33, 1)] {
        let mut client = client_of(&ring);
        let entries: Vec<(String, &str)> =
            keys(0, count).into_iter().map(|key| (key, "v")).collect();
        assert!(client.mput(&entries).iter().all(Outcome::is_done));
        drop(client);
        ring.wait_for("forget ");
        // Another client's request comes after all that the first one sent.
        assert!(client_of(&ring).get(entries[0].0.as_bytes()).unwrap().is_some());
        assert_eq!(ring.count(None, "forget "), forgets, "after {count} writes");
    }
}

#[test]
fn any_server_may_be_away() {
    let ring = Ring::start(3);
    let nobody = nobody();
    let mut client = Client::new(
        vec![nobody.address.clone(), ring.address(0), ring.address(1)],
        Config { timeout: PATIENCE, ..Config::default() },
    );
    let key = key_of(0);
    assert!(client.put(key.as_bytes(), b"v").is_done());
    ring.set(|state| {
        state.modes[0] = Mode::Breaks;
        state.next_map = Some((1, [vec![2, 1], vec![2, 1]]));
    });
    assert_eq!(client.put(key.as_bytes(), b"w").done(), Some(Stored::Replaced));
    assert_eq!(client.get(key.as_bytes()).unwrap(), Some(b"w".to_vec()));
    assert_eq!(ring.count(Some(2), "with "), 1);
}

#[test]
fn a_server_without_a_cluster_gets_no_ids() {
    let ring = Ring::start(1);
    ring.set(|state| state.is_cluster = false);
    let mut client = client_of(&ring);
    assert!(client.put(b"k", b"v").is_done());
    assert_eq!(client.delete(b"k").done(), Some(true));
    assert_eq!(ring.count(None, "put k v"), 1);
    assert_eq!(ring.count(None, "with "), 0);
    let options = PutOptions { condition: Some(Condition::Absent), ..PutOptions::default() };
    let outcome = client.put_with(b"k", b"v", options);
    assert!(
        matches!(&outcome, Outcome::Refused(Error::Complaint { what, .. }) if what == "with needs a cluster"),
        "{outcome:?}"
    );
    drop(client);
    assert_eq!(ring.count(None, "forget "), 0);
}

#[test]
fn a_cluster_that_no_longer_takes_ids_gets_the_write_without() {
    let ring = Ring::start(2);
    let mut client = client_of(&ring);
    let key = key_of(0);
    assert!(client.put(key.as_bytes(), b"v").is_done());
    ring.set(|state| state.is_cluster = false);
    assert!(client.put(key.as_bytes(), b"w").is_done());
    assert_eq!(ring.count(None, "put "), 1);
}

#[test]
fn a_put_can_depend_on_what_is_there() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let key = key_of(1);
    let key = key.as_bytes();
    let only_if =
        |condition| PutOptions { condition: Some(condition), ttl: Some(Duration::from_secs(9)) };
    assert_eq!(client.read(key).unwrap(), None);
    assert!(client.put_with(key, b"1", only_if(Condition::Absent)).is_done());
    let first = client.read(key).unwrap().unwrap();
    assert_eq!(first.value, b"1");
    let again = client.put_with(key, b"x", only_if(Condition::Absent));
    assert!(
        matches!(again, Outcome::Refused(Error::Conflict { found: Some(found) }) if found == first.version)
    );
    assert!(client.put_with(key, b"2", only_if(Condition::Version(first.version))).is_done());
    let stale = client.put_with(key, b"x", only_if(Condition::Version(first.version)));
    assert!(matches!(stale, Outcome::Refused(Error::Conflict { .. })));
    assert_eq!(client.read(key).unwrap().unwrap().value, b"2");
    assert_eq!(ring.count(None, "with id="), 4);
    assert!(
        ring.set(|state| state
            .log
            .iter()
            .any(|(_, line)| line.contains(" if=absent ttl=9000 put ")))
    );
}

#[test]
fn batches_have_their_results_in_order_whatever_server_they_come_from() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let all: Vec<String> = (0..3000).map(|number| format!("key{number}")).collect();
    let entries: Vec<(&str, String)> =
        all.iter().map(|key| (key.as_str(), format!("value of {key}"))).collect();
    let stored = client.mput(&entries);
    assert!(stored.into_iter().all(|outcome| outcome.done() == Some(Stored::New)));
    for (key, value) in all.iter().zip(client.mget(&all)) {
        assert_eq!(value.unwrap(), Some(format!("value of {key}").into_bytes()));
    }
    let gone: Vec<&String> = all.iter().step_by(2).collect();
    assert!(client.mdelete(&gone).into_iter().all(|outcome| outcome.done() == Some(true)));
    let left = client.mget(&all);
    for (index, value) in left.into_iter().enumerate() {
        assert_eq!(value.unwrap().is_some(), index % 2 == 1);
    }
    assert!((0..3).all(|server| ring.count(Some(server), "get ") > 1000));
}

#[test]
fn writes_of_a_key_in_one_batch_are_done_in_their_order() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let keys = [key_of(0), key_of(1)];
    let entries: Vec<(&String, String)> =
        (0..100).map(|number| (&keys[number % 2], number.to_string())).collect();
    // Lost answers make some of them go twice; the ring insists on rising numbers.
    ring.set(|state| state.modes = vec![Mode::DiesAfterWrite; 3]);
    assert!(client.mput(&entries).iter().all(Outcome::is_done));
    assert_eq!(client.get(keys[0].as_bytes()).unwrap(), Some(b"98".to_vec()));
    assert_eq!(client.get(keys[1].as_bytes()).unwrap(), Some(b"99".to_vec()));
    assert_eq!(ring.set(|state| state.write_count), 100);
}

#[test]
fn a_batch_has_an_outcome_for_what_may_not_be_sent() {
    let ring = Ring::start(2);
    let mut client = client_of(&ring);
    let outcomes = client.mput(&[("a", "1"), ("", "2"), ("b", "3")]);
    let done: Vec<bool> = outcomes.iter().map(Outcome::is_done).collect();
    assert_eq!(done, [true, false, true]);
    assert!(matches!(outcomes[1], Outcome::Refused(Error::Empty { .. })));
    assert!(client.mget::<&str>(&[]).is_empty());
}

#[test]
fn a_pipeline_over_a_ring_survives_a_move_and_keeps_its_order() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let mut pipeline = client.pipeline().unwrap();
    let mut answers = Vec::new();
    for number in 0..2000 {
        while !pipeline.has_room() {
            answers.extend(pipeline.next());
        }
        if number == 1000 {
            ring.set(|state| state.map = [vec![2, 0], vec![0, 2]]);
        }
        pipeline.put(format!("k{number}").as_bytes(), b"v").unwrap();
        pipeline.get(format!("k{number}").as_bytes()).unwrap();
    }
    while let Some(answer) = pipeline.next() {
        answers.push(answer);
    }
    assert_eq!(answers.len(), 4000);
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Answer::Put(outcome) => assert!(index % 2 == 0 && outcome.done() == Some(Stored::New)),
            Answer::Get(value) => assert_eq!(value.unwrap(), Some(b"v".to_vec()), "{index}"),
            Answer::Delete(_) => panic!("nothing was deleted"),
        }
    }
}

#[test]
fn a_scan_sees_each_entry_of_the_ring_once() {
    let ring = Ring::start(3);
    let mut client = client_of(&ring);
    let entries: Vec<(String, &str)> = (0..500).map(|number| (format!("k{number}"), "v")).collect();
    assert!(client.mput(&entries).iter().all(Outcome::is_done));
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.scan(cursor.as_deref(), 1000).unwrap();
        found.extend(page.entries.into_iter().map(|(key, _)| key));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    found.sort();
    let mut expected: Vec<_> = entries.into_iter().map(|(key, _)| key.into_bytes()).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert!(found.iter().any(|key| half(key) == 0) && found.iter().any(|key| half(key) == 1));
}

#[test]
fn a_pipeline_that_is_dropped_leaves_nothing_to_forget() {
    let ring = Ring::start(2);
    let mut client = client_of(&ring);
    assert!(client.put(key_of(0).as_bytes(), b"v").is_done());
    ring.set(|state| state.modes = vec![Mode::Hangs; 2]);
    let mut pipeline = client.pipeline().unwrap();
    for key in keys(0, 64) {
        pipeline.put(key.as_bytes(), b"v").unwrap();
    }
    drop(pipeline);
    ring.set(|state| state.modes = vec![Mode::Serves; 2]);
    assert_eq!(client.get(key_of(1).as_bytes()).unwrap(), None);
    drop(client);
    let mut other = client_of(&ring);
    assert!(other.put(key_of(0).as_bytes(), b"v").is_done());
    assert_eq!(ring.count(None, "forget "), 0, "its writes may still arrive");
}

/// Gives the ring a trouble, and now and then another map.
fn trouble(ring: &Ring, rng: &mut fastrand::Rng) {
    let (server, count) = (rng.usize(..3), rng.u32(1..4));
    let mode = match rng.u8(..8) {
        0 => Mode::Locked(count),
        1 => Mode::Stopped(count),
        2 => Mode::Doubtful(count),
        3 | 4 => Mode::DiesAfterWrite,
        _ => Mode::Serves,
    };
    let mut members: Vec<usize> = (0..3).collect();
    rng.shuffle(&mut members);
    ring.set(|state| {
        state.modes[server] = mode;
        if rng.u8(..4) == 0 {
            state.map[rng.usize(..2)] = members;
        }
    });
}

#[test]
fn whatever_happens_to_the_ring_no_outcome_is_untrue() {
    for seed in 0..3 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ring = Ring::start(3);
        let mut client = client_of(&ring);
        let keys: Vec<String> = (0..8).map(|number| format!("k{number}")).collect();
        // What each key may have: one value, and after an unknown outcome two.
        let mut model = vec![vec![None::<Vec<u8>>]; keys.len()];
        for step in 0..60 {
            trouble(&ring, &mut rng);
            let index = rng.usize(..keys.len());
            let (key, may) = (keys[index].as_bytes(), &mut model[index]);
            let value = format!("{step}").into_bytes();
            match rng.u8(..4) {
                0 => {
                    let found = client.get(key).unwrap();
                    assert!(may.contains(&found), "seed {seed}, step {step}: {found:?} of {may:?}");
                    *may = vec![found];
                }
                1 => match client.delete(key) {
                    Outcome::Done(was_there) => {
                        assert!(
                            may.iter().any(|value| value.is_some() == was_there),
                            "seed {seed}, step {step}"
                        );
                        *may = vec![None];
                    }
                    Outcome::Unknown(_) => may.push(None),
                    Outcome::Refused(error) => panic!("seed {seed}, step {step}: {error}"),
                },
                _ => match client.put(key, &value) {
                    Outcome::Done(stored) => {
                        let was_there = stored == Stored::Replaced;
                        assert!(
                            may.iter().any(|value| value.is_some() == was_there),
                            "seed {seed}, step {step}"
                        );
                        *may = vec![Some(value)];
                    }
                    Outcome::Unknown(_) => may.push(Some(value)),
                    Outcome::Refused(error) => panic!("seed {seed}, step {step}: {error}"),
                },
            }
        }
    }
}

#[test]
fn whatever_happens_to_the_ring_a_batch_is_done_once_each() {
    for seed in 0..4 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ring = Ring::start(3);
        let mut client = client_of(&ring);
        let mut pipeline = client.pipeline().unwrap();
        let mut done = 0;
        for number in 0..400_u32 {
            if number % 16 == 0 {
                trouble(&ring, &mut rng);
            }
            // Few keys, so that many writes of one slot wait for each other.
            let key = format!("k{}", rng.u8(..20));
            pipeline.put(key.as_bytes(), number.to_string().as_bytes()).unwrap();
            if rng.bool() {
                let Some(Answer::Put(outcome)) = pipeline.next() else { panic!("a put") };
                assert!(outcome.is_done(), "seed {seed}: {outcome:?}");
                done += 1;
            }
        }
        while let Some(Answer::Put(outcome)) = pipeline.next() {
            assert!(outcome.is_done(), "seed {seed}: {outcome:?}");
            done += 1;
        }
        assert_eq!((done, ring.set(|state| state.write_count)), (400, 400), "seed {seed}");
    }
}
