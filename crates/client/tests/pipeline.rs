//! Many requests under way at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::sync::mpsc::channel;

use client::{Answer, Error, Outcome, Stored, WINDOW_COUNT, WINDOW_LEN};

use support::{PATIENCE, Peer, SHORT, Script, client_of, client_with};

/// Answers puts and gets until the client leaves; a get's value is `value`.
fn serve(mut peer: Peer, value: &str) {
    loop {
        let line = peer.line();
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next()) {
            (Some("put"), Some(key)) => peer.write(&format!("put_success {key}\r\n")),
            (Some("get"), Some(key)) => peer.write(&format!("get_success {key} {value}\r\n")),
            (Some("delete"), Some(key)) => peer.write(&format!("delete_error {key} not found\r\n")),
            _ => return,
        }
    }
}

#[test]
fn ten_thousand_requests_are_answered_in_their_order() {
    let mut client = client_of(|peer| serve(peer, "v"));
    let mut pipeline = client.pipeline().unwrap();
    let mut answers = Vec::new();
    for number in 0..10_000 {
        while !pipeline.has_room() {
            answers.extend(pipeline.next());
        }
        let key = format!("k{number}");
        match number % 3 {
            0 => pipeline.put(key.as_bytes(), b"v").unwrap(),
            1 => pipeline.get(key.as_bytes()).unwrap(),
            _ => pipeline.delete(key.as_bytes()).unwrap(),
        }
    }
    while let Some(answer) = pipeline.next() {
        answers.push(answer);
    }
    assert_eq!(answers.len(), 10_000);
    for (number, answer) in answers.into_iter().enumerate() {
        let is_right = match answer {
            Answer::Put(outcome) => number % 3 == 0 && outcome.done() == Some(Stored::New),
            Answer::Get(result) => number % 3 == 1 && result.unwrap() == Some(b"v".to_vec()),
            Answer::Delete(outcome) => number % 3 == 2 && outcome.done() == Some(false),
        };
        assert!(is_right, "answer {number}");
    }
    drop(pipeline);
    assert_eq!(client.get(b"after").unwrap(), Some(b"v".to_vec()), "the connection is still good");
}

#[test]
fn both_sides_may_have_more_to_say_than_their_buffers_hold() {
    let long = "v".repeat(512 * 1024);
    let reply = long.clone();
    let mut client = client_of(move |peer| serve(peer, &reply));
    let mut pipeline = client.pipeline().unwrap();
    // Sixteen times as much as a window's limit, each way.
    let (mut done, mut submitted) = (0, 0);
    while done < 256 {
        while submitted < 256 && pipeline.has_room() {
            // Different keys: those of one would wait for each other.
            pipeline.get(format!("g{submitted}").as_bytes()).unwrap();
            pipeline.put(format!("p{submitted}").as_bytes(), long.as_bytes()).unwrap();
            submitted += 2;
        }
        match pipeline.next().unwrap() {
            Answer::Put(outcome) => assert!(outcome.is_done(), "{outcome:?}"),
            Answer::Get(result) => assert_eq!(result.unwrap().unwrap().len(), long.len()),
            Answer::Delete(_) => panic!("nothing was deleted"),
        }
        done += 1;
    }
}

#[test]
fn a_window_is_full_at_its_limit_and_open_again_at_half() {
    let mut client = client_of(|peer| serve(peer, "v"));
    let mut pipeline = client.pipeline().unwrap();
    for _ in 0..WINDOW_COUNT {
        assert!(pipeline.has_room());
        pipeline.get(b"k").unwrap();
    }
    assert!(!pipeline.has_room());
    while pipeline.waiting_count() >= WINDOW_COUNT / 2 {
        assert!(!pipeline.has_room());
        assert!(pipeline.next().is_some());
    }
    assert!(pipeline.has_room());
}

#[test]
fn a_window_is_full_when_the_server_takes_no_more_bytes() {
    let (sender, receiver) = channel::<()>();
    let mut client = client_of(move |peer| {
        // Reads nothing until the window is full.
        receiver.recv().unwrap();
        serve(peer, "v");
    });
    let mut pipeline = client.pipeline().unwrap();
    let long = vec![b'v'; WINDOW_LEN / 8];
    let mut submitted = 0;
    while pipeline.has_room() {
        pipeline.put(b"k", &long).unwrap();
        submitted += 1;
    }
    assert!((8..WINDOW_COUNT).contains(&submitted), "{submitted}");
    sender.send(()).unwrap();
    for _ in 0..submitted {
        assert!(matches!(pipeline.next(), Some(Answer::Put(Outcome::Done(_)))));
    }
    assert!(pipeline.has_room());
}

