//! A plan, for a person: shares before and after, and who would copy what from whom.

use cluster::coordinator::elastic::Mode;
use cluster::coordinator::spawn::Spawned;
use cluster::coordinator::{Decided, Next, Plan, Status};

use super::plain;
use super::table::{Names, Side, bytes, count, percent, table, things};

/// Returns the lines of a plan; `status` knows the servers' addresses.
pub(super) fn lines(plan: &Plan, status: &Status) -> Vec<String> {
    let names = Names::new(&status.servers);
    let mut lines = Vec::new();
    if let Some(why) = &plan.refusal {
        lines.push(format!("refused now: {}; otherwise:", plain(why)));
    }
    lines.push(if plan.moves.is_empty() {
        "nothing would move".to_owned()
    } else if plan.slots == 0 {
        "nothing would be copied".to_owned()
    } else {
        let copies = if plan.slots == 1 { "copy" } else { "copies" };
        format!("{} {copies} of slots, {}, would be made", count(plan.slots), bytes(plan.bytes))
    });
    if !plan.shares.is_empty() {
        lines.push(String::new());
        lines.extend(shares(plan, status, &names));
    }
    if !plan.moves.is_empty() {
        lines.push(String::new());
    }
    for moved in &plan.moves {
        for source in &moved.from {
            let (from, to) = (names.of(source.server), names.of(moved.to));
            let slots = things(source.slots, "slot");
            lines.push(format!("{from} -> {to}  {slots}, {}", bytes(source.bytes)));
        }
        if moved.hand_overs > 0 {
            let slots = things(moved.hand_overs, "slot");
            lines.push(format!("{} would become primary of {slots} it holds", names.of(moved.to)));
        }
    }
    if !plan.hints.is_empty() {
        lines.push(String::new());
        lines.extend(plan.hints.iter().map(|hint| format!("! {}", plain(hint))));
    }
    if let Some(next) = &plan.next {
        lines.push(String::new());
        lines.extend(next_lines(next, plan.spawned.as_ref()));
        lines.extend(plan.spawned.as_ref().map(spawned_lines).unwrap_or_default());
    }
    lines
}

/// Returns what would be decided next, in two lines at most.
pub(super) fn next_lines(next: &Next, spawned: Option<&Spawned>) -> Vec<String> {
    let mode = match next.mode {
        Mode::Off => "off",
        Mode::Suggest => "suggest",
        Mode::On => "on",
    };
    let what = if next.step == "none" { "nothing to do" } else { "next" };
    let mut lines = vec![format!("elastic ({mode}), {what}: {}", plain(&next.why))];
    if let Some(in_ms) = next.in_ms {
        let copies = if next.slots == 1 { "copy" } else { "copies" };
        let will = match next.mode {
            Mode::On if next.step != "start" => "is decided",
            Mode::On if spawned.is_some() => "is started",
            Mode::Off | Mode::Suggest | Mode::On => "is right",
        };
        lines.push(format!(
            "  {will} in {} s, if it stays so; {} {copies} of slots, {}, about {} s at the move rate",
            in_ms.div_ceil(1000),
            count(next.slots),
            bytes(next.bytes),
            next.transfer_ms.div_ceil(1000)
        ));
    }
    lines
}

/// Returns which processes the ECS started, a line for each, and why one failed.
pub(super) fn spawned_lines(spawned: &Spawned) -> Vec<String> {
    let (count, max) = (spawned.processes.len(), spawned.max);
    let mut lines = vec![format!("spawned: {count} of at most {max}")];
    lines.extend(spawned.processes.iter().map(|process| {
        let server = process.server.as_ref().map(|id| id.chars().take(8).collect::<String>());
        format!(
            "  {}  {}, pid {}, server {} at {}",
            process.number,
            plain(&process.state),
            process.pid,
            plain(server.as_deref().unwrap_or("not known yet")),
            plain(process.address.as_deref().unwrap_or("-")),
        )
    }));
    lines.extend(spawned.failure.as_ref().map(|why| {
        let when =
            spawned.retry_ms.map(|ms| format!("; the next may start in {} s", ms.div_ceil(1000)));
        format!("  ! {}{}", plain(why), when.unwrap_or_default())
    }));
    lines
}

/// Returns what was decided last, in a line.
pub(super) fn decided_line(decided: &Decided) -> String {
    format!("elastic, {} s ago: {}", decided.ago_ms / 1000, plain(&decided.why))
}

fn shares(plan: &Plan, status: &Status, names: &Names) -> Vec<String> {
    let all = usize::from(status.slot_count);
    let mut rows = vec![["server", "address", "share now", "then"].map(str::to_owned).to_vec()];
    rows.extend(plan.shares.iter().map(|share| {
        let server = status.servers.iter().find(|server| server.id == share.server);
        vec![
            names.of(share.server),
            server.map(|server| plain(&server.address)).unwrap_or_default(),
            percent(share.before, all),
            percent(share.after, all),
        ]
    }));
    table(&[Side::Left, Side::Left, Side::Right, Side::Right], &rows)
}
