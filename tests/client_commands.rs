//! `kvclient` against a real server: one-shot commands, pipes, and moving data in and out.

use crate::harness::binaries::{binary, scratch};
use crate::harness::{Ended, Launch, Server, run, run_fed};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// Records that are moved in and out.
const RECORD_COUNT: usize = 2_500;

fn client(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(binary("kvclient"));
    command.args(["-s", &server.address().to_string()]).args(words);
    command
}

fn one_shot(server: &Server, words: &[&str]) -> Ended {
    run(&mut client(server, words))
}

fn folder() -> TempDir {
    TempDir::new_in(scratch()).expect("a folder can be made below the target folder")
}

/// Returns a key and a value with bytes of every kind.
fn record(n: usize) -> (Vec<u8>, Vec<u8>) {
    let odd: Vec<u8> = (0..n % 300).map(|at| (at * 7 + n).to_le_bytes()[0]).collect();
    ([format!("key {n}\n").as_bytes(), &odd[..n % 5]].concat(), odd)
}

#[test]
fn one_shot_commands_say_by_their_exit_code_what_happened() {
    let server = Server::start(&[]);
    assert_eq!(one_shot(&server, &["put", "k", "two", "words"]).code(), 0);
    let found = one_shot(&server, &["get", "k"]);
    assert_eq!((found.code(), &*found.stdout), (0, "two words"));
    assert_eq!(server.ask("get k"), "get_success k two words");
    assert_eq!(one_shot(&server, &["delete", "k"]).code(), 0);
    let missing = one_shot(&server, &["get", "k"]);
    assert_eq!((missing.code(), &*missing.stdout), (1, ""));
    assert!(missing.stderr.contains("not found"), "{}", missing.stderr);
    assert_eq!(one_shot(&server, &["delete", "k"]).code(), 1);
    assert_eq!(one_shot(&server, &["get"]).code(), 2);
    assert_eq!(one_shot(&server, &["juggle"]).code(), 2);
}

#[test]
fn a_server_that_is_not_there_is_said_with_its_address() {
    let mut server = Server::start(&[]);
    let address = server.address().to_string();
    server.kill();
    let ended = run(Command::new(binary("kvclient")).args(["-s", &address, "get", "k"]));
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

#[test]
fn commands_from_a_pipe_are_answered_line_by_line_without_a_prompt() {
    let server = Server::start(&[]);
    let ended = run_fed(&mut client(&server, &[]), b"put k v\nget k\nget other\ndelete k\n");
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{ended:?}");
    assert_eq!(lines[1], "v");
    assert!(lines[2].contains("not found"), "{ended:?}");
    assert!(!ended.stdout.contains('\x1b'), "no colours: {ended:?}");
}

#[test]
fn values_of_any_bytes_go_through_standard_input() {
    let server = Server::start(&[]);
    let value: Vec<u8> = (0..=255).collect();
    run_fed(&mut client(&server, &["put", "--stdin", "k"]), &value).succeeded();
    let mut line = server.connect();
    line.send("get k\n");
    let reply = line.line_bytes();
    assert!(reply.starts_with(br"get_success k \0"), "{:?}", String::from_utf8_lossy(&reply));
    let out = folder();
    let file = out.path().join("value");
    let script = "exec \"$0\" -s \"$1\" get k >\"$2\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(binary("kvclient")).arg(server.address().to_string()).arg(&file);
    run(&mut shell).succeeded();
    assert_eq!(fs::read(&file).expect("it was written"), value);
}

/// Puts the records straight into a server.
fn load(server: &Server) {
    let mut line = server.connect();
    for n in 0..RECORD_COUNT {
        let (key, value) = record(n);
        line.send(format!("put {} {}\n", spelled(&key), spelled(&value)));
    }
    for _ in 0..RECORD_COUNT {
        assert!(line.line_bytes().starts_with(b"put_success "));
    }
}

fn spelled(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// Asserts that a server holds the records and nothing else.
fn assert_loaded(server: &Server) {
    let mut line = server.connect();
    let info = line.ask("info");
    assert_eq!(crate::harness::figure(&info, "keys"), RECORD_COUNT as u64);
    for n in 0..RECORD_COUNT {
        let (key, value) = record(n);
        line.send(format!("get {}\n", spelled(&key)));
        let reply = line.line_bytes();
        // The key as the server spells it is taken from its own reply to a put of the same.
        line.send(format!("put {} {}\n", spelled(&key), spelled(&value)));
        let update = line.line_bytes();
        let key = update.strip_prefix(b"put_update ").expect("the key is there");
        let value_spelled = reply
            .strip_prefix(b"get_success ")
            .and_then(|rest| rest.strip_prefix(key))
            .and_then(|rest| rest.strip_prefix(b" "))
            .expect("the key is found");
        assert_eq!(unspelled(value_spelled), value, "record {n}");
    }
}

/// Returns the bytes that an escaped value stands for.
fn unspelled(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("an escape is whole") {
            b'n' => b'\n',
            b'r' => b'\r',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = [*rest.next().expect("two digits"), *rest.next().expect("two digits")];
                let digits = std::str::from_utf8(&digits).expect("digits are text");
                u8::from_str_radix(digits, 16).expect("digits are hexadecimal")
            }
            other => panic!("no such escape: {other}"),
        });
    }
    bytes
}

