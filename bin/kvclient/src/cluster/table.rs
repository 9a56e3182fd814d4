//! Tables, bars and short names.

use std::collections::BTreeMap;

use cluster::ServerId;
use cluster::coordinator::ServerStatus;
use indicatif::{HumanBytes, HumanCount};

/// Letters of an id that are shown at least: enough to tell servers apart at a glance.
const SHORT_LEN: usize = 8;

/// Columns of a bar.
const BAR_WIDTH: usize = 24;

/// Which side a column's words keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Returns rows as lines with columns two spaces apart; the first row has the heads.
pub(super) fn table(sides: &[Side], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..sides.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells =
            row.iter().zip(sides.iter().zip(&widths)).map(|(cell, (side, width))| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Returns a bar for `done` of `all`.
pub(super) fn bar(done: usize, all: usize) -> String {
    let filled = (done * BAR_WIDTH).checked_div(all).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
    let head = if filled < BAR_WIDTH { ">" } else { "" };
    let rest = BAR_WIDTH.saturating_sub(filled).saturating_sub(head.len());
    format!("[{}{head}{}]", "=".repeat(filled), " ".repeat(rest))
}

/// Returns `part` of `whole` in per cent.
pub(super) fn percent(part: usize, whole: usize) -> String {
    let tenths = (part * 1000 + whole / 2).checked_div(whole).unwrap_or_default();
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Returns a number with its thousands apart.
pub(super) fn count(number: usize) -> String {
    HumanCount(u64::try_from(number).unwrap_or(u64::MAX)).to_string()
}

/// Returns a number of things, in words.
pub(super) fn things(number: usize, thing: &str) -> String {
    crate::show::count(u64::try_from(number).unwrap_or(u64::MAX), thing)
}

/// Returns a length in bytes.
pub(super) fn bytes(len: u64) -> String {
    HumanBytes(len).to_string()
}

/// What servers are called: the beginnings of their ids, as long as it takes to tell them apart.
#[derive(Debug)]
pub(super) struct Names(BTreeMap<ServerId, String>);

impl Names {
    pub(super) fn new(servers: &[ServerStatus]) -> Self {
        let ids: Vec<String> = servers.iter().map(|server| server.id.to_string()).collect();
        let is_enough = |len: &usize| {
            let mut heads: Vec<&str> = ids.iter().filter_map(|id| id.get(..*len)).collect();
            heads.sort_unstable();
            heads.windows(2).all(|pair| matches!(pair, [one, other] if one != other))
        };
        let len = (SHORT_LEN..32).find(is_enough).unwrap_or(32);
        let name = |server: &ServerStatus| server.id.to_string().chars().take(len).collect();
        Self(servers.iter().map(|server| (server.id, name(server))).collect())
    }

    pub(super) fn of(&self, server: ServerId) -> String {
        self.0.get(&server).cloned().unwrap_or_else(|| server.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_word() {
        let rows = [["name", "count"], ["a", "1,000"], ["longer", "2"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let lines = table(&[Side::Left, Side::Right], &rows);
        assert_eq!(lines, ["name    count", "a       1,000", "longer      2"]);
    }

    #[test]
    fn a_bar_is_full_only_when_all_is_done() {
        assert_eq!(bar(0, 4096), "[>                       ]");
        assert_eq!(bar(2048, 4096), "[============>           ]");
        assert_eq!(bar(4095, 4096), "[=======================>]");
        assert_eq!(bar(4096, 4096), "[========================]");
        assert_eq!(bar(0, 0), "[========================]");
    }

    #[test]
    fn shares_are_rounded_to_tenths() {
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1365, 4096), "33.3 %");
        assert_eq!(percent(0, 0), "0.0 %");
        assert_eq!(percent(4096, 4096), "100.0 %");
    }
}
