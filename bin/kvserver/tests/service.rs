//! What a client sees: every reply in each dialect, pipelines, limits, what survives a restart.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step of a test is its failure"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use kvserver::{Args, Running};

/// Far above what any reply takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(dir: &Path, flags: &str) -> Running {
    let fixed = ["kvserver", "--port", "0", "--dir"].map(OsString::from).into_iter();
    let argv = fixed.chain([dir.into()]).chain(flags.split_whitespace().map(OsString::from));
    Running::start(&Args::parse_from_argv(argv).unwrap()).unwrap()
}

struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(server: &Running) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    fn send(&mut self, text: &[u8]) {
        self.reader.get_mut().write_all(text).unwrap();
    }

    /// Returns the next line as it is, its end included.
    fn raw_line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    fn line(&mut self) -> String {
        let line = self.raw_line();
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("no line end: {line:?}")).to_owned()
    }

    fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n").as_bytes());
        self.line()
    }
}

/// Sends all requests at once and returns all that comes back.
fn talk(server: &Running, requests: &str) -> String {
    let mut client = Client::connect(server);
    client.send(requests.as_bytes());
    client.reader.get_mut().shutdown(Shutdown::Write).unwrap();
    let mut replies = String::new();
    client.reader.read_to_string(&mut replies).unwrap();
    replies
}

/// Checks rows of requests and replies under each sync policy: one after the other, and as one pipeline.
///
/// `ADDRESS` stands for the server's address.
fn check_rows(dialect: &str, rows: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    for sync in ["always", "interval=50", "never"] {
        let flags = format!("--dialect {dialect} --sync {sync}");
        let server = start(&folder.path().join(format!("{sync}-one-by-one")), &flags);
        let mut client = Client::connect(&server);
        let address = server.address().to_string();
        for (request, reply) in rows {
            // A row without a request is what the server says first.
            let found = if *request == GREETING { client.line() } else { client.ask(request) };
            assert_eq!(found, reply.replace("ADDRESS", &address), "{request}, --sync {sync}");
        }
        server.stop().unwrap();

        let server = start(&folder.path().join(format!("{sync}-pipelined")), &flags);
        let asked = rows.iter().filter(|(request, _)| *request != GREETING);
        let requests: String = asked.map(|(request, _)| format!("{request}\r\n")).collect();
        let replies: String = rows.iter().map(|(_, reply)| format!("{reply}\r\n")).collect();
        let replies = replies.replace("ADDRESS", &server.address().to_string());
        assert_eq!(talk(&server, &requests), replies, "--sync {sync}");
        server.stop().unwrap();
    }
}

/// Marks the row of a greeting.
const GREETING: &str = "(greeting)";

#[test]
fn every_reply_of_the_native_dialect() {
    check_rows(
        "native",
        &[
            ("get k", "get_error k not found"),
            ("delete k", "delete_error k not found"),
            ("put k one", "put_success k"),
            ("get k", "get_success k one"),
            ("PUT k  two  words ", "put_update k"),
            ("Get k", "get_success k  two  words "),
            ("put k ", "put_update k"),
            ("get k", "get_success k "),
            ("put k null", "put_update k"),
            ("get k", "get_success k null"),
            ("put k", "delete_success k"),
            ("get k", "get_error k not found"),
            ("put k", "delete_error k not found"),
            ("put k again", "put_success k"),
            ("delete k", "delete_success k"),
            ("delete k", "delete_error k not found"),
            (r"put a\sb\\\n\0\x41 x\\y\n\r\0z\x42", r"put_success a\sb\\\n\0A"),
            (r"get a\sb\\\n\0A", r"get_success a\sb\\\n\0A x\\y\n\r\0zB"),
            (
                "keyrange",
                "keyrange_success 00000000000000000000000000000000,ffffffffffffffffffffffffffffffff,ADDRESS;",
            ),
            (
                "keyrange_read",
                "keyrange_read_success 00000000000000000000000000000000,ffffffffffffffffffffffffffffffff,ADDRESS;",
            ),
            ("read k", "read_error k not found"),
            ("with id=1:1 if=absent put k v", "error with needs a cluster"),
            ("get k", "get_error k not found"),
            ("forget 1", "error forget needs a cluster"),
            ("ecs", "ecs_error no cluster"),
            ("ping", "pong"),
            ("", "error empty line at column 1"),
            ("frobnicate k", "error unknown request at column 1"),
            ("get k k", "error unexpected text at column 7"),
            (r"get \q", "error bad escape at column 5"),
            ("scan nonsense 1", "scan_error nonsense this is no cursor of a scan"),
            (
                "backup x",
                "backup_error x the path must be absolute: it is a folder on the server's machine",
            ),
        ],
    );
}

