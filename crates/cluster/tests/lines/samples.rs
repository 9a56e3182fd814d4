//! Every kind of message, with the very bytes it stands as.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::gossip::{self, Kind, Life, Load, Report, Rumor, Status};
use cluster::lines::{GossipLine, Opening, Secret};
use cluster::{
    Beacon, Change, Delta, Epoch, FromEcs, Incarnation, Lsn, Message, Number, Record, Request,
    ServerInfo, Session, Slot, SlotId, SlotLoad, SlotMessage, Standing, State, Time, ToEcs,
    Version,
};
use hashring::Ring;

use crate::server;

fn lsn(epoch: u32, counter: u64) -> Lsn {
    Lsn::new(epoch, counter)
}

fn slot(index: u16) -> SlotId {
    SlotId::new(index).unwrap()
}

fn put(at: Lsn, key: &[u8], value: &[u8]) -> Record {
    let value = Some(Arc::from(value));
    Record { lsn: at, key: Arc::from(key), value, expires_at_ms: None, request: None }
}

fn delete(at: Lsn, key: &[u8]) -> Record {
    Record { value: None, ..put(at, key, b"") }
}

fn request(at: Lsn) -> Record {
    let request = Some(Request { client: u64::MAX, number: 0, outcome: 3 });
    Record { request, ..delete(at, b"") }
}

fn about(body: SlotMessage) -> Message {
    Message::Slot { slot: slot(17), epoch: Epoch(3), body }
}

fn prepare(commit: Option<Lsn>, record: Record) -> Message {
    about(SlotMessage::Prepare { commit, record })
}

/// A change of a small map, and its JSON.
pub(crate) fn delta() -> (Delta, &'static str) {
    let info = ServerInfo {
        address: "127.0.0.1:5153".to_owned(),
        incarnation: Incarnation(4),
        life: 77,
        standing: Standing::Serving,
        changed: Version(9),
    };
    let members = Slot {
        epoch: Epoch(3),
        term: Epoch(2),
        changed: Version(9),
        primary: Some((server(1), Incarnation(4))),
        backups: vec![server(2)],
        learner: None,
        former: Vec::new(),
    };
    let delta = Delta {
        from: Version(8),
        to: Version(9),
        servers: vec![(server(1), info)],
        ring: Some((Version(7), Ring::from_tokens(2, [(slot(1), server(1))]).unwrap())),
        slots: vec![(slot(0), members)],
    };
    let json = r#"{"from":8,"to":9,"servers":{"00000000000000000000000000000001":{"address":"127.0.0.1:5153","incarnation":4,"life":77,"standing":"serving","changed":9}},"ring":{"changed":7,"slots":2,"tokens":[[1,"00000000000000000000000000000001"]]},"slots":[[0,{"epoch":3,"term":2,"changed":9,"primary":["00000000000000000000000000000001",4],"backups":["00000000000000000000000000000002"],"learner":null}]]}"#;
    (delta, json)
}

/// Messages between servers.
pub(crate) fn messages() -> Vec<(Message, String)> {
    let (change, json) = delta();
    let mut samples = slot_messages();
    let session = Session { incarnation: Incarnation(7), number: 2 };
    samples.extend([
        (Message::Hello { session, version: Version(41) }, "hello 7 2 41\n".to_owned()),
        (Message::Pull { version: Version(40) }, "pull 40\n".to_owned()),
        (Message::Push(change), format!("push {json}\n")),
        (Message::Ack { upto: u64::MAX }, "ack 18446744073709551615\n".to_owned()),
    ]);
    samples.extend(beacons().map(|(message, text)| (message, text.to_owned())));
    samples
}

