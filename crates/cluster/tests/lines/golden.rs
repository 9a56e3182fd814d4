//! Every kind of message stands as exactly these bytes, and is read back from them.

use cluster::lines::{
    read_from_ecs, read_gossip, read_opening, read_to_ecs, write_from_ecs, write_gossip,
    write_opening, write_refusal, write_to_ecs,
};
use protocol::Limits;

use crate::{read_all, samples, written};

#[test]
fn messages_between_servers_stand_as_these_bytes() {
    for (message, text) in samples::messages() {
        assert_eq!(written(&message), text);
        assert_eq!(read_all(text.as_bytes(), Limits::default()), Ok(vec![message]), "{text}");
    }
}

#[test]
fn messages_to_the_coordinator_stand_as_these_bytes() {
    for (message, text) in samples::to_ecs() {
        let mut out = Vec::new();
        write_to_ecs(&mut out, &message);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(read_to_ecs(text.trim_end_matches('\n').as_bytes()), Ok(message));
    }
}

#[test]
fn messages_of_the_coordinator_stand_as_these_bytes() {
    for (message, text) in samples::from_ecs() {
        let mut out = Vec::new();
        write_from_ecs(&mut out, &message);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(read_from_ecs(text.trim_end_matches('\n').as_bytes()), Ok(message));
    }
}

#[test]
fn gossip_stands_as_these_bytes() {
    for (line, text) in samples::gossip() {
        let mut out = Vec::new();
        write_gossip(&mut out, &line);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(read_gossip(text.trim_end_matches('\n').as_bytes()), Ok(line));
    }
}

#[test]
fn openings_stand_as_these_bytes() {
    for (opening, text) in samples::openings() {
        let mut out = Vec::new();
        write_opening(&mut out, &opening);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(read_opening(text.trim_end_matches('\n').as_bytes()), Some(Ok(opening)));
    }
}

#[test]
fn no_request_of_a_client_is_taken_for_an_opening() {
    for verb in protocol::Verb::ALL {
        for line in [verb.name().to_owned(), format!("{verb} peer 1"), format!("{verb} server")] {
            assert_eq!(read_opening(line.as_bytes()), None, "{line}");
        }
    }
    for line in ["", " peer 1", "peers 1", "pee", "PEER 1", "servers 1", "get peer", "peer\t1"] {
        assert_eq!(read_opening(line.as_bytes()), None, "{line}");
    }
    for line in ["peer", "peer ", "gossip", "gossip 1", "server", "server x"] {
        assert!(matches!(read_opening(line.as_bytes()), Some(Err(_))), "{line}");
    }
}

#[test]
fn a_refusal_is_one_line_whatever_its_reason() {
    let mut out = Vec::new();
    write_refusal(&mut out, "not\r\nthis\0server");
    assert_eq!(out, b"error not  this server\n");
}

#[test]
fn several_messages_on_one_connection_are_read_in_their_order() {
    let (messages, texts): (Vec<_>, Vec<_>) = samples::messages().into_iter().unzip();
    assert_eq!(read_all(texts.concat().as_bytes(), Limits::default()), Ok(messages));
}
