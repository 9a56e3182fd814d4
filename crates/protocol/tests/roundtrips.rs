//! Whatever goes in comes out, byte for byte; and nothing that comes in can do harm.

use std::borrow::Cow;

use proptest::prelude::*;
use protocol::{Condition, Dialect, Error, Framer, Limits, Reply, Request, With};

/// Any bytes, with many of those that matter to the format.
fn bytes(len_min: usize, len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(&b"\\\\\n\r\0 snrx09afAF-"[..]);
    prop::collection::vec(prop_oneof![special, any::<u8>()], len_min..=len_max)
}

fn cow(bytes: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(bytes)
}

/// Returns the lines that `sent` arrives as.
fn framed(sent: &[u8]) -> Vec<&[u8]> {
    let mut framer = Framer::new(usize::MAX);
    let mut lines = framer.lines(sent);
    let framed: Vec<&[u8]> = lines.by_ref().filter_map(Result::ok).collect();
    assert_eq!(lines.consumed_len(), sent.len(), "every line is complete");
    framed
}

/// Bytes of `text` that must be written as an escape of two.
fn special_count(text: &[u8], special: &[u8]) -> usize {
    text.iter().filter(|byte| special.contains(byte)).count()
}

/// Returns the pieces of `bytes` between line feeds: all that a parser is ever given.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|&byte| byte == b'\n').collect()
}

/// Returns some options of a put, or those of a delete.
fn options() -> impl Strategy<Value = With<'static>> {
    let condition = prop_oneof![Just(Condition::Absent), any::<u64>().prop_map(Condition::Version)];
    let id = prop::option::of(any::<(u64, u64)>());
    let rest = (prop::option::of(condition), prop::option::of(1..=u64::MAX));
    (id, rest).prop_map(|(id, (condition, ttl_ms))| With {
        id,
        condition,
        ttl_ms,
        ..With::default()
    })
}

proptest! {
    #[test]
    fn a_request_with_any_bytes_is_one_line_and_comes_back(
        key in bytes(1, 80),
        value in bytes(0, 300),
        options in options(),
        client in any::<u64>(),
    ) {
        let requests = [
            Request::Put { key: cow(&key), value: cow(&value) },
            Request::Get { key: cow(&key) },
            Request::Delete { key: cow(&key) },
            Request::Backup { path: cow(&key) },
            Request::Read { key: cow(&key) },
            Request::With(With { key: cow(&key), value: Some(cow(&value)), ..options }),
            Request::With(With { id: options.id, key: cow(&key), ..With::default() }),
            Request::Forget { client },
        ];
        let mut sent = Vec::new();
        for request in &requests {
            request.encode_into(&mut sent);
        }
        let limits = Limits { key_len_max: key.len(), value_len_max: value.len() };
        let read: Result<Vec<Request<'_>>, Error<'_>> = framed(&sent)
            .into_iter()
            .map(|line| Request::parse(line, Dialect::Native, &limits))
            .collect();
        prop_assert_eq!(read, Ok(requests.to_vec()));
        let line_len = "put  \n".len() + key.len() + special_count(&key, b"\\\n\r\0 ")
            + value.len() + special_count(&value, b"\\\n\r\0");
        prop_assert_eq!(framed(&sent)[0].len() + 1, line_len, "no escape too many");
    }

    #[test]
    fn a_reply_with_any_bytes_is_one_line_and_comes_back(
        key in bytes(1, 80),
        value in bytes(0, 300),
        reason in "[ -~]{0,40}",
        version in any::<u64>(),
    ) {
        prop_assume!(reason != "not found" && !reason.starts_with("condition failed "));
        let reason = || Cow::Borrowed(reason.as_str());
        let (key, value, none) = (|| cow(&key), || cow(&value), || cow(b""));
        let replies = [
            Reply::GetSuccess { key: key(), value: value() },
            Reply::PutSuccess { key: key(), value: none() },
            Reply::PutUpdate { key: key(), value: none() },
            Reply::PutError { key: key(), reason: reason() },
            Reply::PutUnknown { key: key(), reason: reason() },
            Reply::GetNotFound { key: key() },
            Reply::GetError { key: key(), reason: reason() },
            Reply::DeleteSuccess { key: key(), value: none() },
            Reply::DeleteNotFound { key: key() },
            Reply::DeleteError { key: key(), reason: reason() },
            Reply::DeleteUnknown { key: key(), reason: reason() },
            Reply::ScanItem { key: key(), value: value() },
            Reply::BackupSuccess { path: key(), file_count: u64::MAX, len: 0 },
            Reply::BackupError { path: key(), reason: reason() },
            Reply::ReadSuccess { key: key(), version, value: value() },
            Reply::ReadNotFound { key: key() },
            Reply::ReadError { key: key(), reason: reason() },
            Reply::ConditionFailed { key: key(), found: Some(version) },
            Reply::ConditionFailed { key: key(), found: None },
            Reply::EcsError { reason: reason() },
        ];
        let mut sent = Vec::new();
        for reply in &replies {
            reply.encode_into(Dialect::Native, &mut sent);
        }
        let read: Result<Vec<Reply<'_>>, Error<'_>> =
            framed(&sent).into_iter().map(Reply::parse).collect();
        prop_assert_eq!(read, Ok(replies.to_vec()));
    }

    #[test]
    fn what_a_dialect_without_escapes_takes_it_gives_back(
        key in bytes(1, 20),
        value in bytes(0, 80),
    ) {
        let line = [b"put ", &key[..], b" ", &value[..]].concat();
        for dialect in [Dialect::Toronto, Dialect::Tum] {
            let received = [&line[..], b"\r\n"].concat();
            for line in framed(&received) {
                let Ok(Request::Put { key, value }) =
                    Request::parse(line, dialect, &Limits::default())
                else {
                    continue;
                };
                let mut sent = Vec::new();
                Reply::GetSuccess { key: key.clone(), value: value.clone() }
                    .encode_into(dialect, &mut sent);
                let shown = framed(&sent);
                prop_assert_eq!(shown.len(), 1);
                prop_assert_eq!(shown[0].get(.."get_success".len()).map(<[u8]>::to_ascii_lowercase),
                    Some(b"get_success".to_vec()));
                let expected = [b" ", &key[..], b" ", &value[..]].concat();
                prop_assert_eq!(&shown[0]["get_success".len()..], &expected[..]);
            }
        }
    }

    #[test]
    fn any_line_is_a_request_or_an_error_of_one_line_that_does_not_hold_the_value(
        verb in prop::sample::select(&[
            "", "put ", "get ", "delete ", "scan ", "backup ", "info ", "with ", "with id=1:2 put ", "read ", "forget ",
        ][..]),
        rest in bytes(0, 60),
    ) {
        let line = [verb.as_bytes(), &rest].concat();
        let limits = Limits { key_len_max: 4, value_len_max: 8 };
        for (dialect, line) in Dialect::ALL.iter().flat_map(|&dialect| {
            pieces(&line).into_iter().map(move |line| (dialect, line))
        }) {
            let Err(error) = Request::parse(line, dialect, &limits) else { continue };
            if let Error::Malformed { column, .. } = error {
                prop_assert!((1..=line.len() + 1).contains(&column), "column {}", column);
            }
            let mut sent = Vec::new();
            error.encode_into(dialect, &mut sent);
            prop_assert_eq!(framed(&sent).len(), 1);
            let key_len = line.split(|&byte| byte == b' ').nth(1).map_or(0, <[u8]>::len);
            prop_assert!(sent.len() <= 128 + 2 * key_len.max(rest.len().min(line.len())));
        }
    }
}
