//! What is said of lines that make no sense: what is wrong, and at which column.

use cluster::lines::{Fault, Reader, read_from_ecs, read_gossip, read_opening, read_to_ecs};
use protocol::Limits;

use crate::{read_all, samples};

const LIMITS: Limits = Limits { key_len_max: 8, value_len_max: 24 };

fn told(text: &str) -> String {
    read_all(format!("{text}\n").as_bytes(), LIMITS).unwrap_err().to_string()
}

#[test]
fn an_error_says_what_is_wrong_and_where() {
    let table = [
        ("", "message missing at column 1"),
        ("hullo", "unknown message at column 1"),
        ("put k v", "unknown message at column 1"),
        ("ack", "position missing at column 4"),
        ("ack ", "position missing at column 5"),
        ("ack 1 ", "unexpected text behind message at column 7"),
        ("ack 1 2", "unexpected text behind message at column 7"),
        ("ack  1", "position missing at column 5"),
        ("ack 01", "position not a number at column 5"),
        ("ack +1", "position not a number at column 5"),
        ("ack 1x", "unexpected text behind position at column 6"),
        ("ack 18446744073709551616", "position above 18446744073709551615 at column 5"),
        ("fresh 4096 1", "slot above 4095 at column 7"),
        ("fresh 1 16777216", "epoch above 16777215 at column 9"),
        ("open 1 1 1 -", "commit point missing at column 11"),
        ("open 1 1 1.1099511627776 -", "commit point above 1099511627775 at column 12"),
        ("open 1 1 16777216.0 -", "commit point above 16777215 at column 10"),
        ("open 1 1 1.2 0.0 learners", "unknown mark at column 18"),
        ("open 1 1 1.2", "lsn missing at column 13"),
        ("state 1 1 0.0 0.0 last,empty 0", "unknown mark at column 19"),
        ("state 1 1 0.0 0.0 - 262145", "too many records: the limit is 262144 at column 21"),
        ("prepare 1 1 - 1.1 - - put k", "value missing at column 28"),
        ("prepare 1 1 - 1.1 - - put  v", "key missing at column 27"),
        ("prepare 1 1 - 1.1 - - put k\\q v", "bad escape in key at column 28"),
        ("prepare 1 1 - 1.1 - - put k v\\s", "bad escape in value at column 30"),
        (
            "prepare 1 1 - 1.1 - - put 123456789 v",
            "key too long: 9 bytes, the limit is 8 at column 27",
        ),
        ("prepare 1 1 - 1.1 - - delete k v", "unexpected text behind record at column 32"),
        ("prepare 1 1 - 1.1 - - drop k", "unknown kind of record at column 23"),
        ("prepare 1 1 - 1.1 - - request", "request id missing at column 21"),
        ("prepare 1 1 - 1.1 5 1:2:3 request", "unexpected text behind lsn at column 19"),
        ("prepare 1 1 - 1.1 - 1:2:256 put k v", "request id above 255 at column 25"),
        ("prepare 1 1 - 1.1 - 1:2 put k v", "request id missing at column 24"),
        ("beacon 1 7 - 1 -", "echo missing at column 11"),
        ("beacon 1 - lease,lease 1 -", "unknown mark at column 12"),
        ("beacon 1 - - 1 0000", "leases not 32 hexadecimal digits at column 16"),
        ("push", "change of the map missing at column 5"),
        ("push {\"from\":1}", "change of the map not as JSON at column 15"),
        ("error go away", "refused by the other side: go away"),
        ("chunk 1 1 0.0 2\nack 1", "record missing at column 1"),
        ("chunk 1 1 0.0 1\nerror\tno", "record missing at column 1"),
        ("chunk 1 1 0.0 1\nerror no", "refused by the other side: no"),
        ("record 1.1 - - delete k", "unknown message at column 1"),
    ];
    for (text, said) in table {
        assert_eq!(told(text), said, "to {text:?}");
    }
}

#[test]
fn leases_that_do_not_rise_are_refused() {
    let [a, b] = [format!("{:032x}:1", 5), format!("{:032x}:1", 6)];
    assert!(read_all(format!("beacon 1 - - 1 {a},{b}\n").as_bytes(), LIMITS).is_ok());
    for (first, second) in [(&b, &a), (&a, &a)] {
        let said = told(&format!("beacon 1 - - 1 {first},{second}"));
        assert_eq!(said, "leases out of order at column 51");
    }
}

#[test]
fn nonsense_to_and_from_the_coordinator_is_refused_with_its_place() {
    let id = "0".repeat(32);
    let table = [
        (format!("request {id} 1 2 3 - fly -"), "unknown change at column 50"),
        (format!("request {id} 1 2 3 - - -,-"), "unexpected text behind loads at column 53"),
        (format!("request {id} 1 2 3 - fail, -"), "change missing at column 55"),
        (format!("request {id} 1 2 3 - depose:1 -"), "epoch missing at column 58"),
        (
            format!("request {id} 1 2 3 - remove:1:2:3 -"),
            "server not 32 hexadecimal digits at column 61",
        ),
        (format!("request {id} 1 2 3 - - 1:"), "load missing at column 54"),
        (format!("register {id} 1 2 - "), "address missing at column 49"),
        (format!("register {id} 1 2 - \\xff"), "address not in UTF-8 at column 49"),
        ("register 1 1 2 - a".to_owned(), "server not 32 hexadecimal digits at column 10"),
        ("get k".to_owned(), "unknown message at column 1"),
        ("error no".to_owned(), "refused by the other side: no"),
    ];
    for (line, said) in table {
        assert_eq!(read_to_ecs(line.as_bytes()).unwrap_err().to_string(), said, "to {line:?}");
    }
    let table = [
        ("superseded now", "unexpected text behind message at column 12"),
        ("answer 1 {]", "change of the map not as JSON at column 11"),
        ("answer 1 ", "change of the map not as JSON at column 10"),
        ("registered 1", "incarnation missing at column 13"),
    ];
    for (line, said) in table {
        assert_eq!(read_from_ecs(line.as_bytes()).unwrap_err().to_string(), said, "to {line:?}");
    }
}

