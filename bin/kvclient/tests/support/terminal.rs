//! A pseudo-terminal with the client at its other end, typed at and read by a test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{PATIENCE, exit_code, kvclient};

/// A terminal of 80 × 24 and the client that runs in it.
pub(crate) struct Terminal {
    keyboard: File,
    child: Child,
    arriving: Receiver<Vec<u8>>,
    /// What the client wrote and no [`expect`](Self::expect) has passed yet.
    unread: String,
}

impl Terminal {
    /// Starts the client in a terminal, with its state in `home` and the variables of `env`.
    pub(crate) fn start(args: &[&str], home: &Path, env: &[(&str, &str)]) -> Self {
        Self::run(kvclient().args(args), home, env)
    }

    /// Starts what `script` says in a terminal that it controls: Ctrl-C is a signal, unless it is read as a key. `$0` is the
    /// client.
    pub(crate) fn start_script(script: &str, home: &Path) -> Self {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", script, env!("CARGO_BIN_EXE_kvclient")]);
        command.env_remove("XDG_STATE_HOME");
        Self::run(&mut command, home, &[("NO_COLOR", "1")])
    }

    fn run(command: &mut Command, home: &Path, env: &[(&str, &str)]) -> Self {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&keyboard, size).unwrap();
        let open = || {
            let path = Path::new(OsStr::from_bytes(name.to_bytes()));
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            Stdio::from(rustix::fs::open(path, flags, Mode::empty()).unwrap())
        };
        let child = command
            .env("HOME", home)
            .env("TERM", "xterm")
            .envs(env.iter().copied())
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let keyboard = File::from(keyboard);
        let mut screen = keyboard.try_clone().unwrap();
        let (sender, arriving) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with an error once the client has closed the terminal.
            while let Ok(len) = screen.read(&mut buffer) {
                if len == 0 || sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { keyboard, child, arriving, unread: String::new() }
    }

    /// Types `keys` as they stand.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line and its end.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.press(line);
        self.press("\r");
    }

    /// Waits until the client has written `text`, and returns everything up to its end.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let started_at = Instant::now();
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            let left = PATIENCE.saturating_sub(started_at.elapsed());
            match self.arriving.recv_timeout(left) {
                Ok(bytes) => self.unread.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {text:?} in {:?}", self.unread)
                }
            }
        }
    }

    /// Waits for the client to end; returns its exit code.
    pub(crate) fn exit_code(&mut self) -> i32 {
        exit_code(&mut self.child)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
