//! Every reply in the three dialects, byte for byte, and back in the one that clients read.

use std::mem::discriminant;

use protocol::{Dialect, Error, Fault, Reply};

fn text(reply: &Reply<'_>, dialect: Dialect) -> String {
    let mut out = Vec::new();
    reply.encode_into(dialect, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn key() -> std::borrow::Cow<'static, [u8]> {
    b"k"[..].into()
}

fn value() -> std::borrow::Cow<'static, [u8]> {
    b"a value"[..].into()
}

fn no_space() -> std::borrow::Cow<'static, str> {
    "no space left".into()
}

const LIST: &str =
    "00000000000000000000000000000000,ffffffffffffffffffffffffffffffff,127.0.0.1:5000;";

/// A reply, and its lines in `native`, `toronto` and `tum`, without line ends.
type Row = (Reply<'static>, [String; 3]);

/// A reply that `toronto` writes otherwise.
fn other(reply: Reply<'static>, native: &str, toronto: &str) -> Row {
    (reply, [native.to_owned(), toronto.to_owned(), native.to_owned()])
}

/// A reply that differs in the case of its first word only.
fn same(reply: Reply<'static>, word: &str, rest: &str) -> Row {
    let lower = format!("{word}{rest}");
    (reply, [lower.clone(), format!("{}{rest}", word.to_uppercase()), lower])
}

fn about_puts_and_gets() -> Vec<Row> {
    let (new, replaced) = ("PUT_SUCCESS k a value", "PUT_UPDATE k a value");
    let because = " k no space left";
    vec![
        other(Reply::PutSuccess { key: key(), value: value() }, "put_success k", new),
        other(Reply::PutUpdate { key: key(), value: value() }, "put_update k", replaced),
        same(Reply::PutError { key: key(), reason: no_space() }, "put_error", because),
        same(Reply::PutUnknown { key: key(), reason: no_space() }, "put_unknown", because),
        same(Reply::GetSuccess { key: key(), value: value() }, "get_success", " k a value"),
        same(Reply::GetSuccess { key: key(), value: b""[..].into() }, "get_success", " k "),
        other(Reply::GetNotFound { key: key() }, "get_error k not found", "GET_ERROR k"),
        same(Reply::GetError { key: key(), reason: no_space() }, "get_error", because),
    ]
}

fn about_deletes() -> Vec<Row> {
    let because = " k no space left";
    vec![
        other(
            Reply::DeleteSuccess { key: key(), value: value() },
            "delete_success k",
            "DELETE_SUCCESS k a value",
        ),
        other(Reply::DeleteNotFound { key: key() }, "delete_error k not found", "DELETE_ERROR k"),
        same(Reply::DeleteError { key: key(), reason: no_space() }, "delete_error", because),
        same(Reply::DeleteUnknown { key: key(), reason: no_space() }, "delete_unknown", because),
    ]
}

fn about_the_ring() -> Vec<Row> {
    let list = format!(" {LIST}");
    vec![
        same(Reply::Keyrange { ranges: LIST.into() }, "keyrange_success", &list),
        same(Reply::KeyrangeRead { ranges: LIST.into() }, "keyrange_read_success", &list),
        other(
            Reply::NotResponsible { ranges: LIST.into() },
            "server_not_responsible",
            &format!("SERVER_NOT_RESPONSIBLE {LIST}"),
        ),
        same(Reply::WriteLock, "server_write_lock", ""),
        same(Reply::Stopped, "server_stopped", ""),
        other(
            Reply::Error { what: "bad escape at column 7".into() },
            "error bad escape at column 7",
            "FAILED bad escape at column 7",
        ),
    ]
}

fn about_the_server() -> Vec<Row> {
    let pairs = vec![("keys".into(), "5".into()), ("sync".into(), "every 5\tms".into())];
    let path = || b"/b"[..].into();
    vec![
        same(Reply::Info { pairs }, "info_success", " keys 5 sync every_5_ms"),
        same(Reply::Info { pairs: vec![("name".into(), "".into())] }, "info_success", " name -"),
        same(Reply::Info { pairs: Vec::new() }, "info_success", ""),
        same(Reply::ScanItem { key: key(), value: value() }, "scan_item", " k a value"),
        same(
            Reply::ScanSuccess { next: Some("12:ab".into()), count: 3 },
            "scan_success",
            " 12:ab 3",
        ),
        same(Reply::ScanSuccess { next: None, count: 0 }, "scan_success", " end 0"),
        same(
            Reply::ScanError { cursor: "x".into(), reason: "no such cursor".into() },
            "scan_error",
            " x no such cursor",
        ),
        same(
            Reply::BackupSuccess { path: path(), file_count: 3, len: 4096 },
            "backup_success",
            " /b 3 4096",
        ),
        same(
            Reply::BackupError { path: path(), reason: "not empty".into() },
            "backup_error",
            " /b not empty",
        ),
        same(Reply::Pong, "pong", ""),
    ]
}

fn about_versions_and_clusters() -> Vec<Row> {
    let failed = |found| Reply::ConditionFailed { key: key(), found };
    vec![
        same(
            Reply::ReadSuccess { key: key(), version: u64::MAX, value: value() },
            "read_success",
            " k 18446744073709551615 a value",
        ),
        same(
            Reply::ReadSuccess { key: key(), version: 1, value: b""[..].into() },
            "read_success",
            " k 1 ",
        ),
        other(Reply::ReadNotFound { key: key() }, "read_error k not found", "READ_ERROR k"),
        same(Reply::ReadError { key: key(), reason: no_space() }, "read_error", " k no space left"),
        same(failed(Some(7)), "put_error", " k condition failed 7"),
        same(failed(None), "put_error", " k condition failed absent"),
        same(Reply::Forgotten, "forget_success", ""),
        same(Reply::EcsSuccess { address: "[::1]:80".into() }, "ecs_success", " [::1]:80"),
        same(Reply::EcsError { reason: "no cluster".into() }, "ecs_error", " no cluster"),
    ]
}

fn table() -> Vec<Row> {
    [
        about_puts_and_gets(),
        about_deletes(),
        about_the_ring(),
        about_the_server(),
        about_versions_and_clusters(),
    ]
    .concat()
}

#[test]
fn every_reply_is_written_byte_for_byte_in_each_dialect() {
    for (reply, lines) in table() {
        for (dialect, line) in Dialect::ALL.into_iter().zip(lines) {
            assert_eq!(text(&reply, dialect), format!("{line}\r\n"), "{dialect} {reply:?}");
        }
    }
}

#[test]
fn every_native_reply_is_read_back_and_writes_the_same_line() {
    for (reply, [native, _, _]) in table() {
        let read = Reply::parse(native.as_bytes()).unwrap();
        assert_eq!(text(&read, Dialect::Native), format!("{native}\r\n"));
        assert_eq!(discriminant(&read), discriminant(&reply), "{native}");
    }
}

#[test]
fn keys_and_values_of_any_bytes_are_escaped_no_more_than_they_must_be() {
    let reply = Reply::GetSuccess {
        key: b"a b\\\n\r\0\t\xff"[..].into(),
        value: b" a b\\\n\r\0\t\xff "[..].into(),
    };
    let mut out = Vec::new();
    reply.encode_into(Dialect::Native, &mut out);
    let line = b"get_success a\\sb\\\\\\n\\r\\0\t\xff  a b\\\\\\n\\r\\0\t\xff ";
    assert_eq!(out, [&line[..], b"\r\n"].concat());
    assert_eq!(Reply::parse(line), Ok(reply));
}

#[test]
fn a_value_that_a_dialect_cannot_show_gives_a_clear_error_and_never_a_broken_line() {
    let why = "the value holds a line end, which this dialect cannot show";
    for value in [&b"a\nb"[..], b"a\r", b"\n"] {
        let get = Reply::GetSuccess { key: key(), value: value.into() };
        assert_eq!(text(&get, Dialect::Tum), format!("get_error k {why}\r\n"));
        assert_eq!(text(&get, Dialect::Toronto), format!("GET_ERROR k {why}\r\n"));
        // What was done was done: only the echo is missing.
        let put = Reply::PutUpdate { key: key(), value: value.into() };
        assert_eq!(text(&put, Dialect::Toronto), "PUT_UPDATE k\r\n");
        let delete = Reply::DeleteSuccess { key: key(), value: value.into() };
        assert_eq!(text(&delete, Dialect::Toronto), "DELETE_SUCCESS k\r\n");
    }
    let harmless = Reply::GetSuccess { key: key(), value: b"a\rb\\\0"[..].into() };
    assert_eq!(text(&harmless, Dialect::Tum), "get_success k a\rb\\\0\r\n");
    let key_of_lines = Reply::GetNotFound { key: b"a\nb\r"[..].into() };
    assert_eq!(text(&key_of_lines, Dialect::Tum), "get_error a?b? not found\r\n");
}

#[test]
fn a_reason_stays_on_its_line() {
    let reply = Reply::PutError { key: key(), reason: "one\r\ntwo \\".into() };
    for dialect in [Dialect::Native, Dialect::Tum] {
        assert_eq!(text(&reply, dialect), "put_error k one  two \\\r\n");
    }
}

#[test]
fn what_is_no_reply_is_refused_with_a_column() {
    for (line, fault, column) in [
        ("", Fault::Empty, 1),
        ("GET_SUCCESS k v", Fault::UnknownVerb, 1),
        ("get_success", Fault::MissingKey, 12),
        ("get_success  v", Fault::MissingKey, 13),
        ("get_success k", Fault::MissingArgument, 14),
        ("get_success k\\q v", Fault::BadEscape, 14),
        ("get_success k a\\s", Fault::BadEscape, 16),
        ("put_success k v", Fault::TrailingText, 15),
        ("server_stopped ", Fault::TrailingText, 16),
        ("scan_success end", Fault::MissingArgument, 17),
        ("scan_success end x", Fault::BadNumber, 18),
        ("scan_success end 4294967296", Fault::BadNumber, 18),
        ("info_success name", Fault::MissingArgument, 18),
        ("backup_success /b 1 2 3", Fault::TrailingText, 23),
        ("read_success k 1", Fault::MissingArgument, 17),
        ("read_success k v v", Fault::BadNumber, 16),
        ("forget_success 1", Fault::TrailingText, 16),
        ("ecs_success", Fault::MissingArgument, 12),
    ] {
        assert_eq!(
            Reply::parse(line.as_bytes()),
            Err(Error::Malformed { fault, column }),
            "{line}"
        );
    }
}

#[test]
fn a_reason_that_only_resembles_a_failed_condition_is_a_reason() {
    for reason in ["condition failed", "condition failed ", "condition failed -1", "absent"] {
        let line = format!("put_error k {reason}");
        let expected = Reply::PutError { key: key(), reason: reason.into() };
        assert_eq!(Reply::parse(line.as_bytes()), Ok(expected));
    }
}
