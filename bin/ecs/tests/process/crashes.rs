//! The folder outlives the process: kill -9, torn tails, the log's cut, a disk that takes no more.

use std::io::Write as _;
use std::process::Stdio;

use cluster::{Map, Version};

use crate::common::{Ecs, command, run};
use crate::played::{PATIENT, Played, settle, start, whole_map};

#[test]
fn after_kill_9_and_a_restart_the_map_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut ecs = start(folder.path());
    let mut servers: Vec<_> = (1..=3).map(|name| Played::start(&ecs, name)).collect();
    settle(&ecs, &mut servers);
    let before = whole_map(&ecs);
    for _ in 0..3 {
        ecs.kill();
        ecs = start(folder.path());
        assert_eq!(whole_map(&ecs), before);
    }
    for server in &mut servers {
        server.reconnect(&ecs);
        server.register();
        assert_eq!(server.map.since(Version(0)), before.delta, "nothing changes for the same life");
    }
}

#[test]
fn whatever_was_told_before_a_kill_9_at_any_moment_is_still_decided_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = 0;
    for told_count in 0..24 {
        let ecs = start(folder.path());
        let (mut asker, mut other) = (Played::welcomed(&ecs, 1), Played::welcomed(&ecs, 2));
        other.life = 1;
        other.register();
        // Lives one after the other, sent without waiting for an answer: the kill comes somewhere among them.
        for _ in 0..told_count + 4 {
            life += 1;
            asker.life = life;
            let registration = asker.registration();
            asker.say(&registration);
        }
        for _ in 0..told_count {
            asker.hear();
        }
        let told = asker.map.clone();
        ecs.kill();
        let ecs = start(folder.path());
        let kept = whole_map(&ecs);
        assert!(kept.delta.to >= told.version(), "{} of {}", kept.delta.to, told.version());
        let mut whole = Map::new(16, 3);
        whole.apply(&kept.delta).unwrap();
        let mut followed = told.clone();
        followed.apply(&whole.since(told.version())).unwrap();
        assert_eq!(followed, whole, "a decision that was told is another one now");
        asker.reconnect(&ecs);
        asker.life = life;
        asker.register();
    }
}

#[test]
fn a_long_log_is_cut_behind_a_snapshot_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let log_len = || std::fs::metadata(folder.path().join("log")).unwrap().len();
    let mut ecs = Ecs::start(folder.path(), &[&PATIENT[..], &["-ll", "WARN"]].concat());
    let mut server = Played::start(&ecs, 1);
    let mut is_cut = false;
    let mut longest = log_len();
    while !is_cut {
        // A complete server's new life is a new term of each of 4,096 slots.
        server.life += 1;
        server.reconnect(&ecs);
        server.register();
        // The sync that comes next finds the log cut.
        server.ask(Vec::new(), Vec::new());
        is_cut = log_len() < longest;
        longest = longest.max(log_len());
        assert!(longest < 32 << 20, "it is never cut");
    }
    let before = whole_map(&ecs);
    assert!(std::fs::metadata(folder.path().join("snapshot")).unwrap().len() > 100_000);
    ecs.kill();
    ecs = Ecs::start(folder.path(), &PATIENT);
    assert_eq!(whole_map(&ecs), before);
}

#[test]
fn a_torn_tail_is_cut_off_with_a_warning_and_damage_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    Played::start(&ecs, 1);
    let before = whole_map(&ecs);
    ecs.kill();
    let path = folder.path().join("log");
    let whole = std::fs::read(&path).unwrap();
    let mut log = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    log.write_all(b"0123abcd {\"delta\":{\"from\":1,").unwrap();
    let ecs = start(folder.path());
    assert_eq!(whole_map(&ecs), before);
    ecs.signal(rustix::process::Signal::TERM);
    let (code, told) = ecs.end();
    assert_eq!(code, Some(0));
    assert!(told.contains("WARN") && told.contains("cut off 28 bytes behind line 1"), "{told}");
    assert!(std::fs::read(&path).unwrap().is_empty(), "what it said is in the snapshot");

    let mut spoilt = whole;
    spoilt[20] ^= 1;
    std::fs::write(&path, spoilt).unwrap();
    let output = run(&["-p", "0", "-ll", "OFF", "-d", folder.path().to_str().unwrap()]);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}");
    let texts = [path.to_str().unwrap(), "damaged in line 1: wrong checksum", "ecs rebuild"];
    assert!(texts.iter().all(|text| line.contains(text)), "{line}");
}

/// A limit on the length of files stands for a disk that fails a write: the system says `EFBIG`.
#[test]
fn a_disk_that_fails_ends_it_with_an_error_and_nobody_is_told_what_is_not_durable() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path()).kill();
    // The log may have 512 or 1,024 bytes; the first registration has more.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} -p 0 -d {}",
        command().get_program().to_str().unwrap(),
        folder.path().display()
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &limited]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ecs = Ecs::of(shell.spawn().unwrap());
    let mut server = Played::welcomed(&ecs, 1);
    let registration = server.registration();
    server.say(&registration);
    assert_eq!(server.rest(), "", "it is not told that it is registered");
    let (code, told) = ecs.end();
    assert_eq!(code, Some(1), "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("ecs: cannot write ") && last.contains("/log"), "{told}");
    // What was written of it was never told, and is cut off.
    let ecs = start(folder.path());
    assert_eq!(whole_map(&ecs).delta.to, Version(0));
    let mut server = Played::start(&ecs, 1);
    server.ask(Vec::new(), Vec::new());
    assert!(!matches!(server.map.version(), Version(0)));
}
