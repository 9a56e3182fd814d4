//! `scan`: all entries, some at a time, slot by slot.
//!
//! A cursor says where to go on: `<slot>-<epoch>-<key>`, the key in hexadecimal digits and empty at a slot's beginning. The
//! engine walks a slot's keys in the order in which they were first put, which stays the same until the server is
//! started again. The connection keeps its walk, so a scan that goes on where it stopped costs nothing extra. For any
//! other cursor the walk begins anew and skips to the key; if that is gone, or the server was started since (the
//! epoch says so), the slot is answered from its beginning.
//!
//! So a key that has a value all the while is answered at least once, and mostly once; one that is put or deleted
//! meanwhile may or may not be. An answer holds at most the entries asked for and about [`ANSWER_LEN_MAX`] bytes.
//!
//! A record that cannot be read ends the answer with an error that names the cursor behind it.

use bitcask::{Lsn, Record, Records, SLOT_COUNT, SlotId, Store};
use net::Replies;
use protocol::{Dialect, Reply};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of entries after which an answer ends although more were asked for.
const ANSWER_LEN_MAX: usize = 1024 * 1024;

/// What is scanned.
pub(crate) struct Source<'a> {
    pub(crate) store: &'a Store,
    /// Another number in each life of the server.
    pub(crate) epoch: u32,
    pub(crate) dialect: Dialect,
    /// Whether this server answers for a slot: the entries of others are passed over.
    pub(crate) is_own: &'a dyn Fn(SlotId) -> bool,
}

impl Source<'_> {
    /// Returns the first slot from number `index` on that this server answers for.
    fn own_slot(&self, index: u16) -> Option<SlotId> {
        (index..).map_while(SlotId::new).find(|slot| (self.is_own)(*slot))
    }
}

/// A connection's walk through the store.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The walk that goes on at a cursor.
    kept: Option<(Cursor, Records)>,
}

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    slot: SlotId,
    epoch: u32,
    /// The last key answered; empty at a slot's beginning.
    key: Vec<u8>,
}

impl Cursor {
    fn beginning(slot: SlotId, epoch: u32) -> Self {
        Self { slot, epoch, key: Vec::new() }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.splitn(3, '-');
        let slot = SlotId::new(parts.next()?.parse().ok()?)?;
        let epoch = parts.next()?.parse().ok()?;
        let digits = parts.next()?.as_bytes();
        let key = digits.chunks(2).map(parse_byte).collect::<Option<Vec<u8>>>()?;
        Some(Self { slot, epoch, key })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-", self.slot.index(), self.epoch)?;
        self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn parse_byte(digits: &[u8]) -> Option<u8> {
    let is_pair = digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_pair)?;
    u8::from_str_radix(text, 16).ok()
}

impl Scanner {
    /// Answers with at most `count` entries from `cursor` on, and how it ended.
    pub(crate) fn scan(
        &mut self,
        source: &Source<'_>,
        cursor: Option<&[u8]>,
        count: u32,
        replies: &mut Replies,
    ) {
        let given = String::from_utf8_lossy(cursor.unwrap_or(b"-"));
        let reply = match self.answer_items(source, cursor, count, replies) {
            Ok((next, count)) => Reply::ScanSuccess { next: next.map(Into::into), count },
            Err(reason) => Reply::ScanError { cursor: given, reason: reason.into() },
        };
        reply.encode_into(source.dialect, replies.buffer());
    }

    /// Answers the entries; returns the cursor behind them, if there are more, and their number.
    fn answer_items(
        &mut self,
        source: &Source<'_>,
        cursor: Option<&[u8]>,
        count: u32,
        replies: &mut Replies,
    ) -> Result<(Option<String>, u32), String> {
        let epoch = source.epoch;
        let mut at = match cursor {
            Some(text) => Cursor::parse(text).ok_or("this is no cursor of a scan")?,
            None => Cursor::beginning(SlotId::new(0).ok_or("no slots")?, epoch),
        };
        match source.own_slot(at.slot.index()) {
            Some(slot) if slot == at.slot => {}
            Some(slot) => at = Cursor::beginning(slot, epoch),
            None => return Ok((None, 0)),
        }
        let mut walk = self.begin(source, &mut at)?;
        let (mut given, mut len, now_ms) = (0, 0, now_ms());
        while given < count && len < ANSWER_LEN_MAX {
            match walk.next() {
                Some(Ok(Record { key, value: Some(value), expires_at_ms, .. })) => {
                    if expires_at_ms.is_none_or(|end| end > now_ms) {
                        given += 1;
                        len += key.len() + value.len();
                        let reply = Reply::ScanItem { key: (&key).into(), value: value.into() };
                        reply.encode_into(source.dialect, replies.buffer());
                        replies.end_reply();
                    }
                    at.key = key;
                }
                Some(Ok(Record { key, value: None, .. })) => at.key = key,
                Some(Err(error)) => {
                    let next = at.to_string();
                    self.kept = Some((at, walk));
                    return Err(format!("{error}; on this connection, go on with {next}"));
                }
                None => {
                    let Some(slot) = source.own_slot(at.slot.index() + 1) else {
                        return Ok((None, given));
                    };
                    at = Cursor::beginning(slot, epoch);
                    walk = begin_slot(source, slot)?;
                }
            }
        }
        debug_assert!(at.slot.index() < SLOT_COUNT, "the last slot ends the scan");
        let next = at.to_string();
        self.kept = Some((at, walk));
        Ok((Some(next), given))
    }

    /// Returns the walk that goes on at `at`, which is set back if it cannot go on there.
    fn begin(&mut self, source: &Source<'_>, at: &mut Cursor) -> Result<Records, String> {
        if let Some((kept_at, walk)) = self.kept.take()
            && kept_at == *at
        {
            return Ok(walk);
        }
        if at.epoch == source.epoch && !at.key.is_empty() {
            let mut walk = begin_slot(source, at.slot)?;
            let is_found = walk.any(|record| record.is_ok_and(|record| record.key == at.key));
            if is_found {
                return Ok(walk);
            }
        }
        *at = Cursor::beginning(at.slot, source.epoch);
        begin_slot(source, at.slot)
    }
}

fn begin_slot(source: &Source<'_>, slot: SlotId) -> Result<Records, String> {
    source.store.records(slot, Lsn::default()).map_err(|error| error.to_string())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for key in [&b""[..], b"k", b"\x00\xff-end- "] {
            let cursor = Cursor { slot: SlotId::new(4095).unwrap(), epoch: 7, key: key.to_vec() };
            assert_eq!(Cursor::parse(cursor.to_string().as_bytes()), Some(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "-", "1", "1-2", "4096-1-", "1-x-", "1-1-6", "1-1-6g", "1-1-+6", "a-1-66"]
        {
            assert_eq!(Cursor::parse(text.as_bytes()), None, "{text}");
        }
    }
}
