//! No client can stop it: crowds that say nothing, half lines, readers that do not read, and nonsense.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::common::{Ecs, Line};
use crate::played::{PATIENT, Played, start, status};

/// Lets this process have as many connections as it may.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    raise_limit();
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut idle: Vec<Line> = (0..1000).map(|_| ecs.connect()).collect();
    let mut server = Played::start(&ecs, 1);
    server.ask(Vec::new(), Vec::new());
    assert!(status(&ecs).servers[0].is_seen);
    for line in idle.iter_mut().step_by(100) {
        line.send("ping");
        assert_eq!(line.line(), "pong", "they are served, too");
    }
}

#[test]
fn a_crowd_that_takes_all_places_does_not_keep_servers_out() {
    raise_limit();
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["--slots", "16", "--max-connections", "50"], &PATIENT[..]].concat();
    let ecs = Ecs::start(folder.path(), &arguments);
    let mut crowd: Vec<Line> = (0..50).map(|_| ecs.connect()).collect();
    for line in &mut crowd {
        line.send("ping");
        assert_eq!(line.line(), "pong");
    }
    assert_eq!(ecs.ask("ping"), "error too many connections (limit 50)");
    let silent: Vec<Line> = (0..200).map(|_| ecs.connect()).collect();
    let mut servers: Vec<_> = (1..=3).map(|name| Played::start(&ecs, name)).collect();
    servers[0].ask(Vec::new(), Vec::new());
    crowd[0].send("status");
    let status: cluster::coordinator::Status =
        crate::played::json(&crowd[0].line(), "status_success ");
    assert_eq!(status.servers.iter().filter(|server| server.is_seen).count(), 3);
    drop(silent);
}

#[test]
fn half_lines_and_replies_that_nobody_reads_hold_up_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = Ecs::start(folder.path(), &PATIENT);
    let mut server = Played::start(&ecs, 1);
    let mut half: Vec<Line> = (0..50).map(|_| ecs.connect()).collect();
    for line in &mut half {
        line.write(b"sta");
    }
    let mut greedy = ecs.connect();
    // Each map is about half a megabyte; it never reads one.
    greedy.write(&b"map\n".repeat(1000));
    for _ in 0..20 {
        server.ask(Vec::new(), Vec::new());
        assert_eq!(ecs.ask("ping"), "pong");
    }
    for line in &mut half {
        assert_eq!(line.rest(), "error request not finished in time (limit 5000 ms)\n");
    }
    greedy.write_until_closed();
    server.ask(Vec::new(), Vec::new());
}

#[test]
fn nonsense_of_any_bytes_ends_at_most_its_own_connection() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut server = Played::start(&ecs, 1);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move || {
        // Marsaglia's xorshift: the same bytes in each run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let begins: [&[u8]; 8] = [
        b"",
        b"server 1 00000000000000000000000000000009\n",
        b"server 1 00000000000000000000000000000009\nregister ",
        b"server 1 00000000000000000000000000000009\nrequest 00000000000000000000000000000009 ",
        b"server ",
        b"join ",
        b"plan ",
        b"status\n",
    ];
    for round in 0..200 {
        let mut bytes = begins[round % begins.len()].to_vec();
        let len = draw() % 300;
        let table: &[u8] = if round % 3 == 0 { b" 0123456789abcdef:,-\n\r" } else { &[] };
        for _ in 0..len {
            let [byte, ..] = draw().to_le_bytes();
            bytes.push(*table.get(usize::from(byte)).unwrap_or(&byte));
        }
        bytes.push(b'\n');
        let mut line = ecs.connect();
        line.write(&bytes);
        line.send("ping");
        drop(line);
        server.ask(Vec::new(), Vec::new());
    }
    assert_eq!(ecs.ask("ping"), "pong");
    ecs.signal(rustix::process::Signal::TERM);
    let (code, log) = ecs.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panic"), "{log}");
}
