//! The program as a process: help, wrong usage, what cannot be had, and a clean end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step of a test is its failure")]

mod common;

use common::{Ecs, command, run};
use rustix::process::Signal;

#[test]
fn help_names_every_flag_and_default() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for text in [
        "-a, --address",
        "[default: 127.0.0.1]",
        "-p, --port",
        "[default: 5152]",
        "-d, --dir",
        "[default: ringcask-ecs]",
        "-l, --log-file",
        "--log-level",
        "-ll",
        "[default: info]",
        "--replicas",
        "[default: 3]",
        "--tokens",
        "[default: 8]",
        "--rejoin-grace-ms",
        "[default: 10000]",
        "--grace-ms",
        "[default: 1000]",
        "--elastic",
        "--spawn-command",
        "--spawn-max",
        "--spawn-timeout-s",
        "[default: 60]",
        "--secret-file",
        "--insecure",
        "--max-connections",
        "[default: 1024]",
        "rebuild",
    ] {
        assert!(help.contains(text), "{text} in:\n{help}");
    }
    let help = String::from_utf8(run(&["rebuild", "--help"]).stdout).unwrap();
    for text in ["--from", "--dir", "--accept-loss"] {
        assert!(help.contains(text), "{text} in:\n{help}");
    }
    let version = String::from_utf8(run(&["--version"]).stdout).unwrap();
    assert_eq!(version.trim_end(), format!("ecs {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (arguments, text) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--port", "many"], "many"),
        (&["--replicas", "17"], "1 to 16"),
        (&["rebuild"], "--from"),
        (&["--spawn-command", "x"], "needs --elastic on"),
        (&["--spawn-command", "x {who}"], "unknown placeholder {who}"),
        (&["--spawn-max", "2"], "--spawn-command"),
        (&["surplus"], "surplus"),
    ] {
        let output = run(arguments);
        let text_found = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text_found}");
        assert!(text_found.contains(text), "{arguments:?}: {text_found}");
        assert!(output.stdout.is_empty());
    }
}

/// Checks that a start fails with exit code 1 and one line that holds `texts`.
fn check_failure(arguments: &[&str], texts: &[&str]) {
    let output = run(&[arguments, &["-ll", "OFF"]].concat());
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("ecs: "), "{line}");
    for text in texts {
        assert!(line.contains(text), "{text:?} in {line}");
    }
}

#[test]
fn what_cannot_be_had_exits_with_1_and_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (busy, free) = (folder.path().join("busy"), folder.path().join("free"));
    let (busy_name, free_name) = (busy.to_str().unwrap(), free.to_str().unwrap());
    let ecs = Ecs::start(&busy, &["--slots", "16", "--replicas", "2"]);
    let (_, port) = ecs.address.rsplit_once(':').unwrap();
    check_failure(&["-p", port, "-d", free_name], &["in use", port, "--port"]);
    check_failure(&["-p", "0", "-d", busy_name], &["in use by another ecs", busy_name, "--dir"]);
    check_failure(&["-p", "0", "-d", "/dev/null/data"], &["/dev/null/data"]);
    check_failure(&["-p", "0", "-a", "192.0.2.1", "-d", free_name], &["192.0.2.1", "--address"]);
    check_failure(
        &["-p", "0", "-d", free_name, "-l", "/dev/null/x"],
        &["/dev/null/x", "--log-file"],
    );
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let empty_name = empty.to_str().unwrap();
    let secret = ["-p", "0", "-d", free_name, "--secret-file", empty_name];
    check_failure(&secret, &[empty_name, "1 to 256 bytes"]);
    check_failure(
        &["-p", "0", "-a", "0.0.0.0", "-d", free_name],
        &["--secret-file", "--insecure", "loopback"],
    );
    assert!(!free.exists(), "nothing is made before the address is had");
    ecs.kill();
    for (flag, value) in [("--slots", "32"), ("--replicas", "3")] {
        check_failure(&["-p", "0", "-d", busy_name, flag, value], &[flag, "stays so", value]);
    }
    Ecs::start(&busy, &["--slots", "16", "--replicas", "2"]);
    Ecs::start(&busy, &[]);
}

#[test]
fn a_signal_ends_it_cleanly_and_a_second_start_finds_the_same_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let mut welcomes = Vec::new();
    for signal in [Signal::TERM, Signal::INT] {
        let ecs = Ecs::start(folder.path(), &["--slots", "16"]);
        let mut server = ecs.connect();
        server.send("server 1 0000000000000000000000000000000a");
        welcomes.push(server.line());
        ecs.signal(signal);
        let (code, log) = ecs.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
    assert!(welcomes[0].starts_with("welcome ") && welcomes[0].ends_with(" 16 3"));
    assert_eq!(welcomes[0], welcomes[1]);
}

#[test]
fn the_log_goes_to_a_file_if_asked_and_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.txt");
    for starts in 1..3 {
        let dir = folder.path().join("ecs");
        let ecs = Ecs::start(&dir, &["-l", path.to_str().unwrap(), "-ll", "ALL"]);
        ecs.signal(Signal::TERM);
        let (code, log) = ecs.end();
        assert_eq!((code, log.as_str()), (Some(0), ""));
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written.matches("stopped").count(), starts);
    }
    assert!(command().arg("--help").output().unwrap().status.success());
}
