//! Limits: what is at one is taken, what is one past it is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::gossip::{ACCUSER_COUNT_MAX, REPORT_COUNT_MAX, RUMOR_COUNT_MAX};
use cluster::lines::{
    ADDRESS_LEN_MAX, CHANGE_COUNT_MAX, DELTA_LEN_MAX, FROM_ECS_LEN_MAX, Fault, GOSSIP_LEN_MAX,
    LEASE_COUNT_MAX, LOAD_COUNT_MAX, OPENING_LEN_MAX, Opening, RECORD_COUNT_MAX, RECORDS_LEN_MAX,
    Reader, SECRET_LEN_MAX, Secret, TO_ECS_LEN_MAX, message_len_max, read_from_ecs, read_gossip,
    read_opening, read_to_ecs, write_from_ecs, write_opening, write_to_ecs,
};
use cluster::{
    Beacon, Change, Delta, Epoch, FromEcs, Incarnation, Lsn, Message, Number, Record, ServerInfo,
    Slot, SlotId, SlotLoad, SlotMessage, Standing, Time, ToEcs, Version,
};
use protocol::Limits;

use crate::{read_all, server, written};

fn slot(index: u16) -> SlotId {
    SlotId::new(index).unwrap()
}

fn refusal(text: &str, limits: Limits) -> Option<Fault> {
    read_all(text.as_bytes(), limits).err().map(|error| error.fault)
}

#[test]
fn keys_and_values_are_taken_up_to_their_limits() {
    let limits = Limits { key_len_max: 3, value_len_max: 5 };
    let line = |key: &str, value: &str| format!("prepare 1 1 - 1.1 - - put {key} {value}\n");
    assert_eq!(refusal(&line("abc", "12345"), limits), None);
    assert_eq!(refusal(&line("\\x61b\\s", "1234\\\\"), limits), None);
    let too_long = |len, len_max| Some(Fault::TooLong { len, len_max });
    assert_eq!(refusal(&line("abcd", "12345"), limits), too_long(4, 3));
    assert_eq!(refusal(&line("abc", "123456"), limits), too_long(6, 5));
}

#[test]
fn a_beacon_has_leases_up_to_the_limit() {
    let beacon = |count: usize| {
        let leases: BTreeMap<_, _> =
            (0..count).map(|id| (server(u128::MAX - id as u128), Version(u64::MAX))).collect();
        Message::Beacon(Beacon {
            sent_at: Time(u64::MAX),
            echo: Some((Incarnation(u64::MAX), Time(u64::MAX))),
            is_grant: true,
            is_read_grant: true,
            version: Version(u64::MAX),
            leases,
            is_full: true,
        })
    };
    let text = written(&beacon(LEASE_COUNT_MAX));
    assert!(text.len() <= message_len_max(&Limits { key_len_max: 1, value_len_max: 0 }));
    assert_eq!(refusal(&text, Limits::default()), None);
    let count_max = LEASE_COUNT_MAX;
    let text = written(&beacon(LEASE_COUNT_MAX + 1));
    assert_eq!(refusal(&text, Limits::default()), Some(Fault::TooMany { count_max }));
}

#[test]
fn a_chunk_announces_records_up_to_the_limit() {
    let head = |count| format!("chunk 1 1 1.1 {count}");
    let mut reader = Reader::new(Limits::default());
    assert_eq!(reader.read(head(RECORD_COUNT_MAX).as_bytes()), Ok(None));
    let error = Reader::new(Limits::default()).read(head(RECORD_COUNT_MAX + 1).as_bytes());
    assert_eq!(error.unwrap_err().fault, Fault::TooMany { count_max: RECORD_COUNT_MAX });
    for number in 1..RECORD_COUNT_MAX {
        let line = format!("record 1.{number} - 1:1:1 request");
        assert_eq!(reader.read(line.as_bytes()), Ok(None));
    }
    let message = reader.read(b"record 2.0 - 1:1:1 request").unwrap();
    let Some(Message::Slot { body: SlotMessage::Chunk { records, .. }, .. }) = message else {
        panic!("the chunk is whole");
    };
    assert_eq!(records.len(), RECORD_COUNT_MAX);
}

#[test]
fn all_records_but_the_last_are_of_bytes_up_to_the_limit() {
    let record = |len: usize| {
        let value = Some(Arc::from(vec![b'v'; len]));
        let (key, lsn) = (Arc::from(*b"k"), Lsn::new(1, 1));
        Record { lsn, key, value, expires_at_ms: None, request: None }
    };
    let head_len = record(0).byte_len();
    let taken = |first_len: usize| {
        let records = vec![record(first_len - head_len), record(0)];
        let body = SlotMessage::Chunk { records, upto: Lsn::new(1, 1) };
        let message = Message::Slot { slot: slot(1), epoch: Epoch(1), body };
        refusal(&written(&message), Limits { key_len_max: 1, value_len_max: RECORDS_LEN_MAX + 1 })
    };
    let (len, len_max) = (RECORDS_LEN_MAX + 1, RECORDS_LEN_MAX);
    assert_eq!(taken(len_max), None);
    assert_eq!(taken(len), Some(Fault::TooLong { len, len_max }));
}