#[test]
fn a_read_tells_a_version_that_rises_with_each_write() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let mut client = Client::connect(&server);
    let mut versions = vec![0_u64];
    for value in ["one", "two  words ", "", r"\\\n"] {
        client.ask(&format!("put k {value}"));
        let reply = client.ask("read k");
        let (version, found) =
            reply.strip_prefix("read_success k ").unwrap().split_once(' ').unwrap();
        assert_eq!(found, value);
        versions.push(version.parse().unwrap());
    }
    assert!(versions.is_sorted_by(|before, after| before < after), "{versions:?}");
    client.ask("delete k");
    assert_eq!(client.ask("read k"), "read_error k not found");
    server.stop().unwrap();
}

#[test]
fn every_reply_of_the_toronto_dialect() {
    check_rows(
        "toronto",
        &[
            ("get k", "GET_ERROR k"),
            ("delete k", "DELETE_ERROR k"),
            ("put k one", "PUT_SUCCESS k one"),
            ("get k", "GET_SUCCESS k one"),
            ("put k two words", "PUT_UPDATE k two words"),
            ("put k null", "DELETE_SUCCESS k two words"),
            ("put k null", "DELETE_ERROR k"),
            ("put k three", "PUT_SUCCESS k three"),
            ("put k four", "PUT_UPDATE k four"),
            ("put k ", "DELETE_SUCCESS k four"),
            ("put k five", "PUT_SUCCESS k five"),
            ("put k", "DELETE_SUCCESS k five"),
            (r"put k a\nb", r"PUT_SUCCESS k a\nb"),
            ("delete k", r"DELETE_SUCCESS k a\nb"),
            ("get two words", "GET_ERROR two words"),
            (
                "keyrange",
                "KEYRANGE_SUCCESS 00000000000000000000000000000000,ffffffffffffffffffffffffffffffff,ADDRESS;",
            ),
            ("frobnicate", "FAILED unknown request at column 1"),
        ],
    );
}

#[test]
fn every_reply_of_the_tum_dialect() {
    check_rows(
        "tum",
        &[
            (GREETING, "Connection to KVServer established: /ADDRESS"),
            ("get k", "get_error k not found"),
            ("put k one", "put_success k"),
            ("put k null", "put_update k"),
            ("get k", "get_success k null"),
            ("delete k", "delete_success k"),
            ("put k", "delete_error k not found"),
            (
                "keyrange",
                "keyrange_success 00000000000000000000000000000000,ffffffffffffffffffffffffffffffff,ADDRESS;",
            ),
            ("frobnicate", "error unknown request at column 1"),
        ],
    );
}

#[test]
fn a_connection_sees_its_own_pipelined_writes() {
    let folder = tempfile::tempdir().unwrap();
    for sync in ["always", "never"] {
        let server = start(&folder.path().join(sync), &format!("--sync {sync}"));
        let replies = talk(
            &server,
            "put k 1\nput k 2\nget k\ndelete k\nget k\ndelete k\ndelete k\nput k 3\nget k\n",
        );
        let found: Vec<&str> = replies.lines().collect();
        let expected = [
            "put_success k",
            "put_update k",
            "get_success k 2",
            "delete_success k",
            "get_error k not found",
            "delete_error k not found",
            "delete_error k not found",
            "put_success k",
            "get_success k 3",
        ];
        assert_eq!(found, expected, "--sync {sync}");
        server.stop().unwrap();
    }
}

