//! What operators are shown: it adds up, it follows the map, and its JSON is read back.

use std::time::Duration;

use cluster::coordinator::elastic::By;
use cluster::coordinator::{Command, Coordinator, Plan, Status, WholeMap, Wish, snapshot_of};
use cluster::{Map, ServerId, Standing, Version};

use crate::play::{Play, id, ms, small};

fn status(play: &Play) -> Status {
    let status = play.machine.status(play.now, 0xabc);
    let slots = &status.slots;
    let parts =
        [slots.complete, slots.without_primary, slots.with_learner, slots.short, slots.moving];
    assert_eq!(parts.iter().sum::<usize>(), usize::from(status.slot_count), "{slots:?}");
    let moves = play.machine.moves();
    assert_eq!(slots.with_learner, moves.learning.len());
    assert_eq!(slots.short, moves.lacking.len());
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    status
}

fn plan(play: &Play, wish: Wish) -> Plan {
    let plan = play.machine.plan(play.now, wish);
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    assert_eq!(plan.slots, plan.moves.iter().map(|copies| copies.to_do).sum::<usize>());
    plan
}

#[test]
fn a_cluster_begins_with_a_hint_and_ends_complete_without_any() {
    let mut play = Play::new(small());
    assert_eq!(status(&play).hints, ["no server has registered yet"]);
    assert_eq!(status(&play).slots.without_primary, 16);
    for name in 1..=3 {
        play.start(id(name));
    }
    let begun = status(&play);
    assert!(begun.slots.with_learner > 0 && begun.slots.short_of_copies > 0, "{begun:?}");
    assert!(!begun.moves.is_empty());
    play.settle();
    let settled = status(&play);
    assert_eq!((settled.slots.complete, settled.slots.short_of_copies), (16, 0));
    assert_eq!((settled.moves.len(), settled.hints.len()), (0, 0), "{settled:?}");
    assert_eq!(settled.cluster, format!("{:032x}", 0xabc));
    for server in &settled.servers {
        assert!(server.is_seen && server.silent_ms.is_some());
        assert_eq!(server.primary, server.owned);
        assert_eq!(server.primary + server.backup, 16);
    }
}

#[test]
fn a_move_is_to_do_until_it_is_done() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    play.start_as(id(4), true, true);
    let waits = status(&play).hints;
    assert!(waits.iter().any(|hint| hint.contains("standby")), "{waits:?}");
    let planned = plan(&play, Wish::Join(id(4)));
    assert_eq!(planned.refusal, None);
    let to_four = planned.moves.iter().find(|copies| copies.to == id(4)).unwrap();
    assert!(to_four.to_do > 0 && to_four.done == 0);
    let after: Vec<_> = planned.shares.iter().map(|share| share.after).collect();
    assert_eq!((after.iter().sum::<usize>(), planned.shares[3].before), (16, 0));
    play.command(Command::Join(id(4)));
    let begun = status(&play);
    assert_eq!(after, begun.servers.iter().map(|server| server.owned).collect::<Vec<_>>());
    assert_eq!(begun.moves, planned.moves, "what was planned is what is to do");
    play.settle();
    assert!(status(&play).moves.is_empty());
}

#[test]
fn a_plan_says_why_a_command_would_be_refused() {
    let mut play = Play::with_servers(&[1, 2]);
    let refusal = |play: &Play, wish| plan(play, wish).refusal;
    assert_eq!(refusal(&play, Wish::Join(id(9))).as_deref(), Some("no such server"));
    assert_eq!(refusal(&play, Wish::Leave(id(2))), None);
    assert_eq!(refusal(&play, Wish::Rebalance(By::Bytes)), None);
    play.ask(id(2), vec![cluster::Change::Leave]);
    play.settle();
    let last = "nobody else is on the ring";
    assert_eq!(refusal(&play, Wish::Leave(id(1))).as_deref(), Some(last));
    play.cut(id(2));
    assert_eq!(refusal(&play, Wish::Join(id(2))).as_deref(), Some("it is not seen"));
}

#[test]
fn one_who_is_not_seen_is_told_of_and_planned_without() {
    let mut play = Play::with_servers(&[1, 2, 3, 4]);
    play.cut(id(4));
    let hints = status(&play).hints;
    assert!(hints.iter().any(|hint| hint.contains("taken off the ring")), "{hints:?}");
    let planned = plan(&play, Wish::Nothing);
    let share = planned.shares.iter().find(|share| share.server == id(4)).unwrap();
    assert!(share.before > 0 && share.after == 0, "{share:?}");
    play.wait(Duration::from_secs(12));
    let away = status(&play);
    assert_eq!(away.servers[3].standing, Standing::Away);
    // Nobody asks for its slots here, as if nobody had a copy.
    assert!(away.servers[3].primary > 0);
    assert!(away.hints.iter().any(|hint| hint.contains("wait for it: start it")), "{away:?}");
    assert_eq!(away.moves, plan(&play, Wish::Nothing).moves);
    // With most servers unseen nothing happens by itself, and the status says so.
    for name in [2, 3] {
        play.cut(id(name));
    }
    let stopped = status(&play);
    assert!(stopped.is_stopped && stopped.hints.iter().any(|hint| hint.contains("only 1 of 4")));
    assert_eq!(plan(&play, Wish::Nothing).shares.len(), 3, "they keep their shares");
}

#[test]
fn a_failed_disk_and_a_refused_slot_are_told_of() {
    let mut play = Play::with_servers(&[1, 2]);
    play.ask(id(2), vec![cluster::Change::Fail]);
    let failed = status(&play);
    assert!(failed.servers[1].has_failed && failed.hints[0].contains("disk"), "{failed:?}");
    play.start_as(id(1), false, false);
    let refused = status(&play);
    assert!(refused.slots.without_primary > 0);
    assert!(refused.hints[0].contains(&id(1).to_string()), "{refused:?}");
    assert!(refused.hints[0].contains("force_complete"));
    play.wait(ms(100));
}

#[test]
fn the_whole_map_is_read_back_and_a_coordinator_begins_from_it() {
    let mut play = Play::with_servers(&[1, 2, 3]);
    let whole = WholeMap::new(u128::MAX, play.map());
    let text = serde_json::to_string(&whole).unwrap();
    assert!(text.starts_with(
        "{\"cluster\":\"ffffffffffffffffffffffffffffffff\",\"replica_count\":3,\"from\":0,"
    ));
    assert_eq!(serde_json::from_str::<WholeMap>(&text).unwrap(), whole);
    let mut map = Map::new(16, whole.replica_count);
    map.apply(&whole.delta).unwrap();
    let begun =
        Coordinator::restore(small(), Some(&snapshot_of(&map)), std::iter::empty()).unwrap();
    assert_eq!(begun.map(), play.map());
    play.machine = begun;
    play.start(ServerId(4));
    assert!(play.map().version() > Version(0) && play.map().servers().len() == 4);
}
