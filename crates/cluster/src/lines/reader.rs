//! Lines into messages between servers: puts the records of a chunk or a statement behind their first line.
//!
//! ```text
//!   chunk 17 3 2.9 2                 2 records are owed
//!   record 2.7 - - put city Bern     1
//!   record 2.9 - - delete town       0: the chunk is whole
//! ```
//!
//! Records stand on lines of their own, so that no line is longer than that of one record, a connection's buffer need
//! hold no more than one, and a trace can be read. What is kept between lines is bounded by
//! [`RECORD_COUNT_MAX`], and by [`RECORDS_LEN_MAX`] and one record more. No memory is taken for records that
//! were only announced.

use protocol::Limits;

use super::error::{Fault, LineError};
use super::limits::{RECORD_COUNT_MAX, RECORDS_LEN_MAX};
use super::message::{Begun, read_first, told};
use super::record;
use super::words::Words;
use crate::message::{Message, SlotMessage, State};
use crate::types::Record;

/// Reads the messages of one connection from its lines.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    partial: Option<Partial>,
}

/// A message of which records are still owed.
#[derive(Debug)]
struct Partial {
    message: Message,
    owed_count: usize,
    records: Vec<Record>,
    /// Bytes of the records.
    len: usize,
}

impl Reader {
    /// Returns a reader that takes keys and values of these lengths.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, partial: None }
    }

    /// Takes a line without its end, and returns the message that it completes, if it completes one.
    ///
    /// # Errors
    /// [`LineError`] for a line that makes no sense here. What was begun is forgotten; the connection is to be closed.
    #[inline]
    pub fn read(&mut self, line: &[u8]) -> Result<Option<Message>, LineError> {
        match self.partial.take() {
            None => match read_first(line, &self.limits)? {
                Begun::Whole(message) => Ok(Some(message)),
                Begun::Owing(message, owed_count) => {
                    let records = Vec::new();
                    self.partial = Some(Partial { message, owed_count, records, len: 0 });
                    Ok(None)
                }
            },
            Some(partial) => self.go_on(partial, line),
        }
    }

    /// Returns whether no message is half read: where a connection may end without a word lost.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.partial.is_none()
    }

    fn go_on(&mut self, mut partial: Partial, line: &[u8]) -> Result<Option<Message>, LineError> {
        let mut words = Words::new(line);
        let before = words;
        match words.word("record")? {
            b"record" => {}
            b"error" => return Err(before.error(Fault::Told { what: told(line) }, "line")),
            _ => return Err(before.error(Fault::Missing, "record")),
        }
        if partial.len > RECORDS_LEN_MAX {
            let fault = Fault::TooLong { len: partial.len, len_max: RECORDS_LEN_MAX };
            return Err(before.error(fault, "records"));
        }
        let record = record::read(&mut words, &self.limits)?;
        partial.len += record.byte_len();
        partial.records.push(record);
        partial.owed_count -= 1;
        if partial.owed_count == 0 {
            return Ok(Some(partial.whole()));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

impl Partial {
    /// Returns the message with its records.
    fn whole(self) -> Message {
        assert!(self.records.len() <= RECORD_COUNT_MAX, "more records than can be announced");
        let mut message = self.message;
        if let Message::Slot {
            body: SlotMessage::Chunk { records, .. } | SlotMessage::State(State { records, .. }),
            ..
        } = &mut message
        {
            *records = self.records;
        }
        message
    }
}
