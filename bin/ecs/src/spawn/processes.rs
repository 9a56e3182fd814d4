//! The processes that the ECS started: a folder for each number, in which the next ECS finds them again.
//!
//! ```text
//! <dir>/spawned/<n>/pid    line 1: the process id; line 2: when that process began, and since which boot (Linux)
//! <dir>/spawned/<n>/out    its standard output; its server says there `listening <ip:port>`
//! <dir>/spawned/<n>/server the id of the server that it is, once it has registered
//! <dir>/spawned/<n>/log    its standard error, of all its lives
//! ```
//!
//! What else is in the folder is the process' own: `{dir}` in the command names it. A process leads a process group of its own,
//! so that Ctrl-C at the ECS's terminal is not meant for it, and signals go to the whole group: the command may be a shell's.
//!
//! A process of an earlier ECS is believed to be the one that the file `pid` names only if it began when that file says, in
//! this boot: numbers are given again, and no stranger's process is ever signalled. Where there is no `/proc` nothing is
//! found again, and such processes are the operator's to end.
//!
//! Left out: a process that was started a moment before the ECS was killed, before its `pid` was written. It registers and is
//! used like any other, and is not ended.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use cluster::ServerId;
use cluster::coordinator::spawn::{News, SPAWN_COUNT_MAX};
use rustix::process::{Pid, Signal, kill_process_group};

use super::Template;

/// Bytes of what a process says that are read: its line `listening` is the first.
const SAID_LEN_MAX: u64 = 4096;

/// Processes by number.
#[derive(Debug)]
pub(super) struct Processes {
    dir: PathBuf,
    template: Template,
    ecs: SocketAddr,
    running: BTreeMap<u16, Running>,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    /// `None`: an earlier ECS started it.
    child: Option<Child>,
    /// What tells it from another process of the same id.
    birth: String,
    has_said: bool,
}

impl Processes {
    /// Returns what can be started below `dir`.
    pub(super) fn new(dir: PathBuf, template: Template, ecs: SocketAddr) -> Self {
        Self { dir, template, ecs, running: BTreeMap::new() }
    }

    /// Finds what an earlier ECS started and still runs.
    pub(super) fn find(&mut self) -> Vec<News> {
        let mut found = Vec::new();
        for number in 1..=SPAWN_COUNT_MAX {
            let server = fs::read_to_string(self.path(number, "server"));
            let server = server.ok().and_then(|text| u128::from_str_radix(text.trim(), 16).ok());
            found.extend(server.map(|id| News::Known { number, server: ServerId(id) }));
            let Ok(text) = fs::read_to_string(self.path(number, "pid")) else { continue };
            let mut lines = text.lines();
            let pid = lines.next().and_then(|line| line.parse::<u32>().ok());
            let birth = lines.next().unwrap_or_default().to_owned();
            let Some(pid) = pid.filter(|pid| birth_of(*pid).is_some_and(|b| b == birth)) else {
                continue;
            };
            log::info!("process {number} runs since before, pid {pid}");
            self.running.insert(number, Running { pid, child: None, birth, has_said: false });
            found.push(News::Found { number, pid });
        }
        found
    }

