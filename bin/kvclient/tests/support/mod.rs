//! Helpers of these tests: a small server in a thread, the client as a process, and a terminal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers of tests fail by panicking, and each test executable uses some of them"
)]

pub(crate) mod ecs;
pub(crate) mod fake;
pub(crate) mod terminal;

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything in these tests may take: far beyond what it does on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the client, to be given arguments, with an environment of its own.
pub(crate) fn kvclient() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvclient"));
    command.env_remove("NO_COLOR").env_remove("XDG_STATE_HOME").env_remove("HOME");
    command
}

/// What a run of the client wrote, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the client with `args` and nothing on its standard input.
pub(crate) fn run(args: &[&str]) -> Ran {
    kvclient().args(args).stdin(Stdio::null()).output().unwrap().into()
}

/// Runs the client with `args` and `input` on its standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Ran {
    let mut child = kvclient()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A client that ends before it has read everything is judged by what it wrote.
            drop(stdin.write_all(input));
        });
        child.wait_with_output().unwrap().into()
    })
}

/// Waits for a process to end and returns its exit code.
pub(crate) fn exit_code(child: &mut Child) -> i32 {
    let started_at = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().expect("ended by a signal");
        }
        assert!(started_at.elapsed() < PATIENCE, "the client does not end");
        std::thread::yield_now();
    }
}
