//! Every request in the three dialects, what is refused and how, and the limits at and one past.

use protocol::{
    Condition, Dialect, Error, Fault, Limits, PATH_LEN_MAX, Request, SCAN_COUNT_MAX, Verb, With,
    peek,
};

const LIMITS: Limits = Limits { key_len_max: 8, value_len_max: 16 };

fn parse(line: &[u8], dialect: Dialect) -> Result<Request<'_>, Error<'_>> {
    Request::parse(line, dialect, &LIMITS)
}

fn put<'a>(key: &'a str, value: &'a [u8]) -> Request<'a> {
    Request::Put { key: key.as_bytes().into(), value: value.into() }
}

fn get(key: &[u8]) -> Request<'_> {
    Request::Get { key: key.into() }
}

fn delete(key: &str) -> Request<'_> {
    Request::Delete { key: key.as_bytes().into() }
}

fn with<'a>(key: &'a str, value: Option<&'a [u8]>) -> With<'a> {
    With { key: key.as_bytes().into(), value: value.map(Into::into), ..With::default() }
}

/// Returns what a server answers to `line`.
fn refusal(line: &[u8], dialect: Dialect) -> String {
    let mut out = Vec::new();
    if let Err(error) = parse(line, dialect) {
        error.encode_into(dialect, &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn every_request_is_read_and_written() {
    let scan = |cursor, count| Request::Scan { cursor, count };
    for (line, request) in [
        ("put k v", put("k", b"v")),
        ("put k  two words ", put("k", b" two words ")),
        ("put k ", put("k", b"")),
        ("get k", get(b"k")),
        ("delete k", delete("k")),
        ("keyrange", Request::Keyrange),
        ("keyrange_read", Request::KeyrangeRead),
        ("info", Request::Info),
        ("scan - 10", scan(None, 10)),
        ("scan 12:ab 1", scan(Some(b"12:ab"), 1)),
        ("backup /a\\sb", Request::Backup { path: b"/a b"[..].into() }),
        ("read k", Request::Read { key: b"k"[..].into() }),
        ("forget 18446744073709551615", Request::Forget { client: u64::MAX }),
        ("ecs", Request::Ecs),
        ("ping", Request::Ping),
        ("quit", Request::Quit),
    ] {
        assert_eq!(parse(line.as_bytes(), Dialect::Native).as_ref(), Ok(&request), "{line}");
        let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let shouted = [&verb.to_uppercase(), &line[verb.len()..]].concat();
        assert_eq!(parse(shouted.as_bytes(), Dialect::Native).as_ref(), Ok(&request), "{shouted}");
        let first_argument = arguments.split(' ').next().unwrap();
        assert_eq!(peek(line.as_bytes()), Some((request.verb(), first_argument.as_bytes())));
        let mut out = Vec::new();
        request.encode_into(&mut out);
        assert_eq!(out, format!("{line}\n").into_bytes());
    }
}

#[test]
fn a_write_with_options_is_read_and_written() {
    let id = Some((12, u64::MAX));
    let absent = Some(Condition::Absent);
    let ttl_ms = Some(1);
    for (line, request) in [
        ("with put k v", with("k", Some(b"v"))),
        ("with put k  v w ", with("k", Some(b" v w "))),
        ("with put k ", with("k", Some(b""))),
        ("with delete k", with("k", None)),
        ("with id=12:18446744073709551615 delete k", With { id, ..with("k", None) }),
        ("with id=12:18446744073709551615 put k v", With { id, ..with("k", Some(b"v")) }),
        ("with if=absent put k v", With { condition: absent, ..with("k", Some(b"v")) }),
        (
            "with if=7 put k v",
            With { condition: Some(Condition::Version(7)), ..with("k", Some(b"v")) },
        ),
        ("with ttl=1 put k id=1", With { ttl_ms, ..with("k", Some(b"id=1")) }),
        (
            "with id=12:18446744073709551615 if=absent ttl=1 put k v",
            With { id, condition: absent, ttl_ms, ..with("k", Some(b"v")) },
        ),
    ] {
        let request = Request::With(request);
        assert_eq!(parse(line.as_bytes(), Dialect::Native).as_ref(), Ok(&request), "{line}");
        let mut out = Vec::new();
        request.encode_into(&mut out);
        assert_eq!(out, format!("{line}\n").into_bytes());
    }
    let swapped =
        parse(b"WITH ttl=1 if=absent id=12:18446744073709551615 PUT k v", Dialect::Native);
    let whole = With { id, condition: absent, ttl_ms, ..with("k", Some(b"v")) };
    assert_eq!(swapped, Ok(Request::With(whole)), "options come in any order");
    let bare = With { id, ..with("k", None) };
    let bare_put = parse(b"with id=12:18446744073709551615 put k", Dialect::Native);
    assert_eq!(bare_put, Ok(Request::With(bare)), "a put without a value deletes here too");
}

#[test]
fn a_put_without_a_value_deletes() {
    for (line, native, toronto, tum) in [
        ("put k", delete("k"), delete("k"), delete("k")),
        ("put k ", put("k", b""), delete("k"), put("k", b"")),
        ("put k null", put("k", b"null"), delete("k"), put("k", b"null")),
        ("put k NULL", put("k", b"NULL"), put("k", b"NULL"), put("k", b"NULL")),
        ("put k null ", put("k", b"null "), put("k", b"null "), put("k", b"null ")),
    ] {
        for (dialect, request) in Dialect::ALL.into_iter().zip([native, toronto, tum]) {
            assert_eq!(parse(line.as_bytes(), dialect), Ok(request), "{dialect} {line}");
        }
    }
}

#[test]
fn escapes_stand_for_any_byte_in_native_only() {
    let line = br"put a\s\x00\xfF \\\n\r\0\x7e";
    let request = Request::Put { key: b"a \0\xff"[..].into(), value: b"\\\n\r\0~"[..].into() };
    assert_eq!(parse(line, Dialect::Native), Ok(request));
    for dialect in [Dialect::Toronto, Dialect::Tum] {
        assert_eq!(parse(br"put \n \q\", dialect), Ok(put(r"\n", br"\q\")));
    }
}

#[test]
fn the_dialects_without_escapes_take_the_rest_of_the_line() {
    for dialect in [Dialect::Toronto, Dialect::Tum] {
        assert_eq!(parse(b"get a b", dialect), Ok(get(b"a b")));
        assert_eq!(parse(b"get a ", dialect), Ok(get(b"a ")));
        assert_eq!(parse(b"delete a b", dialect), Ok(delete("a b")));
        let path = b"/a b"[..].into();
        assert_eq!(parse(b"backup /a b", dialect), Ok(Request::Backup { path }));
        assert_eq!(parse(b"info", dialect), Ok(Request::Info));
    }
    assert_eq!(refusal(b"get a b", Dialect::Native), "error unexpected text at column 7\r\n");
}

#[test]
fn a_line_without_sense_is_refused_with_what_and_where() {
    for (line, what) in [
        ("", "empty line at column 1"),
        (" put k v", "unknown request at column 1"),
        ("putt k v", "unknown request at column 1"),
        ("put", "key missing at column 4"),
        ("put ", "key missing at column 5"),
        ("put  v", "key missing at column 5"),
        ("get", "key missing at column 4"),
        ("delete  k", "key missing at column 8"),
        ("get k ", "unexpected text at column 7"),
        ("keyrange ", "unexpected text at column 10"),
        ("info all", "unexpected text at column 6"),
        ("put \\q v", "bad escape at column 5"),
        ("put k\\", "bad escape at column 6"),
        ("put k abc\\s", "bad escape at column 10"),
        ("put k \\\\\\x4", "bad escape at column 9"),
        ("put k \\xg0", "bad escape at column 7"),
        ("put k \\N", "bad escape at column 7"),
        ("scan", "argument missing at column 5"),
        ("scan  5", "argument missing at column 6"),
        ("scan -", "argument missing at column 7"),
        ("scan - 0", "bad number at column 8"),
        ("scan - ten", "bad number at column 8"),
        ("scan - 5 6", "bad number at column 8"),
        ("scan - 4294967296", "bad number at column 8"),
        ("backup", "key missing at column 7"),
        ("with", "argument missing at column 5"),
        ("with ", "argument missing at column 6"),
        ("with get k", "unknown request at column 6"),
        ("with with put k v", "unknown request at column 6"),
        ("with if=absent", "argument missing at column 15"),
        ("with if=absent  put k v", "argument missing at column 16"),
        ("with put", "key missing at column 9"),
        ("with delete k more", "unexpected text at column 15"),
        ("with put \\q v", "bad escape at column 10"),
        ("with put k \\q", "bad escape at column 12"),
        ("with nx=1 put k v", "bad option at column 6"),
        ("with =1 put k v", "bad option at column 6"),
        ("with id=1:2 id=1:3 put k v", "bad option at column 13"),
        ("with if=absent if=absent put k v", "bad option at column 16"),
        ("with ttl=1 ttl=1 put k v", "bad option at column 12"),
        ("with if=absent delete k", "bad option at column 16"),
        ("with ttl=5 put k", "bad option at column 12"),
        ("with id=1 put k v", "bad number at column 9"),
        ("with id=:1 put k v", "bad number at column 9"),
        ("with id=1: put k v", "bad number at column 11"),
        ("with id=1:2:3 put k v", "bad number at column 11"),
        ("with id=1:18446744073709551616 put k v", "bad number at column 11"),
        ("with if=+1 put k v", "bad number at column 9"),
        ("with if= put k v", "bad number at column 9"),
        ("with ttl=0 put k v", "bad number at column 10"),
        ("with ttl=-1 put k v", "bad number at column 10"),
        ("read", "key missing at column 5"),
        ("read k k", "unexpected text at column 8"),
        ("forget", "argument missing at column 7"),
        ("forget me", "bad number at column 8"),
        ("forget 1 2", "unexpected text at column 10"),
        ("ecs 1", "unexpected text at column 5"),
    ] {
        let native = refusal(line.as_bytes(), Dialect::Native);
        assert_eq!(native, format!("error {what}\r\n"), "{line}");
    }
    let unknown = "unknown request at column 1\r\n";
    assert_eq!(refusal(b"hello", Dialect::Tum), format!("error {unknown}"));
    assert_eq!(refusal(b"hello", Dialect::Toronto), format!("FAILED {unknown}"));
}

#[test]
fn what_could_never_be_shown_is_refused_in_the_dialects_without_escapes() {
    for (line, what) in [
        (&b"put a\rb v"[..], "carriage return not allowed at column 6"),
        (b"get \r", "carriage return not allowed at column 5"),
        (b"put k v\r", "carriage return not allowed at column 8"),
        (b"scan - 5", "request not spoken in this dialect at column 1"),
        (b"with put k v", "request not spoken in this dialect at column 1"),
        (b"read k", "request not spoken in this dialect at column 1"),
        (b"forget 1", "request not spoken in this dialect at column 1"),
        (b"ecs", "request not spoken in this dialect at column 1"),
    ] {
        assert_eq!(refusal(line, Dialect::Tum), format!("error {what}\r\n"));
        assert_eq!(refusal(line, Dialect::Toronto), format!("FAILED {what}\r\n"));
    }
    let kept = Ok(put("k", b"a\rb"));
    assert_eq!(parse(b"put k a\rb", Dialect::Tum), kept);
    assert_eq!(parse(b"put k a\rb", Dialect::Native), kept);
    assert_eq!(parse(b"put k v\r", Dialect::Native), Ok(put("k", b"v\r")));
}

#[test]
fn lengths_are_taken_at_the_limit_and_refused_one_past_it() {
    let why = |part, len, len_max| format!("{part} too long: {len} bytes, the limit is {len_max}");
    let (key, value) = ("k".repeat(8), "v".repeat(16));
    assert_eq!(
        parse(format!("put {key} {value}").as_bytes(), Dialect::Native),
        Ok(put(&key, value.as_bytes()))
    );
    let long_key = why("key", 9, 8);
    let long_value = why("value", 17, 16);
    for (line, answer) in [
        (format!("put {key}k v"), format!("put_error {key}k {long_key}")),
        (format!("put {key}k"), format!("delete_error {key}k {long_key}")),
        (format!("get {key}k"), format!("get_error {key}k {long_key}")),
        (format!("delete {key}k"), format!("delete_error {key}k {long_key}")),
        (format!("put k {value}v"), format!("put_error k {long_value}")),
        (format!("with id=1:1 put {key}k v"), format!("put_error {key}k {long_key}")),
        (format!("with id=1:1 put k {value}v"), format!("put_error k {long_value}")),
        (format!("with id=1:1 delete {key}k"), format!("delete_error {key}k {long_key}")),
        (format!("read {key}k"), format!("read_error {key}k {long_key}")),
    ] {
        assert_eq!(refusal(line.as_bytes(), Dialect::Native), format!("{answer}\r\n"));
        if line.starts_with("with ") || line.starts_with("read ") {
            continue;
        }
        assert_eq!(refusal(line.as_bytes(), Dialect::Tum), format!("{answer}\r\n"));
        let (word, rest) = answer.split_once(' ').unwrap();
        let shouted = format!("{} {rest}\r\n", word.to_uppercase());
        assert_eq!(refusal(line.as_bytes(), Dialect::Toronto), shouted);
    }
    let path = "p".repeat(PATH_LEN_MAX);
    assert!(parse(format!("backup {path}").as_bytes(), Dialect::Native).is_ok());
    assert_eq!(
        refusal(format!("backup {path}p").as_bytes(), Dialect::Native),
        format!("backup_error {path}p {}\r\n", why("path", PATH_LEN_MAX + 1, PATH_LEN_MAX))
    );
}

#[test]
fn lengths_are_those_of_what_is_meant_and_not_of_how_it_is_spelled() {
    let key = r"\x6b".repeat(8);
    let value = r"\n".repeat(16);
    let line = format!("put {key} {value}");
    assert_eq!(parse(line.as_bytes(), Dialect::Native), Ok(put("kkkkkkkk", &[b'\n'; 16])));
    assert_eq!(
        refusal(format!(r"put {key}\s v").as_bytes(), Dialect::Native),
        format!("put_error {key}\\s key too long: 9 bytes, the limit is 8\r\n"),
        "the key is shown as the client spelled it"
    );
    assert_eq!(
        refusal(b"put k\r\0kkkkkkkk v", Dialect::Native),
        "put_error k\\r\\0kkkkkkkk key too long: 11 bytes, the limit is 8\r\n",
        "but nothing that must be escaped is left raw"
    );
    assert_eq!(
        refusal(format!("put k {value}v").as_bytes(), Dialect::Native),
        "put_error k value too long: 17 bytes, the limit is 16\r\n"
    );
    assert_eq!(
        refusal(format!(r"put k {value}v\q").as_bytes(), Dialect::Native),
        "error bad escape at column 40\r\n",
        "a line without sense has no length"
    );
}

#[test]
fn a_scan_is_given_no_more_than_the_most() {
    for (asked, count) in [
        (SCAN_COUNT_MAX, SCAN_COUNT_MAX),
        (SCAN_COUNT_MAX + 1, SCAN_COUNT_MAX),
        (u32::MAX, SCAN_COUNT_MAX),
    ] {
        let line = format!("scan - {asked}");
        let request = parse(line.as_bytes(), Dialect::Native);
        assert_eq!(request, Ok(Request::Scan { cursor: None, count }));
    }
}

#[test]
fn an_error_names_its_verb_and_says_whether_the_connection_goes_on() {
    let long = parse(b"PUT kkkkkkkkk v", Dialect::Native);
    assert!(matches!(long, Err(Error::TooLong { verb: Verb::Put, .. })), "{long:?}");
    let malformed = Error::Malformed { fault: Fault::Empty, column: 1 };
    assert!(!malformed.is_fatal() && Error::LineTooLong { len_max: 9 }.is_fatal());
    for (dialect, word) in Dialect::ALL.into_iter().zip(["error", "FAILED", "error"]) {
        let mut out = Vec::new();
        Error::LineTooLong { len_max: 9 }.encode_into(dialect, &mut out);
        assert_eq!(out, format!("{word} line too long: the limit is 9 bytes\r\n").into_bytes());
    }
}
