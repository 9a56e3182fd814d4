//! The connection thread's side of the outbox: gathers replies and sends them in one write.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use crate::outbox::{Outbox, Ticket};
use crate::{Config, Sender};

/// Gathered bytes from which on they are sent before the batch is over: bounds memory for any batch.
const SPILL_LEN: usize = 64 * 1024;

/// A value from this length on is sent from where it stands; below it, copying is cheaper than a system call.
const LARGE_LEN: usize = 16 * 1024;

/// Memory a quiet connection keeps for its replies.
const KEPT_LEN: usize = 16 * 1024;

/// Gathers the replies of one connection, in the order of its requests.
#[derive(Debug)]
pub struct Replies {
    outbox: Arc<Outbox>,
    sender: Sender,
    /// The sender was asked for: it, and no reply, is what writes to the socket.
    is_sent_to: bool,
    /// Its input is not counted with that of others.
    is_exempt: bool,
    /// Room was claimed for a reply of this batch.
    has_claim: bool,
    gathered: Vec<u8>,
    len_max: usize,
    awaited_max: usize,
    line_len_max: usize,
    idle_timeout: Option<Duration>,
}

impl Replies {
    pub(crate) fn new(outbox: Arc<Outbox>, sender: Sender, config: &Config) -> Self {
        Self {
            outbox,
            sender,
            is_sent_to: false,
            is_exempt: false,
            has_claim: false,
            gathered: Vec::new(),
            len_max: config.outbox_len_max,
            awaited_max: config.ticket_count_max,
            line_len_max: config.line_len_max,
            idle_timeout: config.idle_timeout,
        }
    }

    /// Returns a handle by which any thread can put lines onto this connection, from now on instead of replies.
    ///
    /// What is queued on it while the session opens or handles lines goes out when that returns. A connection that
    /// the session or the listener closes sends what is queued first.
    pub fn sender(&mut self) -> Sender {
        self.is_sent_to = true;
        self.sender.clone()
    }

    /// Sets how long this connection's lines may be from the next read on, when its kind has become known.
    pub fn limit_lines(&mut self, line_len_max: usize) {
        self.line_len_max = line_len_max;
    }

    /// Takes this connection's lines out of the limit for all connections together: for peers that others depend on and
    /// that are few.
    pub fn exempt_input(&mut self) {
        self.is_exempt = true;
    }

    /// Claims room for a reply of `len` bytes, [`LARGE_REPLY_LEN`](crate::LARGE_REPLY_LEN) or more, if there is some; else
    /// [`claim`](Self::claim) waits for it, and the caller should hold nothing of that size meanwhile.
    #[must_use]
    pub fn try_claim(&mut self, len: usize) -> bool {
        let is_granted = self.outbox.try_claim(len);
        self.has_claim |= is_granted;
        is_granted
    }

    /// Waits for room for a large reply, which must be among the next that are given here, and until every reserved reply was
    /// completed.
    ///
    /// Sends what was gathered first. The session must hold nothing back that the completion of its own tickets depends on.
    pub fn claim(&mut self, len: usize) {
        self.flush();
        self.outbox.claim(len);
        self.has_claim = true;
    }

    /// Sets how long this connection may send nothing, when its kind has become known; `None` is for ever.
    pub fn limit_idle(&mut self, idle_timeout: Option<Duration>) {
        self.idle_timeout = idle_timeout;
    }

