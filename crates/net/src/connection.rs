//! The thread of one connection: read once, answer every whole line, write once, again.
//!
//! Waiting for the peer is bounded by the kernel's receive time-out (`SO_RCVTIMEO`), which is changed only when
//! the connection passes from one state to another, so a busy connection pays no system call for it:
//!
//! | state | waits at most | then |
//! |---|---|---|
//! | nothing begun, buffers small | the idle time-out | closes, unless replies are awaited |
//! | nothing begun, buffers large | [`QUIET_AFTER`] | gives memory back, is idle |
//! | a line begun | what is left of the request time-out | refuses the request and closes |
//!
//! In the third state a read that does not wait is tried first: between full reads of a fast sender a line is
//! nearly always begun, and its rest is there.
//!
//! Closing: what is owed is sent, the write side is shut, and what the peer still sends is read and thrown away for
//! a moment, because closing a socket with unread bytes makes the kernel reset it, and the peer may then lose the
//! last reply. When the server stops, the read side is shut from outside; the thread answers what has come, at
//! most [`LAST_READ_COUNT_MAX`] reads of it, and ends.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::budget::{Budget, Claim, Grant};
use crate::counters::{Counters, count};
use crate::input::{Input, START_LEN};
use crate::outbox::Outbox;
use crate::owed::Owed;
use crate::{Config, Next, Peer, Refusal, Replies, Sender, Service, Session};

/// How long a connection with a large buffer is waited for before the memory goes back.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// Reads that a stopping server still makes of a peer that does not stop sending.
const LAST_READ_COUNT_MAX: u32 = 64;

/// How long a peer that was cut off may go on sending before the socket is closed under it.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Bytes such a peer may still send.
const LINGER_LEN_MAX: usize = 32 * 1024 * 1024;

/// One accepted connection, before and while it is served.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Arc<TcpStream>,
    pub(crate) peer: Peer,
    pub(crate) config: Config,
    pub(crate) counters: Arc<Counters>,
    pub(crate) is_stopping: Arc<AtomicBool>,
    /// What its large lines share with others'; `None` if they need not.
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) owed: Arc<Owed>,
}

/// What a read brought.
enum Read {
    Bytes,
    End,
    Quiet,
    TooLate,
    /// There was no memory for more of the line until its time was over.
    Starved,
}

/// Why a connection ends.
enum End {
    /// The peer is gone, or the socket failed: nobody reads any more.
    Gone,
    /// All is said, but the peer may still be sending.
    Close,
    /// The peer is cut off with these words.
    Refuse(Refusal),
}

/// A connection's thread at work.
pub(crate) struct Loop<'a> {
    connection: &'a Connection,
    input: Input,
    /// The memory of `input` beyond its first size.
    claim: Claim,
    replies: Replies,
    /// The kernel's receive time-out as it is now.
    patience: Option<Duration>,
    /// When the line that is begun must be whole.
    request_due_at: Option<Instant>,
    last_read_count: u32,
    /// Memory is held that a quiet connection need not have.
    is_large: bool,
}

impl<'a> Loop<'a> {
    /// Begins to read `connection`.
    pub(crate) fn new(connection: &'a Connection) -> Self {
        let Connection { socket, counters, config, owed, .. } = connection;
        let outbox = Outbox::new(Arc::clone(socket), Arc::clone(counters), owed);
        let sender = Sender::new(Arc::clone(socket), Arc::clone(counters), config.queue_len_max);
        Self {
            connection,
            input: Input::new(config.line_len_max),
            claim: Claim::new(connection.budget.clone()),
            replies: Replies::new(outbox, sender, config),
            patience: None,
            request_due_at: None,
            last_read_count: 0,
            is_large: false,
        }
    }

    /// Waits for the first line, which stays to be answered, and returns whether it came in time and `is_right`.
    pub(crate) fn opens_with(
        &mut self,
        wait: Duration,
        is_right: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        self.request_due_at = Some(Instant::now() + wait);
        while self.input.lines().is_empty() {
            if self.input.consume(0) || !matches!(self.read(), Ok(Read::Bytes)) {
                return false;
            }
        }
        self.request_due_at = None;
        is_right(self.input.lines().split(|byte| *byte == b'\n').next().unwrap_or_default())
    }

    /// Serves the connection to its end. The session is dropped before the last bytes are waited for.
    pub(crate) fn serve<S: Service>(mut self, service: &S) {
        let mut session = service.open(&self.connection.peer, &mut self.replies);
        self.replies.flush_all();
        let end = self.answer(&mut session).unwrap_or_else(|| self.run(&mut session));
        // What is left of the input is not looked at any more, and the peer may take its time.
        self.input = Input::new(0);
        self.claim.shrink_to(0);
        self.claim.end_turn();
        match end {
            End::Gone => {
                self.replies.end_sender();
                drop(session);
                self.replies.wait_idle();
            }
            End::Close => {
                drop(session);
                self.close();
            }
            End::Refuse(refusal) => {
                drop(session);
                log::debug!("{}: {refusal}", self.connection.peer.remote);
                self.replies.push_last(&service.refusal(refusal));
                self.close();
            }
        }
    }
}