#[test]
fn an_export_imported_elsewhere_is_the_same_data() {
    let server = Server::start(&["--sync", "never"]);
    load(&server);
    let out = folder();
    let file = out.path().join("all.txt").to_string_lossy().into_owned();
    one_shot(&server, &["export", &file]).succeeded();
    let text = fs::read(&file).expect("it was written");
    assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), RECORD_COUNT);

    let other = Server::start(&["--sync", "never"]);
    one_shot(&other, &["import", &file]).succeeded();
    assert_loaded(&other);
}

#[test]
fn an_import_of_a_bad_file_names_the_line_and_stops_there() {
    let server = Server::start(&["--sync", "never"]);
    let out = folder();
    let file = out.path().join("bad.txt");
    fs::write(&file, "put a 1\nput b 2\nnonsense\nput c 3\n").expect("it can be written");
    let path = file.to_string_lossy().into_owned();
    let ended = one_shot(&server, &["import", &path]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(ended.stderr.contains("line 3"), "{}", ended.stderr);
    assert_eq!(server.ask("get c"), "get_error c not found");
    assert_eq!(one_shot(&server, &["import", "--keep-going", &path]).code(), 1);
    assert_eq!(server.ask("get c"), "get_success c 3");
}

#[test]
fn a_backup_made_while_writes_go_on_restores_to_a_server_of_its_own() {
    let server = Server::start(&["--sync", "never", "--file-bytes", "256KiB"]);
    load(&server);
    let home = folder();
    let path = |name: &str| home.path().join(name).to_string_lossy().into_owned();
    std::thread::scope(|scope| {
        let mut line = server.connect();
        let writer = scope.spawn(move || {
            for n in 0..500 {
                assert!(line.ask(&format!("put later{n} x")).starts_with("put_success"));
            }
        });
        one_shot(&server, &["backup", &path("backup")]).succeeded();
        writer.join().expect("writes go on");
    });
    // What happens to the original afterwards is nothing to the backup.
    assert_eq!(server.ask("delete later0"), "delete_success later0");
    one_shot(&server, &["verify", &path("backup")]).succeeded();
    one_shot(&server, &["restore", &path("backup"), &path("restored")]).succeeded();

    let restored = Launch::new(&["--sync", "never"]).on(&home.path().join("restored")).start();
    let mut line = restored.connect();
    let mut later = 0;
    while line.ask(&format!("put later{later} x")).starts_with("put_update") {
        later += 1;
    }
    // The backup holds some first part of what was written meanwhile; what was just put is taken out again.
    for n in 0..=later {
        assert!(line.ask(&format!("delete later{n}")).starts_with("delete_success"));
    }
    assert_loaded(&restored);
}

#[test]
fn a_restore_never_overwrites_what_is_there() {
    let server = Server::start(&[]);
    assert_eq!(server.ask("put k v"), "put_success k");
    let home = folder();
    let path = |name: &str| home.path().join(name).to_string_lossy().into_owned();
    one_shot(&server, &["backup", &path("backup")]).succeeded();
    fs::create_dir(home.path().join("used")).expect("a folder can be made");
    fs::write(home.path().join("used/file"), "mine").expect("it can be written");
    let ended = one_shot(&server, &["restore", &path("backup"), &path("used")]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert_eq!(fs::read_to_string(home.path().join("used/file")).expect("it is there"), "mine");
    assert_eq!(fs::read_dir(home.path().join("used")).expect("it is there").count(), 1);
    let again = one_shot(&server, &["backup", &path("backup")]);
    assert_eq!(again.code(), 1, "a backup goes into a new folder: {again:?}");
}

#[test]
fn damage_in_a_stopped_servers_folder_is_found_by_verify_with_file_and_place() {
    let mut server = Server::start(&["--sync", "never"]);
    load(&server);
    assert_eq!(server.terminate().code(), Some(0));
    let dir = server.dir().to_string_lossy().into_owned();
    let verify = || run(Command::new(binary("kvclient")).args(["verify", &dir]));
    verify().succeeded();

    let data = fs::read_dir(server.dir()).expect("it is there").map(|entry| entry.unwrap().path());
    let largest = data.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("has files");
    let mut bytes = fs::read(&largest).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).expect("it can be written");
    let ended = verify();
    assert_eq!(ended.code(), 1, "{ended:?}");
    let name = largest.file_name().expect("a file has a name").to_string_lossy();
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains(&*name), "it names the file: {said}");
}
