//! Commands that are run to their end, with a deadline.
//!
//! Output goes to files and not through pipes, so that no command can block on a reader that waits for it.

use super::keeper::{self, Item};
use super::wait::eventually_some;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What a command that ended has said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it wrote to its standard output.
    pub(crate) stdout: String,
    /// What it wrote to its standard error.
    pub(crate) stderr: String,
}

impl Ended {
    /// Returns the exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Returns itself if the command succeeded.
    ///
    /// # Panics
    /// When it failed; shows what it said.
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self
    }
}

/// Runs `command` to its end with nothing on its standard input.
pub(crate) fn run(command: &mut Command) -> Ended {
    run_fed(command, b"")
}

/// Runs `command` to its end with `input` on its standard input.
///
/// # Panics
/// When it cannot be run, or does not end within the deadline.
pub(crate) fn run_fed(command: &mut Command, input: &[u8]) -> Ended {
    let file = || tempfile::tempfile().expect("a temporary file can be made");
    let (mut stdin, mut stdout, mut stderr) = (file(), file(), file());
    stdin.write_all(input).and_then(|()| stdin.rewind()).expect("a temporary file can be written");
    command.stdin(stdin).stdout(same(&stdout)).stderr(same(&stderr));
    let mut group = Group::spawn(command);
    let status = eventually_some(&format!("{command:?} ends"), || group.ended());
    Ended { status, stdout: text(&mut stdout), stderr: text(&mut stderr) }
}

fn same(file: &File) -> Stdio {
    file.try_clone().expect("a file can be opened twice").into()
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("output can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A child that leads a process group; the group is killed and the child reaped on drop.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    /// Starts `command` in a process group of its own.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let spawned = command.process_group(0).spawn();
        let child = spawned.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        keeper::keep(Item::Group(child.id()));
        Self { child, ended: None }
    }

    /// Returns how the leader ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Returns the process id of the leader, which is the group's.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends `signal` to all of the group; a group that is gone is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            kill_process_group(self.pid(), signal).unwrap_or_default();
        }
    }

    /// Kills all of the group and reaps the leader.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        let status = self.child.wait().expect("a child can be waited for");
        self.ended = Some(status);
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        // The leader may have ended before what it started.
        kill_process_group(self.pid(), Signal::KILL).unwrap_or_default();
        keeper::forget(Item::Group(self.child.id()));
    }
}
