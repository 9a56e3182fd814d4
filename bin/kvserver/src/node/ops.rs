//! Clients' operations on their way through the machine, and how their outcomes read.
//!
//! ```text
//! lines ──▶ Batch ──submit──▶ machine (one lock) ──▶ outcomes, from any thread ──▶ one write when all are there
//!             │                                                 │
//!             └─ operation i ── OpId ── Waiter { batch, i } ────┘
//! ```
//!
//! The operations of a batch are given to the machine together, and answered together: one reply after the other
//! in the order of the requests, in one write by whoever brings the last outcome. A batch whose outcomes are all there
//! when its own thread comes back is answered by that thread, without a place in the outbox.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::{Bytes, OpId, Refusal, Reply as Told};
use net::{Replies, Ticket};
use protocol::{Dialect, Reply};

/// What a client asked for, as far as its answer needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    /// A get that tells the version too.
    Read,
    Put,
    Delete,
}

/// An operation that waits for its outcome.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) batch: Arc<Batch>,
    pub(super) index: usize,
    pub(super) kind: Kind,
    pub(super) key: Bytes,
    /// What the dialect wants to see again: the value put, or the one that was deleted.
    pub(super) echo: Option<Bytes>,
}

/// Operations of one connection that are answered together.
#[derive(Debug)]
pub(super) struct Batch {
    dialect: Dialect,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    replies: Vec<Vec<u8>>,
    left_count: usize,
    ticket: Option<Ticket>,
}

impl Batch {
    /// Returns a batch of `count` operations.
    pub(super) fn new(dialect: Dialect, count: usize) -> Arc<Self> {
        let state = State { replies: vec![Vec::new(); count], left_count: count, ticket: None };
        Arc::new(Self { dialect, state: Mutex::new(state) })
    }

    /// Answers the batch if every outcome is there; else takes a place in the outbox, for whoever brings the last one.
    pub(super) fn answer(&self, replies: &mut Replies) {
        {
            let mut state = self.lock();
            if state.left_count == 0 {
                for reply in state.replies.drain(..) {
                    replies.buffer().extend_from_slice(&reply);
                }
                return;
            }
        }
        // Not under the lock: it may have to wait for outcomes that other threads bring.
        let ticket = replies.reserve();
        let mut state = self.lock();
        match state.left_count {
            0 => {
                let all = state.replies.concat();
                drop(state);
                ticket.complete(all);
            }
            _ => state.ticket = Some(ticket),
        }
    }

