//! Replies: what a server answers.
//!
//! The words are those of the native dialect; [`encode`] has the others. A *reason* is plain text
//! that never contains a value; line ends in it are written as spaces.

mod encode;
mod parse;

use std::borrow::Cow;

pub(crate) use encode::encode_refusal;

/// A name and its value, as `info` answers them.
pub type InfoPair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// How the complaint ends that answers what a server without a cluster cannot do: `with`, `forget`.
pub const NEEDS_CLUSTER: &str = "needs a cluster";

/// The reason of a reply about a key that is not there.
const NOT_FOUND: &str = "not found";

/// How the reason of a put begins whose condition does not hold.
const CONDITION_FAILED: &str = "condition failed ";

/// What stands in place of a version when the key is not there.
const ABSENT: &str = "absent";

/// What stands in place of the next cursor when there is nothing more.
const SCAN_END: &str = "end";

/// What a server answers to one request; to `scan`, items and then one more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `put_success <key>`: the key is new.
    PutSuccess {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The value put; only `toronto` shows it, and it is read back as empty.
        value: Cow<'a, [u8]>,
    },
    /// `put_update <key>`: the value was replaced.
    PutUpdate {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The new value; only `toronto` shows it, and it is read back as empty.
        value: Cow<'a, [u8]>,
    },
    /// `put_error <key> <reason>`: nothing was done.
    PutError {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `put_unknown <key> <reason>`: it may or may not take effect.
    PutUnknown {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `get_success <key> <value>`.
    GetSuccess {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Its value.
        value: Cow<'a, [u8]>,
    },
    /// `get_error <key> not found`.
    GetNotFound {
        /// The key.
        key: Cow<'a, [u8]>,
    },
    /// `get_error <key> <reason>`: whether the key is there is not said.
    GetError {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `delete_success <key>`.
    DeleteSuccess {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The old value; only `toronto` shows it, and it is read back as empty.
        value: Cow<'a, [u8]>,
    },
    /// `delete_error <key> not found`.
    DeleteNotFound {
        /// The key.
        key: Cow<'a, [u8]>,
    },
    /// `delete_error <key> <reason>`: nothing was done.
    DeleteError {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `delete_unknown <key> <reason>`: it may or may not take effect.
    DeleteUnknown {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `keyrange_success <list>`.
    Keyrange {
        /// The list, from [`write_ranges`](crate::write_ranges).
        ranges: Cow<'a, str>,
    },
    /// `keyrange_read_success <list>`.
    KeyrangeRead {
        /// The list, from [`write_ranges`](crate::write_ranges).
        ranges: Cow<'a, str>,
    },
    /// `server_not_responsible`: ask for `keyrange`, and then another server.
    NotResponsible {
        /// The list; only `toronto` shows it, and it is read back as empty.
        ranges: Cow<'a, str>,
    },
    /// `server_write_lock`: the key's slot is at the switch; nothing was done.
    WriteLock,
    /// `server_stopped`: the server is on no ring; nothing was done.
    Stopped,
    /// `error <what>`: the line made no sense, or the connection ends for this reason.
    Error {
        /// What is wrong, and where.
        what: Cow<'a, str>,
    },
    /// `info_success <name> <value> …`.
    Info {
        /// Names and values; spaces in either are written as `_`.
        pairs: Vec<InfoPair<'a>>,
    },
    /// `scan_item <key> <value>`: one of the entries a scan found; more lines follow.
    ScanItem {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Its value.
        value: Cow<'a, [u8]>,
    },
    /// `scan_success <next|end> <count>`: the end of a scan's answer.
    ScanSuccess {
        /// The cursor from which to go on, neither `end` nor `-` and without spaces; `None` at the end.
        next: Option<Cow<'a, str>>,
        /// How many items were before this line.
        count: u32,
    },
    /// `scan_error <cursor> <reason>`: the end of a scan's answer that failed.
    ScanError {
        /// The cursor as the client gave it.
        cursor: Cow<'a, str>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `backup_success <path> <files> <bytes>`.
    BackupSuccess {
        /// The folder.
        path: Cow<'a, [u8]>,
        /// Number of files in it.
        file_count: u64,
        /// Their length together, in bytes.
        len: u64,
    },
    /// `backup_error <path> <reason>`: there is no usable backup in the folder.
    BackupError {
        /// The folder.
        path: Cow<'a, [u8]>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `read_success <key> <version> <value>`.
    ReadSuccess {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The number of the write that stored the value: later ones of the key have greater numbers.
        version: u64,
        /// Its value.
        value: Cow<'a, [u8]>,
    },
    /// `read_error <key> not found`.
    ReadNotFound {
        /// The key.
        key: Cow<'a, [u8]>,
    },
    /// `read_error <key> <reason>`: whether the key is there is not said.
    ReadError {
        /// The key.
        key: Cow<'a, [u8]>,
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `put_error <key> condition failed <version|absent>`: nothing was done.
    ConditionFailed {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The version it has; none if it has no value.
        found: Option<u64>,
    },
    /// `forget_success`.
    Forgotten,
    /// `ecs_success <ip:port>`.
    EcsSuccess {
        /// Where the cluster's configuration service listens; without spaces.
        address: Cow<'a, str>,
    },
    /// `ecs_error <reason>`.
    EcsError {
        /// Why.
        reason: Cow<'a, str>,
    },
    /// `pong`.
    Pong,
}

/// Returns the reason of a put whose condition does not hold.
fn condition_failed(found: Option<u64>) -> String {
    let found = found.map_or_else(|| ABSENT.to_owned(), |version| version.to_string());
    [CONDITION_FAILED, &found].concat()
}

/// Returns the version that was found instead, if `reason` is that of a put whose condition does not hold.
fn read_condition_failed(reason: &str) -> Option<Option<u64>> {
    match reason.strip_prefix(CONDITION_FAILED)? {
        ABSENT => Some(None),
        version => version.parse().ok().map(Some),
    }
}
