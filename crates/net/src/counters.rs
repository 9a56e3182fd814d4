//! Counts of connections, kept by the accept loop and the connections' threads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the start, shared by all threads; each is touched rarely in a connection's life.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) open: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) too_slow: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) starved: AtomicU64,
    pub(crate) input_held: AtomicU64,
    pub(crate) input_waiting: AtomicU64,
    pub(crate) owed: AtomicU64,
    pub(crate) claimed: AtomicU64,
    pub(crate) reply_waiting: AtomicU64,
    pub(crate) accept_turns: AtomicU64,
}

/// One reading of [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections being served now.
    pub open: u64,
    /// Connections taken since the start, those refused included.
    pub accepted: u64,
    /// Connections refused because of the limit or because no thread could be started.
    pub refused: u64,
    /// Connections closed because a request took too long or nothing was asked.
    pub timed_out: u64,
    /// Connections closed because the peer did not read its replies.
    pub too_slow: u64,
    /// Connections closed by a panic in their thread.
    pub panicked: u64,
    /// Connections closed because all together held too much input for too long.
    pub starved: u64,
    /// Bytes that connections hold now for lines that do not fit into their ordinary buffers.
    pub input_held_len: u64,
    /// Connections that wait now for such memory.
    pub input_waiting: u64,
    /// Bytes of replies that are ready now for readers that are behind.
    pub owed_len: u64,
    /// Bytes of large replies that are being read, or sent, now.
    pub reply_len: u64,
    /// Connections that wait now for room for a large reply.
    pub reply_waiting: u64,
}

impl Counters {
    /// What the turns stand at when there are no more, because the listener was told to stop.
    pub(crate) const NO_MORE_TURNS: u64 = u64::MAX;

    /// Returns how often the accept loop has gone round, which it does ten times a second even if nobody connects; `None`
    /// once the listener was told to stop. A number that stays is a loop that is stuck, dead, or without its socket.
    #[must_use]
    pub fn accept_turns(&self) -> Option<u64> {
        Some(self.accept_turns.load(Relaxed)).filter(|turns| *turns != Self::NO_MORE_TURNS)
    }

    /// Returns all counts; they are read one after the other, so they may be a moment apart.
    #[must_use]
    pub fn read(&self) -> Counts {
        Counts {
            open: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            too_slow: self.too_slow.load(Relaxed),
            panicked: self.panicked.load(Relaxed),
            starved: self.starved.load(Relaxed),
            input_held_len: self.input_held.load(Relaxed),
            input_waiting: self.input_waiting.load(Relaxed),
            owed_len: self.owed.load(Relaxed),
            reply_len: self.claimed.load(Relaxed),
            reply_waiting: self.reply_waiting.load(Relaxed),
        }
    }
}

/// Adds one to `count`.
pub(crate) fn count(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}
