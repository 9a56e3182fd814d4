//! Lines put onto a connection by any thread at any time: what peers and long-lived conversations use.
//!
//! Replies answer requests, in their order; a [`Sender`] has no requests to follow. All threads append to *one*
//! buffer under a short lock, so the order on the wire is the order of the calls, and one thread at a time
//! writes: it takes the whole buffer, lets go of the lock, sends it in one system call without waiting, and looks
//! whether more has come meanwhile.
//!
//! ```text
//!   queue ──┐                                            socket takes all
//!   queue ──┼──▶ [ buffer ] ──flush──▶ [ being sent ] ──────────────────▶ gone
//!   queue ──┘                               │ socket is full
//!                                           └──▶ the thread aside goes on, under the write time-out
//! ```
//!
//! | state | `queue` | what waits |
//! |---|---|---|
//! | open | appends | is sent |
//! | closing (the session has ended the connection) | refuses | is sent, then the connection closes |
//! | dead (the socket failed, its reader took nothing, more than the limit waits, `close`) | refuses | is thrown away |
//!
//! The thread aside is made when a socket is full for the first time; it then waits [`ASIDE_KEPT`] for the next
//! such moment, because a connection that was full once is full again soon. Neither `queue` nor `flush` ever
//! waits for the reader. Left out: fairness among lines; whoever needs back-pressure asks [`Sender::queued_len`].

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::STACK_LEN;
use crate::counters::{Counters, count};
use crate::send::{send_all, send_ready};

/// How long a thread aside waits for more: longer than the gaps within one burst, short for an idle thread.
const ASIDE_KEPT: Duration = Duration::from_secs(1);

/// Memory a buffer keeps from one write to the next; what a burst needed beyond it goes back.
const KEPT_LEN: usize = 256 * 1024;

/// A handle by which any thread puts whole lines onto a connection; clones are handles of the same connection.
#[derive(Clone)]
pub struct Sender {
    line: Arc<Line>,
}

struct Line {
    socket: Arc<TcpStream>,
    counters: Arc<Counters>,
    queue_len_max: usize,
    state: Mutex<State>,
    /// Tells the thread aside of work, and the connection's thread that nothing is left to send.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// An empty buffer to go on with while the other is being sent.
    spare: Vec<u8>,
    /// Bytes taken from `buffer` and not sent yet.
    sending_len: usize,
    is_writing: bool,
    is_closing: bool,
    is_dead: bool,
    has_aside: bool,
    /// What the thread aside shall go on with: a batch and how much of it is sent.
    handed: Option<(Vec<u8>, usize)>,
}

impl Sender {
    /// Returns the sender of `socket`, whose write time-out is set already.
    pub(crate) fn new(
        socket: Arc<TcpStream>,
        counters: Arc<Counters>,
        queue_len_max: usize,
    ) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { line: Arc::new(Line { socket, counters, queue_len_max, state, changed }) }
    }

    /// Appends what `write` writes, one or more whole lines, behind all that is queued; sends nothing yet.
    ///
    /// Returns `false` if the connection is over, or if more bytes wait now than `Config::queue_len_max`, which ends it.
    /// `write` runs under the sender's lock: it must neither block nor use this sender.
    pub fn queue(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.line.lock();
        if state.is_dead || state.is_closing {
            return false;
        }
        write(&mut state.buffer);
        if state.waiting_len() > self.line.queue_len_max {
            count(&self.line.counters.too_slow);
            self.line.kill(&mut state);
            return false;
        }
        true
    }

    /// Sends all that is queued in one write, without ever waiting for the reader.
    ///
    /// If another thread is writing, that one takes what was added.
    pub fn flush(&self) {
        let mut state = self.line.lock();
        if state.is_writing {
            return;
        }
        while let Some(batch) = state.take_batch() {
            drop(state);
            match send_ready(&self.line.socket, &mut [IoSlice::new(&batch)]) {
                Ok(sent) if sent < batch.len() => return self.hand_over(batch, sent),
                Ok(_) => {}
                Err(error) => self.line.fail(&error),
            }
            state = self.line.lock();
            state.keep(batch);
        }
        self.line.end_writing(&mut state);
    }

    /// Ends the connection at once: what is queued is thrown away, and its session is dropped soon after.
    pub fn close(&self) {
        self.line.kill(&mut self.line.lock());
    }

    /// Returns whether lines may still be queued.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let state = self.line.lock();
        !state.is_dead && !state.is_closing
    }

    /// Returns the bytes that are queued or being sent: how far the reader is behind.
    #[must_use]
    pub fn queued_len(&self) -> usize {
        self.line.lock().waiting_len()
    }

    /// Takes no more lines, sends what is queued, and waits until that is done or has failed.
    pub(crate) fn finish(&self) {
        self.line.lock().is_closing = true;
        self.flush();
        let mut state = self.line.lock();
        while state.is_writing && !state.is_dead {
            state = self.line.wait(state, None);
        }
    }

    /// Lets the thread aside go on with `batch` from byte `sent`; it has the right to write until it is done.
    fn hand_over(&self, batch: Vec<u8>, sent: usize) {
        let mut state = self.line.lock();
        state.sending_len = batch.len() - sent;
        state.handed = Some((batch, sent));
        if state.has_aside {
            return self.line.changed.notify_all();
        }
        state.has_aside = true;
        drop(state);
        let line = Arc::clone(&self.line);
        let builder = thread::Builder::new().name("sender".into()).stack_size(STACK_LEN);
        if let Err(error) = builder.spawn(move || line.send_aside()) {
            log::warn!("closing a connection whose lines need a thread: {error}");
            let mut state = self.line.lock();
            state.has_aside = false;
            state.handed = None;
            self.line.kill(&mut state);
            self.line.end_writing(&mut state);
        }
    }
}

