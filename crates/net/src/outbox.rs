//! The ordered outbox of a connection: replies leave in the order of their requests, whoever completes them.
//!
//! ```text
//!   front                                          back
//!   [ ready ] [ ready ] [ awaited #7 ] [ ready ] [ awaited #9 ]
//!   └── goes out now ─┘  └── its ticket is with a committer ...
//! ```
//!
//! The connection's own thread is the only one that adds places. While the outbox is *idle* (no place taken,
//! nobody writing) no other thread can touch it, so that thread writes straight to the socket, paying for one
//! atomic load. Otherwise it queues, and *one* thread at a time writes: the one that found the front ready and
//! nobody writing. It takes all ready places, lets go of the lock, sends without waiting, and looks again.
//! If the socket is full, a thread made for this purpose goes on under the write time-out, so that neither
//! a committer nor another connection ever waits for a slow reader; there is at most one such thread for
//! each connection, and none for a reader that keeps up.
//!
//! A ticket that is dropped without a reply (a panic, say) ends the connection: a later reply must never take
//! its place. Once the connection is dead, whatever is completed is thrown away.
//!
//! Bounds: the connection's thread waits (`wait_for_room`) before it reads on when too many bytes or
//! tickets are outstanding; the outbox itself refuses nothing. What all connections together hold for replies is bounded
//! besides (module `owed`).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::config::STACK_LEN;
use crate::counters::{Counters, count};
use crate::owed::{Debt, Owed};
use crate::send::{send_all, send_ready};

/// The replies a connection owes its peer, in order.
#[derive(Debug)]
pub(crate) struct Outbox {
    socket: Arc<TcpStream>,
    counters: Arc<Counters>,
    /// No place taken and nobody writing; changed under the lock, read without it.
    is_idle: AtomicBool,
    state: Mutex<State>,
    /// What is owed, for the limit of all connections together.
    debt: Debt,
    /// Tells the connection's thread that something became less; see `waiter_count`.
    less: Condvar,
}

#[derive(Debug, Default)]
struct State {
    places: VecDeque<Place>,
    /// Number of the place at the front.
    front_number: u64,
    awaited_count: usize,
    /// Bytes that are ready, those being written included.
    ready_len: usize,
    is_writing: bool,
    is_dead: bool,
    /// Of `ready_len`, what is noted for all connections together.
    noted_len: usize,
    /// Room is claimed for a reply that has not come here yet.
    is_claiming: bool,
    /// Room is claimed.
    has_claim: bool,
    /// Threads in `less`; a wake-up with nobody there would still be a system call.
    waiter_count: usize,
}

#[derive(Debug)]
enum Place {
    Ready(Vec<u8>),
    Awaited,
}

/// A place in the order of a connection's replies, to be completed once by any thread.
#[derive(Debug)]
#[must_use = "a ticket that is dropped ends its connection"]
pub struct Ticket {
    outbox: Arc<Outbox>,
    number: u64,
    is_complete: bool,
}

impl Ticket {
    /// Puts `reply` into its place and writes what is in turn to the socket, without waiting for its reader.
    pub fn complete(mut self, reply: Vec<u8>) {
        self.is_complete = true;
        self.outbox.complete(self.number, reply);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_complete {
            self.outbox.kill();
        }
    }
}

impl Outbox {
    /// Returns an empty outbox for `socket`, whose write time-out is set already.
    pub(crate) fn new(
        socket: Arc<TcpStream>,
        counters: Arc<Counters>,
        owed: &Arc<Owed>,
    ) -> Arc<Self> {
        Arc::new(Self {
            debt: owed.account(Arc::clone(&socket)),
            socket,
            counters,
            is_idle: AtomicBool::new(true),
            state: Mutex::default(),
            less: Condvar::new(),
        })
    }

