//! Messages in few words, for the story.

use cluster::{Delta, FromEcs, Link, Message, Record, Reply, ServerId, SlotMessage, ToEcs};

/// A server's name in the story: `s1` …
pub fn name(id: ServerId) -> String {
    let text = id.to_string();
    format!("s{}", u128::from_str_radix(&text, 16).unwrap_or_default())
}

/// A connection.
pub fn link(link: &Link) -> String {
    match link {
        Link::Out(peer, session) => {
            format!("{} ({}.{})", name(*peer), session.incarnation, session.number)
        }
        Link::In(peer, session) => {
            format!("{} (in {}.{})", name(*peer), session.incarnation, session.number)
        }
    }
}

/// A record.
pub fn record(record: &Record) -> String {
    let key = String::from_utf8_lossy(&record.key);
    let request =
        record.request.map(|r| format!(" by {}#{}", r.client, r.number)).unwrap_or_default();
    match &record.value {
        Some(value) => format!("{} {key}={}{request}", record.lsn, String::from_utf8_lossy(value)),
        None => format!("{} {key}=∅{request}", record.lsn),
    }
}

fn records(list: &[Record]) -> String {
    list.iter().map(record).collect::<Vec<_>>().join(", ")
}

/// A change of the map.
pub fn delta(delta: &Delta) -> String {
    let mut text = format!("map {}‥{}", delta.from, delta.to);
    for (id, server) in &delta.servers {
        text += &format!(" {}:{:?}/{}", name(*id), server.standing, server.incarnation);
    }
    for (id, slot) in &delta.slots {
        let primary = slot.primary_id().map_or("—".to_owned(), name);
        let backups: Vec<_> = slot.backups.iter().map(|b| name(*b)).collect();
        let learner = slot.learner_id().map(|l| format!(" +{}", name(l))).unwrap_or_default();
        text +=
            &format!(" [{} e{} {primary},{}{learner}]", id.index(), slot.epoch, backups.join(","));
    }
    text
}

/// A message between servers.
pub fn message(message: &Message) -> String {
    match message {
        Message::Slot { slot, epoch, body } => {
            format!("slot {} epoch {epoch} {}", slot.index(), self::body(body))
        }
        Message::Beacon(beacon) => format!(
            "beacon at {} grant {} map {} echo {:?}",
            beacon.sent_at.0 / 1_000_000,
            beacon.is_grant,
            beacon.version,
            beacon.echo.map(|(life, at)| (life.0, at.0 / 1_000_000))
        ),
        Message::Push(d) => format!("push {}", delta(d)),
        Message::Hello { .. } | Message::Pull { .. } | Message::Ack { .. } => {
            format!("{message:?}")
        }
    }
}

fn body(body: &SlotMessage) -> String {
    match body {
        SlotMessage::Prepare { commit, record } => {
            let commit = commit.map_or("—".to_owned(), |c| c.to_string());
            format!("prepare {} commit {commit}", self::record(record))
        }
        SlotMessage::Chunk { records: list, upto } => {
            format!("chunk upto {upto}: {}", records(list))
        }
        SlotMessage::State(state) => format!(
            "state commit {} held {} empty {} last {}: {}",
            state.commit,
            state.held,
            state.is_empty,
            state.is_last,
            records(&state.records)
        ),
        SlotMessage::Open { commit, is_learner, above } => {
            format!("open commit {commit} learner {is_learner} above {above}")
        }
        SlotMessage::Commit { commit, has_reads, floor, .. } => {
            format!("commit {commit} reads {has_reads} floor {floor:?}")
        }
        SlotMessage::Fresh
        | SlotMessage::StopReads
        | SlotMessage::ReadsStopped
        | SlotMessage::Refused { .. } => format!("{body:?}"),
    }
}

/// A message to the coordinator.
pub fn to_ecs(message: &ToEcs) -> String {
    match message {
        ToEcs::Register { life, is_complete, is_standby, version, .. } => {
            format!(
                "register life {life:x} complete {is_complete} standby {is_standby} map {version}"
            )
        }
        ToEcs::Doubts { incarnation, doubted, .. } => {
            let doubted: Vec<_> = doubted.iter().map(|server| name(*server)).collect();
            format!("in life {incarnation} all doubt [{}]", doubted.join(", "))
        }
        ToEcs::Request { incarnation, number, version, changes, .. } => {
            let changes: Vec<_> = changes.iter().map(change).collect();
            format!("request {number} of life {incarnation}, map {version}: {}", changes.join(", "))
        }
    }
}

fn change(change: &cluster::Change) -> String {
    use cluster::Change;
    match change {
        Change::Depose { slot, epoch } => format!("depose slot {} e{epoch}", slot.index()),
        Change::Remove { slot, epoch, member } => {
            format!("remove {} slot {} e{epoch}", name(*member), slot.index())
        }
        Change::Promote { slot, epoch, learner } => {
            format!("promote {}/{} slot {} e{epoch}", name(learner.0), learner.1, slot.index())
        }
        Change::HandOver { slot, epoch, to } => {
            format!("hand over to {} slot {} e{epoch}", name(*to), slot.index())
        }
        Change::Resign { slot, epoch } => format!("resign slot {} e{epoch}", slot.index()),
        Change::Fail | Change::Leave => format!("{change:?}"),
    }
}

/// A message of the coordinator.
pub fn from_ecs(message: &FromEcs) -> String {
    match message {
        FromEcs::Registered { incarnation, delta: d, .. } => {
            format!("registered {incarnation} {}", delta(d))
        }
        FromEcs::Answer { number, delta: d } => format!("answer {number} {}", delta(d)),
        FromEcs::Push(d) => format!("push {}", delta(d)),
        FromEcs::Superseded => "superseded".to_owned(),
    }
}

/// What a client is told.
pub fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Value(Some((value, lsn))) => {
            format!("value {} of {lsn}", String::from_utf8_lossy(value))
        }
        other => format!("{other:?}"),
    }
}
