//! Replies into results: what each reply means for the request that it answers.
//!
//! A reply about another key, or of another verb, shows that requests and replies are out of step. Nothing that
//! connection says can then be believed: it is [`Error::Nonsense`], and the connection is given up.

use protocol::{Range, Reply};

use crate::{Backup, Error, Page, ServerState, Stored, Versioned};

/// Why one attempt did not succeed.
#[derive(Debug)]
pub(crate) struct Miss {
    pub(crate) error: Error,
    /// Whether it is sure that nothing was done.
    pub(crate) is_definite: bool,
}

impl Miss {
    pub(crate) fn definite(error: Error) -> Self {
        Self { error, is_definite: true }
    }

    pub(crate) fn doubtful(error: Error) -> Self {
        Self { error, is_definite: false }
    }
}

/// What an attempt came to.
pub(crate) type Attempt<T> = Result<T, Miss>;

/// Reads the answer to a put of `key`.
pub(crate) fn put(server: &str, key: &[u8], reply: &Reply<'_>) -> Attempt<Stored> {
    match reply {
        Reply::PutSuccess { key: found, .. } if **found == *key => Ok(Stored::New),
        Reply::PutUpdate { key: found, .. } if **found == *key => Ok(Stored::Replaced),
        Reply::PutError { key: found, reason } if **found == *key => Err(rejected(server, reason)),
        Reply::ConditionFailed { key: named, found } if **named == *key => {
            Err(Miss::definite(Error::Conflict { found: *found }))
        }
        Reply::PutUnknown { key: found, reason } if **found == *key => Err(doubt(server, reason)),
        _ => Err(other(server, reply)),
    }
}

/// Reads the answer to a delete of `key`: whether it was there.
pub(crate) fn delete(server: &str, key: &[u8], reply: &Reply<'_>) -> Attempt<bool> {
    match reply {
        Reply::DeleteSuccess { key: found, .. } if **found == *key => Ok(true),
        Reply::DeleteNotFound { key: found } if **found == *key => Ok(false),
        Reply::DeleteError { key: found, reason } if **found == *key => {
            Err(rejected(server, reason))
        }
        Reply::DeleteUnknown { key: found, reason } if **found == *key => {
            Err(doubt(server, reason))
        }
        _ => Err(other(server, reply)),
    }
}

/// Reads the answer to a get of `key`.
pub(crate) fn get(server: &str, key: &[u8], reply: &mut Reply<'_>) -> Attempt<Option<Vec<u8>>> {
    match reply {
        Reply::GetSuccess { key: found, value } if **found == *key => {
            Ok(Some(std::mem::take(value).into_owned()))
        }
        Reply::GetNotFound { key: found } if **found == *key => Ok(None),
        Reply::GetError { key: found, reason } if **found == *key => Err(rejected(server, reason)),
        _ => Err(other(server, reply)),
    }
}

/// Reads the answer to a read of `key`.
pub(crate) fn read(server: &str, key: &[u8], reply: &mut Reply<'_>) -> Attempt<Option<Versioned>> {
    match reply {
        Reply::ReadSuccess { key: found, version, value } if **found == *key => {
            let value = std::mem::take(value).into_owned();
            Ok(Some(Versioned { version: *version, value }))
        }
        Reply::ReadNotFound { key: found } if **found == *key => Ok(None),
        Reply::ReadError { key: found, reason } if **found == *key => Err(rejected(server, reason)),
        _ => Err(other(server, reply)),
    }
}

/// Reads the answer to `ecs`.
pub(crate) fn ecs(server: &str, reply: &Reply<'_>) -> Attempt<String> {
    match reply {
        Reply::EcsSuccess { address } => Ok(address.to_string()),
        Reply::EcsError { reason } => Err(rejected(server, reason)),
        _ => Err(other(server, reply)),
    }
}

/// Reads the answer to `keyrange` or `keyrange_read`.
pub(crate) fn ranges(server: &str, is_read: bool, reply: &Reply<'_>) -> Attempt<Vec<Range>> {
    let text = match reply {
        Reply::Keyrange { ranges } if !is_read => ranges,
        Reply::KeyrangeRead { ranges } if is_read => ranges,
        _ => return Err(other(server, reply)),
    };
    match protocol::parse_ranges(text) {
        Ok(ranges) => Ok(ranges),
        Err(_) => Err(Miss::doubtful(Error::nonsense(server, text.as_bytes()))),
    }
}

/// Reads the answer to `info`.
pub(crate) fn info(server: &str, reply: &Reply<'_>) -> Attempt<Vec<(String, String)>> {
    match reply {
        Reply::Info { pairs } => {
            Ok(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
        }
        _ => Err(other(server, reply)),
    }
}

/// Reads the answer to `backup`.
pub(crate) fn backup(server: &str, reply: &Reply<'_>) -> Attempt<Backup> {
    match reply {
        Reply::BackupSuccess { file_count, len, .. } => {
            Ok(Backup { file_count: *file_count, len: *len })
        }
        Reply::BackupError { reason, .. } => Err(rejected(server, reason)),
        _ => Err(other(server, reply)),
    }
}

/// Reads one line of the answer to `scan` into `page`; none if more lines follow.
pub(crate) fn scan(server: &str, page: &mut Page, reply: &mut Reply<'_>) -> Option<Attempt<()>> {
    match reply {
        Reply::ScanItem { key, value } => {
            let key = std::mem::take(key).into_owned();
            page.entries.push((key, std::mem::take(value).into_owned()));
            None
        }
        Reply::ScanSuccess { next, count } if usize::try_from(*count) == Ok(page.entries.len()) => {
            page.next = next.as_ref().map(ToString::to_string);
            Some(Ok(()))
        }
        Reply::ScanError { reason, .. } => Some(Err(rejected(server, reason))),
        _ => Some(Err(other(server, reply))),
    }
}

fn rejected(server: &str, reason: &str) -> Miss {
    Miss::definite(Error::Rejected { server: server.to_owned(), reason: reason.to_owned() })
}

fn doubt(server: &str, reason: &str) -> Miss {
    Miss::doubtful(Error::Doubt { server: server.to_owned(), reason: reason.to_owned() })
}

/// Reads an answer that any request can have.
fn other(server: &str, reply: &Reply<'_>) -> Miss {
    let not_now = |state| Miss::definite(Error::NotNow { server: server.to_owned(), state });
    match reply {
        Reply::Stopped => not_now(ServerState::Stopped),
        Reply::WriteLock => not_now(ServerState::WriteLock),
        Reply::NotResponsible { .. } => not_now(ServerState::NotResponsible),
        Reply::Error { what } => {
            Miss::definite(Error::Complaint { server: server.to_owned(), what: what.to_string() })
        }
        _ => {
            let mut line = Vec::new();
            reply.encode_into(protocol::Dialect::Native, &mut line);
            Miss::doubtful(Error::nonsense(server, line.trim_ascii_end()))
        }
    }
}