#[test]
fn a_request_has_changes_and_loads_up_to_their_limits() {
    let change = Change::Promote {
        slot: slot(4095),
        epoch: Epoch(Lsn::EPOCH_MAX),
        learner: (server(u128::MAX), Incarnation(u64::MAX)),
    };
    let load = SlotLoad { stored_len: u64::MAX, op_rate: u64::MAX };
    let line = |change_count, load_count| {
        let message = ToEcs::Request {
            server: server(u128::MAX),
            incarnation: Incarnation(u64::MAX),
            number: Number(u64::MAX),
            version: Version(u64::MAX),
            is_full: true,
            changes: vec![change; change_count],
            loads: vec![(slot(4095), load); load_count],
        };
        let mut out = Vec::new();
        write_to_ecs(&mut out, &message);
        out.pop();
        out
    };
    let most = line(CHANGE_COUNT_MAX, LOAD_COUNT_MAX);
    assert!(most.len() <= TO_ECS_LEN_MAX, "{} bytes", most.len());
    assert!(read_to_ecs(&most).is_ok());
    let fault = |line: Vec<u8>| read_to_ecs(&line).unwrap_err().fault;
    let too_many = |count_max| Fault::TooMany { count_max };
    assert_eq!(fault(line(CHANGE_COUNT_MAX + 1, 0)), too_many(CHANGE_COUNT_MAX));
    assert_eq!(fault(line(0, LOAD_COUNT_MAX + 1)), too_many(LOAD_COUNT_MAX));
}

#[test]
fn an_address_is_taken_up_to_its_limit() {
    let line = |len| format!("register {:032x} 1 1 - {}", 1, "a".repeat(len));
    assert!(read_to_ecs(line(ADDRESS_LEN_MAX).as_bytes()).is_ok());
    let error = read_to_ecs(line(ADDRESS_LEN_MAX + 1).as_bytes()).unwrap_err();
    let (len, len_max) = (ADDRESS_LEN_MAX + 1, ADDRESS_LEN_MAX);
    assert_eq!(error.fault, Fault::TooLong { len, len_max });
}

#[test]
fn gossip_has_rumours_reports_accusers_and_bytes_up_to_their_limits() {
    let (id, max) = (format!("{:032x}", 1), u64::MAX);
    let list = |item: &str, count: usize| vec![item; count].join(",");
    let fault = |line: String| read_gossip(line.as_bytes()).err().map(|error| error.fault);
    let rumors = |count| format!("news 1.0 1 {} -", list(&format!("{id}:1.0:dead"), count));
    let reports = |count| format!("news 1.0 1 - {}", list(&format!("{id}:1:1:1:1:1:1"), count));
    let accusers = |count: usize| {
        let ids: Vec<_> = (0..count).map(|name| format!("{name:032x}")).collect();
        format!("news 1.0 1 {id}:1.0:suspect:{} -", ids.join("/"))
    };
    let too_many = |count_max| Some(Fault::TooMany { count_max });
    assert_eq!(fault(rumors(RUMOR_COUNT_MAX)), None);
    assert_eq!(fault(rumors(RUMOR_COUNT_MAX + 1)), too_many(RUMOR_COUNT_MAX));
    assert_eq!(fault(reports(REPORT_COUNT_MAX)), None);
    assert_eq!(fault(reports(REPORT_COUNT_MAX + 1)), too_many(REPORT_COUNT_MAX));
    assert_eq!(fault(accusers(ACCUSER_COUNT_MAX)), None);
    assert_eq!(fault(accusers(ACCUSER_COUNT_MAX + 1)), too_many(ACCUSER_COUNT_MAX));
    let address = |len| format!("{id}:{max}.0:alive:{max}:{}", "a".repeat(len));
    let line = |len| format!("news 1.0 1 {} -", address(len));
    assert_eq!(fault(line(ADDRESS_LEN_MAX)), None);
    let (len, len_max) = (ADDRESS_LEN_MAX + 1, ADDRESS_LEN_MAX);
    assert_eq!(fault(line(ADDRESS_LEN_MAX + 1)), Some(Fault::TooLong { len, len_max }));
    let mut long = format!("news 1.0 1 {} -", list(&address(200), 14));
    let padding = GOSSIP_LEN_MAX - long.len() - id.len() - ":1.0:alive:1:".len() - 1;
    long.insert_str("news 1.0 1 ".len(), &format!("{id}:1.0:alive:1:{},", "a".repeat(padding)));
    assert_eq!((long.len(), fault(long.clone())), (GOSSIP_LEN_MAX, None));
    let (len, len_max) = (GOSSIP_LEN_MAX + 1, GOSSIP_LEN_MAX);
    assert_eq!(fault(format!("{long} ")), Some(Fault::TooLong { len, len_max }));
}

