//! memcached: the text protocol, `get` and `set` only.
//!
//! | request | replies |
//! |---|---|
//! | `get key` | `VALUE key flags n`, `value`, `END`; `END` alone (not found); `SERVER_ERROR …` |
//! | `set key 0 0 n`, `value` | `STORED`; `NOT_STORED`; `SERVER_ERROR …`; `CLIENT_ERROR …` |
//!
//! Each part ends in CR LF. Source: `doc/protocol.txt` of memcached 1.6.

use super::{Kind, Outcome, Step, Wire, decimal, line, push_decimal};

/// memcached's protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memcached;

impl Wire for Memcached {
    fn get(self, out: &mut Vec<u8>, key: &[u8]) {
        out.extend_from_slice(b"get ");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    }

    fn set(self, out: &mut Vec<u8>, key: &[u8], value_len: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(b"set ");
        out.extend_from_slice(key);
        out.extend_from_slice(b" 0 0 ");
        push_decimal(out, value_len);
        out.extend_from_slice(b"\r\n");
        fill(out);
        out.extend_from_slice(b"\r\n");
    }

    fn reply<'a>(self, kind: Kind, key: &[u8], input: &'a [u8], _searched: usize) -> Step<'a> {
        let Some((header, len)) = line(input, 0) else {
            return if input.len() > HEADER_LEN_MAX { Step::Nonsense } else { Step::More };
        };
        let reply = |outcome| Step::Reply { len, outcome };
        match (kind, header) {
            (Kind::Set, b"STORED") => reply(Outcome::Stored),
            (Kind::Set, b"NOT_STORED") => reply(Outcome::Refused(header)),
            (Kind::Get, b"END") => reply(Outcome::NotFound),
            (Kind::Get, [b'V', b'A', b'L', b'U', b'E', b' ', rest @ ..]) => {
                value(key, rest, input, len)
            }
            _ if header.starts_with(b"SERVER_ERROR ") => reply(Outcome::Refused(header)),
            _ if header.starts_with(b"CLIENT_ERROR ") => reply(Outcome::Refused(header)),
            _ => Step::Nonsense,
        }
    }
}

/// Reads what follows `VALUE `, the header's `rest` and the `input` behind its `header_len` bytes.
fn value<'a>(key: &[u8], rest: &'a [u8], input: &'a [u8], header_len: usize) -> Step<'a> {
    const END: &[u8] = b"\r\nEND\r\n";
    let mut words = rest.split(|&byte| byte == b' ');
    let (Some(found_key), Some(_flags), Some(digits)) = (words.next(), words.next(), words.next())
    else {
        return Step::Nonsense;
    };
    let Some(value_len) = decimal(digits) else { return Step::Nonsense };
    let body = input.get(header_len..).unwrap_or_default();
    let Some((value, end)) = body.split_at_checked(value_len) else { return Step::More };
    if !end.starts_with(END) {
        return if END.starts_with(end) { Step::More } else { Step::Nonsense };
    }
    let is_asked_for = found_key == key;
    let outcome = if is_asked_for { Outcome::Value(value) } else { Outcome::OtherKey(found_key) };
    Step::Reply { len: header_len + value_len + END.len(), outcome }
}

/// Longest first line of a reply: a key of 250 bytes and two numbers, or an error's words.
const HEADER_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn requests_are_lines_and_a_set_has_its_value_on_the_next() {
        let mut out = Vec::new();
        Memcached.get(&mut out, b"key");
        assert_eq!(out, b"get key\r\n");
        out.clear();
        Memcached.set(&mut out, b"key", 5, |out| out.extend_from_slice(b"value"));
        assert_eq!(out, b"set key 0 0 5\r\nvalue\r\n");
    }

    #[test]
    fn replies_are_read_in_any_chunks() {
        check(Memcached, Kind::Get, b"VALUE key 0 5\r\nvalue\r\nEND\r\n", Outcome::Value(b"value"));
        check(Memcached, Kind::Get, b"VALUE key 0 0\r\n\r\nEND\r\n", Outcome::Value(b""));
        check(
            Memcached,
            Kind::Get,
            b"VALUE key 0 4 17\r\na\r\nb\r\nEND\r\n",
            Outcome::Value(b"a\r\nb"),
        );
        check(Memcached, Kind::Get, b"END\r\n", Outcome::NotFound);
        check(Memcached, Kind::Set, b"STORED\r\n", Outcome::Stored);
        check(Memcached, Kind::Set, b"NOT_STORED\r\n", Outcome::Refused(b"NOT_STORED"));
        let words = b"SERVER_ERROR out of memory";
        check(Memcached, Kind::Set, &[words.as_slice(), b"\r\n"].concat(), Outcome::Refused(words));
    }

    #[test]
    fn a_value_of_another_key_is_noticed() {
        check(Memcached, Kind::Get, b"VALUE kex 0 1\r\nv\r\nEND\r\n", Outcome::OtherKey(b"kex"));
    }

    #[test]
    fn what_another_server_would_answer_is_nonsense() {
        for (kind, reply) in [
            (Kind::Get, b"-ERR unknown command\r\n".as_slice()),
            (Kind::Get, b"get_error key not found\r\n"),
            (Kind::Get, b"ERROR\r\n"),
            (Kind::Get, b"VALUE key\r\n"),
            (Kind::Get, b"VALUE key 0 x\r\n"),
            (Kind::Get, b"VALUE key 0 1\r\nvvEND\r\n"),
            (Kind::Set, b"END\r\n"),
            (Kind::Set, b"+OK\r\n"),
            (Kind::Get, &[b'x'; HEADER_LEN_MAX + 1]),
        ] {
            assert_eq!(
                Memcached.reply(kind, b"key", reply, 0),
                Step::Nonsense,
                "{}",
                reply.escape_ascii()
            );
        }
    }
}
