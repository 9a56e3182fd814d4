//! How a cluster stands, for a person: a table of servers, bars for what moves, hints, and one line that sums it up.

use cluster::Standing;
use cluster::coordinator::{Move, ServerStatus, Status};

use super::plain;
use super::plan::{decided_line, next_lines, spawned_lines};
use super::table::{Names, Side, bar, bytes, count, percent, table, things};

/// Returns the lines of a status.
pub(super) fn lines(status: &Status) -> Vec<String> {
    let names = Names::new(&status.servers);
    let cluster: String = status.cluster.chars().take(8).collect();
    let mut lines = vec![format!(
        "cluster {cluster}, map version {}, {}, {} of each",
        status.version.0,
        things(usize::from(status.slot_count), "slot"),
        copies(status.replica_count),
    )];
    lines.push(String::new());
    lines.extend(servers(status, &names));
    if !status.moves.is_empty() {
        lines.push(String::new());
        lines.extend(status.moves.iter().map(|moved| progress(moved, &names)));
    }
    if !status.hints.is_empty() {
        lines.push(String::new());
        lines.extend(status.hints.iter().map(|hint| format!("! {}", plain(hint))));
    }
    let is_next = status.next.as_ref().is_some_and(|next| next.step != "none");
    if status.decided.is_some() || is_next || status.spawned.is_some() {
        lines.push(String::new());
    }
    lines.extend(status.decided.as_ref().map(decided_line));
    let next = status.next.as_ref().filter(|next| next.step != "none");
    let spawned = status.spawned.as_ref();
    lines.extend(next.map(|next| next_lines(next, spawned)).unwrap_or_default());
    lines.extend(spawned.map(spawned_lines).unwrap_or_default());
    lines.push(String::new());
    lines.push(verdict(status));
    lines
}

fn servers(status: &Status, names: &Names) -> Vec<String> {
    let heads = [
        "server", "address", "state", "share", "primary", "backup", "learner", "data", "ops/s",
        "life", "seen",
    ];
    let sides = [
        Side::Left,
        Side::Left,
        Side::Left,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Left,
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(status.servers.iter().map(|server| {
        vec![
            names.of(server.id),
            plain(&server.address),
            state(server).to_owned(),
            percent(server.owned, usize::from(status.slot_count)),
            count(server.primary),
            count(server.backup),
            count(server.learner),
            bytes(server.bytes),
            count(usize::try_from(server.operations_a_second).unwrap_or(usize::MAX)),
            server.incarnation.0.to_string(),
            seen(server),
        ]
    }));
    table(&sides, &rows)
}

/// Returns what a server is doing, in a word.
fn state(server: &ServerStatus) -> &'static str {
    match server.standing {
        _ if server.has_failed => "disk failed",
        Standing::Serving if server.is_seen && server.is_full => "disk full",
        Standing::Serving if !server.is_seen => "silent",
        Standing::Serving => "serving",
        Standing::Leaving => "leaving",
        Standing::Away => "away",
        Standing::Standby => "standby",
    }
}

fn seen(server: &ServerStatus) -> String {
    match server.silent_ms {
        _ if server.is_seen => "now".to_owned(),
        Some(ms) => format!("{} s ago", ms / 1000),
        None => "not yet".to_owned(),
    }
}

fn progress(moved: &Move, names: &Names) -> String {
    let all = moved.done.saturating_add(moved.to_do);
    let mut line = format!(
        "{} {} {} of {}",
        names.of(moved.to),
        bar(moved.done, all),
        count(moved.done),
        things(all, "slot")
    );
    if moved.to_do > 0 {
        let sources: Vec<String> =
            moved.from.iter().map(|source| names.of(source.server)).collect();
        line += &format!(", {} to copy from {}", bytes(moved.bytes_to_do), sources.join(", "));
    }
    if moved.hand_overs > 0 {
        line += &format!(", {} to take over as primary", count(moved.hand_overs));
    }
    line
}

/// Sums a status up in one line.
fn verdict(status: &Status) -> String {
    let all = usize::from(status.slot_count);
    let slots = &status.slots;
    let serving = status.servers.iter().filter(|server| server.owned > 0).count();
    let copies = copies(status.replica_count.min(serving));
    if slots.without_primary > 0 {
        return format!(
            "{} of {} can be neither read nor written",
            count(slots.without_primary),
            things(all, "slot")
        );
    }
    let unseen = status.servers.iter().filter(|server| !server.is_seen);
    let waiting: usize = unseen.map(|server| server.primary).sum();
    if waiting > 0 {
        let all = things(all, "slot");
        return format!("{} of {all} wait for servers that are not seen", count(waiting));
    }
    if slots.short_of_copies > 0 {
        let mut line = format!(
            "all {} are served; {} have fewer than {copies}",
            things(all, "slot"),
            count(slots.short_of_copies)
        );
        if slots.with_learner > 0 {
            line += &format!(", {} are being copied", count(slots.with_learner));
        }
        return line;
    }
    let mut line = format!("all {} have their {copies}", things(all, "slot"));
    let moving = all.saturating_sub(slots.complete);
    if moving > 0 {
        line += &format!("; {} are on their way to other servers", count(moving));
    }
    line
}

