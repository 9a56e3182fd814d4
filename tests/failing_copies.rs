//! One copy's disk is full, or fails.

use crate::harness::copies::assert_equal;
use crate::harness::disk::Mount;
use crate::harness::{Crowd, Launch, Setup, eventually, has_command, is_root, skip};
use client::{Client, Outcome};
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
