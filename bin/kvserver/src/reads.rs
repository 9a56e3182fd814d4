//! Reads of one key.

use bitcask::{Error, Found, SlotId};
use hashring::Token;
use net::{LARGE_REPLY_LEN, Replies};
use protocol::{Dialect, Reply};

use crate::service::Shared;

/// A value from this length on goes to the socket from where it was read, if it can be shown as it is.
const LARGE_LEN: usize = 16 * 1024;

/// Memory a quiet connection keeps for reading values.
const KEPT_LEN: usize = 16 * 1024;

/// What every reply ends in.
const LINE_END: &[u8] = b"\r\n";

/// Returns the engine's name of the slot of `token`.
pub(crate) fn slot_of(token: Token) -> SlotId {
    let Some(slot) = SlotId::new(token.slot().index()) else {
        unreachable!("the ring and the engine have the same number of slots")
    };
    slot
}

/// Reads values into a buffer that is used again.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    record: Vec<u8>,
}

impl Reader {
    /// Answers a get of `key`, which lies at `token`.
    pub(crate) fn get(&mut self, shared: &Shared, token: Token, key: &[u8], replies: &mut Replies) {
        let dialect = shared.common.dialect;
        let answer = |found: Result<Option<Found<'_>>, Error>, replies: &mut Replies| match found {
            Ok(Some(found)) if is_large_and_plain(found.value, dialect) => {
                answer_large(key, found.value, dialect, replies);
            }
            Ok(found) => encode_found(false, key, found, dialect, replies.buffer()),
            Err(error) => {
                log::error!("a read failed: {error}");
                let reason = error.to_string().into();
                Reply::GetError { key: key.into(), reason }.encode_into(dialect, replies.buffer());
            }
        };
        self.find(shared, token, key, replies, answer);
    }

    /// Answers a read of `key`, which lies at `token`: its value with its version.
    pub(crate) fn read(
        &mut self,
        shared: &Shared,
        token: Token,
        key: &[u8],
        replies: &mut Replies,
    ) {
        let answer = |found: Result<Option<Found<'_>>, Error>, replies: &mut Replies| {
            let dialect = shared.common.dialect;
            match found {
                Ok(found) => encode_found(true, key, found, dialect, replies.buffer()),
                Err(error) => {
                    log::error!("a read failed: {error}");
                    let reason = error.to_string().into();
                    Reply::ReadError { key: key.into(), reason }
                        .encode_into(dialect, replies.buffer());
                }
            }
        };
        self.find(shared, token, key, replies, answer);
    }

    /// Gives `answer` what is there. A large value for which there is no room is let go of, and read again when there is.
    fn find(
        &mut self,
        shared: &Shared,
        token: Token,
        key: &[u8],
        replies: &mut Replies,
        answer: impl FnOnce(Result<Option<Found<'_>>, Error>, &mut Replies),
    ) {
        let (store, slot) = (&shared.common.store, slot_of(token));
        let found = store.get(slot, key, &mut self.record);
        let len = match &found {
            Ok(Some(found)) => found.value.len(),
            Ok(None) | Err(_) => 0,
        };
        if len < LARGE_REPLY_LEN || replies.try_claim(len) {
            return answer(found, replies);
        }
        self.record = Vec::new();
        replies.claim(len);
        answer(store.get(slot, key, &mut self.record), replies);
    }

    /// Returns whether more memory is kept than a quiet connection may.
    pub(crate) fn is_large(&self) -> bool {
        self.record.capacity() > KEPT_LEN
    }

    /// Gives back memory that only large values need.
    pub(crate) fn rest(&mut self) {
        self.record = Vec::with_capacity(KEPT_LEN.min(self.record.capacity()));
    }
}

/// Appends what is told of a key: its value, or with its version too.
pub(crate) fn encode_found(
    has_version: bool,
    key: &[u8],
    found: Option<Found<'_>>,
    dialect: Dialect,
    out: &mut Vec<u8>,
) {
    let reply = match (found, has_version) {
        (Some(found), false) => Reply::GetSuccess { key: key.into(), value: found.value.into() },
        (Some(found), true) => {
            Reply::ReadSuccess { key: key.into(), version: found.lsn.0, value: found.value.into() }
        }
        (None, false) => Reply::GetNotFound { key: key.into() },
        (None, true) => Reply::ReadNotFound { key: key.into() },
    };
    reply.encode_into(dialect, out);
}

/// Answers with a value that is sent from where it stands.
fn answer_large(key: &[u8], value: &[u8], dialect: Dialect, replies: &mut Replies) {
    let head = Reply::GetSuccess { key: key.into(), value: (&[]).into() };
    let out = replies.buffer();
    head.encode_into(dialect, out);
    out.truncate(out.len() - LINE_END.len());
    replies.push_value(value, LINE_END);
}

/// Returns whether `value` is long, and reads in `dialect` as the bytes it has.
fn is_large_and_plain(value: &[u8], dialect: Dialect) -> bool {
    value.len() >= LARGE_LEN
        && match dialect {
            Dialect::Native => {
                memchr::memchr3(b'\\', b'\n', b'\r', value).is_none()
                    && memchr::memchr(0, value).is_none()
            }
            Dialect::Toronto | Dialect::Tum => {
                memchr::memchr(b'\n', value).is_none() && !value.ends_with(b"\r")
            }
        }
}
