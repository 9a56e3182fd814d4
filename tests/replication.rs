//! Three copies: what is acknowledged is on all of them, and stays whatever is killed.

use crate::harness::copies::{assert_equal, held};
use crate::harness::{Cluster, Crowd, Line, Server, Setup, eventually};
use rustix::process::Signal;
use std::time::Duration;

/// A deadline that no failover reaches, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_put_is_on_three_servers_before_it_is_acknowledged_r10() {
    let mut cluster = Cluster::of(3);
    for (round, key) in cluster.keys().into_iter().enumerate() {
        let primary = cluster.primary(&key);
        let done = format!("put_success {key}");
        cluster.wait_for(primary, &format!("put {key} {round}"), |said| said == done);
        cluster.servers.iter_mut().for_each(Server::kill);
        for server in &cluster.servers {
            assert_eq!(held(server.dir(), &key), Some(round.to_string()), "{:?}", server.dir());
        }
        cluster.servers.iter_mut().for_each(Server::start_again);
        cluster.wait_until_level();
    }
}

#[test]
fn one_server_of_three_has_every_acknowledged_write_and_serves_when_the_others_are_taken_off_p8() {
    let mut cluster = Cluster::of(3);
    let mut client = cluster.client(PATIENCE);
    for n in 0..100 {
        let outcome = client.put(format!("key{n}").as_bytes(), format!("{n}").as_bytes());
        assert!(outcome.is_done(), "{outcome:?}");
    }
    let gone = [cluster.servers[0].address(), cluster.servers[2].address()];
    cluster.servers[0].kill();
    cluster.servers[2].kill();
    for address in gone {
        cluster.order("leave", address);
    }
    for n in 0..100 {
        let found = format!("get_success key{n} {n}");
        cluster.wait_for(1, &format!("get key{n}"), |said| said == found);
    }
    cluster.wait_for(1, "put key0 again", |said| said == "put_update key0");
}

#[test]
fn writes_go_on_when_a_primary_is_killed_and_none_is_lost_p5() {
    let mut cluster = Cluster::of(3);
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(200);
        let primary = cluster.primary("c0.counter");
        cluster.servers[primary].kill();
        progress.wait_for(200);
        cluster.servers[primary].start_again();
        cluster.wait_until_level();
        progress.wait_for(200);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn everything_acknowledged_is_there_when_all_were_killed_at_once_p2() {
    let mut cluster = Cluster::of(3);
    let mut crowd = Crowd::new(Duration::from_millis(500));
    for _ in 0..2 {
        crowd.run(&mut cluster, |cluster, progress| {
            progress.wait_for(300);
            for server in &mut cluster.servers {
                server.signal(Signal::KILL);
            }
        });
        for server in &mut cluster.servers {
            server.kill();
            server.start_again();
        }
        cluster.wait_until_level();
        crowd.judge(&cluster);
    }
    assert_equal(&mut cluster);
}

#[test]
fn all_and_the_ecs_killed_at_once_come_back_with_everything() {
    let mut cluster = Cluster::of(3);
    let mut crowd = Crowd::new(Duration::from_millis(500));
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(300);
        cluster.ecs.kill();
        cluster.servers.iter_mut().for_each(Server::kill);
    });
    cluster.ecs.start_again();
    cluster.servers.iter_mut().for_each(Server::start_again);
    cluster.wait_until_level();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn a_read_at_any_copy_sees_every_acknowledged_write_r14() {
    let mut cluster = Cluster::of(3);
    let keys = cluster.keys();
    let mut lines: Vec<Line> = cluster.servers.iter().map(Server::connect).collect();
    for round in 0..20 {
        for (primary, key) in keys.iter().enumerate() {
            eventually("the put is done", || {
                let reply = lines[primary].ask(&format!("put {key} {round}"));
                reply.starts_with("put_success") || reply.starts_with("put_update")
            });
        }
        for line in &mut lines {
            keys.iter().for_each(|key| assert_read(line, key, round));
        }
    }
    assert_equal(&mut cluster);
}

/// Asserts that a copy has the newest value of a key, or sends the reader elsewhere until it has.
fn assert_read(line: &mut Line, key: &str, newest: usize) {
    eventually("every copy answers", || {
        let read = line.ask(&format!("get {key}"));
        let is_read = read == format!("get_success {key} {newest}");
        assert!(is_read || read.starts_with("server_"), "after write {newest}: {read}");
        is_read
    });
}

#[test]
fn a_write_sent_again_under_its_id_is_done_once_also_by_the_next_primary_r24() {
    let mut cluster = Cluster::of(3);
    let key = cluster.keys().remove(0);
    let primary = cluster.primary(&key);
    let request = format!("with id=77:1 if=absent put {key} first");
    let done = format!("put_success {key}");
    cluster.wait_for(primary, &request, |said| said == done);
    cluster.servers[primary].kill();
    let others = [0, 1, 2].into_iter().filter(|other| *other != primary);
    let backups: Vec<_> = others.collect();
    // One of the two takes over; it must know the request, or it would find that the key is there.
    let mut said = String::new();
    eventually("the next primary answers", || {
        backups.iter().any(|&index| {
            said = cluster.servers[index].ask(&request);
            assert!(!said.contains("condition"), "it was done again: {said}");
            said == done
        })
    });
}

#[test]
fn flags_of_durability_do_not_weaken_what_three_copies_promise() {
    let mut cluster = Setup::of(3).with_servers(&["--sync", "never"]).start();
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(300);
        cluster.servers[1].kill();
        progress.wait_for(300);
    });
    crowd.judge(&cluster);
}