#[test]
fn ten_thousand_pipelined_puts_are_answered_in_order_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for sync in ["always", "interval=20", "never"] {
        let dir = folder.path().join(sync);
        let server = start(&dir, &format!("--sync {sync}"));
        let puts: String =
            (0..10_000).map(|number| format!("put key{number} value{number}\n")).collect();
        let replies = talk(&server, &puts);
        for (number, reply) in replies.lines().enumerate() {
            assert_eq!(reply, format!("put_success key{number}"));
        }
        assert_eq!(replies.lines().count(), 10_000);
        server.stop().unwrap();

        let server = start(&dir, &format!("--sync {sync}"));
        let gets: String = (0..10_000).map(|number| format!("get key{number}\n")).collect();
        for (number, reply) in talk(&server, &gets).lines().enumerate() {
            assert_eq!(reply, format!("get_success key{number} value{number}"));
        }
        server.stop().unwrap();
    }
}

#[test]
fn of_many_who_put_a_new_key_at_once_one_is_told_that_it_is_new() {
    let folder = tempfile::tempdir().unwrap();
    for sync in ["always", "never"] {
        let server = start(&folder.path().join(sync), &format!("--sync {sync}"));
        let (connection_count, round_count) = (8, 50);
        let successes: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..connection_count)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = Client::connect(&server);
                        let replies =
                            (0..round_count).map(|round| client.ask(&format!("put k{round} v")));
                        replies.filter(|reply| reply.starts_with("put_success")).count()
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert_eq!(successes, round_count, "--sync {sync}");
        server.stop().unwrap();
    }
}

#[test]
fn of_many_who_delete_a_key_at_once_one_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    for flags in ["--sync always", "--sync never", "--sync always --dialect toronto"] {
        let server = start(&folder.path().join(flags.replace(' ', "")), flags);
        let (connection_count, round_count) = (8, 50);
        let puts: String = (0..round_count).map(|round| format!("put k{round} v\n")).collect();
        talk(&server, &puts);
        let found: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..connection_count)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = Client::connect(&server);
                        let replies =
                            (0..round_count).map(|round| client.ask(&format!("delete k{round}")));
                        replies
                            .filter(|reply| reply.to_lowercase().starts_with("delete_success"))
                            .count()
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert_eq!(found, round_count, "{flags}");
        server.stop().unwrap();
    }
}

#[test]
fn limits_hold_at_their_value_and_one_past() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "--max-key-bytes 10 --max-value-bytes 20000");
    let mut client = Client::connect(&server);
    let (key, value) = ("k".repeat(10), "v".repeat(20_000));
    assert_eq!(client.ask(&format!("put {key} {value}")), format!("put_success {key}"));
    assert_eq!(client.ask(&format!("get {key}")), format!("get_success {key} {value}"));
    assert_eq!(
        client.ask(&format!("put {key}k {value}")),
        format!("put_error {key}k key too long: 11 bytes, the limit is 10")
    );
    assert_eq!(
        client.ask(&format!("put {key} {value}v")),
        format!("put_error {key} value too long: 20001 bytes, the limit is 20000")
    );
    assert_eq!(client.ask("ping"), "pong", "the connection goes on");
    client.send("x".repeat(1_000_000).as_bytes());
    let refusal = client.line();
    assert!(refusal.starts_with("error line too long"), "{refusal}");
    assert_eq!(client.raw_line(), "", "the connection is closed");
    server.stop().unwrap();
}

