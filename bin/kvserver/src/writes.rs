//! Writes of one key, gathered into batches that are appended as one.
//!
//! A batch is a run of puts or a run of deletes, not both: on a full disk puts are refused and deletes are not (R8),
//! and an append is refused as a whole. Each write gets its lsn and its answer when it is gathered; the answers are
//! sent when the batch is as durable as `--sync` says, and become errors if its append fails.

use std::borrow::Cow;

use bitcask::{Error, Write};
use hashring::Token;
use net::Replies;
use protocol::{Dialect, Reply};

use crate::commit::{Commit, encode_unknown};
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
    session: u64,
    planned: Vec<Planned<'a>>,
    len: usize,
    is_of_deletes: bool,
}

impl<'a> Batch<'a> {
    /// Returns an empty batch of the connection numbered `session`.
    pub(crate) fn new(shared: &'a Shared, session: u64) -> Self {
        Self { shared, session, planned: Vec::new(), len: 0, is_of_deletes: false }
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
                pending.see(self.session);
                Ok(!pending.is_delete)
            }
            None => self.shared.store.contains(slot, &key),
        };
        match is_live {
            Ok(is_live) => {
                let ordered = locked.order(&key, false, self.session);
                drop(locked);
                let answer = if is_live { Answer::Replaced } else { Answer::New };
                self.len += key.len() + value.len();
                self.planned.push(Planned { token, ordered, key, value: Some(value), answer });
            }
            Err(error) => {
                drop(locked);
                self.flush(own_writes, replies);
                let reply = Reply::PutError { key, reason: error.to_string().into() };
                reply.encode_into(self.shared.dialect, replies.buffer());
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
        reply.encode_into(self.shared.dialect, replies.buffer());
    }

    /// Looks, under the slot's lock, for what there is to delete, and orders the delete.
    fn find_to_delete(&self, token: Token, key: &[u8]) -> Find {
        let slot = slot_of(token);
        let has_echo = self.shared.dialect == Dialect::Toronto;
        let mut locked = self.shared.slots.lock(slot);
        let mut old = Vec::new();
        if let Some(pending) = locked.newest(key) {
            // A pending value cannot be echoed, since it cannot be read; "not found" must not be lost in a crash.
            if pending.is_delete || has_echo {
                return Find::Wait(Ordered { slot, lsn: pending.lsn });
            }
            pending.see(self.session);
        } else if has_echo {
            let mut record = Vec::new();
            match self.shared.store.get(slot, key, &mut record) {
                Ok(Some(found)) => old = found.value.to_vec(),
                Ok(None) => return Find::Nothing,
                Err(error) => return Find::Failed(error),
            }
        } else {
            match self.shared.store.contains(slot, key) {
                Ok(true) => {}
                Ok(false) => return Find::Nothing,
                Err(error) => return Find::Failed(error),
            }
        }
        Find::Planned(locked.order(key, true, self.session), old)
    }

    /// Appends what was gathered if it is of the other kind, or much.
    fn make_room(&mut self, is_delete: bool, own_writes: &mut OwnWrites, replies: &mut Replies) {
        let is_full = self.len >= BATCH_LEN_MAX || self.planned.len() >= BATCH_COUNT_MAX;
        if is_full || self.is_of_deletes != is_delete {
            self.flush(own_writes, replies);
        }
        self.is_of_deletes = is_delete;
    }

    /// Appends what was gathered, and answers it or leaves it to the committer.
    pub(crate) fn flush(&mut self, own_writes: &mut OwnWrites, replies: &mut Replies) {
        if self.planned.is_empty() {
            return;
        }
        let writes: Vec<Write<'_>> = self.planned.iter().map(Planned::write).collect();
        let appended = match self.shared.store.append(&writes) {
            Ok(appended) => appended,
            Err(error) => return self.fail(&error, replies.buffer()),
        };
        let dialect = self.shared.dialect;
        if let Some(committer) = &self.shared.committer {
            for planned in &self.planned {
                own_writes.note(planned.token, replies);
            }
            let (mut reply, mut writes) = (Vec::new(), Vec::with_capacity(self.planned.len()));
            let ticket = replies.reserve();
            for planned in self.planned.drain(..) {
                writes.push(planned.ordered);
                planned.encode_success(dialect, &mut reply);
            }
            committer.submit(Commit { appended, writes, reply, ticket });
        } else {
            self.shared.store.publish(appended);
            for planned in self.planned.drain(..) {
                self.shared.slots.settle(planned.ordered);
                planned.encode_success(dialect, replies.buffer());
            }
        }
        self.len = 0;
    }

    /// Answers every write of a batch whose append failed.
    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let (dialect, reason) = (self.shared.dialect, error.to_string());
        for planned in self.planned.drain(..) {
            let Some(pending) = self.shared.slots.settle(planned.ordered) else { continue };
            if error.is_refusal() && !pending.is_seen {
                encode_refused(pending, &reason, dialect, out);
            } else {
                encode_unknown(&pending, &reason, dialect, out);
            }
        }
        self.len = 0;
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

/// Appends the answer to a write of which nothing was done.
fn encode_refused(pending: Pending, reason: &str, dialect: Dialect, out: &mut Vec<u8>) {
    let (key, reason) = (pending.key.into_vec().into(), reason.into());
    let reply = if pending.is_delete {
        Reply::DeleteError { key, reason }
    } else {
        Reply::PutError { key, reason }
    };
    reply.encode_into(dialect, out);
}
