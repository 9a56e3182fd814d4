//! Every reply that a cluster of one can give, byte for byte, in the three dialects.
//!
//! Each table is a conversation on one connection with a fresh server: what is sent, and the line that must come
//! back, its CR LF left out. `server_write_lock`, `server_stopped` and `server_not_responsible` need a cluster;
//! their bytes are fixed in `crates/protocol`.

use crate::harness::{Line, Server};

/// What is sent, and what must come back.
type Exchange<'a> = (&'a [u8], &'a [u8]);

fn converse(line: &mut Line, exchanges: &[Exchange]) {
    for (request, expected) in exchanges {
        line.send([request, &b"\n"[..]].concat());
        let reply = line.line_bytes();
        let text = String::from_utf8_lossy;
        assert_eq!(text(&reply), text(expected), "to {:?}", text(request));
    }
}

#[test]
fn native_replies_are_as_documented() {
    let server = Server::start(&[]);
    converse(
        &mut server.connect(),
        &[
            (b"get k", b"get_error k not found"),
            (b"put k v", b"put_success k"),
            (b"get k", b"get_success k v"),
            (b"put k w x  y ", b"put_update k"),
            (b"get k", b"get_success k w x  y "),
            (b"put k null", b"put_update k"),
            (b"get k", b"get_success k null"),
            (b"put k ", b"put_update k"),
            (b"get k", b"get_success k "),
            (b"delete k", b"delete_success k"),
            (b"delete k", b"delete_error k not found"),
            (b"get k", b"get_error k not found"),
            (b"put k again", b"put_success k"),
            (b"put k", b"delete_success k"),
            (b"put k", b"delete_error k not found"),
            (b"PUT k v", b"put_success k"),
            (b"GeT k", b"get_success k v"),
            (b"ping", b"pong"),
        ],
    );
}

#[test]
fn native_escapes_carry_any_byte_there_and_back() {
    let server = Server::start(&[]);
    converse(
        &mut server.connect(),
        &[
            (br"put a\sb\\ c\\d\ne\rf\0g\x41", br"put_success a\sb\\"),
            (br"get a\sb\\", br"get_success a\sb\\ c\\d\ne\rf\0gA"),
            (br"get \x61\x20\x62\x5C", br"get_success a\sb\\ c\\d\ne\rf\0gA"),
            (b"put \xC3\xA9 \xFF\xFE", b"put_success \xC3\xA9"),
            (b"get \xC3\xA9", b"get_success \xC3\xA9 \xFF\xFE"),
            (br"put \r\n\0 x", br"put_success \r\n\0"),
            (br"get \r\n\0", br"get_success \r\n\0 x"),
        ],
    );
}