fn beacons() -> [(Message, &'static str); 2] {
    let leases = BTreeMap::from([(server(2), Version(40)), (server(255), Version(41))]);
    let full = Beacon {
        sent_at: Time(1_234_567_890),
        echo: Some((Incarnation(7), Time(99))),
        is_grant: true,
        is_read_grant: true,
        version: Version(41),
        leases,
        is_full: true,
    };
    let bare = Beacon {
        sent_at: Time(0),
        echo: None,
        is_grant: false,
        is_read_grant: false,
        version: Version(0),
        leases: BTreeMap::new(),
        is_full: false,
    };
    [
        (
            Message::Beacon(full),
            "beacon 1234567890 7:99 lease,reads,full 41 00000000000000000000000000000002:40,000000000000000000000000000000ff:41\n",
        ),
        (Message::Beacon(bare), "beacon 0 - - 0 -\n"),
    ]
}

fn slot_messages() -> Vec<(Message, String)> {
    let mut samples = prepares();
    samples.extend(batches());
    let commit = |floor, request_floor, has_reads| SlotMessage::Commit {
        commit: lsn(3, 5),
        floor,
        request_floor,
        has_reads,
    };
    let unread = commit(lsn(0, 0), lsn(0, 0), false);
    let commit = commit(lsn(2, 1), lsn(1, 7), true);
    let open = |is_learner, above| SlotMessage::Open { commit: lsn(2, 9), is_learner, above };
    samples.extend([
        (about(open(true, lsn(0, 0))), "open 17 3 2.9 0.0 learner\n"),
        (about(open(false, lsn(2, 4))), "open 17 3 2.9 2.4 -\n"),
        (about(SlotMessage::Fresh), "fresh 17 3\n"),
        (about(commit), "commit 17 3 3.5 2.1 1.7 reads\n"),
        (about(unread), "commit 17 3 3.5 0.0 0.0 -\n"),
        (about(SlotMessage::StopReads), "stop_reads 17 3\n"),
        (about(SlotMessage::ReadsStopped), "reads_stopped 17 3\n"),
        (about(SlotMessage::Refused { known: Epoch(16_777_215) }), "refused 17 3 16777215\n"),
    ]);
    samples.into_iter().map(|(message, text)| (message, text.to_owned())).collect()
}

fn prepares() -> Vec<(Message, &'static str)> {
    let asked = Request { client: 12, number: 34, outcome: 1 };
    let whole = Record {
        expires_at_ms: Some(1_700_000_000_000),
        request: Some(asked),
        ..put(lsn(3, 42), b"city", b"Bern am Fluss")
    };
    let gone = Record { request: Some(asked), ..delete(lsn(3, 43), b"a key") };
    let last = Lsn(u64::MAX);
    vec![
        (
            prepare(Some(lsn(3, 41)), whole),
            "prepare 17 3 3.41 3.42 1700000000000 12:34:1 put city Bern am Fluss\n",
        ),
        (prepare(None, put(lsn(3, 1), b"k", b"")), "prepare 17 3 - 3.1 - - put k \n"),
        (prepare(None, put(lsn(3, 1), b"-", b"-")), "prepare 17 3 - 3.1 - - put - -\n"),
        (
            prepare(Some(lsn(0, 0)), put(lsn(3, 2), b" \\\n\r\0x", b" \\\n\r\0 ")),
            "prepare 17 3 0.0 3.2 - - put \\s\\\\\\n\\r\\0x  \\\\\\n\\r\\0 \n",
        ),
        (prepare(None, gone), "prepare 17 3 - 3.43 - 12:34:1 delete a\\skey\n"),
        (
            prepare(Some(last), request(last)),
            "prepare 17 3 16777215.1099511627775 16777215.1099511627775 - 18446744073709551615:0:3 request\n",
        ),
    ]
}

fn batches() -> Vec<(Message, &'static str)> {
    let records = vec![put(lsn(2, 7), b"city", b"Bern"), delete(lsn(2, 9), b"town")];
    let state = State {
        commit: lsn(2, 8),
        held: lsn(2, 9),
        is_empty: false,
        records: vec![request(lsn(2, 9))],
        is_last: true,
    };
    let nothing = State { is_empty: true, is_last: true, ..State::default() };
    let part = State { records: vec![delete(lsn(1, 1), b"k")], ..State::default() };
    vec![
        (
            about(SlotMessage::Chunk { records, upto: lsn(2, 9) }),
            "chunk 17 3 2.9 2\nrecord 2.7 - - put city Bern\nrecord 2.9 - - delete town\n",
        ),
        (about(SlotMessage::Chunk { records: Vec::new(), upto: lsn(2, 9) }), "chunk 17 3 2.9 0\n"),
        (
            about(SlotMessage::State(state)),
            "state 17 3 2.8 2.9 last 1\nrecord 2.9 - 18446744073709551615:0:3 request\n",
        ),
        (about(SlotMessage::State(nothing)), "state 17 3 0.0 0.0 empty,last 0\n"),
        (about(SlotMessage::State(part)), "state 17 3 0.0 0.0 - 1\nrecord 1.1 - - delete k\n"),
    ]
}

/// Messages to the coordinator.
pub(crate) fn to_ecs() -> Vec<(ToEcs, &'static str)> {
    let register = |address: &str, is_complete, is_standby| ToEcs::Register {
        server: server(1),
        address: address.to_owned(),
        life: 77,
        is_complete,
        is_standby,
        version: Version(8),
    };
    let (slot, epoch) = (slot(17), Epoch(3));
    let changes = vec![
        Change::Depose { slot, epoch },
        Change::Remove { slot, epoch, member: server(2) },
        Change::Promote { slot, epoch, learner: (server(3), Incarnation(5)) },
        Change::HandOver { slot, epoch, to: server(4) },
        Change::Resign { slot, epoch },
        Change::Fail,
        Change::Leave,
    ];
    let load = SlotLoad { stored_len: 4096, op_rate: 60 };
    let request = |is_full, changes, loads| ToEcs::Request {
        server: server(1),
        incarnation: Incarnation(4),
        number: Number(6),
        version: Version(8),
        is_full,
        changes,
        loads,
    };
    let doubts = |doubted: &[u128]| ToEcs::Doubts {
        server: server(1),
        incarnation: Incarnation(4),
        doubted: doubted.iter().map(|id| server(*id)).collect(),
    };
    vec![
        (
            register("127.0.0.1:5153", true, true),
            "register 00000000000000000000000000000001 77 8 complete,standby 127.0.0.1:5153\n",
        ),
        (register("a b", false, false), "register 00000000000000000000000000000001 77 8 - a\\sb\n"),
        (
            request(
                true,
                changes,
                vec![(slot, load), (SlotId::new(4095).unwrap(), SlotLoad::default())],
            ),
            "request 00000000000000000000000000000001 4 6 8 full depose:17:3,remove:17:3:00000000000000000000000000000002,promote:17:3:00000000000000000000000000000003:5,hand_over:17:3:00000000000000000000000000000004,resign:17:3,fail,leave 17:4096:60,4095:0:0\n",
        ),
        (
            doubts(&[2, 3]),
            "doubts 00000000000000000000000000000001 4 00000000000000000000000000000002,00000000000000000000000000000003\n",
        ),
        (doubts(&[]), "doubts 00000000000000000000000000000001 4 -\n"),
        (
            request(false, Vec::new(), Vec::new()),
            "request 00000000000000000000000000000001 4 6 8 - - -\n",
        ),
    ]
}

/// Messages from the coordinator.
pub(crate) fn from_ecs() -> Vec<(FromEcs, String)> {
    let (change, json) = delta();
    let registered =
        FromEcs::Registered { life: 77, incarnation: Incarnation(4), delta: change.clone() };
    vec![
        (registered, format!("registered 77 4 {json}\n")),
        (
            FromEcs::Answer { number: Number(6), delta: change.clone() },
            format!("answer 6 {json}\n"),
        ),
        (FromEcs::Push(change), format!("push {json}\n")),
        (FromEcs::Superseded, "superseded\n".to_owned()),
    ]
}

/// What a connection of gossip carries.
pub(crate) fn gossip() -> Vec<(GossipLine, String)> {
    let (change, json) = delta();
    let life = |refutation| Life { incarnation: Incarnation(7), refutation };
    let rumor =
        |name, refutation, status| Rumor { server: server(name), life: life(refutation), status };
    let address = Arc::from("a,b:5153");
    let rumors = vec![
        rumor(1, 2, Status::Alive { version: Version(40), address }),
        rumor(2, 0, Status::Suspect { by: BTreeSet::from([server(1), server(255)]) }),
        rumor(3, 1, Status::Dead),
        rumor(4, Life::REFUTATION_MAX, Status::Left),
    ];
    let report = Report {
        server: server(1),
        incarnation: Incarnation(7),
        beat: 12,
        version: Version(41),
        load: Load { key_count: 1000, stored_len: u64::MAX, op_rate: 0 },
    };
    let bare = |kind| {
        let (rumors, reports) = (Vec::new(), Vec::new());
        let (life, version) = (life(0), Version(41));
        GossipLine::Message(gossip::Message { kind, life, version, rumors, reports })
    };
    let reports = vec![report, Report { server: server(2), ..report }];
    let (kind, version) = (Kind::Pong { number: 4711 }, Version(41));
    let full = gossip::Message { kind, life: life(2), version, rumors, reports };
    let [a, b, c, d] = [1, 2, 3, 4].map(|name| format!("{name:032x}"));
    let max = u64::MAX;
    vec![
        (bare(Kind::Ping { number: 4711 }), "ping 4711 7.0 41 - -\n".to_owned()),
        (bare(Kind::Ask { number: 1, target: server(2) }), format!("ask 1 {b} 7.0 41 - -\n")),
        (bare(Kind::Silent { number: max }), format!("silent {max} 7.0 41 - -\n")),
        (bare(Kind::News), "news 7.0 41 - -\n".to_owned()),
        (
            GossipLine::Message(full),
            format!(
                "pong 4711 7.2 41 {a}:7.2:alive:40:a\\x2cb:5153,{b}:7.0:suspect:{a}/{:032x},{c}:7.1:dead,{d}:7.1073741824:left {a}:7:12:41:1000:{max}:0,{b}:7:12:41:1000:{max}:0\n",
                255
            ),
        ),
        (GossipLine::Pull { version: Version(40) }, "pull 40\n".to_owned()),
        (GossipLine::Push(change), format!("push {json}\n")),
    ]
}

/// First lines.
pub(crate) fn openings() -> Vec<(Opening, &'static str)> {
    let peer = |secret| Opening::Peer { from: server(1), to: server(2), secret };
    vec![
        (peer(None), "peer 1 00000000000000000000000000000001 00000000000000000000000000000002\n"),
        (
            peer(Secret::new(b"open sesame")),
            "peer 1 00000000000000000000000000000001 00000000000000000000000000000002 open\\ssesame\n",
        ),
        (
            Opening::Gossip { from: server(1), to: server(2), secret: Secret::new(b"hush") },
            "gossip 1 00000000000000000000000000000001 00000000000000000000000000000002 hush\n",
        ),
        (
            Opening::Server { from: server(1), secret: None },
            "server 1 00000000000000000000000000000001\n",
        ),
        (
            Opening::Server { from: server(1), secret: Secret::new(b"-") },
            "server 1 00000000000000000000000000000001 -\n",
        ),
    ]
}
