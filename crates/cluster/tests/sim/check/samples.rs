//! Small histories written by hand: bad ones that must be caught, good ones that must pass.
//!
//! One operation a line: `client key op value call ret status told version [if=absent|if=version]`, with `-` for nothing;
//! an operation without an end has `-` as its `ret`.

use crate::history::{History, Operation};

/// Reads the lines.
pub fn parse(lines: &str) -> History {
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Operation {
    let words: Vec<&str> = line.split_whitespace().collect();
    let quoted = |word: &str| if word == "-" { "null".to_owned() } else { format!("{word:?}") };
    let bare = |word: &str| if word == "-" { "null".to_owned() } else { word.to_owned() };
    let word = |index: usize| words.get(index).copied().unwrap_or("-");
    let condition = word(9).strip_prefix("if=").unwrap_or("-");
    let json = format!(
        r#"{{"client":{},"key":"{}","op":"{}","value":{},"call":{},"ret":{},"status":"{}","outcome":{},"version":{},"if":{}}}"#,
        word(0),
        word(1),
        word(2),
        quoted(word(3)),
        word(4),
        bare(word(5)),
        word(6),
        quoted(word(7)),
        quoted(word(8)),
        quoted(condition),
    );
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// A name, the history, and words of the complaint. Where the name begins with `versions:`, a register without versions would
/// not notice.
pub const BAD: &[(&str, &str, &str)] = &[
    (
        "an acknowledged write is lost",
        "0 h put a 10 20 ok stored 1.1
         1 h get - 30 40 ok absent -",
        "not linearizable",
    ),
    (
        "a unique key is lost",
        "0 u0-0 put a 10 20 ok stored 1.1
         1 u0-0 get - 30 40 ok absent -",
        "lost",
    ),
    (
        "a unique key that was seen is lost although its write is unknown",
        "0 u0-0 put a 10 20 info unknown -
         1 u0-0 get a 30 40 ok found 1.1
         1 u0-0 get - 50 60 ok absent -",
        "lost",
    ),
    (
        "a delete finds nothing of an acknowledged put",
        "0 u0-0 put a 10 20 ok stored 1.1
         0 u0-0 delete - 30 40 ok missing -",
        "lost",
    ),
    (
        "a read is stale",
        "0 h put a 10 20 ok stored 1.1
         0 h put b 30 40 ok replaced 1.2
         1 h get a 50 60 ok found 1.1",
        "seen before",
    ),
    (
        "a read is stale, and versions are not told",
        "0 h put a 10 20 ok stored -
         0 h put b 30 40 ok replaced -
         1 h get a 50 60 ok found -",
        "not linearizable",
    ),
    (
        "a second read goes back behind a first while the write is under way",
        "0 h put a 10 20 ok stored -
         0 h put b 30 90 ok replaced -
         1 h get b 40 50 ok found -
         2 h get a 60 70 ok found -",
        "not linearizable",
    ),
    (
        "a deleted key is resurrected",
        "0 u0-0 put a 10 20 ok stored 1.1
         0 u0-0 delete - 30 40 ok deleted -
         1 u0-0 get a 50 60 ok found 1.1",
        "resurrected",
    ),
    (
        "a key seen to be gone is resurrected although its delete is unknown",
        "0 u0-0 put a 10 20 ok stored 1.1
         0 u0-0 delete - 30 40 info unknown -
         1 u0-0 get - 50 60 ok absent -
         1 u0-0 get a 70 80 ok found 1.1",
        "resurrected",
    ),
    (
        "a hot key is resurrected",
        "0 h put a 10 20 ok stored 1.1
         0 h delete - 30 40 ok deleted -
         1 h get a 50 60 ok found 1.1",
        "not linearizable",
    ),
    (
        "a write is applied twice around another",
        "0 h put a 10 70 ok stored 1.1
         1 h get a 20 25 ok found 1.1
         1 h put b 30 40 ok replaced 1.2
         1 h get b 45 50 ok found 1.2
         1 h get a 60 65 ok found 2.1",
        "not linearizable",
    ),
    (
        "versions: a write is applied twice in one epoch",
        "0 h put a 10 70 ok stored 1.1
         1 h get a 20 25 ok found 1.1
         1 h get a 60 65 ok found 1.2",
        "applied twice",
    ),
    (
        "a retry says that it replaced its own first effect",
        "0 h put a 10 70 ok replaced 1.2",
        "not linearizable",
    ),
    ("a put of a unique key replaced a value", "0 u0-0 put a 10 70 ok replaced 1.2", "twice"),
    (
        "versions: a retry of a conditional put met its own effect",
        "0 h cas a 10 70 info condition 1.1 if=absent
         1 h get a 80 90 ok found 1.1",
        "met its own effect",
    ),
    (
        "versions: a latest request is refused as old",
        "0 h put a 10 70 fail old -",
        "refused as old",
    ),
    (
        "a read is dirty: the write was refused in the end",
        "0 h put a 10 90 fail refused -
         1 h get a 20 30 ok found 1.1",
        "refused, yet it was read",
    ),
    (
        "a read is dirty: what it saw is gone with the primary",
        "0 h put a 10 90 info unknown -
         1 h get a 20 30 ok found 1.1
         1 h get - 40 50 ok absent -",
        "not linearizable",
    ),
    (
        "a definite failure took effect",
        "0 h put a 10 20 fail refused -
         1 h get a 50 60 ok found 1.1",
        "refused, yet it was read",
    ),
    (
        "a unique key is a phantom",
        "0 u0-0 get a 1 2 ok found 1.1
         1 u0-0 put a 10 20 ok stored 1.1",
        "before it was written",
    ),
    ("a value comes from nowhere", "0 h get a 1 2 ok found 1.1", "nobody wrote"),
    (
        "a unique key has the value of another",
        "0 u0-0 put a 10 20 ok stored 1.1
         1 u0-0 get b 30 40 ok found 1.2",
        "nobody wrote",
    ),
    (
        "two conditional puts over one version are acknowledged",
        "0 h put a 1 2 ok stored 1.1
         1 h cas b 10 20 ok replaced 1.2 if=1.1
         2 h cas c 10 20 ok replaced 1.3 if=1.1",
        "not linearizable",
    ),
    (
        "two puts of an absent key are acknowledged",
        "1 h cas b 10 20 ok stored 1.1 if=absent
         2 h cas c 10 20 ok stored 1.2 if=absent",
        "not linearizable",
    ),
    (
        "a condition fails against a write that never came into force",
        "0 h put a 1 40 info unknown -
         1 h cas b 10 20 fail condition 1.1 if=absent
         1 h get - 50 60 ok absent -
         2 h cas c 70 80 ok stored 2.1 if=absent
         1 h get a 90 95 ok found 1.1",
        "seen before",
    ),
    (
        "a condition fails with nothing there",
        "0 h put a 1 2 ok stored 1.1
         1 h cas b 10 20 fail condition - if=1.1",
        "not linearizable",
    ),
    (
        "versions: a condition fails although its version is there",
        "0 h put a 1 2 ok stored 1.1
         1 h cas b 10 20 fail condition 1.1 if=1.1",
        "said not to hold",
    ),
    (
        "versions: a version is given twice",
        "0 h put a 1 2 ok stored 1.1
         0 h put b 3 4 ok replaced 1.1",
        "two values",
    ),
    (
        "versions: a later write gets a lower version",
        "0 h put a 1 2 ok stored 1.5
         0 h put b 3 4 ok replaced 1.4",
        "seen before",
    ),
    (
        "a counter lost an acknowledged step",
        "0 c0 cas 0.1=1 1 2 ok stored 1.1 if=absent
         0 c0 cas 0.2=2 3 4 ok replaced 1.2 if=1.1
         1 c0 get 0.1=1 5 6 ok found 1.1",
        "seen before",
    ),
    (
        "two acknowledged steps of a counter count the same",
        "0 c0 cas 0.1=1 1 2 ok stored 1.1 if=absent
         0 c0 cas 0.2=2 3 8 ok replaced 1.2 if=1.1
         1 c0 cas 1.1=2 3 9 ok replaced 2.1 if=1.1",
        "count the same",
    ),
];

/// A name and the history.
pub const GOOD: &[(&str, &str)] = &[
    (
        "one after the other",
        "0 h put a 10 20 ok stored 1.1
         1 h get a 30 40 ok found 1.1
         0 h delete - 50 60 ok deleted -
         0 h delete - 61 62 ok missing -
         1 h get - 70 80 ok absent -",
    ),
    (
        "an unknown put takes effect late",
        "0 h put a 10 20 info unknown -
         1 h get - 30 40 ok absent -
         1 h get a 50 60 ok found 1.1",
    ),
    (
        "an unknown put never takes effect",
        "0 h put a 10 20 info unknown -
         1 h get - 30 40 ok absent -
         1 h cas b 50 60 ok stored 1.1 if=absent
         1 h get b 70 80 ok found 1.1",
    ),
    (
        "an unknown put that nobody sees is replaced",
        "0 h put a 10 20 info unknown -
         1 h get - 30 40 ok absent -
         1 h put b 50 60 ok replaced 1.2",
    ),
    (
        "an unknown delete takes effect late",
        "0 h put a 1 2 ok stored 1.1
         0 h delete - 10 20 info unknown -
         1 h get a 30 40 ok found 1.1
         1 h get - 50 60 ok absent -
         1 h put b 70 80 ok stored 1.3",
    ),
    (
        "an unknown conditional put takes effect or not",
        "0 h cas a 10 20 info unknown - if=absent
         1 h cas b 10 20 info unknown - if=absent
         2 h get b 30 40 ok found 1.1
         2 h delete - 50 60 ok deleted -
         2 h get a 70 80 ok found 1.3",
    ),
    (
        "an operation is still under way at the end",
        "0 h put a 10 - info - -
         1 h get a 30 40 ok found 1.1",
    ),
    (
        "a condition meets a write that nobody acknowledged and nobody read",
        "0 h put a 10 20 info unknown -
         1 h cas b 30 40 fail condition 1.1 if=absent
         1 h delete - 50 60 ok deleted -",
    ),
    (
        "a condition fails because a repair raised the version",
        "0 h put a 1 2 ok stored 1.1
         1 h cas b 10 20 fail condition 2.1 if=1.1
         1 h get a 30 40 ok found 2.1
         1 h cas c 50 60 ok replaced 2.2 if=2.1",
    ),
    (
        "a failed condition with an open attempt is unknown and takes effect",
        "0 h put z 1 2 ok stored 1.1
         0 h cas a 10 20 info condition 1.1 if=absent
         1 h delete - 30 40 ok deleted -
         1 h get a 50 60 ok found 1.3",
    ),
    (
        "many at once",
        "0 h put a 10 90 ok stored 1.1
         1 h put b 11 80 ok replaced 1.3
         2 h put c 12 70 ok replaced 1.2
         3 h get a 15 20 ok found 1.1
         3 h get c 25 30 ok found 1.2
         3 h get b 35 40 ok found 1.3",
    ),
    (
        "a unique key deleted by an unknown delete",
        "0 u0-0 put a 10 20 ok stored 1.1
         0 u0-0 delete - 30 40 info unknown -
         1 u0-0 get a 50 60 ok found 1.1
         1 u0-0 get - 70 80 ok absent -",
    ),
    (
        "a unique key whose unknown put comes after its delete",
        "0 u0-0 put a 10 20 info unknown -
         0 u0-0 delete - 30 40 ok missing -
         1 u0-0 get a 50 60 ok found 1.1",
    ),
    (
        "a counter with an unknown step",
        "0 c0 cas 0.1=1 1 2 ok stored 1.1 if=absent
         0 c0 cas 0.2=2 3 4 info unknown - if=1.1
         1 c0 get 0.1=1 5 6 ok found 1.1
         1 c0 get 0.2=2 7 8 ok found 1.2
         1 c0 cas 1.1=3 9 10 ok replaced 1.3 if=1.2
         1 c0 get 1.1=3 11 12 ok found 1.3",
    ),
    (
        "a refused write did nothing",
        "0 h put a 10 20 fail refused -
         1 h get - 30 40 ok absent -",
    ),
];
