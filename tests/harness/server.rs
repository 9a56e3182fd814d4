//! A `kvserver`, or an `ecs`, in a folder of its own.
//!
//! [`Server::start`] returns when the server has printed `listening <ip:port>`, or fails with what it wrote
//! instead. The port is the system's choice at every start, so a test asks for [`Server::address`] again after
//! a restart, unless [`Launch::at`] says where. The server's standard error is kept in a file, over restarts, and shown when the test fails.

use super::binaries::{binary, scratch};
use super::line::Line;
use super::tool::Group;
use super::wait::{eventually, eventually_some};
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use tempfile::TempDir;

/// Characters of a server's log that are shown when a test fails: its last.
const SHOWN_COUNT: usize = 16 * 1024;

/// How a server is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    program: &'static str,
    at: SocketAddr,
    flags: Vec<String>,
    wrapper: Vec<OsString>,
    dir: Option<PathBuf>,
}

impl Launch {
    /// A server with the flags `flags` besides address, port and folder.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { program: "kvserver", at, flags, wrapper: Vec::new(), dir: None }
    }

    /// Starts `program` and not a `kvserver`: one that takes the same flags for address, port and folder.
    pub(crate) fn of(mut self, program: &'static str) -> Self {
        self.program = program;
        self
    }

    /// Gives it `flags` besides.
    pub(crate) fn with_flags(mut self, flags: impl IntoIterator<Item = String>) -> Self {
        self.flags.extend(flags);
        self
    }

    /// Has it listen at `address`.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.at = address;
        self
    }

    /// Has `wrapper` start the server: a command that takes the server's own command as its last arguments and
    /// becomes that process.
    pub(crate) fn wrapped_by(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// Keeps the data in `dir` and not in a folder that goes with the server.
    pub(crate) fn on(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_path_buf());
        self
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn start(self) -> Server {
        let home =
            TempDir::new_in(scratch()).expect("a folder can be made below the target folder");
        let dir = self.dir.clone().unwrap_or_else(|| home.path().join("data"));
        let mut server = Server { launch: self, home, dir, running: None };
        server.start_again();
        server
    }

    /// Starts a server that is not expected to listen.
    pub(crate) fn start_refused(self) -> Refused {
        let home =
            TempDir::new_in(scratch()).expect("a folder can be made below the target folder");
        let dir = self.dir.clone().unwrap_or_else(|| home.path().join("data"));
        let server = Server { launch: self, home, dir, running: None };
        let group = Group::spawn(&mut server.redirected());
        Refused { _group: group, server }
    }

    fn command(&self, dir: &Path) -> Command {
        let mut words = self.wrapper.clone();
        words.push(binary(self.program).into());
        let (ip, port) = (self.at.ip().to_string(), self.at.port().to_string());
        words.extend(["--address", &ip, "--port", &port, "--dir"].map(OsString::from));
        words.push(dir.into());
        words.extend(self.flags.iter().map(OsString::from));
        let mut command = Command::new(words.remove(0));
        command.args(words);
        command
    }
}

/// A server that listens, or one that has been stopped and can be started again on the same folder.
#[derive(Debug)]
pub(crate) struct Server {
    launch: Launch,
    home: TempDir,
    dir: PathBuf,
    running: Option<(Group, SocketAddr)>,
}

/// A server that somebody is to refuse.
#[derive(Debug)]
pub(crate) struct Refused {
    _group: Group,
    server: Server,
}

impl Refused {
    /// Returns all it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.server.log()
    }
}