fn copies(number: usize) -> String {
    if number == 1 { "1 copy".to_owned() } else { format!("{number} copies") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a status as an ECS tells it.
    fn told(slots: &str, moves: &str) -> Status {
        let server = |id: u8, address: u8, rest: &str| {
            format!(
                "{{\"id\":\"{id:02x}1d1b1be9d89649ff4fda5d9032821e\",\"address\":\"10.0.0.{address}:5153\",{rest}}}"
            )
        };
        let well = "\"standing\":\"serving\",\"is_seen\":true,\"silent_ms\":186,\"has_failed\":false,\"incarnation\":3,\"owned\":1365,\"primary\":1365,\"backup\":2731,\"learner\":0,\"bytes\":1073741824";
        let gone = "\"standing\":\"serving\",\"is_seen\":false,\"silent_ms\":4321,\"has_failed\":false,\"incarnation\":1,\"owned\":1366,\"primary\":0,\"backup\":0,\"learner\":0,\"bytes\":0";
        let servers = [server(0x11, 1, well), server(0x22, 2, gone)].join(",");
        let text = format!(
            "{{\"cluster\":\"d2da397110548b55e43d97bcee850f7a\",\"version\":14,\"slot_count\":4096,\"replica_count\":3,\"servers\":[{servers}],\"slots\":{slots},\"moves\":[{moves}],\"is_stopped\":false,\"hints\":[\"look here\"],\"later\":1}}"
        );
        serde_json::from_str(&text).unwrap()
    }

    fn slots(complete: usize, without_primary: usize, short_of_copies: usize) -> String {
        format!(
            "{{\"complete\":{complete},\"without_primary\":{without_primary},\"with_learner\":{},\"short\":0,\"moving\":0,\"without_backup\":0,\"short_of_copies\":{short_of_copies}}}",
            short_of_copies.min(64)
        )
    }

    #[test]
    fn a_status_is_a_table_with_bars_hints_and_a_verdict() {
        let moved = "{\"to\":\"221d1b1be9d89649ff4fda5d9032821e\",\"done\":1024,\"to_do\":3072,\"bytes_to_do\":2097152,\"hand_overs\":7,\"from\":[{\"server\":\"111d1b1be9d89649ff4fda5d9032821e\",\"slots\":3072,\"bytes\":2097152}]}";
        let lines = lines(&told(&slots(1024, 0, 3072), moved));
        assert_eq!(
            lines,
            [
                "cluster d2da3971, map version 14, 4,096 slots, 3 copies of each",
                "",
                "server    address        state     share  primary  backup  learner      data  ops/s  life  seen",
                "111d1b1b  10.0.0.1:5153  serving  33.3 %    1,365   2,731        0  1.00 GiB      0     3  now",
                "221d1b1b  10.0.0.2:5153  silent   33.3 %        0       0        0       0 B      0     1  4 s ago",
                "",
                "221d1b1b [======>                 ] 1,024 of 4,096 slots, 2.00 MiB to copy from 111d1b1b, 7 to take over as primary",
                "",
                "! look here",
                "",
                "all 4,096 slots are served; 3,072 have fewer than 2 copies, 64 are being copied",
            ]
        );
    }

    #[test]
    fn the_verdict_says_the_worst() {
        for (slots, expected) in [
            (slots(4096, 0, 0), "all 4,096 slots have their 2 copies"),
            (
                slots(4000, 0, 0),
                "all 4,096 slots have their 2 copies; 96 are on their way to other servers",
            ),
            (slots(0, 5, 9), "5 of 4,096 slots can be neither read nor written"),
        ] {
            assert_eq!(verdict(&told(&slots, "")), expected);
        }
    }

    #[test]
    fn slots_whose_primary_is_not_seen_are_not_said_to_be_served() {
        let mut status = told(&slots(4096, 0, 0), "");
        let gone = status.servers.iter_mut().find(|server| !server.is_seen).unwrap();
        gone.primary = 37;
        assert_eq!(verdict(&status), "37 of 4,096 slots wait for servers that are not seen");
    }
}
