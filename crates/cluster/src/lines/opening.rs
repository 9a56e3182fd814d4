//! The first line of a connection that is not a client's: who opens it, to whom, and the shared secret.
//!
//! ```text
//! peer 1 <server> <to> [<secret>]      a server to another: messages follow, Hello first
//! gossip 1 <server> <to> [<secret>]    a server to another, for gossip alone: both speak, no session is counted
//! server 1 <server> [<secret>]         a server to the coordinator: registrations and requests follow
//! ```
//!
//! `1` is the version of the protocol. No request of a client has `peer`, `gossip` or `server` as its first word, so one port
//! can serve both: [`read_opening`] gives `None` for a client's line. `<to>` is the id of the server that the opener
//! means to reach. A listener with another id must refuse: addresses change hands, and what a stranger
//! acknowledges would be counted as a copy that does not exist.
//!
//! Who refuses answers `error <why>` ([`write_refusal`]) and closes; it answers nothing else to an opening.
//!
//! The secret goes over the wire as it is: it keeps out who does not know it, not who can listen. Left out: a proof by
//! challenge, which without encryption would leave the data itself open to the same listener.

use std::fmt;

use super::error::{Fault, LineError};
use super::limits::SECRET_LEN_MAX;
use super::text;
use super::words::Words;
use crate::types::ServerId;

/// The version of the protocol that is spoken here, between servers and with the coordinator.
pub const PROTOCOL_VERSION: u64 = 1;

/// The first line of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// From a server to another.
    Peer {
        /// Who opens the connection.
        from: ServerId,
        /// Whom it means to reach.
        to: ServerId,
        /// The shared secret, if there is one.
        secret: Option<Secret>,
    },
    /// From a server to another, for gossip.
    Gossip {
        /// Who opens the connection.
        from: ServerId,
        /// Whom it means to reach.
        to: ServerId,
        /// The shared secret, if there is one.
        secret: Option<Secret>,
    },
    /// From a server to the coordinator.
    Server {
        /// Who opens the connection.
        from: ServerId,
        /// The shared secret, if there is one.
        secret: Option<Secret>,
    },
}

/// The secret that servers and coordinator share, 1 to [`SECRET_LEN_MAX`] bytes. It is not shown, and comparing takes
/// the same time wherever the first difference is.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Returns the secret that these bytes are, unless they are none or too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=SECRET_LEN_MAX).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |found, (a, b)| found | (a ^ b));
        self.0.len() == other.0.len() && std::hint::black_box(differences) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Appends an opening: a line with its end (LF).
pub fn write_opening(out: &mut Vec<u8>, opening: &Opening) {
    let secret = match opening {
        Opening::Peer { from, to, secret } => {
            out.extend_from_slice(b"peer");
            text::number(out, PROTOCOL_VERSION);
            text::server(out, *from);
            text::server(out, *to);
            secret
        }
        Opening::Gossip { from, to, secret } => {
            out.extend_from_slice(b"gossip");
            text::number(out, PROTOCOL_VERSION);
            text::server(out, *from);
            text::server(out, *to);
            secret
        }
        Opening::Server { from, secret } => {
            out.extend_from_slice(b"server");
            text::number(out, PROTOCOL_VERSION);
            text::server(out, *from);
            secret
        }
    };
    if let Some(secret) = secret {
        text::token(out, &secret.0);
    }
    out.push(b'\n');
}

/// Reads the first line of a connection, without its end. `None`: it is not an opening, but a client's request.
///
/// # Errors
/// [`LineError`] for an opening that makes no sense, or is of another version of the protocol.
#[must_use]
pub fn read_opening(line: &[u8]) -> Option<Result<Opening, LineError>> {
    let mut words = Words::new(line);
    match words.word("opening").ok()? {
        b"peer" => Some(read_peer(words)),
        b"gossip" => Some(read_gossip(words)),
        b"server" => Some(read_server(words)),
        _ => None,
    }
}

fn read_peer(mut words: Words<'_>) -> Result<Opening, LineError> {
    check_version(&mut words)?;
    let from = words.server("server")?;
    let to = words.server("server to reach")?;
    Ok(Opening::Peer { from, to, secret: read_secret(words)? })
}

fn read_gossip(mut words: Words<'_>) -> Result<Opening, LineError> {
    check_version(&mut words)?;
    let from = words.server("server")?;
    let to = words.server("server to reach")?;
    Ok(Opening::Gossip { from, to, secret: read_secret(words)? })
}

fn read_server(mut words: Words<'_>) -> Result<Opening, LineError> {
    check_version(&mut words)?;
    let from = words.server("server")?;
    Ok(Opening::Server { from, secret: read_secret(words)? })
}

fn check_version(words: &mut Words<'_>) -> Result<(), LineError> {
    const PART: &str = "version of the protocol";
    let before = *words;
    match words.number(PART)? {
        PROTOCOL_VERSION => Ok(()),
        found => Err(before.error(Fault::Version { found }, PART)),
    }
}

fn read_secret(mut words: Words<'_>) -> Result<Option<Secret>, LineError> {
    const PART: &str = "secret";
    if words.end(PART).is_ok() {
        return Ok(None);
    }
    let secret = words.token(PART, SECRET_LEN_MAX)?.into_owned();
    words.end(PART)?;
    Ok(Some(Secret(secret)))
}

/// Appends the answer to an opening or a line that is refused: `error <why>`, with its end (LF). Line ends in
/// the text become spaces.
pub fn write_refusal(out: &mut Vec<u8>, why: &str) {
    out.extend_from_slice(b"error ");
    out.extend(why.bytes().map(|byte| if matches!(byte, b'\n' | b'\r' | 0) { b' ' } else { byte }));
    out.push(b'\n');
}
