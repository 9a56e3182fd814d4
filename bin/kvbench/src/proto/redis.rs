//! Redis: RESP2 arrays of bulk strings.
//!
//! | request | replies |
//! |---|---|
//! | `*2 $3 GET $n key` | `$n value`, `$-1` (not found), `-ERR …` |
//! | `*3 $3 SET $n key $n value` | `+OK`, `-ERR …` |
//! | `*3 $4 WAIT $n copies $n ms` | `:copies` |
//!
//! Each element ends in CR LF. Source: the Redis serialization protocol specification, version 2.

use super::{Kind, Outcome, Step, Wire, decimal, line, push_decimal};

/// Redis's protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redis;

impl Wire for Redis {
    fn get(self, out: &mut Vec<u8>, key: &[u8]) {
        out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$");
        push_bulk(out, key);
    }

    fn set(self, out: &mut Vec<u8>, key: &[u8], value_len: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$");
        push_bulk(out, key);
        out.push(b'$');
        push_decimal(out, value_len);
        out.extend_from_slice(b"\r\n");
        fill(out);
        out.extend_from_slice(b"\r\n");
    }

    fn reply<'a>(self, kind: Kind, _key: &[u8], input: &'a [u8], _searched: usize) -> Step<'a> {
        match (input.first(), kind) {
            (None, _) => Step::More,
            (Some(b'$'), Kind::Get) => bulk(input),
            (Some(b'+'), Kind::Set) | (Some(b'-'), _) => status(input),
            (Some(_), _) => Step::Nonsense,
        }
    }
}

fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    push_decimal(out, bytes.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn status(input: &[u8]) -> Step<'_> {
    match line(input, 0) {
        None => Step::More,
        Some((b"+OK", len)) => Step::Reply { len, outcome: Outcome::Stored },
        Some(([b'-', words @ ..], len)) => Step::Reply { len, outcome: Outcome::Refused(words) },
        Some(_) => Step::Nonsense,
    }
}

fn bulk(input: &[u8]) -> Step<'_> {
    let Some((header, header_len)) = line(input, 0) else {
        return if input.len() > HEADER_LEN_MAX { Step::Nonsense } else { Step::More };
    };
    if header == b"$-1" {
        return Step::Reply { len: header_len, outcome: Outcome::NotFound };
    }
    let Some(value_len) = header.strip_prefix(b"$").and_then(decimal) else {
        return Step::Nonsense;
    };
    let rest = input.get(header_len..).unwrap_or_default();
    let Some((value, end)) = rest.split_at_checked(value_len) else { return Step::More };
    match end {
        [b'\r', b'\n', ..] => {
            Step::Reply { len: header_len + value_len + 2, outcome: Outcome::Value(value) }
        }
        [] | [b'\r'] => Step::More,
        _ => Step::Nonsense,
    }
}

/// Appends a request to wait until `copies` other servers have all sets of this connection.
pub(crate) fn wait(out: &mut Vec<u8>, copies: u32) {
    let copies = copies.to_string();
    let request = format!("*3\r\n$4\r\nWAIT\r\n${}\r\n{copies}\r\n$5\r\n30000\r\n", copies.len());
    out.extend_from_slice(request.as_bytes());
}

/// Reads the answer to [`wait`]: how many servers have them, and the answer's length; nothing if it is not whole.
pub(crate) fn waited(input: &[u8]) -> Option<(Option<u32>, usize)> {
    let (line, len) = line(input, 0)?;
    let count = line.strip_prefix(b":").and_then(decimal);
    Some((count.and_then(|count| u32::try_from(count).ok()), len))
}

/// Longest header of a bulk string: `$`, at most 12 digits, CR LF, and some to spare.
const HEADER_LEN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::testing::{check, in_any_chunks};
    use super::*;

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        Redis.get(&mut out, b"key");
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
        out.clear();
        Redis.set(&mut out, b"key", 5, |out| out.extend_from_slice(b"value"));
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n");
    }

    #[test]
    fn replies_are_read_in_any_chunks() {
        check(Redis, Kind::Get, b"$5\r\nvalue\r\n", Outcome::Value(b"value"));
        check(Redis, Kind::Get, b"$0\r\n\r\n", Outcome::Value(b""));
        check(Redis, Kind::Get, b"$-1\r\n", Outcome::NotFound);
        check(Redis, Kind::Get, b"-ERR x\r\n", Outcome::Refused(b"ERR x"));
        check(Redis, Kind::Set, b"+OK\r\n", Outcome::Stored);
        check(Redis, Kind::Set, b"-OOM y\r\n", Outcome::Refused(b"OOM y"));
        let long = [b"$40\r\n".as_slice(), &[b'v'; 40], b"\r\n"].concat();
        check(Redis, Kind::Get, &long, Outcome::Value(&[b'v'; 40]));
    }

    #[test]
    fn a_wait_is_answered_with_the_number_of_copies() {
        let mut out = Vec::new();
        wait(&mut out, 2);
        assert_eq!(out, b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$5\r\n30000\r\n");
        assert_eq!(waited(b":2\r"), None);
        assert_eq!(waited(b":2\r\n:1"), Some((Some(2), 4)));
        assert_eq!(waited(b"-ERR no\r\n"), Some((None, 9)));
    }

    #[test]
    fn a_value_may_contain_line_ends() {
        check(Redis, Kind::Get, b"$4\r\na\r\nb\r\n", Outcome::Value(b"a\r\nb"));
    }

    #[test]
    fn what_another_server_would_answer_is_nonsense() {
        for (kind, reply) in [
            (Kind::Get, b"END\r\n".as_slice()),
            (Kind::Get, b"error unknown verb\r\n"),
            (Kind::Get, b"+OK\r\n"),
            (Kind::Get, b"$x\r\n"),
            (Kind::Get, b"$99999999999999\r\n"),
            (Kind::Get, b"$1\r\nab\r\n"),
            (Kind::Set, b"STORED\r\n"),
            (Kind::Set, b"$1\r\na\r\n"),
            (Kind::Set, b"+QUEUED\r\n"),
            (Kind::Get, b"$111111111111111111111111111111111111"),
        ] {
            assert_eq!(
                Redis.reply(kind, b"key", reply, 0),
                Step::Nonsense,
                "{}",
                reply.escape_ascii()
            );
        }
        assert_eq!(in_any_chunks(Redis, Kind::Get, b"key", b""), Step::More);
    }
}
