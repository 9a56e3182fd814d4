//! Connections that are spoken on unasked: dialled ones, senders, limits by kind, reserved places.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use net::{Config, Listener, Next, Peer, Refusal, Replies, Sender, Server, Service, Session, dial};

/// Far above what any step takes, far below what a person waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a session tells its test.
#[derive(Debug)]
enum Told {
    Opened(Sender),
    Line(String),
    Ended,
    Failed(std::io::ErrorKind),
}

/// Tells every line; a line `peer` raises the limits of its connection, `close` ends it.
struct Teller {
    told: Mutex<SyncSender<Told>>,
    greeting: &'static str,
}

struct Conversation {
    told: SyncSender<Told>,
    sender: Option<Sender>,
}

fn teller(greeting: &'static str) -> (Arc<Teller>, Receiver<Told>) {
    let (told, hears) = sync_channel(1000);
    (Arc::new(Teller { told: Mutex::new(told), greeting }), hears)
}

impl Service for Teller {
    type Session = Conversation;

    fn open(&self, _: &Peer, replies: &mut Replies) -> Conversation {
        let told = self.told.lock().unwrap().clone();
        let mut sender = None;
        if !self.greeting.is_empty() {
            let opened = replies.sender();
            assert!(opened.queue(|buffer| buffer.extend_from_slice(self.greeting.as_bytes())));
            told.send(Told::Opened(opened.clone())).unwrap();
            sender = Some(opened);
        }
        Conversation { told, sender }
    }

    fn is_privileged(&self, line: &[u8]) -> bool {
        line.strip_suffix(b"\r").unwrap_or(line) == b"peer"
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        format!("error {refusal}\r\n").into_bytes()
    }
}

impl Session for Conversation {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        for line in String::from_utf8(lines.to_vec()).unwrap().lines() {
            if line == "peer" {
                replies.limit_lines(1000);
                replies.limit_idle(None);
                let sender = replies.sender();
                sender.queue(|buffer| buffer.extend_from_slice(b"welcome\n"));
                self.sender = Some(sender);
            } else if self.sender.is_none() {
                replies.buffer().extend_from_slice(b"hello client\n");
            }
            self.told.send(Told::Line(line.to_owned())).unwrap();
            if line == "close" {
                return Next::Close;
            }
        }
        Next::Continue
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The test may be over.
        self.told.send(Told::Ended).unwrap_or_default();
    }
}

fn start(config: Config) -> (Server, Receiver<Told>) {
    let (service, hears) = teller("");
    (Listener::bind("127.0.0.1", 0, config).unwrap().start(service).unwrap(), hears)
}

fn hear(hears: &Receiver<Told>) -> Told {
    hears.recv_timeout(PATIENCE).unwrap()
}

fn hear_line(hears: &Receiver<Told>) -> String {
    match hear(hears) {
        Told::Line(line) => line,
        other => unreachable!("{other:?}"),
    }
}

fn connect(server: &Server) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

fn send(client: &mut BufReader<TcpStream>, text: &str) {
    client.get_mut().write_all(text.as_bytes()).unwrap();
}

fn line(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Reads to the end of the stream, which a reset is too.
fn rest(client: &mut BufReader<TcpStream>) -> String {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).map(|_| ()).unwrap_or_default();
    String::from_utf8(rest).unwrap()
}

fn dial_to(address: &str, service: &Arc<Teller>) {
    let told = service.told.lock().unwrap().clone();
    let failed = move |error: std::io::Error| told.send(Told::Failed(error.kind())).unwrap();
    dial(address, &Config::default(), PATIENCE, Arc::clone(service), failed).unwrap();
}

#[test]
fn a_dialled_connection_carries_lines_both_ways_until_it_is_closed() {
    let (server, accepted) = start(Config::default());
    let (service, dialled) = teller("peer\n");
    dial_to(&server.address().to_string(), &service);
    let Told::Opened(sender) = hear(&dialled) else { unreachable!() };
    assert_eq!(hear_line(&accepted), "peer");
    assert_eq!(hear_line(&dialled), "welcome");
    assert!(sender.queue(|buffer| buffer.extend_from_slice(b"one\ntwo\n")));
    sender.flush();
    assert_eq!([hear_line(&accepted), hear_line(&accepted)], ["one", "two"]);
    sender.close();
    assert!(matches!(hear(&dialled), Told::Ended));
    assert!(matches!(hear(&accepted), Told::Ended));
    assert!(!sender.queue(|_| ()));
}

