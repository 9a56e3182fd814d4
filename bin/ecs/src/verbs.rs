//! What operators and clients ask: one line, one reply. The table of the verbs is in `docs/PROTOCOL.md`.
//!
//! Replies end in CR LF, and what is long is one line of JSON. A server is named by its id, by any unambiguous
//! beginning of it, or by its address.

use std::fmt::Write as _;
use std::net::SocketAddr;

use cluster::coordinator::elastic::By;
use cluster::coordinator::{Answer, Command, Wish};
use cluster::{Map, ServerId, SlotId};
use hashring::arcs_by;
use net::{Next, Replies};
use protocol::{Range, write_ranges};
use serde::Serialize;

use crate::host::Host;

/// Bytes of a word that are repeated in a reply.
const ECHO_LEN_MAX: usize = 64;

/// Answers one line.
pub(crate) fn answer(host: &Host, line: &[u8], replies: &mut Replies) -> Next {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split(' ');
    let verb = words.next().unwrap_or_default().to_ascii_lowercase();
    let words: Vec<_> = words.collect();
    match (verb.as_str(), words.as_slice()) {
        ("status", []) => tell(host, replies, json("status", &host.status())),
        ("ring", []) => tell(host, replies, json("ring", &host.look(Ring::of))),
        ("map", []) => tell(host, replies, json("map", &host.whole_map())),
        ("plan", wish) => plan(host, wish, replies),
        ("keyrange", []) => tell(host, replies, ranges(host, "keyrange", false)),
        ("keyrange_read", []) => tell(host, replies, ranges(host, "keyrange_read", true)),
        ("join", [server]) => command(host, ("join", server), Command::Join, replies),
        ("leave", [server]) => command(host, ("leave", server), Command::Leave, replies),
        ("force_complete", [server, "lose_data"]) => {
            command(host, ("force_complete", server), Command::ForceComplete, replies);
        }
        ("rebalance", by) => match by_of(by) {
            Some(by) => {
                let (place, command) = (replies.reserve(), Command::Rebalance(by));
                host.command(place, command, |answer| outcome("rebalance", "", answer));
            }
            None => say(replies, &nonsense("rebalance")),
        },
        ("ping", []) => say(replies, "pong"),
        ("quit", []) => return Next::Close,
        _ => say(replies, &nonsense(&verb)),
    }
    replies.end_reply();
    Next::Continue
}

/// Returns what shares shall be of.
fn by_of(words: &[&str]) -> Option<By> {
    match words {
        [] | ["bytes"] => Some(By::Bytes),
        ["ops"] => Some(By::Operations),
        _ => None,
    }
}

/// Says what is wrong with a line, and what would be right.
fn nonsense(verb: &str) -> String {
    let usage = match verb {
        "put" | "get" | "delete" | "read" | "scan" => {
            return "error this is the ECS: ask a server, which `keyrange` names".to_owned();
        }
        "join" | "leave" => "<server>",
        "plan" => "[join <server> | leave <server> | rebalance [bytes | ops]]",
        "rebalance" => "[bytes | ops]",
        "force_complete" => "<server> lose_data (acknowledged writes may be lost)",
        "status" | "ring" | "map" | "keyrange" | "keyrange_read" | "ping" | "quit" => "",
        _ => {
            return format!(
                "error unknown verb {}: status, ring, plan, map, join, leave, rebalance, force_complete, keyrange, \
                 keyrange_read, ping, quit",
                echo(verb)
            );
        }
    };
    format!("error usage: {verb} {usage}").trim_end().to_owned()
}

/// Answers at once.
fn say(replies: &mut Replies, text: &str) {
    replies.buffer().extend_from_slice(text.as_bytes());
    replies.buffer().extend_from_slice(b"\r\n");
}

/// Answers when all that the reply may tell of is durable.
fn tell(host: &Host, replies: &mut Replies, reply: Vec<u8>) {
    host.reply(replies.reserve(), reply);
}