#[test]
fn values_of_every_size_come_back_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "--sync never");
    let mut client = Client::connect(&server);
    for (filler, len_max) in [("v", 16 << 20), (r"\n", 100_000)] {
        for len in [0, 1, 16_383, 16_384, 20_000, len_max] {
            let value = filler.repeat(len);
            let reply = client.ask(&format!("put k{len}{} {value}", filler.len()));
            assert_eq!(reply, format!("put_success k{len}{}", filler.len()));
            let reply = client.ask(&format!("get k{len}{}", filler.len()));
            let (_, found) = reply.rsplit_once(' ').unwrap();
            assert!(found == value, "{len} bytes of {filler:?}");
        }
    }
    server.stop().unwrap();
}

/// Scans with `count` entries an answer, each on a new connection if `is_fresh`.
fn scan_all(server: &Running, count: u32, is_fresh: bool) -> BTreeMap<String, String> {
    let (mut found, mut cursor) = (BTreeMap::new(), "-".to_owned());
    let mut client = Client::connect(server);
    while cursor != "end" {
        if is_fresh {
            client = Client::connect(server);
        }
        client.send(format!("scan {cursor} {count}\n").as_bytes());
        loop {
            let line = client.line();
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["scan_item", key, value] => found.insert(key.to_owned(), value.to_owned()),
                ["scan_success", next, _] => {
                    cursor = next.to_owned();
                    break;
                }
                _ => panic!("{line}"),
            };
        }
    }
    found
}

#[test]
fn a_scan_answers_every_entry_in_portions_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "--sync never");
    let expected: BTreeMap<_, _> =
        (0..3000).map(|number| (format!("key{number}"), format!("value{number}"))).collect();
    let puts: String = expected.iter().map(|(key, value)| format!("put {key} {value}\n")).collect();
    talk(&server, &(puts + "put gone x\ndelete gone\n"));
    for (count, is_fresh) in [(1, false), (1, true), (7, false), (10_000, true)] {
        assert!(scan_all(&server, count, is_fresh) == expected, "{count} an answer");
    }
    server.stop().unwrap();
}

#[test]
fn a_backup_is_a_folder_that_a_server_can_serve() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder.path().join("data"), "");
    let copy = folder.path().join("copy");
    let mut client = Client::connect(&server);
    client.send(format!("put k before\nbackup {}\nput k after\n", copy.display()).as_bytes());
    assert_eq!(client.line(), "put_success k");
    let report = client.line();
    assert!(report.starts_with(&format!("backup_success {}", copy.display())), "{report}");
    assert_eq!(client.line(), "put_update k");
    let again = client.ask(&format!("backup {}", copy.display()));
    assert!(again.starts_with("backup_error "), "{again}");
    server.stop().unwrap();
    let server = start(&copy, "");
    assert_eq!(talk(&server, "get k\n"), "get_success k before\r\n");
    server.stop().unwrap();
}

#[test]
fn a_disk_that_is_full_refuses_puts_and_goes_on_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    assert_eq!(talk(&server, "put k v\nput other v\n"), "put_success k\r\nput_success other\r\n");
    server.stop().unwrap();
    // No disk has so much to spare.
    let server = start(folder.path(), "--reserve-bytes 1000000GiB");
    let replies = talk(&server, "put k w\nput new v\nget k\ndelete k\nget k\nput other\nping\n");
    let replies: Vec<&str> = replies.lines().collect();
    assert!(replies[0].starts_with("put_error k disk full"), "{}", replies[0]);
    assert!(replies[1].starts_with("put_error new disk full"), "{}", replies[1]);
    let rest = [
        "get_success k v",
        "delete_success k",
        "get_error k not found",
        "delete_success other",
        "pong",
    ];
    assert_eq!(replies[2..], rest);
    server.stop().unwrap();
}

#[test]
fn each_start_has_an_epoch_of_its_own_r19() {
    let folder = tempfile::tempdir().unwrap();
    for epoch in 1..4 {
        let server = start(folder.path(), "");
        let mut client = Client::connect(&server);
        let info = client.ask("info");
        assert!(info.contains(&format!(" epoch {epoch} ")), "{info}");
        client.ask(&format!("put k {epoch}"));
        server.stop().unwrap();
    }
}

