//! Writes of one key, gathered into batches that are appended as one.
//!
//! A batch is a run of puts or a run of deletes, not both: on a full disk puts are refused and deletes are not (R8),
//! and an append is refused as a whole. Each write gets its lsn and its answer when it is gathered; the answers are
//! sent when the batch is as durable as `--sync` says, and become errors if its append fails.

use std::borrow::Cow;

use bitcask::{Error, Prepared, Write};
use hashring::Token;
use net::Replies;
use protocol::{Dialect, Reply};

use crate::commit::{Commit, Lead, Waiter, encode_failed};
use crate::own_writes::OwnWrites;
use crate::reads::slot_of;
use crate::service::Shared;
use crate::slots::{Ordered, Pending};

/// Bytes of keys and values from which on a batch is appended: one large write is as fast as two.
const BATCH_LEN_MAX: usize = 1024 * 1024;

/// Writes in a batch at most, so that their replies are not kept waiting for each other for long.
const BATCH_COUNT_MAX: usize = 1024;

/// The answer to a write that succeeds.
#[derive(Debug)]
enum Answer {
    New,
    Replaced,
    Deleted {
        /// The old value, where the dialect shows it.
        old: Vec<u8>,
    },
}

#[derive(Debug)]
struct Planned<'a> {
    token: Token,
    ordered: Ordered,
    key: Cow<'a, [u8]>,
    /// `None` for a delete.
    value: Option<Cow<'a, [u8]>>,
    answer: Answer,
}

/// Writes of one connection that have their lsns and are not appended yet.
///
/// Dropping it (in a panic) takes them off the pending lists, so that nobody waits for them.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    shared: &'a Shared,
    planned: Vec<Planned<'a>>,
    len: usize,
    is_of_deletes: bool,
}