#[test]
fn a_secret_is_taken_up_to_its_limit() {
    assert!(Secret::new(b"").is_none());
    assert!(Secret::new(&[1; SECRET_LEN_MAX + 1]).is_none());
    let secret = Secret::new(&[b' '; SECRET_LEN_MAX]);
    assert!(secret.is_some());
    let mut out = Vec::new();
    write_opening(&mut out, &Opening::Peer { from: server(1), to: server(2), secret });
    assert!(read_opening(out.strip_suffix(b"\n").unwrap()).unwrap().is_ok());
    let longest = format!("peer 1 {0:032x} {0:032x} {1}", 1, "\\x20".repeat(SECRET_LEN_MAX));
    assert!(longest.len() <= OPENING_LEN_MAX);
    assert!(read_opening(longest.as_bytes()).unwrap().is_ok());
    let error = read_opening(format!("{longest}a").as_bytes()).unwrap().unwrap_err();
    let (len, len_max) = (SECRET_LEN_MAX + 1, SECRET_LEN_MAX);
    assert_eq!(error.fault, Fault::TooLong { len, len_max });
}

#[test]
fn secrets_are_equal_only_if_every_byte_is() {
    let secret = |text: &str| Secret::new(text.as_bytes()).unwrap();
    assert_eq!(secret("open"), secret("open"));
    for other in ["opem", "Open", "ope", "opens", "o"] {
        assert_ne!(secret("open"), secret(other), "{other}");
    }
}

#[test]
fn the_whole_map_of_the_largest_cluster_fits_its_limit_twice() {
    let largest = |number: u64| ServerInfo {
        address: format!("a-rather-long-name-of-a-server-{number}.example.org:65535"),
        incarnation: Incarnation(u64::MAX),
        life: u64::MAX,
        standing: Standing::Leaving,
        changed: Version(u64::MAX),
    };
    let members = Slot {
        epoch: Epoch(Lsn::EPOCH_MAX),
        term: Epoch(Lsn::EPOCH_MAX),
        changed: Version(u64::MAX),
        primary: Some((server(u128::MAX), Incarnation(u64::MAX))),
        backups: vec![server(u128::MAX); 3],
        learner: Some((server(u128::MAX), Incarnation(u64::MAX))),
        former: vec![server(u128::MAX); 3],
    };
    let tokens = (0..4096).map(|index| (slot(index), server(u128::from(index % 1000))));
    let delta = Delta {
        from: Version(0),
        to: Version(u64::MAX),
        servers: (0..1000).map(|number| (server(number.into()), largest(number))).collect(),
        ring: Some((Version(u64::MAX), hashring::Ring::from_tokens(4096, tokens).unwrap())),
        slots: (0..4096).map(|index| (slot(index), members.clone())).collect(),
    };
    let mut out = Vec::new();
    write_from_ecs(&mut out, &FromEcs::Push(delta.clone()));
    out.pop();
    assert!(2 * out.len() <= DELTA_LEN_MAX, "{} bytes", out.len());
    assert_eq!(read_from_ecs(&out), Ok(FromEcs::Push(delta)));
}

#[test]
fn a_change_of_the_map_is_read_up_to_its_limit() {
    let (_, json) = crate::samples::delta();
    let padded = |len: usize| format!("push {json}{}", " ".repeat(len - json.len()));
    let at_limit = padded(DELTA_LEN_MAX);
    assert!(at_limit.len() <= FROM_ECS_LEN_MAX);
    assert!(read_from_ecs(at_limit.as_bytes()).is_ok());
    let error = read_from_ecs(padded(DELTA_LEN_MAX + 1).as_bytes()).unwrap_err();
    let (len, len_max) = (DELTA_LEN_MAX + 1, DELTA_LEN_MAX);
    assert_eq!(error.fault, Fault::TooLong { len, len_max });
}

#[test]
fn a_line_has_room_for_the_longest_spelling_of_a_record() {
    let limits = Limits { key_len_max: 1 << 10, value_len_max: 3 << 20 };
    let (max, lsn) = (u64::MAX, "16777215.1099511627775");
    let head = format!("prepare 4095 16777215 {lsn} {lsn} {max} {max}:{max}:255 put");
    let spelled = |len: usize| "\\x41".repeat(len);
    let line = format!("{head} {} {}\n", spelled(1 << 10), spelled(3 << 20));
    assert!(line.len() <= message_len_max(&limits), "{} bytes", line.len());
    assert_eq!(refusal(&line, limits), None);
    let huge = Limits { key_len_max: usize::MAX, value_len_max: usize::MAX };
    assert_eq!(message_len_max(&huge), usize::MAX);
}
