//! The examples in `docs/PROTOCOL.md`, in its part on servers: each is read, and written as it
//! stands there.

use cluster::lines::{
    Reader, read_from_ecs, read_gossip, read_opening, read_to_ecs, read_welcome, write_from_ecs,
    write_gossip, write_message, write_opening, write_to_ecs, write_welcome,
};
use protocol::Limits;

const DOCUMENT: &str = include_str!("../../../../docs/PROTOCOL.md");

/// Returns the examples: the last column of the tables that have three and end in code.
fn examples() -> Vec<&'static str> {
    let (_, part) = DOCUMENT.split_once("\n## Between servers\n").unwrap();
    let cells = part.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        (cells.len() == 3).then(|| cells[2])
    });
    cells.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`')).collect()
}

/// Writes again what any of the readers takes `line` for.
fn again(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut reader = Reader::new(Limits::default());
    if let Some(opening) = read_opening(line) {
        write_opening(&mut out, &opening.ok()?);
    } else if let Ok(message) = read_to_ecs(line) {
        write_to_ecs(&mut out, &message);
    } else if let Ok(message) = read_from_ecs(line) {
        write_from_ecs(&mut out, &message);
    } else if let Ok(welcome) = read_welcome(line) {
        write_welcome(&mut out, &welcome);
    } else if let Ok(line) = read_gossip(line) {
        write_gossip(&mut out, &line);
    } else if let Some(message) = reader.read(line).ok()? {
        write_message(&mut out, &message);
    } else {
        // A first line whose records are examples of their own.
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.pop();
    Some(out)
}

#[test]
fn every_example_of_the_document_is_read_and_written_as_it_stands() {
    let examples = examples();
    assert_eq!(examples.len(), 30, "has the document changed its form?");
    for example in examples {
        let line = match example.strip_prefix("record ") {
            Some(record) => format!("prepare 0 0 - {record}"),
            None => example.to_owned(),
        };
        assert_eq!(again(line.as_bytes()).as_deref(), Some(line.as_bytes()), "{example}");
    }
}
