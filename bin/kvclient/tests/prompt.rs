//! The prompt, typed at through a pseudo-terminal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::fs;

use support::fake::{FakeServer, nobody};
use support::terminal::Terminal;

/// What Ctrl-C, Ctrl-D and Tab send.
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const TAB: &str = "\t";
const ARROW_UP: &str = "\x1b[A";

/// Starts a prompt without colours, connected to `server`.
fn prompt(server: &FakeServer, home: &std::path::Path) -> Terminal {
    let mut terminal = Terminal::start(&["-s", &server.address], home, &[("NO_COLOR", "1")]);
    terminal.expect(&format!("connected to {}", server.address));
    terminal.expect("> ");
    terminal
}

#[test]
fn a_person_can_put_get_and_delete() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let mut terminal = prompt(&server, home.path());
    for (line, answer) in [
        ("put city Reykjavík by the sea", "stored city\r\n"),
        ("get city", "\r\nReykjavík by the sea\r\n"),
        (r#"put "two words" "a\nb""#, "stored \"two words\"\r\n"),
        (r#"get "two words""#, "\r\n\"a\\nb\"\r\n"),
        ("delete city", "deleted city\r\n"),
        ("get city", "not found: city\r\n"),
        ("frobnicate", "error: there is no command \"frobnicate\""),
        ("get", "error: usage: get <key>"),
        ("info", "keys     1\r\n"),
        ("keyrange", &format!("ffff {}\r\n", server.address)),
        ("backup /tmp/b", "copied to /tmp/b"),
        ("logLevel debug", "log level debug\r\n"),
        ("get x", "debug: took "),
    ] {
        terminal.type_line(line);
        terminal.expect(answer);
        terminal.expect("> ");
    }
    terminal.type_line("quit");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn control_c_drops_the_line_and_control_d_leaves() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let mut terminal = prompt(&server, home.path());
    terminal.press("put k wrong");
    terminal.expect("wrong");
    terminal.press(CTRL_C);
    terminal.expect("> ");
    terminal.type_line("put k right");
    terminal.expect("stored k");
    terminal.expect("> ");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
    assert_eq!(server.record(b"k"), Some(b"right".to_vec()));
}

#[test]
fn lines_pasted_or_typed_ahead_are_run_in_their_order() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let mut terminal = prompt(&server, home.path());
    terminal.press("put a 1\rput b 2\rget a\r");
    for answer in ["stored a", "stored b", "\n1\r\n", "> "] {
        terminal.expect(answer);
    }
    terminal.press("\x1b[200~put c 3\rput d 4\n\x1b[201~\r");
    terminal.expect("stored c");
    terminal.expect("stored d");
    assert_eq!(server.record(b"c"), Some(b"3".to_vec()));
}

#[test]
fn tab_completes_commands() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let mut terminal = prompt(&server, home.path());
    terminal.press("ge");
    terminal.press(TAB);
    terminal.type_line("nothing");
    terminal.expect("not found: nothing");
    terminal.expect("> ");
    terminal.type_line("quit");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn the_history_outlives_the_prompt() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let mut terminal = prompt(&server, home.path());
    terminal.type_line("put remembered 1");
    terminal.expect("stored remembered");
    terminal.expect("> ");
    terminal.type_line("quit");
    assert_eq!(terminal.exit_code(), 0);
    let path = home.path().join(".local/state/ringcask/history");
    assert!(fs::read_to_string(&path).unwrap().contains("put remembered 1"));

    let mut terminal = prompt(&server, home.path());
    terminal.press(ARROW_UP);
    terminal.expect("quit");
    terminal.press(ARROW_UP);
    terminal.expect("put remembered 1");
    terminal.press("\r");
    terminal.expect("replaced remembered");
    terminal.expect("> ");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn a_history_that_cannot_be_written_is_no_error() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    // A file where the folder should be.
    fs::write(home.path().join("state"), "").unwrap();
    let state = home.path().join("state");
    let env = [("NO_COLOR", "1"), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let mut terminal = Terminal::start(&["-s", &server.address], home.path(), &env);
    terminal.expect("> ");
    terminal.type_line("put k v");
    terminal.expect("stored k");
    terminal.expect("> ");
    terminal.type_line("quit");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn help_fits_the_screen_and_explains_each_command() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let mut terminal = prompt(&server, home.path());
    terminal.type_line("help");
    let screen = terminal.expect("Ctrl-D leaves.");
    assert!(screen.lines().count() <= 24, "{screen}");
    terminal.expect("> ");
    terminal.type_line("help put");
    terminal.expect("put <key> <value>: store a value under a key");
}

