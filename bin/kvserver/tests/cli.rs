//! The program as a process: help, wrong usage, what cannot be had, and a clean end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step of a test is its failure")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far above what a start or an end takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kvserver"))
}

/// Runs to the end, which must come by itself.
fn run(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// A server process; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut child = command()
            .args(["--port", "0", "--dir"])
            .arg(dir)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening ").unwrap().to_owned();
        Self { child, address }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; returns the exit code and standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::yield_now();
        }
        let mut log = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Most have ended before.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

#[test]
fn help_names_every_flag_and_default() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for text in [
        "-a, --address",
        "[default: 127.0.0.1]",
        "-p, --port",
        "[default: 5153]",
        "-d, --dir",
        "[default: ringcask-data]",
        "-b, --bootstrap",
        "--advertise",
        "-l, --log-file",
        "--log-level",
        "-ll",
        "[default: info]",
        "--sync",
        "[default: always]",
        "--dialect",
        "[default: native]",
        "--max-key-bytes",
        "[default: 1024]",
        "--max-value-bytes",
        "[default: 16MiB]",
        "--max-connections",
        "[default: 4096]",
        "--idle-timeout-s",
        "[default: 300]",
        "--request-timeout-s",
        "--write-timeout-s",
        "[default: 10]",
        "--file-bytes",
        "[default: 128MiB]",
        "--reserve-bytes",
        "[default: 64MiB]",
        "--merge-dead-percent",
        "[default: 30]",
        "--merge-rate",
    ] {
        assert!(help.contains(text), "{text} in:\n{help}");
    }
    let version = String::from_utf8(run(&["--version"]).stdout).unwrap();
    assert_eq!(version.trim_end(), format!("kvserver {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (arguments, text) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--port", "many"], "many"),
        (&["--sync", "sometimes"], "always, never or interval=MS"),
        (&["-b", "somewhere"], "somewhere"),
        (&["--standby"], "--bootstrap"),
        (&["-b", "127.0.0.1:1", "--grace-ms", "849"], "the grace must be at least"),
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
    assert!(line.starts_with("kvserver: "), "{line}");
    for text in texts {
        assert!(line.contains(text), "{text:?} in {line}");
    }
}

#[test]
fn what_cannot_be_had_exits_with_1_and_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (busy, free) = (folder.path().join("busy"), folder.path().join("free"));
    let (busy_name, free_name) = (busy.to_str().unwrap(), free.to_str().unwrap());
    let server = Server::start(&busy, &[]);
    let (_, port) = server.address.rsplit_once(':').unwrap();
    check_failure(&["-p", port, "-d", free_name], &["in use", port, "--port"]);
    check_failure(&["-p", "0", "-d", busy_name], &["in use", busy_name, "--dir"]);
    check_failure(&["-p", "0", "-d", "/dev/null/data"], &["/dev/null/data", "--dir"]);
    check_failure(&["-p", "0", "-a", "192.0.2.1", "-d", free_name], &["192.0.2.1", "--address"]);
    check_failure(
        &["-p", "0", "-d", free_name, "-l", "/dev/null/x"],
        &["/dev/null/x", "--log-file"],
    );
}

#[test]
fn a_signal_ends_it_cleanly_and_what_was_put_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let server = Server::start(folder.path(), &["-ll", "INFO"]);
        let mut stream = TcpStream::connect(&server.address).unwrap();
        writeln!(stream, "put k{round} v\nget k0").unwrap();
        let mut reader = BufReader::new(stream);
        let mut replies = String::new();
        reader.read_line(&mut replies).unwrap();
        reader.read_line(&mut replies).unwrap();
        assert_eq!(replies, format!("put_success k{round}\r\nget_success k0 v\r\n"));
        server.signal(signal);
        let (code, log) = server.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped after"), "{log}");
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}

#[test]
fn the_log_goes_to_a_file_if_asked_and_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.txt");
    for starts in 1..3 {
        let data = folder.path().join("data");
        let server = Server::start(&data, &["-l", path.to_str().unwrap(), "-ll", "ALL"]);
        server.signal(Signal::TERM);
        let (code, log) = server.end();
        assert_eq!((code, log.as_str()), (Some(0), ""));
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written.matches("stopped after").count(), starts);
    }
}

#[test]
fn a_server_that_waits_for_its_ecs_ends_on_a_signal_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    // A port on which nobody listens any more.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = command()
        .args(["-p", "0", "-b", &nobody.to_string(), "-d"])
        .arg(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = |line: &String| line.contains("asking the ECS");
    assert!(lines.by_ref().map(Result::unwrap).any(|line| waits(&line)));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let last = lines.map(Result::unwrap).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{last}");
    assert!(last.contains("waited for the ECS"), "{last}");
}

#[test]
fn the_folder_of_a_cluster_of_one_is_not_taken_into_a_cluster_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, member) = (folder.path().join("alone"), folder.path().join("member"));
    let server = Server::start(&alone, &[]);
    server.signal(Signal::TERM);
    assert_eq!(server.end().0, Some(0));
    let name = alone.to_str().unwrap();
    check_failure(&["-p", "0", "-b", "127.0.0.1:1", "-d", name], &[name, "a cluster of one"]);
    std::fs::create_dir_all(member.join("cluster")).unwrap();
    std::fs::write(member.join("cluster/about"), "{}").unwrap();
    let name = member.to_str().unwrap();
    check_failure(&["-p", "0", "-d", name], &[name, "-b"]);
}

#[test]
fn other_machines_are_let_in_on_purpose_only() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "\n").unwrap();
    let secret = secret.to_str().unwrap();
    let ecs = ["-p", "0", "-b", "127.0.0.1:1", "-d", dir];
    check_failure(&[&ecs[..], &["-a", "0.0.0.0"]].concat(), &["--advertise"]);
    let told = ["-a", "0.0.0.0", "--advertise", "127.0.0.1:7000"];
    check_failure(&[&ecs[..], &told].concat(), &["--secret-file", "--insecure"]);
    check_failure(&[&ecs[..], &["--secret-file", secret]].concat(), &[secret, "0 bytes"]);
}