    /// Returns the buffer that whole replies are appended to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.gathered
    }

    /// Appends `value` and `end`; a large value is sent at once with all that was gathered, without a copy.
    pub fn push_value(&mut self, value: &[u8], end: &[u8]) {
        if value.len() < LARGE_LEN || !self.outbox.is_idle() {
            self.gathered.extend_from_slice(value);
            self.gathered.extend_from_slice(end);
            return;
        }
        let mut pieces = [&self.gathered, value, end].map(IoSlice::new);
        self.outbox.send_direct(&mut pieces);
        self.gathered.clear();
    }

    /// Ends a reply: passes on what was gathered if it is much, and waits if the peer is far behind.
    ///
    /// The session must hold nothing back that the completion of its own tickets depends on.
    pub fn end_reply(&mut self) {
        if self.gathered.len() >= SPILL_LEN {
            self.flush();
            self.wait_for_room();
        }
    }

    /// Takes the next place in the order for a reply that is to come from any thread.
    ///
    /// Waits first if the connection is over its bounds, so every ticket reserved before must be with someone
    /// who completes it without this thread.
    pub fn reserve(&mut self) -> Ticket {
        self.queue();
        self.wait_for_room();
        self.outbox.reserve()
    }

    /// Waits until every reserved reply of this connection was completed.
    pub fn wait_completed(&self) {
        self.outbox.wait_completed();
    }

    /// Returns whether nobody will read another reply, because the peer is gone or did not read: what is left of a
    /// batch of costly requests need not be answered.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.outbox.is_dead()
    }

    /// Returns whether every reply was completed and sent.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.gathered.is_empty() && self.is_idle()
    }

    /// Returns whether every reply but those gathered now was completed and sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    /// Sends what was gathered as far as that goes without waiting for the peer; the rest goes on aside.
    pub fn send_now(&mut self) {
        self.queue();
        self.outbox.write();
    }

    pub(crate) fn is_exempt(&self) -> bool {
        self.is_exempt
    }

    /// Returns whether more memory is kept than a quiet connection may.
    pub(crate) fn is_large(&self) -> bool {
        self.gathered.capacity() > KEPT_LEN
    }

    pub(crate) fn line_len_max(&self) -> usize {
        self.line_len_max
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// Sends what was gathered and what was queued on the sender.
    pub(crate) fn flush_all(&mut self) {
        self.flush();
        if std::mem::take(&mut self.has_claim) {
            self.outbox.end_claim();
        }
        if self.is_sent_to {
            self.sender.flush();
        }
    }

    /// Appends the connection's last line, behind all that is still to come, by whichever way the connection uses.
    pub fn push_last(&mut self, line: &[u8]) {
        if self.is_sent_to {
            self.sender.queue(|buffer| buffer.extend_from_slice(line));
        } else {
            self.outbox.wait_completed();
            self.gathered.extend_from_slice(line);
        }
    }

    /// Sends all that is owed and waits until that is done; nothing can be sent afterwards.
    pub(crate) fn finish(&mut self) {
        self.flush();
        self.outbox.wait_idle();
        self.sender.finish();
    }

    /// Throws away what is queued on the sender: nobody reads any more.
    pub(crate) fn end_sender(&self) {
        if self.is_sent_to {
            self.sender.close();
        }
    }

    /// Sends what was gathered, or queues it behind the replies that are awaited.
    pub(crate) fn flush(&mut self) {
        if self.outbox.is_idle() {
            if !self.gathered.is_empty() {
                self.outbox.send_direct(&mut [IoSlice::new(&self.gathered)]);
                self.gathered.clear();
            }
            return;
        }
        self.queue();
        self.outbox.write();
    }

    /// Waits while the peer or the committer is too far behind for more requests to be read.
    pub(crate) fn wait_for_room(&self) {
        if !self.outbox.is_idle() {
            self.outbox.write();
            self.outbox.wait_for_room(self.len_max, self.awaited_max);
        }
    }

    /// Waits until everything was sent.
    pub(crate) fn wait_idle(&self) {
        self.outbox.wait_idle();
    }

    /// Gives back memory that only large replies need.
    pub(crate) fn rest(&mut self) {
        self.gathered.shrink_to(KEPT_LEN);
    }

    /// Moves what was gathered into the outbox.
    fn queue(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let reply = if self.gathered.len() >= LARGE_LEN {
            std::mem::take(&mut self.gathered)
        } else {
            self.gathered.as_slice().to_vec()
        };
        self.gathered.clear();
        self.outbox.push(reply);
    }
}

impl Drop for Replies {
    /// Whoever still holds the sender learns that the connection is over, also after a panic.
    fn drop(&mut self) {
        self.end_sender();
    }
}
