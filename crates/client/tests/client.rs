//! The client against servers that drip, break, answer late, answer nonsense, and answer well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::sync::mpsc::channel;
use std::time::Instant;

use client::{Backup, Client, Config, Error, Interrupt, Outcome, Page, ServerState, Stored};

use support::{PATIENCE, Peer, RING, SHORT, Script, client_of, client_with, nobody, server};

#[test]
fn every_request_has_its_answer() {
    let mut client = client_of(|mut peer| {
        peer.answer("put k v", "put_success k");
        peer.answer("put k w", "put_update k");
        peer.answer("get k", "get_success k w");
        peer.answer("delete k", "delete_success k");
        peer.answer("delete k", "delete_error k not found");
        peer.answer("get k", "get_error k not found");
        peer.answer("keyrange", &format!("keyrange_success {RING}"));
        peer.answer("info", "info_success version 0.1.0 keys 7");
        peer.answer("scan - 2", "scan_item a 1\r\nscan_item b \r\nscan_success c1 2");
        peer.answer("scan c1 2", "scan_success end 0");
        peer.answer("backup /tmp/a\\sb", "backup_success /tmp/a\\sb 3 4096");
    });
    assert_eq!(client.put(b"k", b"v").done(), Some(Stored::New));
    assert_eq!(client.put(b"k", b"w").done(), Some(Stored::Replaced));
    assert_eq!(client.get(b"k").unwrap(), Some(b"w".to_vec()));
    assert_eq!(client.delete(b"k").done(), Some(true));
    assert_eq!(client.delete(b"k").done(), Some(false));
    assert_eq!(client.get(b"k").unwrap(), None);
    assert_eq!(client.keyrange().unwrap()[0].server.to_string(), "127.0.0.1:5153");
    assert_eq!(client.keyrange_read().unwrap().len(), 1);
    let info = client.info().unwrap();
    assert_eq!(info, [("version", "0.1.0"), ("keys", "7")].map(|(n, v)| (n.into(), v.into())));
    let entries = vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())];
    assert_eq!(client.scan(None, 2).unwrap(), Page { entries, next: Some("c1".to_owned()) });
    assert_eq!(client.scan(Some("c1"), 2).unwrap(), Page::default());
    let backup = client.backup(b"/tmp/a b", PATIENCE).done();
    assert_eq!(backup, Some(Backup { file_count: 3, len: 4096 }));
}

#[test]
fn any_bytes_go_out_and_come_back() {
    let mut client = client_of(|mut peer| {
        peer.answer(r"put a\s\n\0\\ \n\r \0\\", r"put_success a\s\n\0\\");
        peer.answer(r"get a\s\n\0\\", r"get_success a\s\n\0\\ \n\r \0\\\xff");
    });
    assert!(client.put(b"a \n\0\\", b"\n\r \0\\").is_done());
    assert_eq!(client.get(b"a \n\0\\").unwrap(), Some(b"\n\r \0\\\xff".to_vec()));
}

#[test]
fn a_reply_may_drip_in() {
    let mut client = client_of(|mut peer| {
        peer.line();
        for byte in "get_success k dripped\r\n".chars() {
            peer.write(&byte.to_string());
        }
    });
    assert_eq!(client.get(b"k").unwrap(), Some(b"dripped".to_vec()));
}

#[test]
fn a_reply_that_drips_for_ever_ends_with_the_deadline() {
    let drip: Script = Box::new(|mut peer: Peer| {
        peer.line();
        // Ends with an error once the client has closed the connection.
        while std::io::Write::write_all(peer.reader.get_mut(), b"g").is_ok() {}
    });
    let mut client = client_with(SHORT, vec![drip]);
    let started_at = Instant::now();
    assert!(matches!(client.get(b"k"), Err(Error::Late { limit: SHORT, .. })));
    assert!(started_at.elapsed() >= SHORT && started_at.elapsed() < PATIENCE);
}

