//! Ringcask: one line a message, native dialect.
//!
//! | request | replies |
//! |---|---|
//! | `get key` | `get_success key value`, `get_error key not found`, `get_error key reason` |
//! | `put key value` | `put_success key`, `put_update key`, `put_error key reason`, `put_unknown key reason` |
//! | both | `server_not_responsible`, `server_write_lock`, `server_stopped`, `error what` |
//!
//! Requests end in LF, replies in CR LF. Keys and values of this program contain nothing that is escaped, so
//! none is unescaped here either: an escape in a reply makes its value a wrong one. See `docs/PROTOCOL.md`.

use super::{Kind, Outcome, Step, Wire, line};

/// Our protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ringcask;

impl Wire for Ringcask {
    fn get(self, out: &mut Vec<u8>, key: &[u8]) {
        out.extend_from_slice(b"get ");
        out.extend_from_slice(key);
        out.push(b'\n');
    }

    fn set(
        self,
        out: &mut Vec<u8>,
        key: &[u8],
        _value_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(b"put ");
        out.extend_from_slice(key);
        out.push(b' ');
        fill(out);
        out.push(b'\n');
    }

    fn reply<'a>(self, kind: Kind, key: &[u8], input: &'a [u8], searched: usize) -> Step<'a> {
        // A long line of another protocol would otherwise be waited for to its end.
        if !matches!(input.first(), None | Some(b'g' | b'p' | b's' | b'e')) {
            return Step::Nonsense;
        }
        let Some((line, len)) = line(input, searched) else { return Step::More };
        let space = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (verb, rest) = line.split_at(space);
        let outcome = match (kind, verb) {
            (Kind::Get, b"get_success") => match about(key, rest) {
                Some([b' ', value @ ..]) => Outcome::Value(value),
                _ => Outcome::OtherKey(line),
            },
            (Kind::Get, b"get_error") => match about(key, rest) {
                Some(b" not found") => Outcome::NotFound,
                Some(_) => Outcome::Refused(line),
                None => Outcome::OtherKey(line),
            },
            (Kind::Set, b"put_success" | b"put_update") => match about(key, rest) {
                Some([]) => Outcome::Stored,
                _ => Outcome::OtherKey(line),
            },
            (Kind::Set, b"put_error") => Outcome::Refused(line),
            (Kind::Set, b"put_unknown") => Outcome::Unknown(line),
            (
                _,
                b"error" | b"server_not_responsible" | b"server_write_lock" | b"server_stopped",
            ) => Outcome::Refused(line),
            _ => return Step::Nonsense,
        };
        Step::Reply { len, outcome }
    }
}

