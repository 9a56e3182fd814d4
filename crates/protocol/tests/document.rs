//! The sessions in `docs/PROTOCOL.md`: their lines are what this crate reads and writes.
//!
//! In a block of the document each line is a request or a reply. A native reply must be written as it stands
//! there; a request that makes no sense must be followed by exactly its refusal. What a server decides (which
//! value, which outcome) is not checked here.

use protocol::{Dialect, Error, Limits, Reply, Request};

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

/// Returns the lines of the document's sessions, each block with the dialect it is in.
fn sessions() -> Vec<(Dialect, Vec<String>)> {
    let mut dialect = Dialect::Native;
    let mut sessions = Vec::new();
    for (index, part) in DOCUMENT.split("```").enumerate() {
        if index % 2 == 0 {
            dialect = match part.trim_end().lines().last() {
                Some("A session in `toronto`:") => Dialect::Toronto,
                Some("and the same in `tum`:") => Dialect::Tum,
                _ => Dialect::Native,
            };
        } else {
            let lines = part.lines().map(|line| line.replace('␠', " "));
            let is_session = |line: &String| {
                !line.is_empty()
                    && !line.starts_with("$ ")
                    && !line.contains('…')
                    && !line.starts_with("Connection to")
            };
            sessions.push((dialect, lines.filter(is_session).collect()));
        }
    }
    sessions
}

fn is_reply(line: &str, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Native | Dialect::Tum => Reply::parse(line.as_bytes()).is_ok(),
        Dialect::Toronto => {
            let word = line.split(' ').next().unwrap_or_default();
            word.contains('_') && word == word.to_uppercase() || word == "FAILED"
        }
    }
}

fn refusal(error: &Error<'_>, dialect: Dialect) -> String {
    let mut out = Vec::new();
    error.encode_into(dialect, &mut out);
    String::from_utf8_lossy(&out).trim_end().to_owned()
}

#[test]
fn the_sessions_of_the_document_hold_what_is_read_and_written() {
    let mut checked_count = 0;
    for (dialect, lines) in sessions() {
        for (index, line) in lines.iter().enumerate() {
            checked_count += 1;
            if is_reply(line, dialect) {
                if dialect == Dialect::Native {
                    let mut out = Vec::new();
                    Reply::parse(line.as_bytes()).unwrap().encode_into(dialect, &mut out);
                    assert_eq!(String::from_utf8_lossy(&out), format!("{line}\r\n"));
                }
            } else if let Err(error) = Request::parse(line.as_bytes(), dialect, &Limits::default())
            {
                let answer = lines.get(index + 1);
                assert_eq!(answer, Some(&refusal(&error, dialect)), "to {line:?} in {dialect}");
            }
        }
    }
    assert!(
        checked_count > 40,
        "only {checked_count} lines found: has the document changed its form?"
    );
}

#[test]
fn every_fault_of_a_line_is_in_the_document() {
    for line in ["", "hello", "get", "scan -", "info ", "put k \\q", "scan - 0", "with a= put k v"]
    {
        let error =
            Request::parse(line.as_bytes(), Dialect::Native, &Limits::default()).unwrap_err();
        let text = error.to_string();
        let (what, _) = text.split_once(" at column").unwrap();
        assert!(DOCUMENT.contains(&format!("`{what}`")), "{what}");
    }
}