#[test]
fn an_end_at_the_far_side_is_told_by_the_drop_of_the_session() {
    let (server, accepted) = start(Config::default());
    let (service, dialled) = teller("peer\n");
    dial_to(&server.address().to_string(), &service);
    let Told::Opened(sender) = hear(&dialled) else { unreachable!() };
    assert_eq!(hear_line(&accepted), "peer");
    assert_eq!(hear_line(&dialled), "welcome");
    assert_eq!(server.stop(PATIENCE), 0);
    assert!(matches!(hear(&dialled), Told::Ended));
    assert!(!sender.is_open());
}

#[test]
fn who_cannot_be_reached_is_told_and_no_session_opens() {
    let (service, dialled) = teller("peer\n");
    // The port was free a moment ago, and nobody listens on it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    dial_to(&address.to_string(), &service);
    assert!(matches!(hear(&dialled), Told::Failed(std::io::ErrorKind::ConnectionRefused)));
    dial_to("no port", &service);
    assert!(matches!(hear(&dialled), Told::Failed(_)));
}

#[test]
fn a_session_that_ends_its_connection_has_its_queued_lines_sent_first() {
    let (server, hears) = start(Config::default());
    let mut client = connect(&server);
    send(&mut client, "peer\nclose\n");
    assert_eq!(rest(&mut client), "welcome\n");
    assert_eq!([hear_line(&hears), hear_line(&hears)], ["peer", "close"]);
    assert!(matches!(hear(&hears), Told::Ended));
}

#[test]
fn a_session_may_change_the_limits_of_its_connection() {
    let idle_timeout = Some(Duration::from_millis(100));
    let (server, hears) = start(Config { line_len_max: 10, idle_timeout, ..Config::default() });
    let (mut client, mut peer) = (connect(&server), connect(&server));
    send(&mut peer, "peer\n");
    assert_eq!(line(&mut peer), "welcome");
    assert_eq!(hear_line(&hears), "peer");
    send(&mut client, "01234567890\n");
    assert_eq!(rest(&mut client), "error line too long (limit 10 bytes)\r\n");
    assert!(matches!(hear(&hears), Told::Ended));
    let mut quiet = connect(&server);
    assert_eq!(rest(&mut quiet), "", "an ordinary connection is closed when idle");
    assert!(matches!(hear(&hears), Told::Ended));
    send(&mut peer, &format!("{}\n", "y".repeat(1000)));
    assert_eq!(hear_line(&hears).len(), 1000, "the peer is not, and its lines may be longer");
    send(&mut peer, &format!("{}\n", "z".repeat(1001)));
    assert_eq!(rest(&mut peer), "error line too long (limit 1000 bytes)\r\n");
}

#[test]
fn a_crowd_of_clients_does_not_lock_out_a_peer() {
    let config = Config { connection_count_max: 2, reserved_count: 2, ..Config::default() };
    let (server, hears) = start(config);
    let mut crowd = [connect(&server), connect(&server)];
    for client in &mut crowd {
        send(client, "hello\n");
        assert_eq!(line(client), "hello client");
    }
    // Ordinary lines are refused at once, silence after a second or when somebody else comes.
    let mut late = connect(&server);
    send(&mut late, "hello\n");
    assert_eq!(rest(&mut late), "error too many connections (limit 2)\r\n");
    let mut silent: Vec<_> = (0..8).map(|_| connect(&server)).collect();
    let mut peers = [connect(&server), connect(&server)];
    for peer in &mut peers {
        send(peer, "peer\r\nand more\n");
        assert_eq!(line(peer), "welcome");
    }
    for client in &mut silent {
        rest(client);
    }
    // All places are held by those who may: a third peer is refused.
    let mut third = connect(&server);
    send(&mut third, "peer\n");
    assert_eq!(rest(&mut third), "error too many connections (limit 2)\r\n");
    drop(crowd);
    drop(hears);
}

#[test]
fn who_holds_a_reserved_place_in_silence_is_refused_after_a_second() {
    let config = Config { connection_count_max: 0, reserved_count: 1, ..Config::default() };
    let (server, _hears) = start(config);
    let begun_at = Instant::now();
    let mut silent = connect(&server);
    send(&mut silent, "pee");
    assert_eq!(rest(&mut silent), "error too many connections (limit 0)\r\n");
    assert!(begun_at.elapsed() >= Duration::from_millis(900));
    let mut long = connect(&server);
    send(&mut long, &"z".repeat(100_000));
    assert!(matches!(rest(&mut long).as_str(), "" | "error too many connections (limit 0)\r\n"));
}