/// Returns what follows ` key`.
fn about<'a>(key: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    rest.strip_prefix(b" ")?.strip_prefix(key)
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;
    use protocol::{Dialect, Reply, Request};
    use std::borrow::Cow;

    #[test]
    fn requests_are_lines() {
        let mut out = Vec::new();
        Ringcask.get(&mut out, b"key");
        Ringcask.set(&mut out, b"key", 5, |out| out.extend_from_slice(b"value"));
        assert_eq!(out, b"get key\nput key value\n");
    }

    #[test]
    fn replies_are_read_in_any_chunks() {
        check(Ringcask, Kind::Get, b"get_success key value\r\n", Outcome::Value(b"value"));
        check(Ringcask, Kind::Get, b"get_success key \r\n", Outcome::Value(b""));
        check(Ringcask, Kind::Get, b"get_success key a b\r\n", Outcome::Value(b"a b"));
        check(Ringcask, Kind::Get, b"get_error key not found\r\n", Outcome::NotFound);
        check(Ringcask, Kind::Set, b"put_success key\r\n", Outcome::Stored);
        check(Ringcask, Kind::Set, b"put_update key\r\n", Outcome::Stored);
    }

    #[test]
    fn the_protocols_own_code_reads_these_requests_and_writes_these_replies() {
        let key = || Cow::Borrowed(b"key".as_slice());
        let value = || Cow::Borrowed(b"some value".as_slice());
        let mut line = Vec::new();
        Ringcask.set(&mut line, b"key", 10, |out| out.extend_from_slice(b"some value"));
        let mut expected = Vec::new();
        Request::Put { key: key(), value: value() }.encode_into(&mut expected);
        Ringcask.get(&mut line, b"key");
        Request::Get { key: key() }.encode_into(&mut expected);
        assert_eq!(line, expected);

        let reason = || Cow::Borrowed("disk full");
        for (kind, reply, outcome) in [
            (Kind::Set, Reply::PutSuccess { key: key(), value: value() }, Outcome::Stored),
            (Kind::Set, Reply::PutUpdate { key: key(), value: value() }, Outcome::Stored),
            (
                Kind::Set,
                Reply::PutError { key: key(), reason: reason() },
                Outcome::Refused(b"put_error key disk full"),
            ),
            (
                Kind::Set,
                Reply::PutUnknown { key: key(), reason: reason() },
                Outcome::Unknown(b"put_unknown key disk full"),
            ),
            (
                Kind::Get,
                Reply::GetSuccess { key: key(), value: value() },
                Outcome::Value(b"some value"),
            ),
            (Kind::Get, Reply::GetNotFound { key: key() }, Outcome::NotFound),
            (
                Kind::Get,
                Reply::GetError { key: key(), reason: reason() },
                Outcome::Refused(b"get_error key disk full"),
            ),
            (
                Kind::Set,
                Reply::NotResponsible { ranges: "".into() },
                Outcome::Refused(b"server_not_responsible"),
            ),
            (Kind::Set, Reply::WriteLock, Outcome::Refused(b"server_write_lock")),
            (Kind::Get, Reply::Stopped, Outcome::Refused(b"server_stopped")),
            (Kind::Get, Reply::Error { what: reason() }, Outcome::Refused(b"error disk full")),
        ] {
            let mut line = Vec::new();
            reply.encode_into(Dialect::Native, &mut line);
            check(Ringcask, kind, &line, outcome);
        }
    }

    #[test]
    fn refusals_and_unknown_outcomes_are_told_apart() {
        for (kind, words) in [
            (Kind::Get, b"get_error key damaged".as_slice()),
            (Kind::Set, b"put_error key disk full"),
            (Kind::Set, b"error column 5"),
            (Kind::Get, b"server_not_responsible"),
            (Kind::Set, b"server_write_lock"),
            (Kind::Get, b"server_stopped"),
        ] {
            check(Ringcask, kind, &[words, b"\r\n"].concat(), Outcome::Refused(words));
        }
        let words = b"put_unknown key sync failed";
        check(Ringcask, Kind::Set, &[words.as_slice(), b"\r\n"].concat(), Outcome::Unknown(words));
    }

    #[test]
    fn a_reply_to_another_key_is_noticed() {
        for (kind, words) in [
            (Kind::Get, b"get_success kex value".as_slice()),
            (Kind::Get, b"get_success key2 value"),
            (Kind::Get, b"get_error other not found"),
            (Kind::Set, b"put_success key2"),
            (Kind::Set, b"put_update"),
        ] {
            check(Ringcask, kind, &[words, b"\r\n"].concat(), Outcome::OtherKey(words));
        }
    }

    #[test]
    fn what_another_server_would_answer_is_nonsense() {
        for (kind, reply) in [
            (Kind::Get, b"-ERR unknown".as_slice()),
            (Kind::Get, b"$5\r\n"),
            (Kind::Get, b"END\r\n"),
            (Kind::Set, b"get_success key value\r\n"),
            (Kind::Get, b"put_success key\r\n"),
            (Kind::Get, b"GET_SUCCESS key value\r\n"),
        ] {
            assert_eq!(
                Ringcask.reply(kind, b"key", reply, 0),
                Step::Nonsense,
                "{}",
                reply.escape_ascii()
            );
        }
    }
}
