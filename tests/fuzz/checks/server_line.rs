//! What must hold of the readers of what servers and the coordinator say, for any lines.
//!
//! ```text
//!   data: [ kind | lines, parted by LF … ]      kind: which reader, its remainder of five
//! ```
//!
//! 1. Each line is taken or is an error of one line whose column is on the line.
//! 2. What was taken is written so that it is read as the same.
//! 3. It is written as it was spelled, if it holds no escape, nothing that should be one, and no JSON.
//! 4. What is kept between lines is no more than what was received.
//!
//! Used by the fuzz target, which makes up inputs, and by the tests of `cluster`, which replay the corpus.

use std::fmt::Debug;

use cluster::lines::{
    LineError, Reader, read_from_ecs, read_gossip, read_opening, read_to_ecs, write_from_ecs,
    write_gossip, write_message, write_opening, write_to_ecs,
};
use protocol::Limits;

/// Small, so that inputs of a few bytes reach and pass them.
const LIMITS: Limits = Limits { key_len_max: 8, value_len_max: 24 };

/// Panics if a promise of the readers is broken for `data`.
pub(crate) fn check(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let lines = text.split(|byte| *byte == b'\n');
    match kind % 5 {
        0 => check_messages(lines),
        1 => lines.for_each(|line| check_line(line, read_to_ecs, write_to_ecs)),
        2 => lines.for_each(|line| check_line(line, read_from_ecs, write_from_ecs)),
        4 => lines.for_each(|line| check_line(line, read_gossip, write_gossip)),
        _ => lines.for_each(|line| {
            if read_opening(line).is_some() {
                let read = |line: &[u8]| read_opening(line).expect("it still is an opening");
                check_line(line, read, write_opening);
            }
        }),
    }
}

fn check_messages<'a>(lines: impl Iterator<Item = &'a [u8]>) {
    let mut reader = Reader::new(LIMITS);
    let mut spelled = Vec::new();
    for line in lines {
        spelled.extend_from_slice(line);
        spelled.push(b'\n');
        match reader.read(line) {
            Ok(Some(message)) => {
                let mut written = Vec::new();
                write_message(&mut written, &message);
                assert_eq!(read_only(&written), message);
                check_spelling(&written, &spelled);
            }
            Ok(None) => {
                assert!(!reader.is_between());
                continue;
            }
            Err(error) => check_error(&error, line),
        }
        assert!(reader.is_between());
        spelled.clear();
    }
}

/// Returns the only message of `written`.
fn read_only(written: &[u8]) -> cluster::Message {
    let mut reader = Reader::new(LIMITS);
    let text = written.strip_suffix(b"\n").expect("a line ends in LF");
    let mut read = text.split(|byte| *byte == b'\n').map(|line| reader.read(line));
    let message = read.find_map(|message| message.expect("what was written is read"));
    assert!(read.next().is_none(), "more lines than one message has");
    message.expect("a whole message was written")
}

fn check_line<T: Debug + PartialEq>(
    line: &[u8],
    read: impl Fn(&[u8]) -> Result<T, LineError>,
    write: impl Fn(&mut Vec<u8>, &T),
) {
    let message = match read(line) {
        Ok(message) => message,
        Err(error) => return check_error(&error, line),
    };
    let mut written = Vec::new();
    write(&mut written, &message);
    let again = written.strip_suffix(b"\n").expect("a line ends in LF");
    assert!(!again.contains(&b'\n') && !again.contains(&b'\r'), "a line end in a line");
    assert_eq!(read(again), Ok(message));
    check_spelling(&written, &[line, b"\n"].concat());
}

fn check_spelling(written: &[u8], spelled: &[u8]) {
    if !spelled.iter().any(|byte| matches!(byte, b'\\' | b'{' | b'\r' | 0)) {
        assert_eq!(written.escape_ascii().to_string(), spelled.escape_ascii().to_string());
    }
}

fn check_error(error: &LineError, line: &[u8]) {
    let column = error.column;
    assert!((1..=line.len() + 1).contains(&column), "column {column} of {}", line.len());
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "an error of more than a line: {text:?}");
}
