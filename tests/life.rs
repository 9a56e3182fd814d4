//! How a server starts, ends, and starts again.

use crate::harness::binaries::{binary, scratch};
use crate::harness::{Launch, Server, eventually_some, run};
use rustix::process::Signal;
use std::io::Write as _;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn a_second_process_on_the_same_folder_is_refused_and_says_why() {
    let server = Server::start(&[]);
    assert_eq!(server.ask("put k v"), "put_success k");
    let mut command = Command::new(binary("kvserver"));
    let second = run(command.args(["--port", "0", "--dir"]).arg(server.dir()));
    assert_eq!(second.code(), 1, "{second:?}");
    assert_eq!(second.stdout, "", "it never listened");
    let said = second.stderr.lines().last().unwrap_or_default();
    assert!(said.contains(&*server.dir().to_string_lossy()), "it names the folder: {said}");
    assert!(said.contains("another process"), "it says why: {said}");
    assert_eq!(server.ask("get k"), "get_success k v");
}

#[test]
fn a_lock_does_not_outlive_its_holder() {
    let mut server = Server::start(&[]);
    assert_eq!(server.ask("put k v"), "put_success k");
    for _ in 0..5 {
        server.kill();
        server.start_again();
        assert_eq!(server.ask("get k"), "get_success k v");
    }
}

#[test]
fn sigterm_and_sigint_end_it_cleanly_and_all_data_is_there_again() {
    for (signal, sync) in [(Signal::TERM, "always"), (Signal::INT, "never")] {
        let mut server = Server::start(&["--sync", sync]);
        let mut line = server.connect();
        for n in 0..100 {
            assert_eq!(line.ask(&format!("put key{n} {n}")), format!("put_success key{n}"));
        }
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0));
        line.expect_end();
        server.start_again();
        let mut line = server.connect();
        for n in 0..100 {
            assert_eq!(line.ask(&format!("get key{n}")), format!("get_success key{n} {n}"));
        }
    }
}

#[test]
fn sigterm_answers_what_was_sent_before_it() {
    let mut server = Server::start(&["--sync", "always"]);
    let mut lines: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for (n, line) in lines.iter_mut().enumerate() {
        assert_eq!(line.ask(&format!("put own{n} 0")), format!("put_success own{n}"));
    }
    // Paused, the server finds all requests waiting when it is resumed to the signal.
    server.pause();
    for (n, line) in lines.iter_mut().enumerate() {
        line.send(format!("put own{n} 1\nget own{n}\n"));
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    assert_eq!(server.ended().code(), Some(0));
    for (n, line) in lines.iter_mut().enumerate() {
        assert_eq!(line.line(), format!("put_update own{n}"));
        assert_eq!(line.line(), format!("get_success own{n} 1"));
        line.expect_end();
    }
    server.start_again();
    assert_eq!(server.ask("get own19"), "get_success own19 1");
}

#[test]
fn sigterm_does_not_wait_for_clients_that_say_nothing() {
    let mut server = Server::start(&["--idle-timeout-s", "0"]);
    let mut idle = server.connect();
    let mut half = server.connect();
    assert_eq!(idle.ask("get k"), "get_error k not found");
    half.send("put k half");
    assert_eq!(server.terminate().code(), Some(0));
    idle.expect_end();
    server.start_again();
    assert_eq!(server.ask("get k"), "get_error k not found");
}

#[test]
fn a_paused_server_goes_on_where_it_was() {
    let server = Server::start(&["--request-timeout-s", "0.5"]);
    let mut line = server.connect();
    server.pause();
    line.send("put k v\n");
    line.expect_silence(std::time::Duration::from_millis(600));
    server.signal(Signal::CONT);
    assert_eq!(line.line(), "put_success k");
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_with_its_name() {
    let home = TempDir::new_in(scratch()).expect("a folder can be made");
    let file = home.path().join("a-file");
    std::fs::write(&file, "not a folder").expect("a file can be written");
    let mut command = Command::new(binary("kvserver"));
    let ended = run(command.args(["--port", "0", "--dir"]).arg(&file));
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(ended.stderr.contains(&*file.to_string_lossy()), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), "not a folder");
}

#[test]
fn strange_files_in_the_folder_are_left_alone() {
    let home = TempDir::new_in(scratch()).expect("a folder can be made");
    let dir = home.path().join("data");
    let mut server = Launch::new(&[]).on(&dir).start();
    assert_eq!(server.ask("put k v"), "put_success k");
    assert_eq!(server.terminate().code(), Some(0));
    let strange = dir.join("notes.txt");
    std::fs::write(&strange, "mine").expect("a file can be written");
    server.start_again();
    assert_eq!(server.ask("get k"), "get_success k v");
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(std::fs::read_to_string(&strange).expect("it is still there"), "mine");
}

#[test]
fn the_log_file_takes_the_log_and_standard_output_one_line() {
    let home = TempDir::new_in(scratch()).expect("a folder can be made");
    let log = home.path().join("server.log");
    let path = log.to_string_lossy().into_owned();
    let mut server = Server::start(&["--log-file", &path, "-ll", "debug"]);
    server.connect().stream().write_all(b"quit\n").expect("it is sent");
    eventually_some("a connection is logged", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("127.0.0.1").then_some(())
    });
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(server.log(), "", "nothing went to standard error");
}
