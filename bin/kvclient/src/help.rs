//! What `help` says: all commands on one screen of 80 × 24, and each at greater length.

/// A command as `help` and completion know it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    /// The verb.
    pub(crate) name: &'static str,
    /// The verb and its words.
    pub(crate) usage: &'static str,
    /// What it does, in a few words.
    summary: &'static str,
    /// The rest of what there is to know.
    detail: &'static str,
}

/// Every command, in the order in which `help` lists them.
pub(crate) static TOPICS: &[Topic] = &[
    Topic {
        name: "put",
        usage: "put <key> <value>",
        summary: "store a value under a key",
        detail: "\
The key ends at the first space, the value is the rest of the line as it stands.
What cannot be typed is put in quotation marks with escapes:
    put \"two words\" \"line one\\nline two\"
\\n LF, \\r CR, \\0 NUL, \\xHH any byte, \\\\ a backslash, \\\" a quotation mark.
An empty value is \"\". Without a value, `put <key>` deletes the key.
Keys have 1 to 1,024 bytes, values up to 16 MiB.",
    },
    Topic {
        name: "get",
        usage: "get <key>",
        summary: "show a key's value",
        detail: "\
Bytes that cannot be shown are written as the escapes that `help put` lists.
From a shell, `kvclient get <key> > FILE` writes the value byte for byte.",
    },
    Topic {
        name: "delete",
        usage: "delete <key>",
        summary: "delete a key and its value",
        detail: "Deleting a key that is not there is refused with \"not found\".",
    },
    Topic {
        name: "keyrange",
        usage: "keyrange",
        summary: "show which server answers for which keys",
        detail: "\
A key belongs to the arc of the ring in which the MD5 of its bytes lies. Each
line is an arc (first and last position, inclusive) and its server.",
    },
    Topic {
        name: "keyrange_read",
        usage: "keyrange_read",
        summary: "show which servers may be asked to read",
        detail: "As `keyrange`, with a line for each server that may serve an arc's reads.",
    },
    Topic {
        name: "info",
        usage: "info",
        summary: "show the server's figures",
        detail: "Version, time running, keys, bytes on disk, connections, operations and more.",
    },
    Topic {
        name: "backup",
        usage: "backup <folder>",
        summary: "copy the data to a new folder, on its machine",
        detail: "\
The copy is made on the machine the server runs on, while reads and writes go
on. There, `kvclient verify <folder>` checks it, and
`kvclient restore <folder> <new folder>` makes a server's folder of it.",
    },
    Topic {
        name: "cluster",
        usage: "cluster <command>",
        summary: "see how the cluster stands; grow and shrink it",
        detail: "\
    status            servers, shares, moves, and whether all copies are there
    ring              the arcs of the ring and their owners
    plan [COMMAND]    what would move: by itself, or by join, leave, rebalance
    join <server>     give a server its share of the ring
    leave <server>    take a server off the ring; its data goes first
    rebalance         make all shares level; --by ops: of operations
    watch             the status, until Ctrl-C or q
A server is its id, the beginning of it, or its ip:port. With --json, status,
ring and plan are one line of JSON. --ecs <ip:port> names the coordinator.",
    },
    Topic {
        name: "connect",
        usage: "connect <address> <port>",
        summary: "connect to a server",
        detail: "For example: connect 127.0.0.1 5153. Leaves the server connected to before.",
    },
    Topic {
        name: "disconnect",
        usage: "disconnect",
        summary: "close the connection",
        detail: "Commands that need a server are refused until `connect`.",
    },
    Topic {
        name: "logLevel",
        usage: "logLevel <level>",
        summary: "show more or less: off error warn info debug trace",
        detail: "\
At `debug`, every connection, retry and request is shown with the time it took.
The family's names ALL and FATAL are understood too. The default is warn.",
    },
    Topic {
        name: "help",
        usage: "help [command]",
        summary: "show this list, or explain one command",
        detail: "For example: help put.",
    },
    Topic {
        name: "quit",
        usage: "quit",
        summary: "leave; so does Ctrl-D",
        detail: "Ctrl-C only drops the line being typed, or gives up the request that waits.",
    },
];

/// Returns the topic of a verb, in any case.
pub(crate) fn topic(verb: &[u8]) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name.as_bytes().eq_ignore_ascii_case(verb))
}

/// Returns the text of `help`, or of `help <command>`, with a line end after each line.
pub(crate) fn text(topic: Option<&Topic>) -> String {
    let Some(topic) = topic else { return overview() };
    format!("{}: {}\n\n{}\n", topic.usage, topic.summary, topic.detail)
}

fn overview() -> String {
    let mut text = String::from("Commands:\n");
    for topic in TOPICS {
        text.push_str(&format!("  {:<26}{}\n", topic.usage, topic.summary));
    }
    text.push_str(
        "\nA value is the rest of the line as it stands. What cannot be typed goes in
quotation marks: put \"two words\" \"a\\nb\", with \\n \\r \\0 \\xHH \\\\ \\\" inside.
Tab completes, arrow keys bring back lines, Ctrl-C drops a line or gives up a
request that waits, Ctrl-D leaves.
",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_screen_of_80_by_24() {
        let topics = TOPICS.iter().map(|topic| text(Some(topic)));
        for text in topics.chain([text(None)]) {
            // The prompt needs one line more.
            assert!(text.lines().count() < 24, "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn every_usage_begins_with_its_name() {
        for topic in TOPICS {
            assert_eq!(topic.usage.split(' ').next(), Some(topic.name));
            assert_eq!(super::topic(topic.name.to_uppercase().as_bytes()), Some(topic));
        }
    }
}