impl Line {
    /// The life of the thread aside: sends what it is handed, and what came meanwhile, waiting for the reader.
    fn send_aside(&self) {
        let mut state = self.lock();
        let mut until = Instant::now() + ASIDE_KEPT;
        loop {
            if let Some((batch, sent)) = state.handed.take() {
                drop(state);
                self.send_whole(batch, sent);
                state = self.lock();
                while let Some(batch) = state.take_batch() {
                    drop(state);
                    self.send_whole(batch, 0);
                    state = self.lock();
                }
                self.end_writing(&mut state);
                until = Instant::now() + ASIDE_KEPT;
            }
            if state.is_dead || state.is_closing || Instant::now() >= until {
                state.has_aside = false;
                return;
            }
            state = self.wait(state, Some(until));
        }
    }

    fn send_whole(&self, batch: Vec<u8>, sent: usize) {
        let rest = batch.get(sent..).unwrap_or_default();
        if let Err(error) = send_all(&self.socket, &mut [IoSlice::new(rest)]) {
            self.fail(&error);
        }
        self.lock().keep(batch);
    }

    /// Ends the connection because its socket failed.
    fn fail(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut {
            count(&self.counters.too_slow);
        }
        log::debug!("closing a connection that cannot be written to: {error}");
        self.kill(&mut self.lock());
    }

    fn kill(&self, state: &mut State) {
        state.is_dead = true;
        state.buffer = Vec::new();
        // A socket that is closed already is what was wanted.
        self.socket.shutdown(Shutdown::Both).unwrap_or_default();
        self.changed.notify_all();
    }

    fn end_writing(&self, state: &mut State) {
        state.is_writing = false;
        if state.is_closing || state.is_dead {
            self.changed.notify_all();
        }
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let Some(until) = until else {
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// A panic elsewhere (in a caller's `write`) leaves the state whole but for a line that is cut short.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            self.state.clear_poison();
            self.kill(&mut state);
            state
        })
    }
}

impl State {
    fn waiting_len(&self) -> usize {
        self.buffer.len() + self.sending_len
    }

    /// Takes all that is queued, and with it the right to write; `None` if there is nothing.
    fn take_batch(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() {
            return None;
        }
        self.is_writing = true;
        let spare = std::mem::take(&mut self.spare);
        let batch = std::mem::replace(&mut self.buffer, spare);
        self.sending_len = batch.len();
        Some(batch)
    }

    /// Takes back a batch that was sent, or thrown away with its connection.
    fn keep(&mut self, mut batch: Vec<u8>) {
        self.sending_len = 0;
        batch.clear();
        if batch.capacity() <= KEPT_LEN {
            self.spare = batch;
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("socket", &self.line.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
