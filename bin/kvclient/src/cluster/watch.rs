//! `cluster watch`: the status, drawn again and again until Ctrl-C or q.
//!
//! On a terminal it has a screen of its own, which is given back at the end with everything as it was. Elsewhere each
//! status is written below the one before, and the end of the reader is the end. A coordinator that does not answer
//! is reported in place, and asked again; where it is is asked of the servers again, too.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use client::Coordinator;
use cluster::coordinator::Status as ClusterStatus;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::{ClusterArgs, find, status, told, watch_config};
use crate::session::Session;
use crate::status::Status;

/// The time from one status to the next: a person sees it move, and the ECS hardly notices.
pub(super) const PERIOD: Duration = Duration::from_millis(500);

/// What Ctrl-C types on a terminal that gives no signals for it.
const CTRL_C: u8 = 3;

/// Begins a screen of its own, and hides the cursor.
const SCREEN_ON: &str = "\x1b[?1049h\x1b[?25l";

/// Shows the cursor, and gives the screen back.
const SCREEN_OFF: &str = "\x1b[?25h\x1b[?1049l";

/// Goes to the top without wiping the screen, which would flicker.
const TOP: &str = "\x1b[H";

/// Wipes the rest of a line, and of the screen.
const WIPE_LINE: &str = "\x1b[K";
const WIPE_BELOW: &str = "\x1b[J";

/// Shows the status until the user has seen enough.
pub(crate) fn run(args: &ClusterArgs, session: &mut Session) -> io::Result<Status> {
    let screen = Screen::take()?;
    let mut coordinator = None;
    loop {
        let lines = look(args, session, &mut coordinator);
        match &screen {
            Some(screen) => screen.draw(&lines)?,
            None => {
                let mut out = io::stdout().lock();
                writeln!(out, "{}\n", lines.join("\n"))?;
                out.flush()?;
            }
        }
        if is_enough(screen.is_some())? {
            return Ok(Status::Done);
        }
    }
}

/// Returns what there is to see now.
fn look(
    args: &ClusterArgs,
    session: &mut Session,
    coordinator: &mut Option<Coordinator>,
) -> Vec<String> {
    if coordinator.is_none() {
        match find(args, session) {
            Ok(found) => {
                let config = watch_config(session.config());
                *coordinator = Some(Coordinator::new(found.address().to_owned(), config));
            }
            Err(answer) => return answer.lines,
        }
    }
    let Some(asked) = coordinator else { return Vec::new() };
    match told::<ClusterStatus>(asked, "status") {
        Ok(found) => status::lines(&found),
        Err(answer) => {
            *coordinator = None;
            answer.lines
        }
    }
}

/// Waits until the next status is due; returns whether the user has seen enough.
fn is_enough(has_keys: bool) -> io::Result<bool> {
    if !has_keys {
        std::thread::sleep(PERIOD);
        return Ok(false);
    }
    let stdin = io::stdin();
    let period = Timespec::try_from(PERIOD).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut fds, Some(&period)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut keys = [0; 64];
    let len = stdin.lock().read(&mut keys)?;
    let typed = keys.get(..len).unwrap_or_default();
    Ok(len == 0 || typed.iter().any(|key| matches!(key, b'q' | b'Q' | &CTRL_C)))
}

/// A terminal that gives each key as it is typed, with a screen that is given back when this is dropped.
struct Screen {
    before: Termios,
}

impl Screen {
    /// Takes the terminal over; none if there is no terminal to take.
    fn take() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !(stdin.is_terminal() && io::stdout().is_terminal()) {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        // Without signals for keys: Ctrl-C must give the screen back first.
        raw.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        let screen = Self { before };
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        let mut out = io::stdout().lock();
        out.write_all(SCREEN_ON.as_bytes())?;
        out.flush()?;
        Ok(Some(screen))
    }

    /// Draws what fits of `lines`.
    fn draw(&self, lines: &[String]) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        let (width, height) = (usize::from(size.ws_col), usize::from(size.ws_row));
        let text = picture(lines, width, height);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // A terminal that is gone need not be given back.
        drop(out.write_all(SCREEN_OFF.as_bytes()).and_then(|()| out.flush()));
        tcsetattr(io::stdin(), OptionalActions::Now, &self.before).unwrap_or_default();
    }
}

/// Returns what to write for a screen of this size, 80 by 24 if it does not know its own, to show
/// `lines`; the last line, which sums up, is kept in any case.
fn picture(lines: &[String], width: usize, height: usize) -> String {
    let (width, height) = if width == 0 || height == 0 { (80, 24) } else { (width, height.max(3)) };
    let foot = ["", "q leaves"].map(str::to_owned);
    let room = height.saturating_sub(foot.len());
    let mut shown: Vec<&String> = lines.iter().collect();
    if shown.len() > room {
        let last = shown.pop();
        shown.truncate(room.saturating_sub(1));
        shown.extend(last);
    }
    let mut text = TOP.to_owned();
    let cut = |line: &String| line.chars().take(width).collect::<String>();
    let all: Vec<String> = shown.into_iter().chain(&foot).map(cut).collect();
    text += &all.join(&format!("{WIPE_LINE}\r\n"));
    text + WIPE_LINE + WIPE_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_its_screen_and_keeps_the_line_that_sums_up() {
        let lines: Vec<String> = (0..50).map(|number| format!("line number {number}")).collect();
        let text = picture(&lines, 8, 10);
        let shown: Vec<&str> = text.trim_start_matches(TOP).split("\r\n").collect();
        assert_eq!(shown.len(), 10);
        assert!(shown.iter().all(|line| line.split('\x1b').next().unwrap().chars().count() <= 8));
        let whole = picture(&lines, 80, 10);
        assert!(whole.contains("line number 49") && !whole.contains("line number 40"));
        assert!(picture(&lines[..3], 0, 0).contains("line number 2\x1b[K\r\n\x1b[K\r\nq leaves"));
    }
}
