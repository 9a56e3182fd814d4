//! A change of the map at the end of a line: the JSON of a [`Delta`], as the coordinator's log has it.
//!
//! JSON, because a change is rare, has many parts, and shall be readable by other tools. It holds no line end: in its
//! strings one is written as an escape. Names that are not known are passed over.

use super::error::{Fault, LineError};
use super::limits::DELTA_LEN_MAX;
use super::words::Words;
use crate::map::Delta;
use crate::types::Lsn;

const PART: &str = "change of the map";

/// Appends a change, the space in front included.
pub(super) fn write(out: &mut Vec<u8>, delta: &Delta) {
    out.push(b' ');
    let is_written = serde_json::to_writer(out, delta).is_ok();
    assert!(is_written, "memory takes all, and a change has nothing that JSON has not");
}

/// Reads a change, which is the rest of the line.
pub(super) fn read(words: &mut Words<'_>) -> Result<Delta, LineError> {
    let (text, before) = words.rest_as_spelled(PART, DELTA_LEN_MAX)?;
    let delta: Delta = serde_json::from_slice(text).map_err(|error| {
        // Its columns count from 1 too, and are 0 where the text is empty.
        before.ahead(error.column().saturating_sub(1)).error(Fault::NotJson, PART)
    })?;
    // An epoch beyond its bits would make lsns that cannot be.
    let is_epoch = |epoch: u32| epoch <= Lsn::EPOCH_MAX;
    if delta.slots.iter().all(|(_, slot)| is_epoch(slot.epoch.0) && is_epoch(slot.term.0)) {
        Ok(delta)
    } else {
        Err(before.error(Fault::TooLarge { max: u64::from(Lsn::EPOCH_MAX) }, "epoch"))
    }
}
