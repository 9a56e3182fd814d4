//! What was acknowledged is there after `kill -9`.

use crate::harness::oracle::Load;
use crate::harness::{Server, eventually};

/// Writers at once: enough for shared syncs, few enough for two processors.
const WRITER_COUNT: u64 = 6;
/// Small data files, so that rotation and merges are under way when the kill comes.
const SMALL_FILES: [&str; 6] =
    ["--file-bytes", "128KiB", "--merge-dead-percent", "20", "--merge-rate", "1MiB"];

/// Kills a server under load `rounds` times, each time after some hundreds more of acknowledged writes, and
/// judges after each.
fn kill_under_load(sync: &str, flags: &[&str], rounds: u64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut load = Load::new(WRITER_COUNT, seed);
    let mut server = Server::start(&[&["--sync", sync], flags].concat());
    for round in 0..rounds {
        let enough = load.acknowledged() + random.u64(1..1_500);
        let address = server.address();
        load.run(address, |progress| {
            eventually("writes are acknowledged", || progress.acknowledged() >= enough);
            server.kill();
        });
        server.start_again();
        eprintln!("seed {seed}, round {round}: {} acknowledged", load.acknowledged());
        load.judge(server.address());
    }
    assert_eq!(server.terminate().code(), Some(0));
    server.start_again();
    load.judge(server.address());
}

#[test]
fn writes_acknowledged_after_their_sync_survive_kill_9() {
    kill_under_load("always", &[], 4, 1);
}

#[test]
fn writes_acknowledged_before_their_sync_survive_kill_9_too() {
    kill_under_load("never", &[], 4, 2);
}

#[test]
fn rotation_and_merges_survive_kill_9() {
    kill_under_load("never", &SMALL_FILES, 6, 3);
}

#[test]
#[ignore = "heavy: a hundred kills"]
fn a_hundred_kills_under_load_lose_no_acknowledged_write() {
    for (n, sync) in ["always", "never", "interval=20", "always"].into_iter().enumerate() {
        let flags: &[&str] = if n == 0 { &[] } else { &SMALL_FILES };
        kill_under_load(sync, flags, 25, 100 + n as u64);
    }
}

#[test]
fn a_server_killed_while_it_starts_starts_all_the_same() {
    let mut load = Load::new(WRITER_COUNT, 4);
    let mut server = Server::start(&[&["--sync", "never"][..], &SMALL_FILES].concat());
    load.run(server.address(), |progress| {
        eventually("writes are acknowledged", || progress.acknowledged() >= 3_000);
        server.kill();
    });
    for _ in 0..10 {
        // It listens as soon as it has recovered; what it then does in the background is cut off again.
        server.start_again();
        server.kill();
    }
    server.start_again();
    load.judge(server.address());
}