    /// Returns whether everything was sent. Only the connection's thread may rely on it: it alone adds places.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Acquire)
    }

    /// Sends `pieces` straight away, waiting for the reader. The outbox must be idle.
    pub(crate) fn send_direct(&self, pieces: &mut [IoSlice<'_>]) {
        debug_assert!(self.is_idle(), "replies would overtake each other");
        if let Err(error) = send_all(&self.socket, pieces) {
            self.fail(&error);
        }
    }

    /// Takes the next place for a reply that is ready. [`Outbox::write`] sends it.
    pub(crate) fn push(&self, reply: Vec<u8>) {
        let mut state = self.lock();
        if !state.is_dead {
            self.is_idle.store(false, Ordering::Release);
            state.ready_len += reply.len();
            state.places.push_back(Place::Ready(reply));
            state.is_claiming = false;
            self.note_debt(&mut state);
        }
    }

    /// Takes the next place for a reply that is to come.
    pub(crate) fn reserve(self: &Arc<Self>) -> Ticket {
        let mut state = self.lock();
        let number = state.front_number + state.places.len() as u64;
        if !state.is_dead {
            self.is_idle.store(false, Ordering::Release);
            state.awaited_count += 1;
            state.is_claiming = false;
            state.places.push_back(Place::Awaited);
        }
        drop(state);
        Ticket { outbox: Arc::clone(self), number, is_complete: false }
    }

    /// Sends what is ready at the front, unless another thread is at it.
    pub(crate) fn write(self: &Arc<Self>) {
        self.write_ready(self.lock());
    }

    /// Waits until at most `len_max` bytes and fewer than `awaited_max` tickets are outstanding.
    pub(crate) fn wait_for_room(&self, len_max: usize, awaited_max: usize) {
        let is_too_much = |state: &State| {
            state.ready_len > self.debt.ready_len_max(len_max) || state.awaited_count >= awaited_max
        };
        self.wait_while(is_too_much);
    }

    /// Waits until every ticket is completed.
    pub(crate) fn wait_completed(&self) {
        self.wait_while(|state| state.awaited_count > 0);
    }

    /// Waits until everything is sent.
    pub(crate) fn wait_idle(&self) {
        self.wait_while(|_| !self.is_idle());
    }

    /// Returns whether the connection is over, so that what is put here is thrown away.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    /// Ends the connection: what is owed is thrown away, its thread finds the socket closed.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        state.is_dead = true;
        state.front_number += state.places.len() as u64;
        state.places.clear();
        state.awaited_count = 0;
        state.ready_len = 0;
        // A socket that is closed already is what was wanted.
        self.socket.shutdown(Shutdown::Both).unwrap_or_default();
        self.settle(&mut state);
    }

    fn complete(self: &Arc<Self>, number: u64, reply: Vec<u8>) {
        let mut state = self.lock();
        if state.is_dead {
            return;
        }
        let index = usize::try_from(number - state.front_number).unwrap_or(usize::MAX);
        let len = reply.len();
        if let Some(place) = state.places.get_mut(index) {
            *place = Place::Ready(reply);
            state.ready_len += len;
            state.awaited_count -= 1;
        }
        if index == 0 {
            self.write_ready(state);
        } else {
            self.settle(&mut state);
        }
    }

    /// Writes what is ready until nothing is, the socket is full, or another thread is found writing.
    fn write_ready<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) {
        if state.is_writing {
            return;
        }
        loop {
            let batch = state.take_ready();
            if batch.is_empty() {
                return self.settle(&mut state);
            }
            state.is_writing = true;
            drop(state);
            let len = batch.iter().map(Vec::len).sum::<usize>();
            match send_ready(&self.socket, &mut slices_of(&batch)) {
                Ok(sent) if sent < len => {
                    self.note_debt(&mut self.lock());
                    return self.flush_aside(batch, sent);
                }
                Ok(_) => {}
                Err(error) => self.fail(&error),
            }
            state = self.lock();
            state.end_writing(len);
        }
    }

    /// Starts the thread that waits for a slow reader; it owns the right to write until it ends.
    fn flush_aside(self: &Arc<Self>, batch: Vec<Vec<u8>>, sent: usize) {
        let outbox = Arc::clone(self);
        let flush = move || outbox.flush(batch, sent);
        let builder = thread::Builder::new().name("flush".into()).stack_size(STACK_LEN);
        if let Err(error) = builder.spawn(flush) {
            log::warn!("closing a connection whose replies need a thread: {error}");
            let mut state = self.lock();
            state.is_writing = false;
            drop(state);
            self.kill();
        }
    }

    /// Sends `batch` from byte `sent` on, then what became ready meanwhile, waiting for the reader.
    fn flush(self: &Arc<Self>, mut batch: Vec<Vec<u8>>, mut sent: usize) {
        loop {
            let len = batch.iter().map(Vec::len).sum::<usize>();
            let mut slices = slices_of(&batch);
            let mut rest = slices.as_mut_slice();
            IoSlice::advance_slices(&mut rest, sent);
            if let Err(error) = send_all(&self.socket, rest) {
                self.fail(&error);
            }
            let mut state = self.lock();
            state.end_writing(len);
            batch = state.take_ready();
            sent = 0;
            if batch.is_empty() {
                return self.settle(&mut state);
            }
            state.is_writing = true;
            self.note_debt(&mut state);
            self.wake(&state);
        }
    }

    /// Ends the connection because its socket failed.
    fn fail(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut {
            count(&self.counters.too_slow);
        }
        log::debug!("closing a connection that cannot be written to: {error}");
        self.kill();
    }

    /// Notes whether the outbox is idle and wakes who waits for it to become so or to shrink.
    fn settle(&self, state: &mut State) {
        self.note_debt(state);
        if state.places.is_empty() && !state.is_writing {
            self.is_idle.store(true, Ordering::Release);
            if !state.is_claiming {
                self.release(state);
            }
        }
        self.wake(state);
    }

    /// Claims room for a large reply if that takes no waiting; it is given back when that was sent.
    ///
    /// Not while a reply before it is to come: nobody knows how long that takes, and others may wait for the room.
    pub(crate) fn try_claim(&self, len: usize) -> bool {
        let is_next = self.is_idle() || self.lock().awaited_count == 0;
        let is_granted = is_next && self.debt.try_claim(len);
        if is_granted {
            self.note_claim();
        }
        is_granted
    }

    /// Claims room for a large reply, and waits for it and for all replies before. They must be on their way.
    pub(crate) fn claim(&self, len: usize) {
        self.wait_completed();
        self.debt.claim(len);
        self.note_claim();
    }

    fn note_claim(&self) {
        let mut state = self.lock();
        (state.is_claiming, state.has_claim) = (true, true);
    }

    /// Gives back what was claimed if all was sent, also what no reply came for.
    pub(crate) fn end_claim(&self) {
        if self.is_idle() {
            let mut state = self.lock();
            state.is_claiming = false;
            self.release(&mut state);
        }
    }

    fn release(&self, state: &mut State) {
        if std::mem::take(&mut state.has_claim) {
            self.debt.release();
        }
    }

    /// Notes what is ready, for the limit of all connections together.
    fn note_debt(&self, state: &mut State) {
        if state.noted_len != state.ready_len {
            self.debt.note(state.noted_len, state.ready_len);
            state.noted_len = state.ready_len;
        }
    }

    fn wake(&self, state: &State) {
        if state.waiter_count > 0 {
            self.less.notify_all();
        }
    }

    fn wait_while(&self, is_too_much: impl Fn(&State) -> bool) {
        let mut state = self.lock();
        while is_too_much(&state) && !state.is_dead {
            state.waiter_count += 1;
            state = self.less.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiter_count -= 1;
        }
    }

    /// A panic elsewhere leaves the state whole: it is changed by code that cannot panic half way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.debt.note(state.noted_len, 0);
    }
}

impl State {
    /// Takes the ready places at the front.
    fn take_ready(&mut self) -> Vec<Vec<u8>> {
        let mut batch = Vec::new();
        while let Some(Place::Ready(reply)) = self.places.front_mut() {
            batch.push(std::mem::take(reply));
            self.places.pop_front();
            self.front_number += 1;
        }
        batch
    }

    /// Notes that `len` bytes were written, or thrown away with the connection.
    fn end_writing(&mut self, len: usize) {
        self.is_writing = false;
        self.ready_len = self.ready_len.saturating_sub(len);
    }
}

fn slices_of(batch: &[Vec<u8>]) -> Vec<IoSlice<'_>> {
    batch.iter().map(|reply| IoSlice::new(reply)).collect()
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