    /// Starts a process and returns its id.
    ///
    /// # Errors
    /// Why it cannot be started, for people.
    pub(super) fn start(&mut self, number: u16) -> Result<u32, String> {
        let dir = self.dir.join(number.to_string());
        let shown = dir.display();
        fs::create_dir_all(&dir).map_err(|error| format!("cannot make folder {shown}: {error}"))?;
        let dir =
            fs::canonicalize(&dir).map_err(|error| format!("cannot find {shown}: {error}"))?;
        let dir = dir.to_str().ok_or_else(|| format!("the name of {shown} is not text"))?;
        let file = |name: &str, is_kept: bool| {
            let mut options = OpenOptions::new();
            options.create(true).append(is_kept).write(true).truncate(!is_kept);
            let path = self.path(number, name);
            options.open(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        let mut command = self.template.command(number, self.ecs, dir);
        command.stdin(Stdio::null()).stdout(file("out", false)?).stderr(file("log", true)?);
        let child = command.process_group(0).spawn();
        let program = self.template.program();
        let child = child.map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let pid = child.id();
        let birth = birth_of(pid).unwrap_or_default();
        log::info!(
            "process {number} started, pid {pid}, log {}",
            self.path(number, "log").display()
        );
        if let Err(error) = fs::write(self.path(number, "pid"), format!("{pid}\n{birth}\n")) {
            log::warn!("process {number} will not be found again by the next ECS: {error}");
        }
        self.running.insert(number, Running { pid, child: Some(child), birth, has_said: false });
        Ok(pid)
    }

    /// Keeps which server a process is.
    pub(super) fn remember(&self, number: u16, server: ServerId) {
        if let Err(error) = fs::write(self.path(number, "server"), format!("{server}\n")) {
            log::warn!("the next ECS will not know which server process {number} is: {error}");
        }
    }

    /// Looks what became of the processes.
    pub(super) fn look(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for (number, process) in &mut self.running {
            let number = *number;
            if let Some(how) = process.ended() {
                log::info!("process {number} ended: {how}");
                news.push(News::Ended { number, how });
            } else if !process.has_said
                && let Some(address) = said(&self.dir.join(number.to_string()).join("out"))
            {
                process.has_said = true;
                news.push(News::Listening { number, address });
            }
        }
        for one in &news {
            if let News::Ended { number, .. } = one {
                self.running.remove(number);
                // Nothing follows from a file that stays: its process is gone, and what it names will not be believed.
                fs::remove_file(self.path(*number, "pid")).unwrap_or_default();
            }
        }
        news
    }

    /// Tells a process to end.
    pub(super) fn end(&self, number: u16) {
        self.signal(number, Signal::TERM, "told to end");
    }

    /// Kills a process.
    pub(super) fn kill(&self, number: u16) {
        self.signal(number, Signal::KILL, "killed, since it did not end");
    }

    fn signal(&self, number: u16, signal: Signal, how: &str) {
        let Some(process) = self.running.get(&number) else { return };
        // Only what is not yet reaped, or was there at the last look, is signalled: the id is still its own.
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let is_it =
            process.child.is_some() || birth_of(process.pid).as_ref() == Some(&process.birth);
        let Some(pid) = pid.filter(|_| is_it) else { return };
        match kill_process_group(pid, signal) {
            Ok(()) => log::info!("process {number}, pid {}, {how}", process.pid),
            Err(error) => log::warn!("process {number}, pid {}, not {how}: {error}", process.pid),
        }
    }

    fn path(&self, number: u16, name: &str) -> PathBuf {
        self.dir.join(number.to_string()).join(name)
    }
}

impl Running {
    /// Returns how it ended, if it has.
    fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(status.to_string()),
                Err(error) => Some(format!("it cannot be waited for: {error}")),
            },
            None => {
                let is_there = birth_of(self.pid).as_ref() == Some(&self.birth);
                (!is_there).then(|| "it is gone".to_owned())
            }
        }
    }
}

/// Returns where a process says it listens.
fn said(out: &std::path::Path) -> Option<String> {
    let mut text = String::new();
    File::open(out).ok()?.take(SAID_LEN_MAX).read_to_string(&mut text).ok()?;
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.filter_map(|line| line.strip_prefix("listening ")).next().map(|a| a.trim().to_owned())
}

/// Returns what tells the process of an id from all others that had it: when it began, and since which boot. `None` if there
/// is none, or it has ended and was not waited for.
fn birth_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // The name, in brackets, may hold anything; behind it come the state and, as the 20th word, the time of the start.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?;
    let began = words.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| format!("{began} {}", boot.trim()))
}
