//! What a server does with clients that let it wait.

use crate::harness::{Line, Server};
use std::time::Duration;

#[test]
fn a_request_that_drips_in_is_cut_off_after_its_time() {
    let server = Server::start(&["--request-timeout-s", "0.2", "--idle-timeout-s", "0"]);
    let mut line = server.connect();
    line.send("put k half");
    assert!(line.line().starts_with("error request not finished in time"));
    line.expect_end();
}

#[test]
fn a_connection_that_asks_nothing_is_closed_after_its_time() {
    let server = Server::start(&["--idle-timeout-s", "2"]);
    let mut line = server.connect();
    assert_eq!(line.ask("put k v"), "put_success k");
    line.expect_end();
}

#[test]
fn a_request_that_was_answered_starts_the_time_anew() {
    let server = Server::start(&["--request-timeout-s", "3", "--idle-timeout-s", "0"]);
    let mut line = server.connect();
    for n in 0..3 {
        line.send("put k ");
        // Three times this is more than the time allowed.
        line.expect_silence(Duration::from_millis(1_200));
        line.send(format!("{n}\n"));
        assert!(line.line().starts_with("put_"));
    }
}

#[test]
fn connections_that_only_wait_do_not_end_before_their_time() {
    let server = Server::start(&["--idle-timeout-s", "0"]);
    let mut waiting: Vec<Line> = (0..20).map(|_| server.connect()).collect();
    waiting[0].expect_silence(Duration::from_millis(300));
    for line in &mut waiting {
        assert_eq!(line.ask("get k"), "get_error k not found");
    }
}