    fn fill(&self, index: usize, reply: Vec<u8>) {
        let mut state = self.lock();
        let Some(place) = state.replies.get_mut(index) else { return };
        *place = reply;
        state.left_count -= 1;
        if state.left_count == 0
            && let Some(ticket) = state.ticket.take()
        {
            let all = state.replies.concat();
            drop(state);
            ticket.complete(all);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Brings the outcome; `ranges` gives the key ranges, where the dialect shows them.
    pub(super) fn complete(self, told: Told, ranges: impl FnOnce() -> String) {
        let mut reply = Vec::new();
        let Self { batch, index, kind, key, echo } = self;
        match told {
            Told::Refused(Refusal::NotResponsible) => {
                let is_shown = batch.dialect == Dialect::Toronto;
                let ranges = if is_shown { ranges() } else { String::new() };
                Reply::NotResponsible { ranges: ranges.into() }
                    .encode_into(batch.dialect, &mut reply);
            }
            told => encode(kind, &key, echo.as_deref(), told, batch.dialect, &mut reply),
        }
        batch.fill(index, reply);
    }

    /// Brings an error where the machine could say nothing: a read that failed.
    pub(super) fn fail(self, reason: &str) {
        let mut out = Vec::new();
        refuse(self.kind, &self.key, reason, self.batch.dialect, &mut out);
        self.batch.fill(self.index, out);
    }
}

/// Operations that are with the machine, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Ops {
    /// Each with how often its place was taken: a number is never given twice.
    places: Vec<(u32, Option<Waiter>)>,
    free: VecDeque<u32>,
    asked_count: u64,
}

impl Ops {
    /// Notes an operation, and returns its number.
    pub(super) fn add(&mut self, waiter: Waiter) -> OpId {
        self.asked_count += 1;
        let index = self.free.pop_front().unwrap_or_else(|| {
            self.places.push((0, None));
            // Fewer than connections times tickets times requests in a read.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let Some((count, place)) = self.places.get_mut(index as usize) else {
            unreachable!("the place was just found")
        };
        *count = count.wrapping_add(1);
        *place = Some(waiter);
        OpId(u64::from(*count) << 32 | u64::from(index))
    }

    /// Takes out an operation, unless that was done already.
    pub(super) fn take(&mut self, op: OpId) -> Option<Waiter> {
        let index = u32::try_from(op.0 & u64::from(u32::MAX)).ok()?;
        let (count, place) = self.places.get_mut(index as usize)?;
        if u64::from(*count) != op.0 >> 32 {
            return None;
        }
        let waiter = place.take()?;
        self.free.push_back(index);
        Some(waiter)
    }

    /// Returns how many operations were ever given to the machine.
    pub(super) fn asked_count(&self) -> u64 {
        self.asked_count
    }

    /// Returns how many operations are with the machine.
    pub(super) fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

/// Appends what a client is told.
fn encode(
    kind: Kind,
    key: &[u8],
    echo: Option<&[u8]>,
    told: Told,
    dialect: Dialect,
    out: &mut Vec<u8>,
) {
    let name = || key.into();
    let echo = echo.unwrap_or_default().into();
    let reply = match told {
        Told::Value(Some((value, lsn))) => {
            match kind {
                Kind::Read => {
                    Reply::ReadSuccess { key: name(), version: lsn.0, value: (&*value).into() }
                }
                Kind::Get | Kind::Put | Kind::Delete => {
                    Reply::GetSuccess { key: name(), value: (&*value).into() }
                }
            }
            .encode_into(dialect, out);
            return;
        }
        Told::Value(None) if kind == Kind::Read => Reply::ReadNotFound { key: name() },
        Told::Value(None) => Reply::GetNotFound { key: name() },
        Told::Stored(_) => Reply::PutSuccess { key: name(), value: echo },
        Told::Replaced(_) => Reply::PutUpdate { key: name(), value: echo },
        Told::Deleted => Reply::DeleteSuccess { key: name(), value: echo },
        Told::Missing => Reply::DeleteNotFound { key: name() },
        Told::ConditionFailed(found) => {
            Reply::ConditionFailed { key: name(), found: found.map(|lsn| lsn.0) }
        }
        Told::Unknown => {
            let reason = "the servers changed while it was under way".into();
            match kind {
                Kind::Delete => Reply::DeleteUnknown { key: name(), reason },
                Kind::Put | Kind::Get | Kind::Read => Reply::PutUnknown { key: name(), reason },
            }
        }
        Told::Refused(Refusal::NotResponsible) => Reply::NotResponsible { ranges: "".into() },
        Told::Refused(Refusal::WriteLock) => Reply::WriteLock,
        // A server whose disk failed is taken out within a second or two: who comes again finds another.
        Told::Refused(Refusal::Stopped | Refusal::Failed) => Reply::Stopped,
        Told::Refused(Refusal::Busy) => {
            return refuse(kind, key, "too many writes wait; try again", dialect, out);
        }
        Told::Refused(Refusal::Full) => {
            return refuse(kind, key, "the disk of a copy is full; deletes go on", dialect, out);
        }
        Told::Refused(Refusal::OldRequest) => {
            return refuse(kind, key, "a later request of this client was done", dialect, out);
        }
    };
    reply.encode_into(dialect, out);
}

/// Appends a refusal with its reason: nothing was done.
fn refuse(kind: Kind, key: &[u8], reason: &str, dialect: Dialect, out: &mut Vec<u8>) {
    let (key, reason) = (key.into(), reason.into());
    let reply = match kind {
        Kind::Get => Reply::GetError { key, reason },
        Kind::Read => Reply::ReadError { key, reason },
        Kind::Put => Reply::PutError { key, reason },
        Kind::Delete => Reply::DeleteError { key, reason },
    };
    reply.encode_into(dialect, out);
}