fn command(
    host: &Host,
    (verb, server): (&'static str, &str),
    what: fn(ServerId) -> Command,
    replies: &mut Replies,
) {
    match host.look(|map| named(map, server)) {
        Ok(id) => {
            let place = replies.reserve();
            host.command(place, what(id), move |answer| outcome(verb, &id.to_string(), answer));
        }
        Err(why) => say(replies, &format!("{verb}_error {} {why}", echo(server))),
    }
}

fn plan(host: &Host, wish: &[&str], replies: &mut Replies) {
    let wish = match wish {
        [] => Ok(Wish::Nothing),
        ["rebalance", by @ ..] => match by_of(by) {
            Some(by) => Ok(Wish::Rebalance(by)),
            None => return say(replies, &nonsense("plan")),
        },
        ["join", server] => host.look(|map| named(map, server)).map(Wish::Join),
        ["leave", server] => host.look(|map| named(map, server)).map(Wish::Leave),
        _ => return say(replies, &nonsense("plan")),
    };
    match wish {
        Ok(wish) => tell(host, replies, json("plan", &host.plan(wish))),
        Err(why) => say(replies, &format!("plan_error {why}")),
    }
}

/// Returns the reply to a command about `server`.
fn outcome(verb: &str, server: &str, answer: Answer) -> Vec<u8> {
    let about = if server.is_empty() { String::new() } else { format!(" {server}") };
    let why = match (answer, verb) {
        (Answer::Done | Answer::Already, _) => {
            return format!("{verb}_success{about}\r\n").into_bytes();
        }
        (Answer::NoServer, _) => "no such server",
        (Answer::NotNow, "leave") => "nobody who is there would be left on the ring",
        (Answer::NotNow, _) => "it is not seen: start it first",
    };
    format!("{verb}_error{about} {why}\r\n").into_bytes()
}

/// Returns which server `name` is: its id, an unambiguous beginning of it, or its address.
fn named(map: &Map, name: &str) -> Result<ServerId, &'static str> {
    let servers = map.servers().iter();
    let is_named = |id: &ServerId, address: &str| {
        address == name || (!name.is_empty() && id.to_string().starts_with(name))
    };
    let mut found = servers.filter(|(id, server)| is_named(id, &server.address));
    match (found.next(), found.next()) {
        (Some((id, _)), None) => Ok(*id),
        (Some(_), Some(_)) => Err("more than one server is called so"),
        (None, _) => Err("no such server"),
    }
}

fn json(verb: &str, value: &impl Serialize) -> Vec<u8> {
    let mut reply = format!("{verb}_success ").into_bytes();
    if let Err(error) = serde_json::to_writer(&mut reply, value) {
        // Our own types have nothing that JSON has not.
        reply = format!("{verb}_error {error}").into_bytes();
    }
    reply.extend_from_slice(b"\r\n");
    reply
}

/// The ring as operators see it.
#[derive(Serialize)]
struct Ring {
    version: u64,
    slot_count: u16,
    tokens: Vec<Token>,
}

/// An arc's end, and whose arc it is.
#[derive(Serialize)]
struct Token {
    /// The last slot of the arc.
    slot: u16,
    /// The last ring position of the arc, 32 hexadecimal digits.
    token: String,
    server: String,
    address: String,
    /// Slots of the arc.
    slots: u16,
}

impl Ring {
    fn of(map: &Map) -> Self {
        let slot_count = map.slot_count();
        let ends: Vec<_> = map.ring().tokens().collect();
        let mut before = ends.last().map(|(slot, _)| slot.index());
        let tokens = ends.iter().zip(map.ring().arcs()).map(|((slot, server), (arc, _))| {
            let from = before.replace(slot.index()).unwrap_or_default();
            let len = (slot.index() + slot_count - from) % slot_count;
            Token {
                slot: slot.index(),
                token: format!("{:032x}", arc.last.0),
                server: server.to_string(),
                address: map.servers().get(server).map(|s| s.address.clone()).unwrap_or_default(),
                slots: if len == 0 { slot_count } else { len },
            }
        });
        Self { version: map.version().0, slot_count, tokens: tokens.collect() }
    }
}

/// Returns who serves which keys, as a server would say it.
fn ranges(host: &Host, verb: &str, has_members: bool) -> Vec<u8> {
    let ranges = host.look(|map| {
        let members = |slot: SlotId| -> Vec<ServerId> {
            let count = if has_members { usize::MAX } else { 1 };
            map.slot(slot).members().take(count).collect()
        };
        let mut ranges = Vec::new();
        for (arc, servers) in arcs_by(map.slot_count(), members) {
            let addresses = servers.iter().filter_map(|id| map.servers().get(id));
            let addresses =
                addresses.filter_map(|server| server.address.parse::<SocketAddr>().ok());
            ranges.extend(addresses.map(|server| Range { arc, server }));
        }
        write_ranges(&ranges)
    });
    format!("{verb}_success {ranges}\r\n").into_bytes()
}

/// Returns a word as it may stand in a reply: printable, and not too long.
fn echo(word: &str) -> String {
    let mut text = String::new();
    for c in word.chars().filter(|c| !c.is_control()).take(ECHO_LEN_MAX) {
        // Writing to a string cannot fail.
        text.write_char(c).unwrap_or_default();
    }
    text
}
