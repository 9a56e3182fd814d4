//! A process on a machine of its own, with a disk of its own.
//!
//! The disk is a file system in memory: it can be filled, and what `kill -9` leaves in it is what a disk would have. The log goes
//! elsewhere, so that a full disk does not silence it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::network::Place;
use crate::wait::eventually;

/// Length of a machine's disk, in bytes.
const DISK_LEN: u64 = 384 << 20;
/// Written at a time to fill a disk.
const FILL_LEN: usize = 256 << 10;

/// A process that runs, or was ended and can be started again on the same disk.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its machine.
    pub(crate) place: Place,
    binary: PathBuf,
    flags: Vec<String>,
    /// Flags besides, from its next start on.
    pub(crate) more_flags: Vec<String>,
    home: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// Makes the machine's disk below `top`; nothing is started.
    pub(crate) fn new(top: &Path, place: Place, binary: PathBuf, flags: &[&str]) -> Self {
        let home = top.join(place.to_string());
        let disk = home.join("disk");
        fs::create_dir_all(&disk).expect("a folder can be made");
        let size = format!("size={DISK_LEN}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk);
        assert!(mount.status().expect("mount can be run").success(), "{mount:?}");
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self { place, binary, flags, more_flags: Vec::new(), home, child: None }
    }

    /// Returns the folder of its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("disk/data")
    }

    /// Returns a file beside the disk.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Returns the log, over all starts.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.beside("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts the process; does not wait for anything.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.place);
        let log = OpenOptions::new().append(true).create(true).open(self.beside("log"));
        let log = log.expect("a log can be opened");
        let mut command = self.place.command(&self.binary.to_string_lossy());
        command.arg("--address").arg(self.place.ip());
        command.arg("--port").arg(crate::network::PORT.to_string());
        command.arg("--dir").arg(self.data()).args(&self.flags).args(&self.more_flags);
        command.stdin(Stdio::null());
        command.stdout(File::create(self.beside("stdout")).expect("a file can be made"));
        self.child = Some(command.stderr(log).spawn().expect("nsenter can be run"));
    }

    /// Returns whether it was started and not killed.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Waits until it says that it listens.
    pub(crate) fn wait_until_it_listens(&self) {
        let stdout = self.beside("stdout");
        eventually(&format!("{} listens", self.place), || {
            fs::read_to_string(&stdout).is_ok_and(|text| text.starts_with("listening "))
        });
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// Returns how it ended, if it ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("a child can be waited for")
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// Takes notice of its own end, which was expected.
    pub(crate) fn forget(&mut self) {
        self.child = None;
    }

    /// Stops it where it stands: returns when none of its threads runs.
    pub(crate) fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).expect("it runs");
        let threads = format!("/proc/{}/task", self.pid().as_raw_pid());
        eventually("every thread is stopped", || {
            let mut threads = fs::read_dir(&threads).expect("it runs");
            threads.all(|thread| is_stopped(&thread.expect("a folder can be read").path()))
        });
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("it runs");
    }

    /// Fills its disk but for `left_len` bytes. Returns whether it is full.
    pub(crate) fn fill(&self, left_len: u64) -> bool {
        let mut file = File::create(self.filler()).expect("a file can be made");
        let block = vec![0_u8; FILL_LEN];
        while self.free_len() > left_len {
            let len = usize::try_from(self.free_len() - left_len)
                .map_or(FILL_LEN, |len| len.min(FILL_LEN));
            if file.write_all(&block[..len]).is_err() {
                break;
            }
        }
        self.free_len() <= left_len
    }

    /// Undoes [`fill`](Self::fill).
    pub(crate) fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.home.join("disk/filler")
    }

    fn free_len(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.home.join("disk")).expect("a disk can be asked");
        stat.f_bavail * stat.f_frsize
    }
}

/// Whether the thread at `path` below `/proc` is stopped, or gone.
fn is_stopped(path: &Path) -> bool {
    let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_none_or(|fields| fields.is_empty() || fields.starts_with(['T', 't']))
}
