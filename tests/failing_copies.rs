//! One copy's disk is full or fails, or it takes no connections.

use crate::harness::copies::assert_equal;
use crate::harness::disk::Mount;
use crate::harness::{
    Cluster, Crowd, Launch, Setup, eventually, figure, has_command, is_root, skip,
};
use client::{Client, Outcome};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the file system that is filled.
const SMALL_DISK_LEN: usize = 48 << 20;
/// Flags that leave most of such a disk to the puts.
const SMALL_DISK_FLAGS: [&str; 6] =
    ["--file-bytes", "2MiB", "--reserve-bytes", "8MiB", "--merge-rate", "256MiB"];

/// Puts values of 64 KiB until one is refused; returns how many were taken, and the refusal.
fn fill(client: &mut Client) -> (u64, String) {
    let value = vec![b'v'; 64 << 10];
    for n in 0.. {
        match client.put(format!("key{n}").as_bytes(), &value) {
            Outcome::Done(_) => {}
            Outcome::Refused(error) => return (n, error.to_string()),
            Outcome::Unknown(error) => panic!("key{n}, which is safe to refuse: {error}"),
        }
    }
    unreachable!("no disk is that large")
}

#[test]
fn a_full_disk_of_one_copy_refuses_puts_and_lets_gets_and_deletes_through_r8() {
    if !is_root() {
        return skip("mounting a small file system needs root");
    }
    let disk = Mount::memory(SMALL_DISK_LEN);
    let small = Launch::new(&SMALL_DISK_FLAGS).on(&disk.path().join("data"));
    let mut cluster = Setup::of(3).with_launch(1, small).start();
    let mut client = cluster.client(PATIENCE);
    let (count, refusal) = fill(&mut client);
    assert!(count > 100, "a disk of 48 MiB takes more than {count} values of 64 KiB: {refusal}");
    assert!(refusal.contains("full"), "it says why: {refusal}");

    let mut client = cluster.client(PATIENCE);
    for n in 0..count {
        let key = format!("key{n}");
        assert!(client.get(key.as_bytes()).expect("reads go on").is_some(), "{key}");
    }
    for n in 0..count / 2 {
        let outcome = client.delete(format!("key{n}").as_bytes());
        assert!(matches!(outcome, Outcome::Done(true)), "key{n}: {outcome:?}");
    }
    eventually("puts are taken again", || client.put(b"small", b"v").is_done());
    drop(client);
    assert_equal(&mut cluster);
}

#[test]
fn a_copy_whose_sync_fails_is_taken_out_and_nothing_is_lost_r3() {
    if !has_command("strace") {
        return skip("making a sync fail needs strace");
    }
    // A server's start and its first slots need some hundred syncs.
    let failing = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"];
    let failing = [&failing[..], &["--inject=fdatasync:error=EIO:when=300+"]].concat();
    let mut cluster = Setup::of(3).with_launch(2, Launch::new(&[]).wrapped_by(&failing)).start();
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        eventually("the disk failed", || cluster.status().servers.iter().any(|s| s.has_failed));
        progress.wait_for(300);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    cluster.servers[2].kill();
    let launch = cluster.launch();
    cluster.servers[2].start_again_as(launch);
    cluster.wait_until_level();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn a_copy_whose_disk_fails_in_the_background_says_so_and_is_made_anew_r3() {
    if !has_command("strace") {
        return skip("making a sync fail needs strace");
    }
    let failing = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"];
    let failing = [&failing[..], &["--inject=fdatasync:error=EIO:when=300+"]].concat();
    let flags = ["--sync", "interval=10"];
    let launch = Launch::new(&[]).wrapped_by(&failing);
    let mut cluster = Setup::of(3).with_servers(&flags).with_launch(2, launch).start();
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        eventually("the disk failed", || cluster.status().servers.iter().any(|s| s.has_failed));
        progress.wait_for(300);
    });
    crowd.assert_all_done();
    cluster.servers[2].kill();
    let launch = cluster.launch();
    cluster.servers[2].start_again_as(launch);
    cluster.wait_until_level();
    assert!(cluster.servers[2].log().contains("the copies of this server are made anew"));
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn a_server_that_takes_no_connections_loses_its_slots_until_it_does_r16() {
    if !has_command("strace") {
        return skip("making a thread hang needs strace");
    }
    let mut cluster = Setup::of(3).start();
    let mut crowd = Crowd::new(PATIENCE);
    let deaf = cluster.servers[0].address().to_string();
    // A loop that hangs for a second, and the grace.
    let leads = |cluster: &Cluster| {
        let status = cluster.status();
        let server = status.servers.iter().find(|server| server.address == deaf);
        server.expect("it is known").primary
    };
    assert!(leads(&cluster) > 0, "it has its share");
    crowd.run(&mut cluster, |cluster, progress| {
        let strace = cluster.servers[0].hang("accept4");
        eventually("others lead its slots", || leads(cluster) == 0);
        progress.wait_for(100);
        drop(strace);
        eventually("it has slots again", || leads(cluster) > 0);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    cluster.wait_until_level();
    assert_equal(&mut cluster);
}

#[test]
fn a_server_without_descriptors_keeps_its_slots_r16() {
    let mut cluster = Setup::of(3).start();
    let (before, server) = (cluster.status().version, &cluster.servers[0]);
    let mut line = server.connect();
    assert!(line.ask("keyrange").starts_with("keyrange_success"), "it is taken");
    let narrow = |count| {
        let limit = Rlimit { current: Some(count), ..getrlimit(Resource::Nofile) };
        prlimit(Some(server.pid()), Resource::Nofile, limit).expect("it is our child")
    };
    let wide = narrow(8);
    let mut waiting = server.connect();
    waiting.send("get k\n");
    eventually("it says so", || server.log().contains("cannot accept connections"));
    let uptime = figure(&line.ask("info"), "uptime_s");
    // Three times as long as a loop that hangs has before others take over.
    eventually("time passes", || figure(&line.ask("info"), "uptime_s") > uptime + 7);
    prlimit(Some(server.pid()), Resource::Nofile, wide).expect("it is our child");
    assert!(!waiting.line().is_empty(), "it is served at last");
    assert_eq!(cluster.status().version, before, "nobody took over");
    drop((line, waiting));
    assert_equal(&mut cluster);
}
