//! Servers that pause, join, leave and are restarted while clients write and read.

use crate::harness::copies::assert_equal;
use crate::harness::{Cluster, Crowd, Launch, eventually};
use rustix::process::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_paused_primary_gives_no_stale_read_loses_no_write_and_comes_back_as_a_member_r13() {
    let mut cluster = Cluster::of(3);
    let key = cluster.keys().remove(0);
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(200);
        let done = format!("put_success {key}");
        cluster.wait_for(0, &format!("put {key} old"), |said| said == done);
        let mut old = cluster.servers[0].connect();
        cluster.servers[0].pause();
        // Asked while it sleeps, it answers when it wakes, and must not answer from memory.
        old.send(format!("get {key}\n"));
        let mut client = cluster.client(PATIENCE);
        let outcome = client.put(key.as_bytes(), b"new");
        assert!(outcome.is_done(), "somebody else takes over: {outcome:?}");
        progress.wait_for(200);
        cluster.servers[0].signal(Signal::CONT);
        let answer = old.line();
        assert_ne!(answer, format!("get_success {key} old"), "a stale read");
        cluster.wait_until_level();
        progress.wait_for(200);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn a_fourth_server_joins_under_writes_without_an_error_and_takes_its_share_p6() {
    let mut cluster = Cluster::of(3);
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(400);
        let index = cluster.start_server(Launch::new(&[]));
        cluster.wait_until_level();
        let address = cluster.servers[index].address().to_string();
        let status = cluster.status();
        let server = status.servers.iter().find(|server| server.address == address);
        assert!(server.is_some_and(|server| server.primary >= 2), "{status:?}");
        progress.wait_for(200);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn a_server_that_is_told_to_end_hands_everything_over_and_exits_0_p6() {
    // Without --stay SIGTERM means to leave the ring.
    let mut cluster = Cluster::of(3);
    cluster.leave_when_told_to_end();
    let index = cluster.start_server(Launch::new(&[]));
    cluster.wait_until_level();
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(300);
        assert_eq!(cluster.servers[index].terminate().code(), Some(0));
        progress.wait_for(300);
        cluster.wait_until_level();
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn an_order_to_leave_empties_a_server() {
    let mut cluster = Cluster::of(4);
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(200);
        let address = cluster.servers[1].address();
        cluster.order("leave", address);
        eventually("it has nothing", || {
            let status = cluster.status();
            let server = status.servers.iter().find(|server| server.address == address.to_string());
            let server = server.expect("the ECS remembers it");
            server.owned + server.primary + server.backup + server.learner == 0
        });
        progress.wait_for(200);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
}

#[test]
fn a_rolling_restart_is_no_error_to_a_client_with_a_deadline_of_five_seconds() {
    let mut cluster = Cluster::of(3);
    let mut crowd = Crowd::new(Duration::from_secs(5));
    crowd.run(&mut cluster, |cluster, progress| {
        for index in 0..3 {
            progress.wait_for(100);
            assert_eq!(cluster.servers[index].terminate().code(), Some(0));
            cluster.servers[index].start_again();
            cluster.wait_until_level();
        }
        progress.wait_for(100);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn servers_killed_in_the_middle_of_a_join_lose_nothing_p6() {
    let mut cluster = Cluster::of(3);
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(300);
        let index = cluster.start_server(Launch::new(&[]));
        cluster.servers[index].kill();
        progress.wait_for(100);
        cluster.servers[index].start_again();
        cluster.servers[0].kill();
        progress.wait_for(100);
        cluster.servers[0].start_again();
        cluster.wait_until_level();
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}
