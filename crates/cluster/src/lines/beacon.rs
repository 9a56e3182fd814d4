//! A beacon on its line.
//!
//! ```text
//! beacon <sent_at> <echo> <marks> <version> <leases>
//!
//! <sent_at>   nanoseconds of the sender's clock
//! <echo>      <incarnation>:<sent_at> of the newest beacon heard, or -
//! <marks>     those that hold of lease,reads,full, or -: a primary lease, a read lease, the disk takes no more puts
//! <leases>    <server>:<version>,… rising by server, or -
//! ```

use std::collections::BTreeMap;

use super::error::{Fault, LineError};
use super::limits::LEASE_COUNT_MAX;
use super::text;
use super::words::Words;
use crate::message::Beacon;
use crate::types::{Incarnation, ServerId, Time, Version};

/// Appends a beacon, the space in front included.
pub(super) fn write(out: &mut Vec<u8>, beacon: &Beacon) {
    text::number(out, beacon.sent_at.0);
    match beacon.echo {
        Some((incarnation, sent_at)) => {
            text::number(out, incarnation.0);
            out.push(b':');
            text::digits(out, sent_at.0);
        }
        None => text::none(out),
    }
    let Beacon { is_grant, is_read_grant, is_full, .. } = *beacon;
    text::flags(out, [("lease", is_grant), ("reads", is_read_grant), ("full", is_full)]);
    text::number(out, beacon.version.0);
    text::list(out, &beacon.leases, |out, (server, version)| {
        text::id(out, *server);
        out.push(b':');
        text::digits(out, version.0);
    });
}

/// Reads a beacon, which is the rest of the line.
pub(super) fn read(words: &mut Words<'_>) -> Result<Beacon, LineError> {
    let sent_at = words.time("time")?;
    words.close("time")?;
    let echo = words.option("echo", read_echo)?;
    let [is_grant, is_read_grant, is_full] = words.flags("mark", ["lease", "reads", "full"])?;
    let version = words.version()?;
    let leases = read_leases(words)?;
    words.end("leases")?;
    Ok(Beacon { sent_at, echo, is_grant, is_read_grant, version, leases, is_full })
}

fn read_echo(words: &mut Words<'_>) -> Result<(Incarnation, Time), LineError> {
    const PART: &str = "echo";
    let incarnation = words.incarnation()?;
    words.mark(b':', PART)?;
    let sent_at = words.time(PART)?;
    words.close(PART)?;
    Ok((incarnation, sent_at))
}

fn read_leases(words: &mut Words<'_>) -> Result<BTreeMap<ServerId, Version>, LineError> {
    const PART: &str = "leases";
    let mut leases = BTreeMap::new();
    words.list(PART, LEASE_COUNT_MAX, |words| {
        let before = *words;
        let server = words.id(PART)?;
        words.mark(b':', PART)?;
        let version = words.digits(PART, u64::MAX).map(Version)?;
        if leases.last_key_value().is_some_and(|(last, _)| *last >= server) {
            return Err(before.error(Fault::OutOfOrder, PART));
        }
        leases.insert(server, version);
        Ok(())
    })?;
    Ok(leases)
}