#[test]
fn a_late_answer_is_unknown_and_never_taken_for_the_next_one() {
    let (sender, receiver) = channel::<()>();
    let late: Script = Box::new(move |mut peer| {
        peer.line();
        receiver.recv().unwrap();
        // The client has gone: this goes nowhere.
        drop(std::io::Write::write_all(peer.reader.get_mut(), b"put_success k\r\n"));
    });
    let good: Script = Box::new(|mut peer| peer.answer("put k w", "put_update k"));
    let mut client = client_with(SHORT, vec![late, good]);
    let outcome = client.put(b"k", b"v");
    assert!(matches!(outcome, Outcome::Unknown(Error::Late { .. })), "{outcome:?}");
    assert_eq!(client.server(), None, "the connection is given up");
    sender.send(()).unwrap();
    assert_eq!(client.put(b"k", b"w").done(), Some(Stored::Replaced));
}

#[test]
fn a_write_whose_connection_breaks_after_it_was_sent_is_unknown_and_not_repeated() {
    let (sender, receiver) = channel();
    let breaks: Script = Box::new(move |mut peer| {
        peer.line();
    });
    let good: Script = Box::new(move |mut peer| {
        sender.send(peer.line()).unwrap();
        peer.write("get_error next not found\r\n");
    });
    let mut client = client_with(PATIENCE, vec![breaks, good]);
    let outcome = client.put(b"k", b"v");
    assert!(matches!(outcome, Outcome::Unknown(Error::Broken { source: None, .. })), "{outcome:?}");
    assert_eq!(client.get(b"next").unwrap(), None);
    assert_eq!(receiver.recv().unwrap(), "get next");
}

