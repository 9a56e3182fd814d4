//! A disk that is full, a sync that fails, and a power cut.

use crate::harness::disk::Mount;
use crate::harness::oracle::Load;
use crate::harness::{Launch, Server, eventually, has_command, is_root, skip};
use std::fs;

/// Bytes of the file system that is filled.
const SMALL_DISK_LEN: usize = 48 << 20;
/// Flags that leave most of such a disk to the puts.
const SMALL_DISK_FLAGS: [&str; 6] =
    ["--file-bytes", "2MiB", "--reserve-bytes", "8MiB", "--merge-rate", "256MiB"];
/// The system call that syncs, made to fail from the 20th on: a start needs fewer.
const FAILING_SYNC: [&str; 9] = [
    "strace",
    "-D",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "trace=fdatasync",
    "--inject=fdatasync:error=EIO:when=20+",
];

/// Puts keys `<prefix>0`, `<prefix>1` … of 64 KiB until one is refused; returns how many were taken, and the
/// refusal.
fn fill(server: &Server, prefix: &str) -> (u64, String) {
    let value = "v".repeat(64 << 10);
    let mut line = server.connect();
    for n in 0.. {
        let reply = line.ask(&format!("put {prefix}{n} {value}"));
        if !reply.starts_with("put_success") {
            return (n, reply);
        }
    }
    unreachable!("no disk is that large")
}

#[test]
fn a_full_disk_refuses_puts_and_goes_on_with_gets_and_deletes_r8() {
    if !is_root() {
        return skip("mounting a small file system needs root");
    }
    let disk = Mount::memory(SMALL_DISK_LEN);
    let mut server = Launch::new(&SMALL_DISK_FLAGS).on(&disk.path().join("data")).start();
    let (count, refusal) = fill(&server, "key");
    assert!(count > 100, "a disk of 48 MiB takes more than {count} values of 64 KiB");
    assert!(refusal.starts_with(&format!("put_error key{count} ")), "{refusal}");
    assert!(refusal.contains("full"), "it says why: {refusal}");

    let mut line = server.connect();
    assert!(line.ask("get key0").starts_with("get_success key0 vvv"));
    assert_eq!(line.ask(&format!("get key{count}")), format!("get_error key{count} not found"));
    for n in 0..count / 2 {
        assert_eq!(line.ask(&format!("delete key{n}")), format!("delete_success key{n}"));
    }
    // Merges give the deleted half back, in the reserve's room.
    eventually("puts are taken again", || {
        line.ask(&format!("put small {}", "v".repeat(1 << 20))).starts_with("put_")
            && line.ask("put small v").starts_with("put_update")
    });

    assert_eq!(server.terminate().code(), Some(0));
    server.start_again();
    let mut line = server.connect();
    assert_eq!(line.ask("get key0"), "get_error key0 not found");
    let last = format!("key{}", count - 1);
    assert!(line.ask(&format!("get {last}")).starts_with(&format!("get_success {last} vvv")));
    assert_eq!(line.ask("get small"), "get_success small v");
}

#[test]
fn a_disk_that_others_fill_refuses_puts_until_they_give_way() {
    if !is_root() {
        return skip("mounting a small file system needs root");
    }
    let disk = Mount::memory(SMALL_DISK_LEN);
    let server = Launch::new(&SMALL_DISK_FLAGS).on(&disk.path().join("data")).start();
    let mut line = server.connect();
    assert_eq!(line.ask("put k v"), "put_success k");

    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; SMALL_DISK_LEN - (4 << 20)]).expect("there is room");
    // Looking at the free space costs a system call, so it is looked at once in a MiB or so.
    let large = "w".repeat(64 << 10);
    let mut refusal = String::new();
    eventually("puts are refused", || {
        refusal = line.ask(&format!("put k {large}"));
        refusal.starts_with("put_error")
    });
    assert!(refusal.contains("full"), "{refusal}");
    let held = line.ask("get k");
    assert!(held == "get_success k v" || held == format!("get_success k {large}"), "{held}");
    fs::remove_file(&filler).expect("it is there");
    eventually("puts are taken again", || line.ask("put k x") == "put_update k");
    assert_eq!(line.ask("get k"), "get_success k x");
}