#[test]
fn info_answers_pairs_of_names_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "--sync interval=7");
    let mut client = Client::connect(&server);
    client.send(b"put a 1\nput b 2\nget a\ndelete b\n");
    (0..4).for_each(|_| drop(client.line()));
    let info = client.ask("info");
    let words: Vec<&str> = info.strip_prefix("info_success ").unwrap().split(' ').collect();
    assert_eq!(words.len() % 2, 0);
    let pairs: BTreeMap<&str, &str> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    for (name, value) in [
        ("version", env!("CARGO_PKG_VERSION")),
        ("sync", "interval=7"),
        ("connections", "1"),
        ("gets", "1"),
        ("puts", "2"),
        ("deletes", "1"),
        ("keys", "1"),
        ("tombstones", "1"),
        ("writes", "accepted"),
    ] {
        assert_eq!(pairs.get(name), Some(&value), "{name} in {info}");
    }
    for name in ["uptime_s", "memory_bytes", "keydir_bytes", "disk_bytes", "live_bytes", "merges"] {
        assert!(
            pairs.get(name).is_some_and(|value| value.parse::<u64>().is_ok()),
            "{name} in {info}"
        );
    }
    server.stop().unwrap();
}

/// Waits until `info` says so of a figure.
fn wait_for_figure(server: &Running, name: &str, is_so: impl Fn(u64) -> bool) {
    let mut client = Client::connect(server);
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let info = client.ask("info");
        let mut words = info.split(' ').skip_while(|word| *word != name);
        let figure = words.nth(1).unwrap_or_else(|| panic!("no {name} in {info}"));
        if is_so(figure.parse().unwrap()) {
            return;
        }
        assert!(std::time::Instant::now() < until, "{name} {figure}");
        thread::yield_now();
    }
}

#[test]
fn large_requests_beyond_the_memory_for_them_wait_and_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "--buffer-bytes 1MiB --sync never");
    let value = "v".repeat(3_000_000);
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(&server)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("put k{number} {}", &value[..400_000]).as_bytes());
    }
    wait_for_figure(&server, "input_bytes", |len| len > 900_000);
    wait_for_figure(&server, "input_waiting", |count| count >= 2);
    assert_eq!(Client::connect(&server).ask("put small 1"), "put_success small");
    thread::scope(|scope| {
        for client in &clients {
            let mut sender = client.reader.get_ref();
            let rest = format!("{}\n", &value[400_000..]);
            scope.spawn(move || sender.write_all(rest.as_bytes()).unwrap());
        }
    });
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.line(), format!("put_success k{number}"));
        assert_eq!(client.ask(&format!("get k{number}")), format!("get_success k{number} {value}"));
    }
    wait_for_figure(&server, "input_bytes", |len| len == 0);
    wait_for_figure(&server, "connections_starved", |count| count == 0);
    server.stop().unwrap();
}

#[test]
fn readers_of_large_values_beyond_the_memory_for_them_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "--buffer-bytes 24MiB --sync never");
    let value = "v".repeat(16_000_000);
    let mut writer = Client::connect(&server);
    writer.send(format!("put k {value}\n").as_bytes());
    assert_eq!(writer.line(), "put_success k");
    let mut silent = Client::connect(&server);
    silent.send(b"get k\n");
    wait_for_figure(&server, "reply_bytes", |len| len == 16_000_000);
    let mut late: Vec<_> = (0..3).map(|_| Client::connect(&server)).collect();
    for client in &mut late {
        client.send(b"get k\n");
    }
    wait_for_figure(&server, "reply_waiting", |count| count == 3);
    assert_eq!(writer.ask("put small 1"), "put_success small");
    assert_eq!(writer.ask("get small"), "get_success small 1");
    drop(silent);
    thread::scope(|scope| {
        for client in &mut late {
            scope.spawn(|| assert!(client.line() == format!("get_success k {value}")));
        }
    });
    wait_for_figure(&server, "reply_bytes", |len| len == 0);
    wait_for_figure(&server, "connections_too_slow", |count| count == 0);
    server.stop().unwrap();
}