#[test]
fn connecting_failing_and_leaving_are_told() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let nobody = nobody();
    let address = &nobody.address;
    let mut terminal = Terminal::start(&["-s", address], home.path(), &[("NO_COLOR", "1")]);
    terminal.expect(&format!("error: cannot reach {address}: connection refused"));
    terminal.expect("not connected> ");
    terminal.type_line("get k");
    terminal.expect("error: cannot reach");
    terminal.expect("not connected> ");
    terminal.type_line(&format!("connect {}", server.address.replace(':', " ")));
    terminal.expect(&format!("connected to {}", server.address));
    terminal.expect(&format!("{}> ", server.address));
    terminal.type_line("disconnect");
    terminal.expect(&format!("disconnected from {}", server.address));
    terminal.expect("> ");
    terminal.type_line("get k");
    terminal.expect("error: not connected; `connect <address> <port>` connects");
    terminal.expect("> ");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn colours_are_used_unless_they_are_refused() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let args = ["-s", server.address.as_str()];
    let mut terminal = Terminal::start(&args, home.path(), &[]);
    terminal.expect("> ");
    terminal.type_line("frobnicate");
    terminal.expect("\x1b[31merror:\x1b[0m there is no command");
    terminal.expect("> ");
    terminal.press("put ");
    terminal.expect("\x1b[2m<key> <value>\x1b[0m");

    let mut terminal = prompt(&server, home.path());
    terminal.type_line("frobnicate");
    let text = terminal.expect("error: there is no command");
    assert!(!text.contains("\x1b[31m"), "{text:?}");
}

#[test]
fn a_stored_value_cannot_give_the_terminal_orders() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    server.insert(b"k", b"\x1b]0;owned\x07\x1b[2J");
    let mut terminal = prompt(&server, home.path());
    terminal.type_line("get k");
    terminal.expect(r#""\x1b]0;owned\x07\x1b[2J""#);
    let mut terminal = Terminal::start(&["-s", &server.address, "get", "k"], home.path(), &[]);
    terminal.expect(r#""\x1b]0;owned\x07\x1b[2J""#);
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn ctrl_c_gives_up_the_request_that_waits_and_the_prompt_goes_on() {
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    let script = format!("exec \"$0\" -s {} --timeout 600", server.address);
    let mut terminal = Terminal::start_script(&script, home.path());
    terminal.expect("connected to");
    terminal.expect("> ");
    terminal.type_line("put silent v");
    server.wait_until_asked(1);
    terminal.press(CTRL_C);
    terminal.expect("gave up waiting for ");
    terminal.expect("it may or may not take effect: `get` shows whether it did");
    terminal.expect("> ");

    // What was pasted behind a request that is given up is not wanted any more.
    terminal.press("\x1b[200~get silent\nput k pasted\x1b[201~\r");
    server.wait_until_asked(2);
    terminal.press(CTRL_C);
    terminal.expect("error: gave up waiting for ");
    terminal.expect("> ");
    terminal.type_line("get k");
    terminal.expect("not found: k");
    terminal.expect("> ");

    terminal.press("half a line");
    terminal.press(CTRL_C);
    terminal.expect("> ");
    terminal.type_line("put k v");
    terminal.expect("stored k");
    terminal.expect("> ");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn ctrl_c_ends_a_command_with_status_130_and_what_is_known_of_its_outcome() {
    let home = tempfile::tempdir().unwrap();
    for (command, words) in [
        ("put silent v", "it may or may not take effect"),
        ("get silent", "kvclient: gave up waiting for "),
    ] {
        let server = FakeServer::start();
        // The shell, which the signal reaches too, stays to tell the status.
        let script = format!(
            "trap : INT; \"$0\" -s {} --timeout 600 {command}; echo status $?",
            server.address
        );
        let mut terminal = Terminal::start_script(&script, home.path());
        server.wait_until_asked(1);
        terminal.press(CTRL_C);
        terminal.expect(words);
        terminal.expect("status 130");
        assert_eq!(terminal.exit_code(), 0);
    }
}
