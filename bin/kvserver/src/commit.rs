//! The way into the log: one thread at a time, for all who wait, and it writes their replies.
//!
//! A connection's thread that finds nobody *leading* leads. Otherwise it leaves its batch and its ticket here and goes
//! back to read, so that threads do not queue for the log's lock and a write costs its connection no second wake-up. The
//! leader goes in *rounds*:
//!
//! ```text
//!   take all batches that wait ─▶ append them as one ─▶ sync once ─▶ publish ─▶ write the replies to their sockets
//!                                                     (--sync always)
//! ```
//!
//! * With `--sync always`, a leader that finds more batches after its sync wakes a helper to lead, before it
//!   publishes: the next sync runs while the replies are written. A lone connection never waits for another thread.
//! * Without, a round is one write to a file, and the leader gives up the lead when nobody waits, before it publishes;
//!   after [`ROUND_COUNT_MAX`] rounds it passes the lead to a helper, since its own client may be waiting.
//!
//! An append that is refused did nothing, and its writes are *refused*. A sync that fails makes every write of its
//! round *unknown* (R11): its record may be on the disk. The store refuses writes from then on (R3).
//!
//! What waits here, or is being appended, has a limit in bytes: whoever would pass it waits before its batch is taken, and
//! its connection is not read meanwhile. Only a connection that leaves its batch to others ever waits, and those who
//! lead never leave any, so the way is free again as soon as the disk goes on.
//!
//! Batches of puts and batches of deletes are appended apart: on a full disk only puts are refused (R8).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use bitcask::{Appended, Error, Prepared, Store};
use net::Ticket;
use protocol::{Dialect, Reply};

use crate::slots::{Ordered, Pending, Slots};

/// Helpers: while one publishes, the other syncs.
const HELPER_COUNT: usize = 2;

/// Rounds that a connection's thread leads in a row for others when there is no sync.
const ROUND_COUNT_MAX: usize = 8;

/// Looks at whether somebody leads before a batch is left to that one: tens of microseconds, the time of an append
/// that an interrupt hit. A batch left to others has its reply sent by another processor, which moves the threads
/// of both ends about: with 200 looks and no yield, 50 connections put half as much.
const SPIN_COUNT_MAX: u32 = 2000;

/// Bytes of batches that are appended as one. Above, a second write costs nothing beside the copying.
const APPEND_LEN_MAX: usize = 256 * 1024;

/// A batch on its way into the log.
#[derive(Debug)]
pub(crate) struct Commit<W = Waiter> {
    /// The batch; all puts or all deletes.
    pub(crate) prepared: Prepared,
    /// Who waits for it.
    pub(crate) waiter: W,
}

/// The requests of a batch, and where their answer goes.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// The writes in the order of their requests.
    pub(crate) writes: Vec<Ordered>,
    /// What is answered if all goes well.
    pub(crate) reply: Vec<u8>,
    /// Where the answer goes.
    pub(crate) ticket: Ticket,
}

/// Brings batches into the log and answers them.
#[derive(Debug)]
pub(crate) struct Committer {
    store: Store,
    slots: Arc<Slots>,
    settings: Settings,
    /// What the queue says, to be looked at without its lock.
    is_led: AtomicBool,
    queue: Mutex<Queue>,
    /// Wakes a helper.
    passed: Condvar,
    /// Tells those who wait for room.
    shrunk: Condvar,
}

/// What is set once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) dialect: Dialect,
    /// A write is answered when it is on disk.
    pub(crate) is_synced: bool,
    /// Bytes of batches that may wait or be being appended; one batch may always.
    pub(crate) queued_len_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Commit>,
    /// Bytes of what waits or is being appended.
    queued_len: usize,
    /// Threads that wait for room.
    blocked_count: usize,
    /// Somebody leads, or was woken to lead.
    is_led: bool,
    /// The lead waits for a helper to take it.
    is_passed: bool,
    is_over: bool,
}

/// Batches appended as one.
#[derive(Debug)]
struct Group<W = Waiter> {
    prepared: Prepared,
    waiters: Vec<W>,
}

/// Batches that are in the log and not answered.
#[derive(Debug)]
pub(crate) struct Done {
    appended: Appended,
    waiters: Vec<Waiter>,
}

