//! The ring, for a person: its arcs, and what each server has of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::plain;
use super::table::{Side, count, percent, table};

/// The ring as the ECS tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Ring {
    version: u64,
    slot_count: u16,
    tokens: Vec<Token>,
}

/// An arc's end, and whose arc it is.
#[derive(Debug, Deserialize)]
struct Token {
    /// The last position of the arc, 32 hexadecimal digits.
    token: String,
    server: String,
    address: String,
    /// Slots of the arc.
    slots: u16,
}

/// Returns the lines of a ring.
pub(super) fn lines(ring: &Ring) -> Vec<String> {
    if ring.tokens.is_empty() {
        return vec!["nobody is on the ring".to_owned()];
    }
    let all = usize::from(ring.slot_count);
    let mut rows =
        vec![["arc up to", "slots", "share", "server", "address"].map(str::to_owned).to_vec()];
    let mut shares: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for token in &ring.tokens {
        let slots = usize::from(token.slots);
        let server: String = token.server.chars().take(8).collect();
        let cells = [&token.token, &count(slots), &percent(slots, all), &server, &token.address];
        rows.push(cells.map(|cell| plain(cell)).to_vec());
        let share = shares.entry((&token.server, &token.address)).or_default();
        *share = (share.0 + 1, share.1 + slots);
    }
    let mut lines = table(&[Side::Left, Side::Right, Side::Right, Side::Left, Side::Left], &rows);
    lines.push(String::new());
    let mut rows =
        vec![["server", "address", "arcs", "slots", "share"].map(str::to_owned).to_vec()];
    rows.extend(shares.into_iter().map(|((server, address), (arcs, slots))| {
        let server: String = server.chars().take(8).collect();
        vec![plain(&server), plain(address), count(arcs), count(slots), percent(slots, all)]
    }));
    lines.extend(table(&[Side::Left, Side::Left, Side::Right, Side::Right, Side::Right], &rows));
    lines.push(String::new());
    lines.push(format!("map version {}", ring.version));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_its_arcs_and_what_they_sum_to() {
        let token = |end: &str, server: &str, slots: u16| {
            let server = server.repeat(32);
            format!(
                "{{\"slot\":1,\"token\":\"{end}\",\"server\":\"{server}\",\"address\":\"h:{slots}\",\"slots\":{slots}}}"
            )
        };
        let tokens = [token("3f", "a", 1024), token("ff", "b", 3072)].join(",");
        let text = format!("{{\"version\":9,\"slot_count\":4096,\"tokens\":[{tokens}]}}");
        let ring = serde_json::from_str(&text).unwrap();
        assert_eq!(
            lines(&ring),
            [
                "arc up to  slots   share  server    address",
                "3f         1,024  25.0 %  aaaaaaaa  h:1024",
                "ff         3,072  75.0 %  bbbbbbbb  h:3072",
                "",
                "server    address  arcs  slots   share",
                "aaaaaaaa  h:1024      1  1,024  25.0 %",
                "bbbbbbbb  h:3072      1  3,072  75.0 %",
                "",
                "map version 9",
            ]
        );
    }
}