#[test]
fn a_read_whose_connection_breaks_is_repeated() {
    let breaks = || -> Script {
        Box::new(|mut peer: Peer| {
            peer.line();
            peer.write("get_succ");
        })
    };
    let good: Script = Box::new(|mut peer| peer.answer("get k", "get_success k v"));
    let mut client = client_with(PATIENCE, vec![breaks(), breaks(), good]);
    assert_eq!(client.get(b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn a_write_whose_last_byte_was_not_sent_is_repeated() {
    let value = vec![b'v'; 8 << 20];
    let breaks: Script = Box::new(|mut peer| {
        peer.greet();
        std::io::Read::read_exact(&mut peer.reader, &mut [0; 10]).unwrap();
    });
    let expected_len = "put k ".len() + value.len();
    let good: Script = Box::new(move |mut peer| {
        assert_eq!(peer.line().len(), expected_len);
        peer.write("put_success k\r\n");
    });
    let mut client = client_with(PATIENCE, vec![breaks, good]);
    assert_eq!(client.put(b"k", &value).done(), Some(Stored::New));
}

#[test]
fn a_connection_that_was_closed_while_idle_is_not_used() {
    let (sender, receiver) = channel();
    let closes: Script = Box::new(move |mut peer| {
        peer.answer("put k v", "put_success k");
        drop(peer);
        sender.send(()).unwrap();
    });
    let good: Script = Box::new(|mut peer| peer.answer("put k w", "put_update k"));
    let mut client = client_with(PATIENCE, vec![closes, good]);
    assert!(client.put(b"k", b"v").is_done());
    receiver.recv().unwrap();
    assert_eq!(client.put(b"k", b"w").done(), Some(Stored::Replaced));
}

#[test]
fn nonsense_is_unknown_for_a_write_and_an_error_for_a_read() {
    for reply in ["hello", "", "get_success", "put_success other", "pong", "put_success k extra"] {
        let answer = || -> Script {
            Box::new(move |mut peer: Peer| {
                peer.line();
                peer.write(&format!("{reply}\r\n"));
                peer.wait_for_end();
            })
        };
        let mut client = client_with(PATIENCE, vec![answer(), answer()]);
        let outcome = client.put(b"k", b"v");
        assert!(matches!(outcome, Outcome::Unknown(Error::Nonsense { .. })), "{outcome:?}");
        let result = client.get(b"k");
        assert!(matches!(result, Err(Error::Nonsense { .. })), "{reply:?}: {result:?}");
    }
}

#[test]
fn a_reply_line_at_the_limit_is_taken_and_one_past_is_not() {
    let config = Config { reply_len_max: 200, ..Config::default() };
    for (len, is_taken) in [(200, true), (201, false)] {
        let value_len = len - "get_success k ".len();
        let script: Script = Box::new(move |mut peer: Peer| {
            peer.answer("get k", &format!("get_success k {}", "v".repeat(value_len)));
            peer.wait_for_end();
        });
        let mut client = Client::new(vec![server(vec![script])], config.clone());
        match client.get(b"k") {
            Ok(value) => assert!(is_taken && value.unwrap().len() == value_len),
            Err(error) => {
                assert!(!is_taken && matches!(error, Error::ReplyTooLong { len_max: 200, .. }));
            }
        }
    }
}

#[test]
fn a_line_without_end_is_given_up_at_the_limit() {
    let flood: Script = Box::new(|mut peer: Peer| {
        peer.line();
        while std::io::Write::write_all(peer.reader.get_mut(), &[b'x'; 4096]).is_ok() {}
    });
    let config = Config { reply_len_max: 1 << 20, ..Config::default() };
    let mut client = Client::new(vec![server(vec![flood])], config);
    assert!(matches!(client.get(b"k"), Err(Error::ReplyTooLong { .. })));
}

#[test]
fn refusals_for_the_moment_are_tried_again() {
    let mut client = client_of(|mut peer| {
        peer.answer("put k v", "server_write_lock");
        peer.answer("put k v", "server_stopped");
        peer.answer("put k v", "put_success k");
    });
    assert_eq!(client.put(b"k", b"v").done(), Some(Stored::New));
}

#[test]
fn refusals_for_the_moment_end_with_the_deadline() {
    let stopped: Script = Box::new(|mut peer: Peer| {
        while !peer.line().is_empty() {
            peer.write("server_stopped\r\n");
        }
    });
    let mut client = client_with(SHORT, vec![stopped]);
    let outcome = client.put(b"k", b"v");
    match outcome {
        Outcome::Refused(Error::NotNow { state, .. }) => assert_eq!(state, ServerState::Stopped),
        // On a very busy machine the last attempt's answer may be late.
        Outcome::Unknown(Error::Late { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_for_good_and_doubts_are_told_as_they_are() {
    let mut client = client_of(|mut peer| {
        peer.answer("put k v", "put_error k disk full");
        peer.answer("put k v", "put_unknown k sync failed");
        peer.answer("delete k", "delete_unknown k sync failed");
        peer.answer("get k", "get_error k damaged at x:7");
    });
    let outcome = client.put(b"k", b"v");
    assert!(
        matches!(&outcome, Outcome::Refused(Error::Rejected { reason, .. }) if reason == "disk full"),
        "{outcome:?}"
    );
    assert!(matches!(client.put(b"k", b"v"), Outcome::Unknown(Error::Doubt { .. })));
    assert!(matches!(client.delete(b"k"), Outcome::Unknown(Error::Doubt { .. })));
    assert!(matches!(client.get(b"k"), Err(Error::Rejected { .. })));
}

#[test]
fn a_server_that_complains_and_closes_leaves_no_doubt_behind() {
    let full: Script = Box::new(|mut peer: Peer| {
        peer.answer("put k v", "error too many connections");
    });
    let good: Script = Box::new(|mut peer| peer.answer("put k w", "put_success k"));
    let mut client = client_with(PATIENCE, vec![full, good]);
    assert!(matches!(client.put(b"k", b"v"), Outcome::Refused(Error::Complaint { .. })));
    assert!(client.put(b"k", b"w").is_done());
}

#[test]
fn the_first_server_that_can_be_reached_is_used() {
    let address = server(vec![Box::new(|mut peer| peer.answer("get k", "get_success k v"))]);
    let nobody = nobody();
    let servers = vec![nobody.address.clone(), address.clone()];
    let mut client = Client::new(servers, Config::default());
    assert_eq!(client.connect().unwrap(), address);
    assert_eq!(client.get(b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn a_write_that_reaches_no_server_is_refused() {
    let nobody = nobody();
    let address = nobody.address.clone();
    let config = Config { timeout: SHORT, ..Config::default() };
    let mut client = Client::new(vec![address.clone()], config);
    let outcome = client.put(b"k", b"v");
    assert!(
        matches!(&outcome, Outcome::Refused(Error::Unreachable { server, .. }) if *server == address),
        "{outcome:?}"
    );
    let message = client.get(b"k").unwrap_err().to_string();
    assert_eq!(message, format!("cannot reach {address}: connection refused"));
    assert!(client.connect().is_err());
}

#[test]
fn keys_and_values_are_checked_before_they_are_sent() {
    let mut client = client_of(|mut peer| {
        peer.answer(&format!("get {}", "k".repeat(1024)), "server_write_lock");
        peer.wait_for_end();
    });
    assert!(matches!(client.put(b"", b"v"), Outcome::Refused(Error::Empty { part: "key" })));
    assert!(matches!(client.get(b""), Err(Error::Empty { .. })));
    let long = vec![b'k'; 1025];
    assert!(matches!(client.get(&long), Err(Error::Limit { len: 1025, len_max: 1024, .. })));
    assert!(matches!(client.delete(&long), Outcome::Refused(Error::Limit { .. })));
    let long = vec![0; (16 << 20) + 1];
    assert!(matches!(client.put(b"k", &long), Outcome::Refused(Error::Limit { .. })));
    assert!(matches!(client.backup(b"", PATIENCE), Outcome::Refused(Error::Empty { .. })));
}

/// Returns a client that `interrupt` interrupts, of a server that says when it has a request and never answers.
fn interruptible(interrupt: &Interrupt) -> (Client, std::sync::mpsc::Receiver<()>) {
    let (sender, receiver) = channel();
    let silent: Script = Box::new(move |mut peer: Peer| {
        peer.line();
        sender.send(()).unwrap();
        // Ends with the connection.
        drop(std::io::Read::read(&mut peer.reader, &mut [0; 1]));
    });
    let interrupt = Some(interrupt.clone());
    let config = Config { timeout: PATIENCE * 10, interrupt, ..Config::default() };
    (Client::new(vec![server(vec![silent])], config), receiver)
}

#[test]
fn an_interrupt_ends_what_waits_with_the_outcome_that_is_true_of_it() {
    let interrupt = Interrupt::default();
    let started_at = Instant::now();
    let raise_when = |asked: std::sync::mpsc::Receiver<()>| {
        let interrupt = interrupt.clone();
        std::thread::spawn(move || {
            asked.recv().unwrap();
            interrupt.raise();
        })
    };
    let (mut client, asked) = interruptible(&interrupt);
    let raiser = raise_when(asked);
    let outcome = client.put(b"k", b"v");
    assert!(matches!(outcome, Outcome::Unknown(Error::Interrupted { .. })), "{outcome:?}");
    raiser.join().unwrap();

    let outcome = client.put(b"k", b"v");
    assert!(
        matches!(outcome, Outcome::Refused(Error::Interrupted { .. })),
        "{outcome:?}: not sent"
    );
    interrupt.clear();

    let asks: [fn(&mut Client) -> Error; 2] =
        [|client| client.info().unwrap_err(), |client| client.get(b"k").unwrap_err()];
    for ask in asks {
        let (mut client, asked) = interruptible(&interrupt);
        let raiser = raise_when(asked);
        let error = ask(&mut client);
        assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
        raiser.join().unwrap();
        interrupt.clear();
    }
    assert!(started_at.elapsed() < PATIENCE);
}