impl Loop<'_> {
    fn run(&mut self, session: &mut impl Session) -> End {
        loop {
            match self.read() {
                Ok(Read::Bytes) => {
                    if let Some(end) = self.answer(session) {
                        return end;
                    }
                }
                Ok(Read::Quiet) if self.is_large => {
                    self.is_large = false;
                    self.give_back();
                    self.replies.rest();
                    session.rest();
                }
                Ok(Read::Quiet) if !self.replies.is_settled() => {}
                Ok(Read::Quiet) => {
                    count(&self.connection.counters.timed_out);
                    return End::Close;
                }
                Ok(Read::TooLate) => {
                    count(&self.connection.counters.timed_out);
                    let limit = self.connection.config.request_timeout;
                    return End::Refuse(Refusal::RequestTimedOut { limit });
                }
                Ok(Read::Starved) => {
                    count(&self.connection.counters.starved);
                    let limit = self.connection.budget.as_ref().map_or(0, |all| all.len_max());
                    return End::Refuse(Refusal::TooMuchInput { limit });
                }
                Ok(Read::End) | Err(_) if self.is_stopping() => return End::Close,
                Ok(Read::End) | Err(_) => return End::Gone,
            }
        }
    }

    /// Answers the whole lines that are there; returns why the connection ends, if it does.
    fn answer(&mut self, session: &mut impl Session) -> Option<End> {
        let lines = self.input.lines();
        let len = lines.len();
        let next = if len == 0 { Next::Continue } else { session.handle(lines, &mut self.replies) };
        self.replies.flush_all();
        self.input.limit_lines(self.replies.line_len_max());
        let is_line_too_long = self.input.consume(len);
        if next == Next::Close {
            return Some(End::Close);
        }
        if is_line_too_long {
            let limit = self.replies.line_len_max();
            return Some(End::Refuse(Refusal::LineTooLong { limit }));
        }
        if !self.input.has_begun_line() {
            self.request_due_at = None;
        } else if len > 0 || self.request_due_at.is_none() {
            self.request_due_at = Some(Instant::now() + self.connection.config.request_timeout);
        }
        if self.replies.is_exempt() {
            self.claim.exempt();
        } else if len > 0 && self.input.is_large() && self.claim.end_turn() {
            self.give_back();
        }
        self.is_large = self.input.is_large() || self.replies.is_large() || session.is_large();
        self.replies.wait_for_room();
        None
    }

    /// Reads once, as the table above says.
    fn read(&mut self) -> std::io::Result<Read> {
        let socket = &self.connection.socket;
        let is_stopping = self.is_stopping();
        if is_stopping {
            self.last_read_count += 1;
            if self.last_read_count > LAST_READ_COUNT_MAX {
                return Ok(Read::End);
            }
        }
        let mut patience = self.replies.idle_timeout();
        if let Some(due_at) = self.request_due_at {
            let left = due_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Read::TooLate);
            }
            patience = Some(left);
        } else if self.is_large {
            patience = Some(QUIET_AFTER.min(patience.unwrap_or(QUIET_AFTER)));
        }
        // Only a line that is begun fills the buffer, so there is always a time at which waiting ends.
        if self.input.wanted_len() > self.input.extra_len() {
            match self.claim.grow_to(self.input.wanted_len(), self.request_due_at) {
                Grant::Granted => {}
                Grant::Late => return Ok(Read::Starved),
                Grant::Over => return Ok(Read::End),
            }
        }
        if is_stopping || self.request_due_at.is_some() {
            match self.input.read(socket, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) if is_stopping => return Ok(Read::End),
                Err(Errno::AGAIN) => {}
                outcome => return read_outcome(outcome),
            }
        }
        if patience != self.patience {
            socket.set_read_timeout(patience)?;
            self.patience = patience;
        }
        let outcome = self.input.read(socket, RecvFlags::empty());
        if outcome == Err(Errno::AGAIN) && self.request_due_at.is_some() {
            return Ok(Read::TooLate);
        }
        read_outcome(outcome)
    }

    /// Gives back what memory of the input is not in use.
    fn give_back(&mut self) {
        self.input.shrink();
        self.claim.shrink_to(self.input.extra_len());
    }

    /// Sends what is owed, then closes so that the peer gets to read it.
    fn close(&mut self) {
        self.replies.finish();
        if self.connection.socket.shutdown(Shutdown::Write).is_ok() && !self.is_stopping() {
            linger(&self.connection.socket);
        }
    }

    fn is_stopping(&self) -> bool {
        self.connection.is_stopping.load(Ordering::Relaxed)
    }
}

fn read_outcome(outcome: rustix::io::Result<usize>) -> std::io::Result<Read> {
    match outcome {
        Ok(0) => Ok(Read::End),
        // A signal brings no bytes; the lines that are there (none) are answered and it is read again.
        Ok(_) | Err(Errno::INTR) => Ok(Read::Bytes),
        Err(Errno::AGAIN) => Ok(Read::Quiet),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads and throws away what the peer still sends, for a while.
fn linger(socket: &TcpStream) {
    let until = Instant::now() + LINGER_MAX;
    let mut left_len = LINGER_LEN_MAX;
    let mut scrap = Vec::with_capacity(START_LEN);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        scrap.clear();
        match recv(socket, spare_capacity(&mut scrap), RecvFlags::empty()) {
            Ok((_, len @ 1..)) if len <= left_len => left_len -= len,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}