impl Server {
    /// Starts a server with `flags` besides address, port and folder, and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Launch::new(flags).start()
    }

    /// Starts a server that has been stopped, on the same folder, and waits until it listens.
    pub(crate) fn start_again(&mut self) {
        assert!(self.running.is_none(), "stop it first");
        let mut group = Group::spawn(&mut self.redirected());
        let listening = eventually_some("the server listens", || {
            listening(&self.stdout()).map(Ok).or_else(|| group.ended().map(Err))
        });
        match listening {
            Ok(address) => self.running = Some((group, address)),
            Err(status) => panic!("the server ended before it listened: {status}"),
        }
    }

    /// Starts it again on the same folder, otherwise as `launch` says.
    pub(crate) fn start_again_as(&mut self, launch: Launch) {
        self.launch = launch;
        self.start_again();
    }

    /// Returns the address it listens at.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("the server runs").1
    }

    /// Connects to it.
    pub(crate) fn connect(&self) -> Line {
        Line::connect(self.address())
    }

    /// Connects, asks one question and returns the answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        self.connect().ask(request)
    }

    /// Returns whether it was started and neither killed nor awaited since.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns the folder of its data.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.group().pid()
    }

    /// Returns all it has written to standard error, over all its starts.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.path("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let (mut group, _) = self.running.take().expect("the server runs");
        group.kill();
    }

    /// Asks it to end, and returns how it did.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until it ends.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let (mut group, _) = self.running.take().expect("the server runs");
        eventually_some("the server ends", || group.ended())
    }

    /// Has every thread of it hang that makes the system call `call` from now on, until the value is dropped. Needs `strace`.
    pub(crate) fn hang(&self, call: &str) -> Group {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        // In microseconds: longer than any test.
        strace.arg(format!("--inject={call}:delay_enter=600000000"));
        strace.args(["-p", &self.pid().as_raw_pid().to_string()]);
        let group = Group::spawn(&mut strace);
        self.wait_for_threads("every thread is watched", is_traced);
        group
    }

    /// Stops it where it stands: returns when none of its threads runs. `CONT` resumes it.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        self.wait_for_threads("every thread is stopped", is_stopped);
    }

    fn wait_for_threads(&self, what: &str, is_so: impl Fn(&Path) -> bool) {
        let threads = PathBuf::from(format!("/proc/{}/task", self.pid().as_raw_pid()));
        eventually(what, || {
            let mut threads = fs::read_dir(&threads).expect("the server runs");
            threads.all(|thread| is_so(&thread.expect("a folder can be read").path()))
        });
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.group().signal(signal);
    }

    fn group(&self) -> &Group {
        &self.running.as_ref().expect("the server runs").0
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn stdout(&self) -> String {
        fs::read_to_string(self.path("stdout")).unwrap_or_default()
    }

    /// Returns the command that starts it, with its output going to files.
    fn redirected(&self) -> Command {
        let stdout = File::create(self.path("stdout")).expect("a file can be made");
        let log = OpenOptions::new().append(true).create(true).open(self.path("stderr"));
        let mut command = self.launch.command(&self.dir);
        command.stdin(std::process::Stdio::null()).stdout(stdout);
        command.stderr(log.expect("a file can be made"));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running = None;
        if thread::panicking() {
            let log = self.log();
            let shown = log.char_indices().rev().nth(SHOWN_COUNT).map_or(0, |(at, _)| at);
            let program = self.launch.program;
            eprintln!("what the {program} in {} said:\n{}", self.dir.display(), &log[shown..]);
        }
    }
}

/// Whether the thread at `path` below `/proc` is stopped, or gone.
fn is_stopped(path: &Path) -> bool {
    let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|fields| fields.is_empty() || fields.starts_with('T'))
}

/// Whether somebody traces the thread at `path` below `/proc`, or it is gone.
fn is_traced(path: &Path) -> bool {
    let status = fs::read_to_string(path.join("status")).unwrap_or_default();
    !status.contains("TracerPid:\t0\n")
}

/// Returns the address that a server's output announces, once the line is whole.
fn listening(stdout: &str) -> Option<SocketAddr> {
    let line = stdout.strip_prefix("listening ")?.strip_suffix('\n')?;
    Some(line.parse().unwrap_or_else(|e| panic!("`{line}` is no address: {e}")))
}
