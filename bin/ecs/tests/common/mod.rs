//! What the tests of the program share: the process, and whoever speaks to it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far above what any step takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ecs"))
}

/// Runs to the end, which must come by itself.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// An ECS process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Ecs {
    child: Child,
    pub(crate) address: String,
}

impl Ecs {
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = command();
        command.args(["--port", "0", "--dir"]).arg(dir).args(arguments);
        Self::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until the process listens. Its standard output and error are pipes.
    pub(crate) fn of(mut child: Child) -> Self {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening ");
        let Some(address) = address.map(str::to_owned) else {
            let mut log = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut log).unwrap();
            unreachable!("it does not start: {log}");
        };
        Self { child, address }
    }

    pub(crate) fn connect(&self) -> Line {
        Line::to(&self.address)
    }

    /// Asks one thing on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut line = self.connect();
        line.send(request);
        line.line()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end; returns the exit code and standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
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

impl Drop for Ecs {
    fn drop(&mut self) {
        // Most have ended before.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
        if std::thread::panicking() {
            let mut log = Vec::new();
            self.child.stderr.as_mut().unwrap().read_to_end(&mut log).unwrap();
            std::io::stderr().write_all(&log).unwrap();
        }
    }
}

/// A connection, by lines.
#[derive(Debug)]
pub(crate) struct Line {
    reader: BufReader<TcpStream>,
}

impl Line {
    pub(crate) fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// Sends lines, without reading anything, until the other side has closed the connection.
    pub(crate) fn write_until_closed(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.reader.get_mut().write_all(b"ping\n").is_ok() {
            assert!(Instant::now() < until, "it is never closed");
            std::thread::yield_now();
        }
    }

    /// Sends a line.
    pub(crate) fn send(&mut self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// Reads a line; empty at the end of the stream, which a reset is too.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).map(|_| ()).unwrap_or_default();
        line.trim_end().to_owned()
    }

    /// Reads to the end of the stream, which a reset is too.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| ()).unwrap_or_default();
        String::from_utf8(rest).unwrap()
    }
}