#[test]
fn nonsense_is_answered_with_what_and_where_and_the_connection_goes_on() {
    let server = Server::start(&[]);
    converse(
        &mut server.connect(),
        &[
            (b"", b"error empty line at column 1"),
            (b"jump over", b"error unknown request at column 1"),
            (b"put", b"error key missing at column 4"),
            (b"get ", b"error key missing at column 5"),
            (b"get a b", b"error unexpected text at column 7"),
            (b"put  k", b"error key missing at column 5"),
            (br"put k \q", br"error bad escape at column 7"),
            (br"get a\x4", br"error bad escape at column 6"),
            (br"put k v\", br"error bad escape at column 8"),
            (b"keyrange please", b"error unexpected text at column 10"),
            (b"put k v", b"put_success k"),
        ],
    );
}

#[test]
fn toronto_replies_are_upper_case_and_echo_the_value() {
    let server = Server::start(&["--dialect", "toronto"]);
    converse(
        &mut server.connect(),
        &[
            (b"get k", b"GET_ERROR k"),
            (b"put k v", b"PUT_SUCCESS k v"),
            (b"put k w x  y ", b"PUT_UPDATE k w x  y "),
            (b"get k", b"GET_SUCCESS k w x  y "),
            (b"put k null", b"DELETE_SUCCESS k w x  y "),
            (b"put k null", b"DELETE_ERROR k"),
            (b"put k v", b"PUT_SUCCESS k v"),
            (b"put k ", b"DELETE_SUCCESS k v"),
            (b"put k v", b"PUT_SUCCESS k v"),
            (b"put k", b"DELETE_SUCCESS k v"),
            (b"put k v", b"PUT_SUCCESS k v"),
            (b"delete k", b"DELETE_SUCCESS k v"),
            (b"delete k", b"DELETE_ERROR k"),
            (br"put a\b c\n", br"PUT_SUCCESS a\b c\n"),
            (br"get a\b", br"GET_SUCCESS a\b c\n"),
            (b"get two words", b"GET_ERROR two words"),
            (b"jump", b"FAILED unknown request at column 1"),
        ],
    );
}

#[test]
fn tum_greets_and_echoes_keys_only() {
    let server = Server::start(&["--dialect", "tum"]);
    let mut line = server.connect();
    let greeting = format!("Connection to KVServer established: /{}", server.address());
    assert_eq!(line.line(), greeting);
    converse(
        &mut line,
        &[
            (b"get k", b"get_error k not found"),
            (b"put k v", b"put_success k"),
            (b"put k w x  y ", b"put_update k"),
            (b"get k", b"get_success k w x  y "),
            (b"put k null", b"put_update k"),
            (b"get k", b"get_success k null"),
            (b"delete k", b"delete_success k"),
            (b"delete k", b"delete_error k not found"),
            (b"put k v", b"put_success k"),
            (b"put k", b"delete_success k"),
            (br"put a\b c\n", br"put_success a\b"),
            (br"get a\b", br"get_success a\b c\n"),
            (b"get two words", b"get_error two words not found"),
            (b"jump", b"error unknown request at column 1"),
        ],
    );
}

#[test]
fn only_tum_greets() {
    for dialect in ["native", "toronto"] {
        let server = Server::start(&["--dialect", dialect]);
        let mut line = server.connect();
        line.finish_sending();
        line.expect_end();
    }
}

#[test]
fn the_one_server_answers_for_the_whole_ring() {
    let server = Server::start(&[]);
    let (from, to) = ("0".repeat(32), "f".repeat(32));
    let arc = format!("{from},{to},{};", server.address());
    let mut line = server.connect();
    assert_eq!(line.ask("keyrange"), format!("keyrange_success {arc}"));
    assert_eq!(line.ask("keyrange_read"), format!("keyrange_read_success {arc}"));

    let server = Server::start(&["--dialect", "toronto", "--advertise", "192.0.2.1:99"]);
    let expected = format!("KEYRANGE_SUCCESS {from},{to},192.0.2.1:99;");
    assert_eq!(server.ask("KEYRANGE"), expected);
}

#[test]
fn lines_end_in_lf_or_cr_lf_or_lf_cr_and_may_be_mixed() {
    let server = Server::start(&[]);
    let mut line = server.connect();
    line.send("put a 1\nput b 2\r\nput c 3\n\rget a\n\rget b\r\nget c\nget d");
    for expected in ["put_success a", "put_success b", "put_success c"] {
        assert_eq!(line.line(), expected);
    }
    for expected in ["get_success a 1", "get_success b 2", "get_success c 3"] {
        assert_eq!(line.line(), expected);
    }
    line.send("\n");
    assert_eq!(line.line(), "get_error d not found");
}

#[test]
fn a_scan_is_its_entries_and_then_a_line_that_says_where_to_go_on() {
    let server = Server::start(&[]);
    let mut line = server.connect();
    assert_eq!(line.ask("scan - 10"), "scan_success end 0");
    assert_eq!(line.ask(r"put a\sb two words\n"), r"put_success a\sb");
    assert_eq!(line.ask("scan - 10"), r"scan_item a\sb two words\n");
    assert_eq!(line.line(), "scan_success end 1");
    assert_eq!(line.ask("scan - 0"), "error bad number at column 8");
}

#[test]
fn a_backup_says_how_much_it_is_or_why_there_is_none() {
    let server = Server::start(&[]);
    let mut line = server.connect();
    assert_eq!(line.ask("put k v"), "put_success k");
    let folder = server.dir().with_file_name("copy");
    let reply = line.ask(&format!("backup {}", folder.display()));
    let sizes = reply.strip_prefix(&format!("backup_success {} ", folder.display()));
    let sizes: Vec<_> = sizes.expect(&reply).split(' ').map(str::parse::<u64>).collect();
    assert!(matches!(sizes[..], [Ok(1), Ok(len)] if len > 0), "{reply}");
    let again = line.ask(&format!("backup {}", folder.display()));
    assert!(again.starts_with(&format!("backup_error {} ", folder.display())), "{again}");
    assert!(line.ask("backup here").starts_with("backup_error here the path must be absolute"));
}

#[test]
fn info_is_names_and_values_on_one_line() {
    let server = Server::start(&["--sync", "interval=50"]);
    let mut line = server.connect();
    line.ask("put k v");
    let info = line.ask("info");
    let words: Vec<_> = info.strip_prefix("info_success ").expect(&info).split(' ').collect();
    assert!(words.len().is_multiple_of(2), "{info}");
    let value = |name: &str| {
        let at = words.iter().step_by(2).position(|word| *word == name);
        words[2 * at.unwrap_or_else(|| panic!("no `{name}` in {info}")) + 1]
    };
    assert_eq!(value("keys"), "1");
    assert_eq!(value("connections"), "1");
    assert_eq!(value("version"), env!("CARGO_PKG_VERSION"));
    assert!(value("sync").starts_with("interval"));
    assert!(value("uptime_s").parse::<u64>().is_ok());
}

#[test]
fn quit_closes_the_connection_after_what_was_asked_before() {
    let server = Server::start(&[]);
    let mut line = server.connect();
    line.send("put k v\nquit\nput k w\n");
    assert_eq!(line.line(), "put_success k");
    line.expect_end();
    assert_eq!(server.ask("get k"), "get_success k v");
}