impl<'a> Batch<'a> {
    /// Returns an empty batch.
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, planned: Vec::new(), len: 0, is_of_deletes: false }
    }

    /// Adds a put.
    pub(crate) fn put(
        &mut self,
        key: Cow<'a, [u8]>,
        value: Cow<'a, [u8]>,
        own_writes: &mut OwnWrites,
        replies: &mut Replies,
    ) {
        self.make_room(false, own_writes, replies);
        let token = Token::of_key(&key);
        let slot = slot_of(token);
        let mut locked = self.shared.slots.lock(slot);
        let is_live = match locked.newest(&key) {
            Some(pending) => {
                self.see(pending);
                Ok(!pending.is_delete)
            }
            None => self.shared.common.store.contains(slot, &key),
        };
        match is_live {
            Ok(is_live) => {
                let ordered = locked.order(&key, false);
                drop(locked);
                let answer = if is_live { Answer::Replaced } else { Answer::New };
                self.len += key.len() + value.len();
                self.planned.push(Planned { token, ordered, key, value: Some(value), answer });
            }
            Err(error) => {
                drop(locked);
                self.flush(own_writes, replies);
                let reply = Reply::PutError { key, reason: error.to_string().into() };
                reply.encode_into(self.shared.common.dialect, replies.buffer());
            }
        }
    }

    /// Adds a delete, or answers that there is nothing to delete.
    pub(crate) fn delete(
        &mut self,
        key: Cow<'a, [u8]>,
        own_writes: &mut OwnWrites,
        replies: &mut Replies,
    ) {
        self.make_room(true, own_writes, replies);
        let token = Token::of_key(&key);
        let found = loop {
            match self.find_to_delete(token, &key) {
                Find::Wait(pending) => {
                    self.flush(own_writes, replies);
                    self.shared.slots.wait_settled(pending);
                }
                Find::Planned(ordered, old) => break Ok(Some((ordered, old))),
                Find::Nothing => break Ok(None),
                Find::Failed(error) => break Err(error),
            }
        };
        let reply = match found {
            Ok(Some((ordered, old))) => {
                self.len += key.len();
                let answer = Answer::Deleted { old };
                self.planned.push(Planned { token, ordered, key, value: None, answer });
                return;
            }
            Ok(None) => Reply::DeleteNotFound { key },
            Err(error) => Reply::DeleteError { key, reason: error.to_string().into() },
        };
        self.flush(own_writes, replies);
        reply.encode_into(self.shared.common.dialect, replies.buffer());
    }

    /// Looks, under the slot's lock, for what there is to delete, and orders the delete.
    fn find_to_delete(&self, token: Token, key: &[u8]) -> Find {
        let slot = slot_of(token);
        let has_echo = self.shared.common.dialect == Dialect::Toronto;
        let mut locked = self.shared.slots.lock(slot);
        let mut old = Vec::new();
        if let Some(pending) = locked.newest(key) {
            // A pending value cannot be echoed, since it cannot be read; "not found" must not be lost in a crash.
            if pending.is_delete || has_echo {
                return Find::Wait(Ordered { slot, lsn: pending.lsn });
            }
            self.see(pending);
        } else if has_echo {
            let mut record = Vec::new();
            match self.shared.common.store.get(slot, key, &mut record) {
                Ok(Some(found)) => old = found.value.to_vec(),
                Ok(None) => return Find::Nothing,
                Err(error) => return Find::Failed(error),
            }
        } else {
            match self.shared.common.store.contains(slot, key) {
                Ok(true) => {}
                Ok(false) => return Find::Nothing,
                Err(error) => return Find::Failed(error),
            }
        }
        Find::Planned(locked.order(key, true), old)
    }

    /// Appends what was gathered if it is of the other kind, or much.
    fn make_room(&mut self, is_delete: bool, own_writes: &mut OwnWrites, replies: &mut Replies) {
        let is_full = self.len >= BATCH_LEN_MAX || self.planned.len() >= BATCH_COUNT_MAX;
        if is_full || self.is_of_deletes != is_delete {
            self.flush(own_writes, replies);
        }
        self.is_of_deletes = is_delete;
    }

    /// Brings what was gathered into the log and answers it, or leaves it to who leads there.
    pub(crate) fn flush(&mut self, own_writes: &mut OwnWrites, replies: &mut Replies) {
        if self.planned.is_empty() {
            return;
        }
        self.len = 0;
        let writes: Vec<Write<'_>> = self.planned.iter().map(Planned::write).collect();
        let prepared = match self.shared.common.store.prepare(&writes) {
            Ok(prepared) => prepared,
            Err(error) => return self.fail(&error, replies.buffer()),
        };
        match self.shared.committer.try_lead() {
            Some(lead) => self.append(prepared, lead, replies),
            None => self.submit(prepared, own_writes, replies),
        }
    }

    /// Appends and publishes in person, also what others have left meanwhile.
    fn append(&mut self, prepared: Prepared, lead: Lead<'_>, replies: &mut Replies) {
        let appended = self.shared.common.store.append_prepared(prepared);
        let of_others = lead.append_waiting();
        match appended {
            Ok(appended) => {
                self.shared.common.store.publish(appended);
                for planned in self.planned.drain(..) {
                    self.shared.slots.settle(planned.ordered);
                    planned.encode_success(self.shared.common.dialect, replies.buffer());
                }
            }
            Err(error) => self.fail(&error, replies.buffer()),
        }
        if !of_others.is_empty() {
            // Without waiting: a slow reader must not hold up the others.
            replies.send_now();
            self.shared.committer.finish(of_others);
        }
    }

    /// Leaves the batch to the committer.
    fn submit(&mut self, prepared: Prepared, own_writes: &mut OwnWrites, replies: &mut Replies) {
        let count = self.planned.len();
        let (mut reply, mut writes) = (Vec::new(), Vec::with_capacity(count));
        let mut tokens = Vec::with_capacity(count);
        let ticket = replies.reserve();
        for planned in self.planned.drain(..) {
            writes.push(planned.ordered);
            tokens.push(planned.token);
            planned.encode_success(self.shared.common.dialect, &mut reply);
        }
        let waiter = Waiter { writes, reply, ticket };
        self.shared.committer.submit(Commit { prepared, waiter });
        own_writes.note(&tokens, replies);
    }

    /// Answers every write of a batch whose append failed.
    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let shared = self.shared;
        let writes = self.planned.drain(..).map(|planned| planned.ordered);
        encode_failed(writes, error, &shared.slots, shared.common.dialect, out);
    }

    /// Notes that a write is decided on `pending`, unless both are of this batch and fail together.
    fn see(&self, pending: &mut Pending) {
        let is_ours = self.planned.iter().any(|planned| planned.ordered.lsn == pending.lsn);
        pending.is_seen |= !is_ours;
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for planned in &self.planned {
            self.shared.slots.settle(planned.ordered);
        }
    }
}

/// What a delete finds.
enum Find {
    /// A pending write that must be settled first.
    Wait(Ordered),
    /// A value; the delete has its place, and the old value comes along where the dialect shows it.
    Planned(Ordered, Vec<u8>),
    Nothing,
    Failed(Error),
}

impl Planned<'_> {
    fn write(&self) -> Write<'_> {
        let Ordered { slot, lsn } = self.ordered;
        match &self.value {
            Some(value) => Write::put(slot, lsn, &self.key, value),
            None => Write::delete(slot, lsn, &self.key),
        }
    }

    fn encode_success(self, dialect: Dialect, out: &mut Vec<u8>) {
        let (key, value) = (self.key, self.value.unwrap_or_default());
        let reply = match self.answer {
            Answer::New => Reply::PutSuccess { key, value },
            Answer::Replaced => Reply::PutUpdate { key, value },
            Answer::Deleted { old } => Reply::DeleteSuccess { key, value: old.into() },
        };
        reply.encode_into(dialect, out);
    }
}
