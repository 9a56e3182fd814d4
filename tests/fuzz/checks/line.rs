//! What must hold of the line parser for any received bytes.
//!
//! ```text
//!   data: [ cut | received bytes … ]      cut: where a first chunk ends, so that chunks are found too
//! ```
//!
//! 1. The bytes in two chunks give the same lines as in one.
//! 2. Each line is a request or an error of one line, in every dialect; the column of an error is on the line.
//! 3. A request that was read is written so that it is read as the same.
//! 4. Each line is a reply or an error; a reply that was read is written so that it is read as the same.
//!
//! Used by the fuzz target, which makes up inputs, and by the tests of `protocol`, which replay the corpus.

use protocol::{Dialect, Error, Framer, Limits, Reply, Request};

/// Small, so that inputs of a few bytes reach and pass them.
const LIMITS: Limits = Limits { key_len_max: 8, value_len_max: 24 };
/// Longest line: shorter than what the limits would give, so that inputs pass it.
const LINE_LEN_MAX: usize = 128;

/// Panics if a promise of the parser is broken for `data`.
pub(crate) fn check(data: &[u8]) {
    let Some((&cut, received)) = data.split_first() else { return };
    let lines = frame(&[received]);
    let (head, tail) = received.split_at(usize::from(cut).min(received.len()));
    assert_eq!(frame(&[head, tail]), lines, "chunks make a difference");
    for line in lines.iter().flatten() {
        for dialect in Dialect::ALL {
            check_request(line, dialect);
        }
        check_reply(line);
    }
}

/// Returns the lines of `chunks`; `None` for one that was too long.
fn frame(chunks: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    let mut framer = Framer::new(LINE_LEN_MAX);
    let mut buffer = Vec::new();
    let mut framed = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        let mut lines = framer.lines(&buffer);
        framed.extend(lines.by_ref().map(|line| line.ok().map(<[u8]>::to_vec)));
        let consumed_len = lines.consumed_len();
        buffer.drain(..consumed_len);
    }
    assert!(buffer.len() <= LINE_LEN_MAX + 1, "{} bytes are kept", buffer.len());
    framed
}

fn check_request(line: &[u8], dialect: Dialect) {
    let request = match Request::parse(line, dialect, &LIMITS) {
        Ok(request) => request,
        Err(error) => return check_error(&error, line, dialect),
    };
    let mut sent = Vec::new();
    request.encode_into(&mut sent);
    let written = only_line(&sent);
    assert_eq!(Request::parse(written, Dialect::Native, &LIMITS), Ok(request));
}

fn check_error(error: &Error<'_>, line: &[u8], dialect: Dialect) {
    if let Error::Malformed { column, .. } = error {
        assert!((1..=line.len() + 1).contains(column), "column {column} of {}", line.len());
    }
    let mut sent = Vec::new();
    error.encode_into(dialect, &mut sent);
    only_line(&sent);
}

fn check_reply(line: &[u8]) {
    let Ok(reply) = Reply::parse(line) else { return };
    for dialect in Dialect::ALL {
        let mut sent = Vec::new();
        reply.encode_into(dialect, &mut sent);
        only_line(&sent);
    }
    let mut sent = Vec::new();
    reply.encode_into(Dialect::Native, &mut sent);
    let mut again = Vec::new();
    Reply::parse(only_line(&sent))
        .expect("what was written is read")
        .encode_into(Dialect::Native, &mut again);
    assert_eq!(again, sent, "a second writing changes nothing");
}

/// Returns the line that `sent` is, without its end.
fn only_line(sent: &[u8]) -> &[u8] {
    let mut framer = Framer::new(usize::MAX);
    let mut lines = framer.lines(sent);
    let line = lines.next().expect("a line").expect("not too long");
    assert!(lines.next().is_none() && lines.consumed_len() == sent.len(), "more than one line");
    line
}