#[test]
fn a_start_on_a_full_disk_still_serves_what_is_there() {
    if !is_root() {
        return skip("mounting a small file system needs root");
    }
    let disk = Mount::memory(SMALL_DISK_LEN);
    let mut server = Launch::new(&SMALL_DISK_FLAGS).on(&disk.path().join("data")).start();
    let (count, _) = fill(&server, "key");
    server.kill();
    server.start_again();
    let mut line = server.connect();
    assert!(line.ask("get key0").starts_with("get_success key0 vvv"));
    assert_eq!(line.ask("delete key0"), "delete_success key0");
    let last = format!("key{}", count - 1);
    assert!(line.ask(&format!("get {last}")).starts_with("get_success"));
}

#[test]
fn a_failed_sync_poisons_the_store_and_says_so_r3() {
    if !has_command("strace") {
        return skip("making a sync fail needs strace");
    }
    let mut server = Launch::new(&["--sync", "always"]).wrapped_by(&FAILING_SYNC).start();
    let mut line = server.connect();
    let mut acknowledged = 0;
    let unknown = loop {
        let reply = line.ask(&format!("put key{acknowledged} v"));
        if !reply.starts_with("put_success") {
            break reply;
        }
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the sync never failed");
    };
    assert!(unknown.starts_with(&format!("put_unknown key{acknowledged} ")), "{unknown}");

    for request in ["put other v", "delete key0"] {
        let refused = line.ask(request);
        assert!(
            refused.starts_with("put_error") || refused.starts_with("delete_error"),
            "{refused}"
        );
        assert!(refused.contains("restart"), "it says what to do: {refused}");
    }
    assert_eq!(server.ask("get key0"), "get_success key0 v");
    assert_eq!(server.ask("get other"), "get_error other not found");
    assert!(server.log().contains("ERROR"), "a human must act");

    server.kill();
    server.start_again_as(Launch::new(&[]));
    let mut line = server.connect();
    for n in 0..acknowledged {
        assert_eq!(line.ask(&format!("get key{n}")), format!("get_success key{n} v"));
    }
    assert_eq!(line.ask("get other"), "get_error other not found");
    assert_eq!(line.ask("put other v"), "put_success other");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn many_writers_at_a_failing_sync_are_told_the_truth_r11() {
    if !has_command("strace") {
        return skip("making a sync fail needs strace");
    }
    let mut load = Load::new(6, 7);
    let mut server = Launch::new(&["--sync", "always"]).wrapped_by(&FAILING_SYNC).start();
    load.run(server.address(), |_| {
        eventually("the store is poisoned", || server.ask("put probe v").contains("restart"));
    });
    server.kill();
    server.start_again_as(Launch::new(&[]));
    load.judge(server.address());
}

/// Cuts the power of a server under load `rounds` times and judges after each.
fn cut_power_under_load(rounds: u64, seed: u64) {
    if !is_root() || !has_command("mkfs.xfs") || !has_command("xfs_io") {
        return skip("cutting a file system off needs root, mkfs.xfs and xfs_io");
    }
    let disk = Mount::xfs();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut load = Load::new(6, seed);
    let flags = ["--sync", "always", "--file-bytes", "256KiB", "--merge-dead-percent", "20"];
    let mut server = Launch::new(&flags).on(&disk.path().join("data")).start();
    for round in 0..rounds {
        let enough = load.acknowledged() + random.u64(1..1_000);
        let address = server.address();
        load.run(address, |progress| {
            eventually("writes are acknowledged", || progress.acknowledged() >= enough);
            server.pause();
            disk.cut_power(|| server.kill());
        });
        server.start_again();
        eprintln!("seed {seed}, round {round}: {} acknowledged", load.acknowledged());
        load.judge(server.address());
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    cut_power_under_load(2, 11);
}

#[test]
#[ignore = "heavy: twenty power cuts"]
fn twenty_power_cuts_take_nothing_that_was_acknowledged() {
    cut_power_under_load(20, 12);
}
