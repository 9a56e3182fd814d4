//! The client on the command line and in pipes: what it says, where, and how it exits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use support::fake::{FakeServer, nobody};
use support::{Ran, exit_code, kvclient, run, run_with_input};

/// Runs one command on `server` and returns what it wrote.
fn on(server: &FakeServer, args: &[&str]) -> Ran {
    run(&[&["-s", &server.address], args].concat())
}

/// Runs the commands `input` in a pipe.
fn piped(server: &FakeServer, input: &str) -> Ran {
    run_with_input(&["-s", &server.address], input.as_bytes())
}

#[test]
fn help_is_complete_and_goes_to_standard_output() {
    let ran = run(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for word in [
        "--servers",
        "--address",
        "--port",
        "--timeout",
        "put",
        "get",
        "delete",
        "keyrange",
        "keyrange_read",
        "info",
        "cluster",
        "backup",
        "restore",
        "verify",
        "import",
        "export",
        "Exit codes",
        "127.0.0.1:5153",
        "seconds",
    ] {
        assert!(ran.stdout.contains(word), "{word}");
    }
    assert_eq!(run(&["import", "--help"]).code, 0);
    assert!(run(&["--version"]).stdout.starts_with("kvclient "));
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["frobnicate"][..],
        &["--frobnicate"],
        &["put"],
        &["put", "k"],
        &["get"],
        &["get", "a", "b"],
        &["-s", "nowhere"],
        &["-p", "0", "info"],
        &["--timeout", "soon", "info"],
        &["restore", "a"],
        &["verify"],
        &["import"],
    ] {
        let ran = run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn an_unreachable_server_is_named_with_what_to_do() {
    let nobody = nobody();
    let address = &nobody.address;
    for args in [&["get", "k"][..], &["put", "k", "v"], &["info"], &["export", "-"]] {
        let ran = run(&[&["-s", address], args].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{args:?}");
        let expected = format!(
            "kvclient: cannot reach {address}: connection refused; is a server running? start one \
             with scripts/cluster.sh up\n"
        );
        assert_eq!(ran.stderr, expected);
    }
}

#[test]
fn of_several_servers_the_first_that_answers_is_used() {
    let server = FakeServer::start();
    let nobody = nobody();
    let servers = format!("{},{}", nobody.address, server.address);
    assert_eq!(run(&["-s", &servers, "put", "k", "v"]).code, 0);
    assert_eq!(server.record(b"k"), Some(b"v".to_vec()));
}

#[test]
fn exit_codes_tell_the_outcomes_apart() {
    let server = FakeServer::start();
    for (args, code, text) in [
        (&["put", "k", "one", "two"][..], 0, "stored k\n"),
        (&["put", "k", "v"], 0, "replaced k\n"),
        (&["get", "k"], 0, "v"),
        (&["delete", "k"], 0, "deleted k\n"),
        (&["delete", "k"], 1, "kvclient: not found: k\n"),
        (&["get", "k"], 1, "kvclient: not found: k\n"),
        (&["put", "full", "v"], 1, "refused: the disk is full\n"),
        (&["put", "doubtful", "v"], 3, "may or may not take effect"),
        (&["put", "breaks", "v"], 3, "may or may not take effect"),
        (&["put", "", "v"], 1, "kvclient: the key is empty\n"),
        (&["backup", "/tmp/b"], 0, "copied to /tmp/b on the server's machine: 2 files, 2.00 KiB\n"),
    ] {
        let ran = on(&server, args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        let (said, silent) =
            if code == 0 { (&ran.stdout, &ran.stderr) } else { (&ran.stderr, &ran.stdout) };
        assert!(said.contains(text), "{args:?}: {ran:?}");
        assert_eq!(silent, "", "{args:?}");
    }
}

#[test]
fn a_value_comes_out_byte_for_byte() {
    let server = FakeServer::start();
    let bytes: Vec<u8> = (0..=255).chain([13, 10, 0]).collect();
    let ran = run_with_input(&["-s", &server.address, "put", "--stdin", "k"], &bytes);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.record(b"k").unwrap(), bytes);
    let output = kvclient().args(["-s", &server.address, "get", "k"]).output().unwrap();
    assert_eq!(output.stdout, bytes);
}

#[test]
fn ranges_and_figures_are_shown() {
    let server = FakeServer::start();
    let line = format!("{}-{} {}\n", "0".repeat(32), "f".repeat(32), server.address);
    assert_eq!(on(&server, &["keyrange"]).stdout, line);
    assert_eq!(on(&server, &["keyrange_read"]).stdout, line);
    assert_eq!(on(&server, &["info"]).stdout, "version  0\nkeys     0\n");
}

#[test]
fn a_pipe_has_one_answer_a_line_and_no_prompt() {
    let server = FakeServer::start();
    let input = "put k  a b \nget k\n\n# a remark\nput \"x y\" \"1\\n2\"\nget \"x y\"\ndelete k\nkeyrange\ninfo\n";
    let ran = piped(&server, input);
    let ring = format!("{},{},{};", "0".repeat(32), "f".repeat(32), server.address);
    let expected = format!(
        "stored k\n a b \nstored \"x y\"\n\"1\\n2\"\ndeleted k\n{ring}\nversion 0 keys 1\n"
    );
    assert_eq!((ran.code, ran.stdout, ran.stderr.as_str()), (0, expected, ""));
}

#[test]
fn a_pipe_exits_with_the_worst_outcome() {
    for (input, code, last) in [
        ("put k v\nget k\n", 0, "v"),
        ("get nothing\nput k v", 1, "stored k"),
        ("get nothing\nput k \"\nput k v\n", 2, "stored k"),
        ("frobnicate\nput doubtful v\nget nothing\n", 3, "not found: nothing"),
        ("put k v\nquit\nfrobnicate\n", 0, "stored k"),
        ("disconnect\nget k\n", 1, "error: not connected; `connect <address> <port>` connects"),
        ("", 0, ""),
    ] {
        let ran = piped(&FakeServer::start(), input);
        assert_eq!(ran.code, code, "{input:?}: {ran:?}");
        assert_eq!(ran.stdout.lines().last().unwrap_or_default(), last, "{input:?}");
    }
}

#[test]
fn a_pipe_answers_before_it_waits_for_more() {
    let server = FakeServer::start();
    let mut child = kvclient()
        .args(["-s", &server.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for number in 0..3 {
        stdin.write_all(format!("put k{number} v\n").as_bytes()).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("stored k{number}\n"));
    }
    drop(stdin);
    assert_eq!(exit_code(&mut child), 0);
}

#[test]
fn any_bytes_in_a_pipe_are_answered_without_a_panic() {
    let server = FakeServer::start();
    let mut input = Vec::new();
    for _ in 0..2_000 {
        let len = fastrand::usize(..40);
        input.extend_from_slice(
            ["put ", "get ", "\"", "help ", ""][fastrand::usize(..5)].as_bytes(),
        );
        input.extend((0..len).map(|_| fastrand::u8(..)));
        input.push(b'\n');
    }
    let ran = run_with_input(&["-s", &server.address], &input);
    assert!(ran.code <= 2, "{}", ran.code);
    assert_eq!(ran.stderr, "");
    assert!(!ran.stdout.chars().any(|letter| letter.is_control() && letter != '\n'));
}

#[test]
fn export_and_import_carry_every_record_over() {
    let (old, new) = (FakeServer::start(), FakeServer::start());
    for number in 0..5_000_u32 {
        let value = [&number.to_be_bytes()[..], b"\r\n\\ \xff"].concat();
        old.insert(format!("key {number}\n").as_bytes(), &value);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.txt");
    let file = path.to_str().unwrap();
    let ran = on(&old, &["export", file]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert_eq!(ran.stderr, format!("exported 5,000 records to {file}\n"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    let ran = on(&new, &["import", file]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "stored 5,000 records\n"), "{ran:?}");
    let again = kvclient().args(["-s", &new.address, "export", "-"]).output().unwrap().stdout;
    assert!(again == fs::read(&path).unwrap(), "what came back differs");
    assert_eq!(run_with_input(&["-s", &old.address, "import", "-"], &again).code, 0);
}

#[test]
fn import_names_bad_lines_and_stops_or_goes_on() {
    let text = "put a 1\n\nput b \\q\nget a\nput full x\nput c 3\r\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records");
    fs::write(&path, text).unwrap();
    let file = path.to_str().unwrap();

    let server = FakeServer::start();
    let ran = on(&server, &["import", file]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("kvclient: line 3: bad escape at column 7\n"), "{ran:?}");
    assert!(ran.stderr.ends_with("the rest was not tried\n"), "{ran:?}");
    assert_eq!(server.count(), 1);

    let server = FakeServer::start();
    let ran = on(&server, &["import", "--keep-going", file]);
    assert_eq!(ran.code, 1);
    for line in [
        "line 3: bad escape",
        "line 4: not a put",
        "line 5: ",
        "stored 2 records, 3 lines bad or refused",
    ] {
        assert!(ran.stderr.contains(line), "{line}: {ran:?}");
    }
    assert_eq!(server.record(b"c"), Some(b"3".to_vec()), "the CR belongs to the line's end");
}

#[test]
fn import_ends_with_3_when_the_connection_breaks() {
    let server = FakeServer::start();
    let input = b"put a 1\nput breaks 2\nput c 3\n";
    let ran = run_with_input(&["-s", &server.address, "import", "--keep-going", "-"], input);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("line 2: "), "{ran:?}");
    assert!(ran.stderr.contains("stored 1 record, 2 records may or may not be"), "{ran:?}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let server = FakeServer::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let missing = format!("{path}/no/such/file");
    for (args, text) in [
        (&["import", missing.as_str()][..], "cannot read"),
        (&["import", path], "cannot read"),
        (&["export", missing.as_str()], "cannot write"),
        (&["export", path], "cannot write"),
        (&["verify", path], "no manifest here"),
        (&["verify", missing.as_str()], "no manifest here"),
        (&["restore", path, missing.as_str()], "no manifest here"),
        (&["restore", missing.as_str(), "/"], "not empty"),
    ] {
        let ran = on(&server, args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(text), "{args:?}: {ran:?}");
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_closed_pipe_ends_an_export_quietly() {
    let server = FakeServer::start();
    for number in 0..20_000 {
        server.insert(format!("k{number}").as_bytes(), &[b'v'; 100]);
    }
    let mut child = kvclient()
        .args(["-s", &server.address, "export", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    assert_eq!(&start, b"put k");
    assert_eq!(exit_code(&mut child), 0);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

#[test]
fn the_exit_code_survives_when_nobody_reads() {
    let server = FakeServer::start();
    for (args, input, code) in [
        (&["put", "doubtful", "v"][..], "", 3),
        (&["get", "nothing"], "", 1),
        (&["import", "-"], "put breaks v\n", 3),
        (&[], "put doubtful v\n", 3),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = kvclient()
            .args([&["-s", &server.address], args].concat())
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert_eq!(exit_code(&mut child), code, "{args:?}");
    }
}
