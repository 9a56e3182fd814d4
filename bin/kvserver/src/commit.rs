//! Group commit: one sync of the disk for all writes that wait, and the replies written by who synced.
//!
//! With `--sync always` a connection's thread appends its batch, leaves the batch's replies here and goes back to
//! read. The first that finds nobody leading leads a *round* in its own thread: it takes all batches that wait,
//! syncs once, makes their records visible and writes their replies to their sockets.
//!
//! ```text
//!   connection A   append ─ leads ── sync ───┬─ publish, reply ─ back to read
//!   connections B…     append, leave ┄┄┄┄┄┄┄┄│┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┐
//!   helper                                   └─ woken: leads ── sync ─────┴─ publish, reply
//! ```
//!
//! A lone connection never waits for another thread. When others have left batches meanwhile, the leader wakes a
//! helper before it publishes, so that the next sync runs while the replies are written, and so that no
//! connection's thread leads for ever while its own client waits.
//!
//! A sync that fails makes every write of its round *unknown* (R11): its record may be on the disk. The store refuses
//! writes from then on (R3); those that had been appended by then fail in the next round in the same way.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use bitcask::{Appended, Store};
use net::Ticket;
use protocol::{Dialect, Reply};

use crate::slots::{Ordered, Pending, Slots};

/// Helpers: while one publishes, the other syncs.
const HELPER_COUNT: usize = 2;

/// An appended batch that waits to be durable.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The batch in the log.
    pub(crate) appended: Appended,
    /// Its writes in the order of their requests.
    pub(crate) writes: Vec<Ordered>,
    /// What is answered when it is durable.
    pub(crate) reply: Vec<u8>,
    /// Where the answer goes.
    pub(crate) ticket: Ticket,
}

/// Makes batches durable and answers them.
#[derive(Debug)]
pub(crate) struct Committer {
    store: Store,
    slots: Arc<Slots>,
    dialect: Dialect,
    queue: Mutex<Queue>,
    /// Wakes a helper.
    passed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Commit>,
    /// Somebody leads, or was woken to lead.
    is_led: bool,
    /// The lead waits for a helper to take it.
    is_passed: bool,
    is_over: bool,
}

/// The helpers' threads.
#[derive(Debug)]
pub(crate) struct Helpers {
    committer: Arc<Committer>,
    threads: Vec<JoinHandle<()>>,
}

impl Committer {
    pub(crate) fn new(store: Store, slots: Arc<Slots>, dialect: Dialect) -> Self {
        Self { store, slots, dialect, queue: Mutex::default(), passed: Condvar::new() }
    }

    /// Sees to it that `commit` becomes durable and is answered; leads the round if nobody does.
    pub(crate) fn submit(&self, commit: Commit) {
        let mut queue = self.lock();
        queue.waiting.push(commit);
        if queue.is_led {
            return;
        }
        queue.is_led = true;
        self.lead(queue);
    }

    /// Leads one round and passes the lead on. The caller leads when it calls.
    fn lead(&self, mut queue: MutexGuard<'_, Queue>) {
        let round = std::mem::take(&mut queue.waiting);
        drop(queue);
        let outcome = self.store.sync();
        let mut queue = self.lock();
        queue.is_led = !queue.waiting.is_empty();
        queue.is_passed = queue.is_led;
        let is_passed = queue.is_passed;
        drop(queue);
        if is_passed {
            self.passed.notify_one();
        }
        match outcome {
            Ok(_) => round.into_iter().for_each(|commit| self.finish(commit)),
            Err(error) => {
                log::error!(
                    "a sync failed, {} batches have unknown outcomes: {error}",
                    round.len()
                );
                let reason = error.to_string();
                round.into_iter().for_each(|commit| self.give_up(commit, &reason));
            }
        }
    }

    fn finish(&self, commit: Commit) {
        self.store.publish(commit.appended);
        for write in commit.writes {
            self.slots.settle(write);
        }
        commit.ticket.complete(commit.reply);
    }

    fn give_up(&self, commit: Commit, reason: &str) {
        let mut reply = Vec::new();
        for write in commit.writes {
            if let Some(pending) = self.slots.settle(write) {
                encode_unknown(&pending, reason, self.dialect, &mut reply);
            }
        }
        commit.ticket.complete(reply);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a helper: takes the lead when it is passed on, ends when there is none to take.
    fn help(&self) {
        let mut queue = self.lock();
        loop {
            if queue.is_passed {
                queue.is_passed = false;
                self.lead(queue);
                queue = self.lock();
            } else if queue.is_over {
                return;
            } else {
                queue = self.passed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Appends the answer to a write whose outcome is not known.
pub(crate) fn encode_unknown(pending: &Pending, reason: &str, dialect: Dialect, out: &mut Vec<u8>) {
    let (key, reason) = (pending.key.as_ref().into(), reason.into());
    let reply = if pending.is_delete {
        Reply::DeleteUnknown { key, reason }
    } else {
        Reply::PutUnknown { key, reason }
    };
    reply.encode_into(dialect, out);
}

impl Helpers {
    /// Starts the helpers of `committer`.
    ///
    /// # Errors
    /// What the operating system says when it has no thread.
    pub(crate) fn start(committer: &Arc<Committer>) -> std::io::Result<Self> {
        let mut helpers = Self { committer: Arc::clone(committer), threads: Vec::new() };
        for _ in 0..HELPER_COUNT {
            let committer = Arc::clone(committer);
            let builder = thread::Builder::new().name("commit".into());
            helpers.threads.push(builder.spawn(move || committer.help())?);
        }
        Ok(helpers)
    }

    /// Ends the helpers once what they lead is done.
    pub(crate) fn stop(self) {
        self.committer.lock().is_over = true;
        self.committer.passed.notify_all();
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a commit helper had panicked");
            }
        }
    }
}
