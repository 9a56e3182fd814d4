//! How long lines and their parts may be, and how many things may be in one.
//!
//! Each is checked before memory is taken for what it bounds. Lengths of keys and values are set by the caller, in
//! [`Limits`]: **at least as long as those of every other server's clients**, since a record that one server took and
//! another refuses can never be committed.

use protocol::Limits;

/// Longest secret in an opening, in bytes: more than anybody types.
pub const SECRET_LEN_MAX: usize = 256;

/// Longest address in a registration, in bytes: the longest host name there is, with room for its port.
pub const ADDRESS_LEN_MAX: usize = 272;

/// Most servers in a beacon's list of leases: there cannot be more servers on a ring than slots.
pub const LEASE_COUNT_MAX: usize = 4096;

/// Most records in one chunk or one part of a statement: with nothing in them but a request id they have three quarters of
/// [`RECORDS_LEN_MAX`].
pub const RECORD_COUNT_MAX: usize = 262_144;

/// Bytes, as [`Record::byte_len`](crate::Record::byte_len) counts them, of all records but the last of a chunk or one part of a
/// statement. A sender ends one at the record that passes 64 KiB or so, and this is many times that.
pub const RECORDS_LEN_MAX: usize = 16 << 20;

/// Most changes in one request to the coordinator: two for each slot.
pub const CHANGE_COUNT_MAX: usize = 8192;

/// Most loads in one request to the coordinator: one for each slot.
pub const LOAD_COUNT_MAX: usize = 4096;

/// Longest change of the map, in bytes of JSON: a whole map of 4,096 slots with three members each, and of 1,000 servers,
/// has about a quarter of it.
pub const DELTA_LEN_MAX: usize = 8 << 20;

/// Longest line of gossip, in bytes, its end not counted, but for a `push`, which is as long as
/// [`DELTA_LEN_MAX`] says: more than the machine ever says ([`MESSAGE_LEN_MAX`](crate::gossip::MESSAGE_LEN_MAX)), so that a later version
/// may say more.
pub const GOSSIP_LEN_MAX: usize = 4096;

/// Longest answer of the other side that is kept for an error's text, in bytes.
pub const TOLD_LEN_MAX: usize = 256;

/// Longest opening line, in bytes, its end not counted: two ids and a secret of which each byte is spelled `\xHH`.
pub const OPENING_LEN_MAX: usize = 2048;

/// Longest line to the coordinator, in bytes, its end not counted: that of the most changes and loads.
pub const TO_ECS_LEN_MAX: usize = 1 << 20;

/// Bytes of a line besides what has its own limit: verb, numbers, ids, spaces, rounded up.
const ROOM_LEN: usize = 512;

/// Longest line from the coordinator, in bytes, its end not counted.
pub const FROM_ECS_LEN_MAX: usize = DELTA_LEN_MAX + ROOM_LEN;

/// Returns the longest line between servers, in bytes, its end not counted: that of a record with the longest key and
/// value, each byte spelled `\xHH`, or of the longest change of the map.
#[must_use]
pub const fn message_len_max(limits: &Limits) -> usize {
    let record_len = limits.line_len_max();
    let len = if record_len > DELTA_LEN_MAX { record_len } else { DELTA_LEN_MAX };
    len.saturating_add(ROOM_LEN)
}