/// The lead; dropping it passes it on, also in a panic.
#[derive(Debug)]
pub(crate) struct Lead<'a> {
    committer: &'a Committer,
}

/// A round that is being appended; dropping it, also in a panic, makes room for others.
struct Appending<'a> {
    committer: &'a Committer,
    len: usize,
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        let mut queue = self.committer.lock();
        queue.queued_len -= self.len;
        if queue.blocked_count > 0 {
            self.committer.shrunk.notify_all();
        }
    }
}

/// The helpers' threads.
#[derive(Debug)]
pub(crate) struct Helpers {
    committer: Arc<Committer>,
    threads: Vec<JoinHandle<()>>,
}

impl Committer {
    /// Returns a committer that nobody leads.
    pub(crate) fn new(store: Store, slots: Arc<Slots>, settings: Settings) -> Self {
        let (is_led, queue) = (AtomicBool::new(false), Mutex::default());
        let (passed, shrunk) = (Condvar::new(), Condvar::new());
        Self { store, slots, settings, is_led, queue, passed, shrunk }
    }

    /// Returns the lead if nobody has it, or soon, and an append is all that a write needs.
    pub(crate) fn try_lead(&self) -> Option<Lead<'_>> {
        if self.settings.is_synced {
            return None;
        }
        self.try_take()
            .or_else(|| {
                self.spin_while_led();
                self.try_take()
            })
            .or_else(|| {
                // Whoever leads was preempted, perhaps by this thread: it gets the processor.
                thread::yield_now();
                self.spin_while_led();
                self.try_take()
            })
    }

    fn try_take(&self) -> Option<Lead<'_>> {
        let mut queue = self.lock();
        if queue.is_led {
            return None;
        }
        self.set_led(&mut queue, true);
        Some(Lead { committer: self })
    }

    fn spin_while_led(&self) {
        for _ in 0..SPIN_COUNT_MAX {
            if !self.is_led.load(Ordering::Relaxed) {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// Sees to it that `commit` gets into the log and is answered; leads if nobody does.
    pub(crate) fn submit(&self, commit: Commit) {
        let mut queue = self.lock();
        let len = commit.prepared.len_max();
        while queue.queued_len > 0
            && queue.queued_len.saturating_add(len) > self.settings.queued_len_max
        {
            queue.blocked_count += 1;
            queue = self.shrunk.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.blocked_count -= 1;
        }
        queue.queued_len += len;
        queue.waiting.push(commit);
        if queue.is_led {
            return;
        }
        self.set_led(&mut queue, true);
        drop(queue);
        Lead { committer: self }.serve();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_led(&self, queue: &mut Queue, is_led: bool) {
        queue.is_led = is_led;
        self.is_led.store(is_led, Ordering::Relaxed);
    }

    /// Gives the lead to a helper if anybody waits, else to nobody.
    fn pass_on(&self) {
        let mut queue = self.lock();
        let is_led = !queue.waiting.is_empty();
        self.set_led(&mut queue, is_led);
        queue.is_passed = is_led;
        let is_passed = queue.is_passed;
        drop(queue);
        if is_passed {
            self.passed.notify_one();
        }
    }

    /// Takes all batches that wait; if there are none, nobody leads from then on.
    fn take_round(&self) -> Option<Vec<Commit>> {
        let mut queue = self.lock();
        let is_led = !queue.waiting.is_empty();
        self.set_led(&mut queue, is_led);
        is_led.then(|| std::mem::take(&mut queue.waiting))
    }

    /// Returns the bytes of batches that wait or are being appended.
    pub(crate) fn queued_len(&self) -> usize {
        self.lock().queued_len
    }

    /// Appends a round to `done`; answers the batches that fail.
    fn append(&self, round: Vec<Commit>, done: &mut Vec<Done>) {
        let _appending = Appending {
            committer: self,
            len: round.iter().map(|commit| commit.prepared.len_max()).sum(),
        };
        for Group { prepared, waiters } in group(round) {
            match self.store.append_prepared(prepared) {
                Ok(appended) => done.push(Done { appended, waiters }),
                Err(error) => waiters.into_iter().for_each(|waiter| self.fail(waiter, &error)),
            }
        }
    }

    /// Makes writes visible and answers them.
    pub(crate) fn finish(&self, done: Vec<Done>) {
        for Done { appended, waiters } in done {
            self.store.publish(appended);
            for waiter in waiters {
                for write in waiter.writes {
                    self.slots.settle(write);
                }
                waiter.ticket.complete(waiter.reply);
            }
        }
    }

    /// Answers writes whose append failed.
    fn fail(&self, waiter: Waiter, error: &Error) {
        let mut reply = Vec::new();
        encode_failed(waiter.writes, error, &self.slots, self.settings.dialect, &mut reply);
        waiter.ticket.complete(reply);
    }

    /// Answers writes that are in the log, but not known to be on disk.
    fn give_up(&self, done: Vec<Done>, error: &Error) {
        log::error!("a sync failed, the writes that waited for it have unknown outcomes: {error}");
        let reason = error.to_string();
        for waiter in done.into_iter().flat_map(|done| done.waiters) {
            let mut reply = Vec::new();
            for write in waiter.writes {
                if let Some(pending) = self.slots.settle(write) {
                    encode_unknown(&pending, &reason, self.settings.dialect, &mut reply);
                }
            }
            waiter.ticket.complete(reply);
        }
    }

    /// The life of a helper: takes the lead when it is passed on, ends when there is none to take.
    fn help(&self) {
        let mut queue = self.lock();
        loop {
            if queue.is_passed {
                queue.is_passed = false;
                drop(queue);
                Lead { committer: self }.serve();
                queue = self.lock();
            } else if queue.is_over {
                return;
            } else {
                queue = self.passed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Lead<'_> {
    /// Appends what others have left, and gives up the lead. The caller publishes and answers what comes back.
    pub(crate) fn append_waiting(self) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..ROUND_COUNT_MAX {
            let Some(round) = self.committer.take_round() else {
                // Nobody leads any more, so there is nothing to pass on.
                std::mem::forget(self);
                return done;
            };
            self.committer.append(round, &mut done);
        }
        done
    }

    /// Leads one round, or several without sync, and gives up the lead before the replies are written.
    fn serve(self) {
        let committer = self.committer;
        let (mut done, mut outcome) = (Vec::new(), Ok(()));
        if committer.settings.is_synced {
            let round = std::mem::take(&mut committer.lock().waiting);
            committer.append(round, &mut done);
            outcome = committer.store.sync().map(|_| ());
            drop(self);
        } else {
            done = self.append_waiting();
        }
        match outcome {
            Ok(()) => committer.finish(done),
            Err(error) => committer.give_up(done, &error),
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.committer.pass_on();
    }
}

/// Puts batches together that can be appended as one, in the order in which they came: a kill between two appends
/// must not leave a connection's later write without its earlier one.
fn group<W>(round: Vec<Commit<W>>) -> Vec<Group<W>> {
    let mut groups: Vec<Group<W>> = Vec::with_capacity(2);
    for Commit { prepared, waiter } in round {
        let fits = |group: &&mut Group<W>| {
            group.prepared.has_put() == prepared.has_put()
                && group.prepared.len_max() + prepared.len_max() <= APPEND_LEN_MAX
        };
        match groups.last_mut().filter(fits) {
            Some(group) => {
                group.prepared.merge(&prepared);
                group.waiters.push(waiter);
            }
            None => groups.push(Group { prepared, waiters: vec![waiter] }),
        }
    }
    groups
}

/// Appends the answers to writes whose append failed, and takes them off the pending lists.
pub(crate) fn encode_failed(
    writes: impl IntoIterator<Item = Ordered>,
    error: &Error,
    slots: &Slots,
    dialect: Dialect,
    out: &mut Vec<u8>,
) {
    let reason = error.to_string();
    for write in writes {
        let Some(pending) = slots.settle(write) else { continue };
        if error.is_refusal() && !pending.is_seen {
            encode_refused(&pending, &reason, dialect, out);
        } else {
            encode_unknown(&pending, &reason, dialect, out);
        }
    }
}

/// Appends the answer to a write of which nothing was done.
fn encode_refused(pending: &Pending, reason: &str, dialect: Dialect, out: &mut Vec<u8>) {
    let (key, reason) = (pending.key.as_ref().into(), reason.into());
    let reply = if pending.is_delete {
        Reply::DeleteError { key, reason }
    } else {
        Reply::PutError { key, reason }
    };
    reply.encode_into(dialect, out);
}

/// Appends the answer to a write whose outcome is not known.
fn encode_unknown(pending: &Pending, reason: &str, dialect: Dialect, out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use bitcask::{Config, Lsn, SlotId, Write};

    use super::*;

    /// Makes a ticket for each line that comes.
    struct Tickets(crossbeam_channel::Sender<Ticket>);

    impl net::Service for Tickets {
        type Session = Self;

        fn open(&self, _: &net::Peer, _: &mut net::Replies) -> Self {
            Self(self.0.clone())
        }

        fn refusal(&self, refusal: net::Refusal) -> Vec<u8> {
            refusal.to_string().into_bytes()
        }
    }

    impl net::Session for Tickets {
        fn handle(&mut self, lines: &[u8], replies: &mut net::Replies) -> net::Next {
            for _ in lines.split_inclusive(|byte| *byte == b'\n') {
                self.0.send(replies.reserve()).unwrap();
            }
            net::Next::Continue
        }
    }

    #[test]
    fn batches_up_to_the_limit_wait_for_the_log_and_whoever_brings_one_more_waits_too() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { has_background: false, reserve_len: 0, ..Config::default() };
        let (store, _) = Store::open(folder.path(), config).unwrap();
        let slot = SlotId::new(0).unwrap();
        store.create_slots(&[slot]).unwrap();
        let (tickets, came) = crossbeam_channel::unbounded();
        let listener = net::Listener::bind("127.0.0.1", 0, net::Config::default()).unwrap();
        let server = listener.start(Arc::new(Tickets(tickets))).unwrap();
        let mut client = std::net::TcpStream::connect(server.address()).unwrap();
        std::io::Write::write_all(&mut client, b"1\n2\n3\n").unwrap();
        let commit = || {
            let prepared = store.prepare(&[Write::put(slot, Lsn(1), b"k", b"v")]).unwrap();
            let (writes, reply) = (Vec::new(), b"done\n".to_vec());
            Commit { prepared, waiter: Waiter { writes, reply, ticket: came.recv().unwrap() } }
        };
        let commits = [commit(), commit(), commit()];
        let len = commits[0].prepared.len_max();
        let settings =
            Settings { dialect: Dialect::Native, is_synced: true, queued_len_max: 2 * len };
        let committer = Arc::new(Committer::new(store.clone(), Arc::new(Slots::new(1)), settings));
        let helpers = Helpers::start(&committer).unwrap();

        let lead = committer.try_take().unwrap();
        let [first, second, third] = commits;
        committer.submit(first);
        committer.submit(second);
        assert_eq!(committer.queued_len(), 2 * len, "the limit itself is no reason to wait");
        thread::scope(|scope| {
            let late = scope.spawn(|| committer.submit(third));
            while committer.lock().blocked_count == 0 {
                thread::yield_now();
            }
            drop(lead);
            late.join().unwrap();
        });
        let mut replies = [0; 15];
        std::io::Read::read_exact(&mut client, &mut replies).unwrap();
        assert_eq!(&replies, b"done\ndone\ndone\n");
        helpers.stop();
        assert_eq!(committer.queued_len(), 0);
        assert_eq!(server.stop(std::time::Duration::from_secs(20)), 0);
    }

    #[test]
    fn batches_of_two_kinds_are_appended_in_the_order_in_which_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { has_background: false, reserve_len: 0, ..Config::default() };
        let (store, _) = Store::open(folder.path(), config).unwrap();
        let slot = SlotId::new(0).unwrap();
        store.create_slots(&[slot]).unwrap();
        let put = || store.prepare(&[Write::put(slot, Lsn(1), b"k", b"v")]).unwrap();
        let delete = || store.prepare(&[Write::delete(slot, Lsn(1), b"k")]).unwrap();
        let round = [put(), put(), delete(), put()];
        let number = |(waiter, prepared)| Commit { prepared, waiter };
        let groups = group(round.into_iter().enumerate().map(number).collect());
        let waiters: Vec<_> = groups.iter().map(|group| group.waiters.clone()).collect();
        assert_eq!(waiters, [vec![0, 1], vec![2], vec![3]]);
    }
}
