//! What the coordinator answers to a server's opening, before anything else: which cluster this is, and its shape.
//!
//! ```text
//! welcome <cluster> <slots> <replicas>
//! ```
//!
//! `<cluster>` is a number drawn when the coordinator's folder was made, 32 hexadecimal digits. A server keeps it with
//! its map, and refuses a coordinator of another cluster: the maps of two clusters have the same version numbers,
//! and what one of them decided means nothing in the other. Slots and replicas are fixed for a cluster's life; a server
//! that has no map yet begins with an empty one of this shape.

use super::error::{Fault, LineError};
use super::text;
use super::words::Words;
use crate::types::ServerId;

/// Most copies of a slot. More are a mistake: each write waits for all of them.
pub const REPLICA_COUNT_MAX: u64 = 16;

/// Which cluster it is, and its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The cluster's number.
    pub cluster: u128,
    /// How many slots the ring is cut into: a power of two up to 4,096.
    pub slot_count: u16,
    /// How many members each slot shall have, 1 to [`REPLICA_COUNT_MAX`].
    pub replica_count: usize,
}

/// Appends a welcome: a line with its end (LF).
pub fn write_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    out.extend_from_slice(b"welcome");
    text::server(out, ServerId(welcome.cluster));
    text::number(out, welcome.slot_count);
    text::count(out, welcome.replica_count);
    out.push(b'\n');
}

/// Reads a welcome, without its end.
///
/// # Errors
/// [`LineError`] for a line that is none; [`Fault::Told`] carries why the coordinator refuses.
pub fn read_welcome(line: &[u8]) -> Result<Welcome, LineError> {
    let mut words = Words::new(line);
    let before = words;
    match words.word("welcome")? {
        b"welcome" => {}
        b"error" => {
            return Err(before.error(Fault::Told { what: super::message::told(line) }, "line"));
        }
        _ => return Err(before.error(Fault::Unknown, "welcome")),
    }
    let cluster = words.server("cluster")?.0;
    let before = words;
    let slot_count = within(&mut words, "number of slots", u64::from(hashring::SLOT_COUNT))?;
    if !slot_count.is_power_of_two() {
        return Err(before.error(Fault::Unknown, "number of slots"));
    }
    let replica_count = within(&mut words, "number of replicas", REPLICA_COUNT_MAX)?;
    words.end("welcome")?;
    Ok(Welcome {
        cluster,
        slot_count: u16::try_from(slot_count).unwrap_or(hashring::SLOT_COUNT),
        replica_count: usize::try_from(replica_count).unwrap_or(1),
    })
}

/// Takes a number from 1 to `max`.
fn within(words: &mut Words<'_>, part: &'static str, max: u64) -> Result<u64, LineError> {
    let before = *words;
    match words.number(part)? {
        number @ 1.. if number <= max => Ok(number),
        0 => Err(before.error(Fault::Missing, part)),
        _ => Err(before.error(Fault::TooLarge { max }, part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_is_read_as_it_was_written_and_nothing_else_is() {
        let welcome = Welcome { cluster: 0xAB, slot_count: 4096, replica_count: 3 };
        let mut line = Vec::new();
        write_welcome(&mut line, &welcome);
        assert_eq!(line, b"welcome 000000000000000000000000000000ab 4096 3\n");
        assert_eq!(read_welcome(line.strip_suffix(b"\n").unwrap()), Ok(welcome));
        let id = "000000000000000000000000000000ab";
        for bad in ["4097 3", "0 3", "3000 3", "4096 0", "4096 17", "4096", "4096 3 1", "x 3"] {
            assert!(read_welcome(format!("welcome {id} {bad}").as_bytes()).is_err(), "{bad}");
        }
        let told = read_welcome(b"error another cluster").unwrap_err();
        assert!(matches!(told.fault, Fault::Told { .. }));
    }
}
