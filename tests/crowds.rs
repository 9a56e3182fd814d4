//! Many connections, and too few descriptors for them.

use crate::harness::{Launch, Line, Server, eventually, figure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of a crowd.
const CROWD_COUNT: usize = 2_000;
/// Descriptors besides: the test's own, and the server's files.
const SPARE_COUNT: u64 = 200;

/// Raises this process's limit of open files, as far as it may be.
fn raise_descriptor_limit() -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the limit may be raised to its maximum");
    raised
}

#[test]
fn two_thousand_connections_are_served_at_once() {
    let limit = raise_descriptor_limit();
    assert!(
        limit.current.is_none_or(|count| count > CROWD_COUNT as u64 + SPARE_COUNT),
        "raise the hard limit of open files (ulimit -Hn): {limit:?}"
    );
    let server = Server::start(&["--sync", "never"]);
    let mut crowd: Vec<Line> = (0..CROWD_COUNT).map(|_| server.connect()).collect();
    // All ask before any reads: they are served at once and not one after the other.
    for (n, line) in crowd.iter_mut().enumerate() {
        line.send(format!("put key{n} {n}\nget key{n}\n"));
    }
    for (n, line) in crowd.iter_mut().enumerate() {
        assert_eq!(line.line(), format!("put_success key{n}"));
        assert_eq!(line.line(), format!("get_success key{n} {n}"));
    }
    assert_eq!(figure(&crowd[0].ask("info"), "connections"), CROWD_COUNT as u64);
    drop(crowd);
    let mut line = server.connect();
    eventually("the crowd has gone", || figure(&line.ask("info"), "connections") == 1);
}

#[test]
fn a_server_out_of_descriptors_serves_those_it_has_and_takes_more_when_they_go() {
    let narrow = ["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"];
    let server = Launch::new(&["--sync", "never"]).wrapped_by(&narrow).start();
    let mut first = server.connect();
    assert_eq!(first.ask("put k v"), "put_success k");

    // The kernel accepts for the server; beyond its descriptors nobody answers, or a refusal does.
    let crowd: Vec<Line> = (0..100).map(|_| server.connect()).collect();
    assert_eq!(first.ask("get k"), "get_success k v");
    assert_eq!(first.ask("put k w"), "put_update k");
    drop(crowd);

    eventually("new connections are served", || {
        let mut line = server.connect();
        line.try_send("get k\n").is_ok() && line.next() == Some(b"get_success k w\r\n".to_vec())
    });
}