#[test]
fn nonsense_in_gossip_is_refused_with_its_place() {
    let (a, b) = (format!("{:032x}", 1), format!("{:032x}", 2));
    let table = [
        (String::new(), "message missing at column 1"),
        ("hello 1 1 1".to_owned(), "unknown message at column 1"),
        ("error no".to_owned(), "refused by the other side: no"),
        ("ping 1".to_owned(), "incarnation missing at column 7"),
        ("ping 1 7 41 - -".to_owned(), "life missing at column 9"),
        ("ping 1 7.1073741825 41 - -".to_owned(), "life above 1073741824 at column 10"),
        ("ping 1 7.0 41 -".to_owned(), "server missing at column 16"),
        ("ping 1 7.0 41 - - -".to_owned(), "unexpected text behind message at column 19"),
        ("ask 1 7.0 41 - -".to_owned(), "server not 32 hexadecimal digits at column 7"),
        (format!("news 7.0 41 {a} -"), "rumour missing at column 45"),
        (format!("news 7.0 41 {a}:7.0:ill -"), "unknown status at column 50"),
        (format!("news 7.0 41 {a}:7.0: -"), "status missing at column 50"),
        (format!("news 7.0 41 {a}:7.0:alive:1: -"), "address missing at column 58"),
        (format!("news 7.0 41 {a}:7.0:alive:1:\\xff -"), "address not in UTF-8 at column 58"),
        (format!("news 7.0 41 {a}:7.0:suspect -"), "rumour missing at column 57"),
        (format!("news 7.0 41 {a}:7.0:suspect:{b}/{a} -"), "accusers out of order at column 91"),
        (format!("news 7.0 41 {a}:7.0:suspect:{b}/{b} -"), "accusers out of order at column 91"),
        (format!("news 7.0 41 {a}:7.0:dead:1 -"), "unexpected text behind rumours at column 54"),
        (format!("news 7.0 41 - {a}:7:1:41:5:6"), "operations missing at column 58"),
        (format!("news 7.0 41 - {a}:7:1:41:5:6:x"), "operations not a number at column 59"),
        ("pull 1 2".to_owned(), "unexpected text behind message at column 8"),
        ("push".to_owned(), "change of the map missing at column 5"),
    ];
    for (line, said) in table {
        assert_eq!(read_gossip(line.as_bytes()).unwrap_err().to_string(), said, "to {line:?}");
    }
}

#[test]
fn an_opening_of_another_version_is_refused_by_its_number() {
    for line in ["peer 2", "peer 2 whatever else", "gossip 2 x", "server 2 x"] {
        let error = read_opening(line.as_bytes()).unwrap().unwrap_err();
        assert_eq!(error.fault, Fault::Version { found: 2 });
        let said = format!("version 2 of the protocol not spoken at column {}", error.column);
        assert_eq!(error.to_string(), said);
        assert_eq!(error.column, line.find('2').unwrap() + 1);
    }
}

#[test]
fn an_epoch_beyond_its_bits_in_a_map_is_refused() {
    let (_, json) = samples::delta();
    assert!(read_from_ecs(format!("push {json}").as_bytes()).is_ok());
    for (good, bad) in [("\"epoch\":3", "\"epoch\":16777216"), ("\"term\":2", "\"term\":16777216")]
    {
        let line = format!("push {}", json.replace(good, bad));
        assert_eq!(
            read_from_ecs(line.as_bytes()).unwrap_err().to_string(),
            "epoch above 16777215 at column 6"
        );
    }
}

#[test]
fn what_the_other_side_said_is_cut_and_made_plain() {
    let line = [b"error a\tb\xff".as_slice(), &[b'c'; 1000]].concat();
    let Fault::Told { what } = Reader::new(LIMITS).read(&line).unwrap_err().fault else {
        panic!("the answer is told as it was");
    };
    assert!(what.starts_with("a b\u{fffd}ccc"), "{what}");
    assert_eq!(what.chars().count(), cluster::lines::TOLD_LEN_MAX);
}

#[test]
fn a_secret_is_shown_in_no_error_and_no_trace() {
    let id = "0".repeat(32);
    let opening = read_opening(format!("server 1 {id} hush").as_bytes()).unwrap().unwrap();
    assert!(!format!("{opening:?}").contains("hush"), "{opening:?}");
    let error = read_opening(format!("server 1 {id} hush hush").as_bytes()).unwrap().unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[test]
fn after_an_error_what_was_begun_is_forgotten() {
    let mut reader = Reader::new(LIMITS);
    assert_eq!(reader.read(b"chunk 1 1 0.0 2"), Ok(None));
    assert!(!reader.is_between());
    assert!(reader.read(b"nonsense").is_err());
    assert!(reader.is_between());
}
