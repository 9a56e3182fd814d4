//! Each limit, at it and one past it.

use crate::harness::{Line, Server, Setup, eventually, figure};
use std::io::Write as _;

fn put(line: &mut Line, key_len: usize, value_len: usize) -> String {
    let (key, value) = ("k".repeat(key_len), "v".repeat(value_len));
    let reply = line.ask(&format!("put {key} {value}"));
    // Replies name the key; what is asserted is shorter without it.
    reply.replacen(&key, "K", 1)
}

#[test]
fn a_key_at_its_limit_is_stored_and_one_byte_more_is_refused() {
    let server = Server::start(&["--sync", "never"]);
    let mut line = server.connect();
    assert_eq!(put(&mut line, 1024, 1), "put_success K");
    let reply = put(&mut line, 1025, 1);
    assert!(reply.starts_with("put_error K key too long"), "{reply}");
    assert!(reply.contains("1025") && reply.contains("1024"), "{reply}");
    let reply = line.ask(&format!("get {}", "k".repeat(1025))).replace(&"k".repeat(1025), "K");
    assert!(reply.starts_with("get_error K key too long"), "{reply}");
    assert_eq!(put(&mut line, 1, 1), "put_success K");
}

#[test]
fn a_value_at_its_limit_is_stored_and_one_byte_more_is_refused() {
    let server = Server::start(&["--sync", "never", "--max-value-bytes", "1000"]);
    let mut line = server.connect();
    assert_eq!(put(&mut line, 1, 1000), "put_success K");
    let reply = put(&mut line, 1, 1001);
    assert!(reply.starts_with("put_error K value too long"), "{reply}");
    assert!(!reply.contains("vvv"), "a reason never contains the value: {reply}");
    // A refused put changed nothing.
    assert_eq!(line.ask("get k"), format!("get_success k {}", "v".repeat(1000)));
}

#[test]
fn lengths_are_counted_after_escapes_are_read() {
    let server = Server::start(&["--max-key-bytes", "4", "--max-value-bytes", "4"]);
    let mut line = server.connect();
    let spelled = r"\x61\x62\x63\x64";
    assert_eq!(line.ask(&format!("put {spelled} {spelled}")), "put_success abcd");
    let reply = line.ask(&format!(r"put {spelled} {spelled}\n"));
    assert!(reply.contains("value too long"), "{reply}");
}

#[test]
fn a_line_that_no_request_needs_is_refused_and_the_connection_closed() {
    let server = Server::start(&["--max-key-bytes", "10", "--max-value-bytes", "1000"]);
    let mut line = server.connect();
    // More than any spelling of any request needs, and no end in sight.
    line.try_send("x".repeat(1 << 20)).unwrap_or_default();
    let reply = line.line();
    assert!(reply.starts_with("error line too long"), "{reply}");
    line.expect_end();
    assert_eq!(server.ask("get k"), "get_error k not found");
}

#[test]
fn endless_lines_take_no_memory_beyond_the_limit() {
    let server = Server::start(&["--max-value-bytes", "64KiB"]);
    let before = figure(&server.ask("info"), "memory_bytes");
    let chunk = "x".repeat(1 << 20);
    for _ in 0..10 {
        let mut line = server.connect();
        for _ in 0..20 {
            if line.try_send(&chunk).is_err() {
                break;
            }
        }
    }
    let after = figure(&server.ask("info"), "memory_bytes");
    assert!(after < before + (64 << 20), "memory grew from {before} to {after} bytes");
}

#[test]
fn one_connection_too_many_is_refused_with_a_reason_and_a_place_is_given_again() {
    let server = Server::start(&["--max-connections", "3"]);
    let mut lines: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for line in &mut lines {
        assert_eq!(line.ask("get k"), "get_error k not found");
    }
    let mut refused = server.connect();
    let reply = refused.line();
    assert!(reply.starts_with("error too many connections"), "{reply}");
    refused.expect_end();

    lines.pop();
    eventually("the place is given again", || {
        let mut line = server.connect();
        // The refusal may come before the question can be sent.
        line.try_send("get k\n").is_ok()
            && line.next() == Some(b"get_error k not found\r\n".to_vec())
    });
}

#[test]
fn large_requests_share_little_memory_in_a_cluster_and_servers_do_not_wait_for_it() {
    let cluster = Setup::of(3).with_servers(&["--buffer-bytes", "64KiB"]).start();
    let key = &cluster.keys()[0];
    let value = "v".repeat(1 << 20);
    let done = [format!("put_success {key}"), format!("put_update {key}")];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut line = cluster.servers[0].connect();
                assert!(done.contains(&line.ask(&format!("put {key} {value}"))));
            });
        }
    });

    // Each value is behind a write whose outcome is awaited; they do not all wait in memory for it.
    let mut line = cluster.servers[0].connect();
    let count = 50;
    let mut names = (0..).map(|n| format!("other{n}"));
    let other = names.find(|name| cluster.primary(name) == 0).expect("it is primary of some");
    let asked = format!("put {other} w\nget {key}\n").repeat(count);
    std::thread::scope(|scope| {
        let mut sender = line.stream().try_clone().expect("a socket can be had twice");
        scope.spawn(move || sender.write_all(asked.as_bytes()).expect("it is read"));
        for _ in 0..count {
            let reply = line.line();
            assert!(reply.starts_with("put_"), "{reply}");
            assert_eq!(line.line(), format!("get_success {key} {value}"));
        }
    });
    let info = line.ask("info");
    assert_eq!(figure(&info, "connections_starved"), 0);
    assert!(figure(&info, "memory_bytes") < 400 << 20, "{info}");
}
