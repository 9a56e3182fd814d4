//! How one server sees the others, by gossip: what can be seen of a cluster while its ECS is away.

use serde::Deserialize;

use super::plain;
use super::table::{Side, bytes, count, table};

/// Letters of an id that are shown.
const SHORT_LEN: usize = 8;

/// A server, as another sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Member {
    server: String,
    address: String,
    seen: String,
    incarnation: u64,
    version: u64,
    keys: Option<u64>,
    bytes: Option<u64>,
    operations_a_second: Option<u64>,
    told_ms_ago: u64,
}

/// Returns the lines of a table, under a line that says whose view it is.
pub(super) fn lines(by: &str, members: &[Member]) -> Vec<String> {
    let heads = ["server", "address", "seen", "map", "life", "keys", "data", "ops/s", "told"];
    let sides = [
        Side::Left,
        Side::Left,
        Side::Left,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Left,
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(members.iter().map(|member| {
        let number = |number: Option<u64>| {
            number.map_or("-".to_owned(), |n| count(usize::try_from(n).unwrap_or(usize::MAX)))
        };
        vec![
            plain(&member.server.chars().take(SHORT_LEN).collect::<String>()),
            plain(&member.address),
            plain(&member.seen),
            member.version.to_string(),
            member.incarnation.to_string(),
            number(member.keys),
            member.bytes.map_or("-".to_owned(), bytes),
            number(member.operations_a_second),
            format!("{} s ago", member.told_ms_ago / 1000),
        ]
    }));
    let mut lines = vec![format!("as {} sees the servers, by gossip:", plain(by)), String::new()];
    lines.extend(table(&sides, &rows));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_told_yet_is_a_dash() {
        let text = r#"[{"server":"f00b08d532e82e118b7f9b8eaa3b18f5","address":"127.0.0.1:7001","seen":"alive","incarnation":2,
            "version":13,"keys":1200,"bytes":2048,"operations_a_second":7,"told_ms_ago":1500},
            {"server":"0123456789","address":"127.0.0.1:7002","seen":"dead","incarnation":1,"version":0,"keys":null,
            "bytes":null,"operations_a_second":null,"told_ms_ago":0}]"#;
        let members: Vec<Member> = serde_json::from_str(text).unwrap();
        let lines = lines("127.0.0.1:7001", &members);
        assert_eq!(lines[0], "as 127.0.0.1:7001 sees the servers, by gossip:");
        assert!(lines[3].contains("alive") && lines[3].contains("2.00 KiB"), "{}", lines[3]);
        assert!(lines[4].contains("dead") && lines[4].contains('-'), "{}", lines[4]);
    }
}
