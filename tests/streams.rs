//! What arrives in odd pieces, or in great amounts, or never.

use crate::harness::{Cluster, Server, eventually, figure};
use std::io::{Read as _, Write as _};
use std::time::Duration;

/// Requests sent in one go.
const PIPELINED_COUNT: usize = 10_000;

#[test]
fn requests_may_come_byte_by_byte() {
    let server = Server::start(&["--sync", "never"]);
    let mut line = server.connect();
    for byte in b"put key a value\r\nget key\n\rdelete key\n" {
        line.send([*byte]);
    }
    assert_eq!(line.line(), "put_success key");
    assert_eq!(line.line(), "get_success key a value");
    assert_eq!(line.line(), "delete_success key");
}

#[test]
fn half_a_line_waits_for_the_rest_and_does_nothing_without_it() {
    let server = Server::start(&[]);
    let mut half = server.connect();
    half.send("put k v\nput k half");
    assert_eq!(half.line(), "put_success k");
    half.finish_sending();
    half.expect_end();
    assert_eq!(server.ask("get k"), "get_success k v");
}

#[test]
fn a_nul_is_a_byte_like_any_other() {
    let server = Server::start(&[]);
    let mut line = server.connect();
    line.send(b"put a\0b c\0d\nget a\0b\n\0\n");
    assert_eq!(line.line_bytes(), br"put_success a\0b");
    assert_eq!(line.line_bytes(), br"get_success a\0b c\0d");
    assert_eq!(line.line_bytes(), b"error unknown request at column 1");
}

#[test]
fn ten_thousand_pipelined_requests_are_answered_in_order() {
    for sync in ["always", "never"] {
        let server = Server::start(&["--sync", sync]);
        let mut line = server.connect();
        let mut requests = String::new();
        for n in 0..PIPELINED_COUNT / 2 {
            requests += &format!("put key{} value{n}\nget key{}\n", n % 100, n % 100);
        }
        let mut sender = line.stream().try_clone().expect("a socket can be shared");
        std::thread::scope(|scope| {
            scope.spawn(move || sender.write_all(requests.as_bytes()).expect("all is taken"));
            for n in 0..PIPELINED_COUNT / 2 {
                let word = if n < 100 { "put_success" } else { "put_update" };
                assert_eq!(line.line(), format!("{word} key{}", n % 100));
                assert_eq!(line.line(), format!("get_success key{} value{n}", n % 100));
            }
        });
    }
}

#[test]
fn ten_thousand_pipelined_reads_are_answered_by_one_of_a_cluster() {
    let cluster = Cluster::of(3);
    let key = cluster.keys().swap_remove(0);
    let primary = cluster.primary(&key);
    cluster.wait_for(primary, &format!("put {key} v"), |said| said.starts_with("put_"));
    let mut line = cluster.servers[primary].connect();
    let mut sender = line.stream().try_clone().expect("a socket can be shared");
    let requests = format!("get {key}\n").repeat(PIPELINED_COUNT);
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(requests.as_bytes()).expect("all is taken"));
        for _ in 0..PIPELINED_COUNT {
            assert_eq!(line.line(), format!("get_success {key} v"));
        }
    });
}

#[test]
fn a_value_of_the_greatest_length_goes_there_and_back() {
    let server = Server::start(&["--sync", "never"]);
    let value: Vec<u8> = (0..16 << 20).map(|n: u32| b'a' + (n % 23) as u8).collect();
    let mut line = server.connect();
    let mut sender = line.stream().try_clone().expect("a socket can be shared");
    std::thread::scope(|scope| {
        let request = [&b"put big "[..], &value, b"\nget big\n"].concat();
        scope.spawn(move || sender.write_all(&request).expect("all is taken"));
        assert_eq!(line.line(), "put_success big");
        let reply = line.line_bytes();
        assert!(
            reply == [&b"get_success big "[..], &value].concat(),
            "the value comes back as put"
        );
    });
}

#[test]
fn a_client_that_never_reads_is_closed_and_hurts_nobody() {
    let server = Server::start(&["--sync", "never", "--write-timeout-s", "0.3"]);
    let value = "v".repeat(64 * 1024);
    assert_eq!(server.ask(&format!("put k {value}")), "put_success k");

    let mut deaf = server.connect();
    let connections = |server: &Server| figure(&server.ask("info"), "connections");
    eventually("the deaf client's connection is counted", || connections(&server) == 2);
    // The server stops reading once it owes enough, so the requests may not all be taken.
    deaf.stream().set_write_timeout(Some(Duration::from_millis(200))).expect("it takes options");
    let requests = "get k\n".repeat(20_000);
    deaf.try_send(&requests).unwrap_or_default();

    assert_eq!(server.ask("get other"), "get_error other not found");
    eventually("the deaf client is closed", || connections(&server) == 1);
    let memory = figure(&server.ask("info"), "memory_bytes");
    assert!(memory < 200 << 20, "{memory} bytes held");
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let server = Server::start(&["--sync", "never"]);
    let value = "v".repeat(64 * 1024);
    assert_eq!(server.ask(&format!("put k {value}")), "put_success k");
    let mut slow = server.connect();
    slow.send("get k\n".repeat(200));
    slow.finish_sending();
    let expected_len = 200 * ("get_success k \r\n".len() + value.len());
    let (mut stream, mut len) = (slow.stream(), 0);
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).expect("the rest comes") {
            0 => break,
            read => len += read,
        }
    }
    assert_eq!(len, expected_len);
}

#[test]
fn a_connection_that_is_reset_in_mid_request_hurts_nobody() {
    let server = Server::start(&["--sync", "never"]);
    for _ in 0..100 {
        let mut line = server.connect();
        line.send("put k v\nget k\nput half");
        // Unread replies make the close a reset.
        drop(line);
    }
    let mut line = server.connect();
    eventually("only this connection is left", || figure(&line.ask("info"), "connections") == 1);
    assert_eq!(line.ask("get k"), "get_success k v");
}