#[test]
#[should_panic(expected = "beyond the window")]
fn one_past_the_window_is_the_callers_bug() {
    let mut client = client_of(|mut peer| peer.wait_for_end());
    let mut pipeline = client.pipeline().unwrap();
    for _ in 0..=WINDOW_COUNT {
        pipeline.get(b"k").unwrap();
    }
}

#[test]
fn when_the_connection_breaks_what_was_sent_without_ids_is_unknown_and_the_rest_goes_on() {
    let breaks: Script = Box::new(|mut peer: Peer| {
        peer.answer("put k0 v", "put_success k0");
        assert_eq!(peer.line(), "put k1 v");
    });
    let good: Script = Box::new(|peer| serve(peer, "v"));
    let mut client = client_with(PATIENCE, vec![breaks, good]);
    let mut pipeline = client.pipeline().unwrap();
    for key in ["k0", "k1", "k2"] {
        pipeline.put(key.as_bytes(), b"v").unwrap();
    }
    assert!(matches!(pipeline.next(), Some(Answer::Put(Outcome::Done(Stored::New)))));
    for _ in 1..3 {
        let answer = pipeline.next();
        assert!(
            matches!(answer, Some(Answer::Put(Outcome::Unknown(Error::Broken { .. })))),
            "{answer:?}"
        );
    }
    pipeline.put(b"k3", b"v").unwrap();
    assert!(matches!(pipeline.next(), Some(Answer::Put(Outcome::Done(Stored::New)))));
    assert!(pipeline.next().is_none());
}

#[test]
fn a_request_that_was_sent_in_part_is_sent_again() {
    let breaks: Script = Box::new(|mut peer: Peer| {
        peer.greet();
        std::io::Read::read_exact(&mut peer.reader, &mut [0; 10]).unwrap();
    });
    let good: Script = Box::new(|peer| serve(peer, "v"));
    let mut client = client_with(PATIENCE, vec![breaks, good]);
    let mut pipeline = client.pipeline().unwrap();
    let long = vec![b'v'; 12 << 20];
    for _ in 0..2 {
        pipeline.put(b"k", &long).unwrap();
    }
    for _ in 0..2 {
        let answer = pipeline.next();
        assert!(matches!(answer, Some(Answer::Put(Outcome::Done(_)))), "{answer:?}");
    }
}

#[test]
fn a_refusal_in_the_middle_does_not_disturb_the_rest() {
    let mut client = client_of(|mut peer| {
        peer.answer("put a 1", "put_success a");
        peer.answer("put b 2", "put_error b disk full");
        peer.answer("put c 3", "server_write_lock");
        peer.answer("put d 4", "error bad escape at column 7");
        peer.answer("put e 5", "put_update e");
        peer.answer("put c 3", "put_success c");
    });
    let mut pipeline = client.pipeline().unwrap();
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")] {
        pipeline.put(key.as_bytes(), value.as_bytes()).unwrap();
    }
    let outcomes: Vec<_> = std::iter::from_fn(|| pipeline.next())
        .map(|answer| match answer {
            Answer::Put(Outcome::Done(stored)) => format!("{stored:?}"),
            Answer::Put(Outcome::Refused(error)) => error.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes[0], "New");
    assert!(outcomes[1].ends_with("refused: disk full"));
    assert_eq!(outcomes[2], "New", "it was sent again");
    assert!(outcomes[3].ends_with("answered: bad escape at column 7"));
    assert_eq!(outcomes[4], "Replaced");
}

#[test]
fn what_has_no_answer_in_time_is_unknown_or_failed() {
    let silent: Script = Box::new(|mut peer: Peer| {
        peer.greet();
        peer.wait_for_end();
    });
    let mut client = client_with(SHORT, vec![silent]);
    let mut pipeline = client.pipeline().unwrap();
    pipeline.put(b"a", b"1").unwrap();
    pipeline.get(b"b").unwrap();
    assert!(matches!(pipeline.next(), Some(Answer::Put(Outcome::Unknown(Error::Late { .. })))));
    assert!(matches!(pipeline.next(), Some(Answer::Get(Err(_)))));
}

#[test]
fn what_may_not_be_sent_is_not_submitted() {
    let mut client = client_of(|mut peer| peer.wait_for_end());
    let mut pipeline = client.pipeline().unwrap();
    assert!(matches!(pipeline.put(b"", b"v"), Err(Error::Empty { .. })));
    assert!(matches!(pipeline.get(&[b'k'; 1025]), Err(Error::Limit { .. })));
    assert!(pipeline.next().is_none());
}
