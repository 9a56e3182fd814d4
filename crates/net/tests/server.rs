//! A listener with a service of a few verbs, over real sockets: order, limits, time-outs, panics, stopping.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use net::{
    Config, Counters, Listener, Next, Peer, Refusal, Replies, Server, Service, Session, Ticket,
};

/// Far above what any step takes, far below what a person waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers `echo WORDS`, `later` (a ticket that the test completes), `wait` (for the tickets), `big LEN`, `large LEN` (which claims room), `panic`, `close`.
#[derive(Default)]
struct Verbs {
    tickets: Mutex<Vec<Ticket>>,
    came: Condvar,
}

struct Lines(Arc<Verbs>);

impl Service for Echoes {
    type Session = Lines;

    fn open(&self, _: &Peer, _: &mut Replies) -> Lines {
        Lines(Arc::clone(&self.0))
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        format!("error {refusal}\r\n").into_bytes()
    }
}

struct Echoes(Arc<Verbs>);

impl Session for Lines {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        for line in String::from_utf8(lines.to_vec()).unwrap().lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("echo", words) => {
                    replies.buffer().extend_from_slice(format!("{words}\n").as_bytes())
                }
                ("later", _) => {
                    let ticket = replies.reserve();
                    self.0.tickets.lock().unwrap().push(ticket);
                    self.0.came.notify_all();
                }
                ("big", len) => {
                    let value = vec![b'v'; len.parse().unwrap()];
                    replies.push_value(&value, b"\n");
                }
                ("wait", _) => replies.wait_completed(),
                ("large", len) => {
                    let len = len.parse().unwrap();
                    if !replies.try_claim(len) {
                        replies.claim(len);
                    }
                    replies.push_value(&vec![b'v'; len], b"\n");
                }
                ("close", _) => return Next::Close,
                (other, _) => assert_ne!(other, "panic", "asked for"),
            }
            replies.end_reply();
        }
        Next::Continue
    }
}

impl Verbs {
    /// Waits for `count` tickets and takes them.
    fn tickets(&self, count: usize) -> Vec<Ticket> {
        let mut tickets = self.tickets.lock().unwrap();
        let until = Instant::now() + PATIENCE;
        while tickets.len() < count {
            assert!(Instant::now() < until, "no ticket came");
            tickets = self.came.wait_timeout(tickets, Duration::from_millis(100)).unwrap().0;
        }
        std::mem::take(&mut *tickets)
    }
}

struct Fixture {
    verbs: Arc<Verbs>,
    counters: Arc<Counters>,
    server: Server,
}

fn start(config: Config) -> Fixture {
    let verbs = Arc::new(Verbs::default());
    let listener = Listener::bind("127.0.0.1", 0, config).unwrap();
    let counters = listener.counters();
    let server = listener.start(Arc::new(Echoes(Arc::clone(&verbs)))).unwrap();
    Fixture { verbs, counters, server }
}

impl Fixture {
    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { reader: BufReader::new(stream) }
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Counters) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(&self.counters) {
            assert!(Instant::now() < until, "{what}: {:?}", self.counters.read());
            std::thread::yield_now();
        }
    }
}

struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads to the end of the stream, which a reset is too.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| ()).unwrap_or_default();
        String::from_utf8(rest).unwrap()
    }
}

#[test]
fn the_same_lines_in_any_pieces_get_the_same_replies() {
    let fixture = start(Config::default());
    let text = "echo one\necho two\necho three\n";
    for piece_len in [1, 2, 5, 9, text.len()] {
        let mut client = fixture.connect();
        for piece in text.as_bytes().chunks(piece_len) {
            client.reader.get_mut().write_all(piece).unwrap();
        }
        assert_eq!([client.line(), client.line(), client.line()], ["one", "two", "three"]);
    }
    assert_eq!(fixture.server.stop(PATIENCE), 0);
}

#[test]
fn ten_thousand_pipelined_requests_are_answered_in_order() {
    let fixture = start(Config::default());
    let mut client = fixture.connect();
    let text: String = (0..10_000).map(|number| format!("echo {number}\n")).collect();
    client.send(&text);
    for number in 0..10_000 {
        assert_eq!(client.line(), number.to_string());
    }
}

#[test]
fn a_reply_to_come_holds_back_those_behind_it_and_no_other_connection() {
    let fixture = start(Config::default());
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.send("echo before\nlater\necho after\n");
    let mut tickets = fixture.verbs.tickets(1);
    second.send("echo other\n");
    assert_eq!(second.line(), "other");
    tickets.remove(0).complete(b"now\n".to_vec());
    assert_eq!([first.line(), first.line(), first.line()], ["before", "now", "after"]);
}

#[test]
fn replies_to_come_are_sent_after_the_peer_has_shut_its_side() {
    let fixture = start(Config::default());
    let mut client = fixture.connect();
    client.send("later\necho after\n");
    client.reader.get_mut().shutdown(Shutdown::Write).unwrap();
    fixture.verbs.tickets(1).remove(0).complete(b"now\n".to_vec());
    assert_eq!(client.rest(), "now\nafter\n");
}

#[test]
fn a_connection_with_too_many_open_tickets_is_not_read() {
    let fixture = start(Config { ticket_count_max: 2, ..Config::default() });
    let mut client = fixture.connect();
    client.send("later\nlater\nlater\n");
    let mut tickets = fixture.verbs.tickets(2);
    assert_eq!(tickets.len(), 2, "the third waits");
    tickets.remove(0).complete(b"1\n".to_vec());
    tickets.extend(fixture.verbs.tickets(1));
    for ticket in tickets {
        ticket.complete(b"n\n".to_vec());
    }
    assert_eq!([client.line(), client.line(), client.line()], ["1", "n", "n"]);
}

#[test]
fn large_values_arrive_whole_and_in_order() {
    let fixture = start(Config::default());
    let mut client = fixture.connect();
    let lens = [16 * 1024 - 1, 16 * 1024, 100 * 1024, 8 * 1024 * 1024, 1];
    client.send(&lens.map(|len| format!("big {len}\necho {len}\n")).concat());
    for len in lens {
        assert_eq!(client.line().len(), len);
        assert_eq!(client.line(), len.to_string());
    }
}

#[test]
fn a_peer_that_asks_for_much_and_reads_nothing_is_closed() {
    let config = Config { write_timeout: Duration::from_millis(200), ..Config::default() };
    let fixture = start(config);
    let mut client = fixture.connect();
    client.send(&"big 1000000\n".repeat(64));
    fixture.wait_until("too slow", |counters| counters.read().too_slow == 1);
    fixture.wait_until("closed", |counters| counters.read().open == 0);
    assert!(client.rest().len() < 64_000_000);
}

#[test]
fn a_line_at_the_limit_passes_and_one_past_it_closes_the_connection() {
    let config = Config { line_len_max: 40_000, ..Config::default() };
    let fixture = start(config);
    for pipelined in ["", "echo x\n"] {
        let mut client = fixture.connect();
        client.send(&format!("{pipelined}echo {}\n", "y".repeat(40_000 - 5)));
        assert_eq!(client.line().len(), if pipelined.is_empty() { 40_000 - 5 } else { 1 });

        let mut client = fixture.connect();
        client.send(&format!("{pipelined}echo {}\necho not done\n", "y".repeat(40_001 - 5)));
        let replies =
            format!("{}error line too long (limit 40000 bytes)\n", pipelined.replace("echo ", ""));
        assert_eq!(client.rest().replace("\r\n", "\n"), replies);
    }
}

#[test]
fn the_refusal_of_an_endless_line_reaches_a_peer_that_goes_on_sending() {
    let fixture = start(Config { line_len_max: 1000, ..Config::default() });
    let mut client = fixture.connect();
    client.send(&"z".repeat(4 * 1024 * 1024));
    assert_eq!(client.line(), "error line too long (limit 1000 bytes)");
}

#[test]
fn a_request_that_drips_is_refused_when_its_time_is_over() {
    let request_timeout = Duration::from_millis(200);
    let line_len_max = 1024 * 1024 * 1024;
    let fixture = start(Config { request_timeout, line_len_max, ..Config::default() });
    let mut client = fixture.connect();
    client.send("echo first\necho");
    assert_eq!(client.line(), "first");
    let begun_at = Instant::now();
    let mut dripper = client.reader.get_ref().try_clone().unwrap();
    while dripper.write_all(b"x").is_ok() && fixture.counters.read().timed_out == 0 {
        assert!(begun_at.elapsed() < PATIENCE, "dripping is endless");
        std::thread::yield_now();
    }
    assert_eq!(client.line(), "error request not finished in time (limit 200 ms)");
    assert!(begun_at.elapsed() >= Duration::from_millis(150));
}

/// Lines of up to a mebibyte, of which all connections together may hold 64 KiB beyond 16 KiB each.
fn scarce() -> Config {
    Config { line_len_max: 1024 * 1024, input_len_max: 64 * 1024, ..Config::default() }
}

#[test]
fn large_lines_that_do_not_fit_together_wait_for_each_other_and_small_ones_for_none() {
    let fixture = start(scarce());
    let mut clients: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
    let (half, other_half) = (format!("echo {}", "x".repeat(30_000)), "y".repeat(100_000));
    for client in &mut clients {
        client.send(&half);
    }
    // Each holds 16 KiB beyond its own 16 KiB; four of them is all there is.
    fixture.wait_until("the fifth waits", |counters| {
        let counts = counters.read();
        counts.input_held_len == 64 * 1024 && counts.input_waiting == 1
    });
    let mut small = fixture.connect();
    small.send("echo small\n");
    assert_eq!(small.line(), "small");
    let senders: Vec<_> = clients.iter().map(|client| client.reader.get_ref()).collect();
    std::thread::scope(|scope| {
        for mut sender in senders {
            let rest = format!("{other_half}\n");
            scope.spawn(move || sender.write_all(rest.as_bytes()).unwrap());
        }
    });
    for client in &mut clients {
        assert_eq!(client.line().len(), 130_000);
    }
    fixture.wait_until("given back", |counters| {
        let counts = counters.read();
        counts.input_held_len == 0 && counts.input_waiting == 0
    });
    assert_eq!((fixture.counters.read().starved, fixture.counters.read().timed_out), (0, 0));
}

#[test]
fn a_line_for_which_there_is_no_memory_is_refused_when_its_time_is_over() {
    let request_timeout = Duration::from_millis(500);
    let fixture = start(Config { request_timeout, ..scarce() });
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.send("later\n");
    let tickets = fixture.verbs.tickets(1);
    first.send(&format!("wait {}\n", "x".repeat(70_000)));
    fixture.wait_until("much is held", |counters| counters.read().input_held_len > 64 * 1024);
    second.send(&format!("echo fine\necho {}", "y".repeat(30_000)));
    assert_eq!(second.line(), "fine");
    let line = second.line();
    assert_eq!(line, "error too many large requests at once (limit 65536 bytes), try again");
    assert_eq!(fixture.counters.read().starved, 1);
    drop(tickets);
}

#[test]
fn stopping_does_not_wait_for_lines_that_wait_for_memory() {
    let fixture = start(scarce());
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.send(&"x".repeat(100_000));
    fixture.wait_until("much is held", |counters| counters.read().input_held_len > 64 * 1024);
    second.send(&"y".repeat(20_000));
    fixture.wait_until("one waits", |counters| counters.read().input_waiting == 1);
    assert_eq!(fixture.server.stop(PATIENCE), 0);
}

#[test]
fn large_replies_that_do_not_fit_together_wait_for_each_other_and_small_ones_for_none() {
    let fixture = start(Config { owed_len_max: 40_000_000, ..Config::default() });
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.send("large 30000000\n");
    fixture.wait_until("it is under way", |counters| counters.read().reply_len == 30_000_000);
    second.send("echo before\nlarge 20000000\necho after\n");
    assert_eq!(second.line(), "before");
    fixture.wait_until("it waits", |counters| counters.read().reply_waiting == 1);
    let mut small = fixture.connect();
    small.send("echo small\nbig 100000\n");
    assert_eq!((small.line().as_str(), small.line().len()), ("small", 100_000));
    assert_eq!(first.line().len(), 30_000_000);
    assert_eq!((second.line().len(), second.line().as_str()), (20_000_000, "after"));
    fixture.wait_until("all is given back", |counters| {
        let counts = counters.read();
        counts.reply_len == 0 && counts.reply_waiting == 0 && counts.too_slow == 0
    });
}

#[test]
fn a_large_reply_behind_one_to_come_takes_no_room_from_others() {
    let fixture = start(Config { owed_len_max: 40_000_000, ..Config::default() });
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.send("later\nlarge 30000000\n");
    let mut tickets = fixture.verbs.tickets(1);
    second.send("large 20000000\n");
    assert_eq!(second.line().len(), 20_000_000);
    fixture.wait_until("nothing is held", |counters| counters.read().reply_len == 0);
    tickets.remove(0).complete(b"now\n".to_vec());
    assert_eq!((first.line().as_str(), first.line().len()), ("now", 30_000_000));
    fixture.wait_until("nothing is held", |counters| counters.read().reply_len == 0);
}

#[test]
fn a_quiet_connection_gives_back_what_a_large_request_took() {
    let fixture = start(scarce());
    let mut client = fixture.connect();
    client.send(&format!("echo {}", "x".repeat(20_000)));
    fixture.wait_until("held", |counters| counters.read().input_held_len == 16 * 1024);
    client.send("\n");
    assert_eq!(client.line().len(), 20_000);
    fixture.wait_until("quiet", |counters| counters.read().input_held_len == 0);
    client.send("echo again\n");
    assert_eq!(client.line(), "again");
}

#[test]
fn a_carriage_return_after_the_last_line_begins_no_request() {
    let request_timeout = Duration::from_millis(100);
    let idle_timeout = Some(Duration::from_millis(300));
    let fixture = start(Config { request_timeout, idle_timeout, ..Config::default() });
    let mut client = fixture.connect();
    client.send("echo first\n\r");
    assert_eq!(client.line(), "first");
    assert_eq!(client.rest(), "", "it is closed as idle, without a refusal");
}

#[test]
fn a_quiet_connection_is_closed_but_not_while_it_is_owed_a_reply() {
    let config = Config { idle_timeout: Some(Duration::from_millis(50)), ..Config::default() };
    let fixture = start(config);
    let mut owed = fixture.connect();
    owed.send("later\n");
    let mut tickets = fixture.verbs.tickets(1);
    let mut quiet = fixture.connect();
    assert_eq!(quiet.rest(), "");
    fixture.wait_until("quiet one closed", |counters| counters.read().timed_out == 1);
    tickets.remove(0).complete(b"here\n".to_vec());
    assert_eq!(owed.rest(), "here\n");
}

#[test]
fn one_connection_past_the_limit_is_refused_with_a_line() {
    let fixture = start(Config { connection_count_max: 2, ..Config::default() });
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.send("echo 1\n");
    second.send("echo 2\n");
    assert_eq!((first.line(), second.line()), ("1".into(), "2".into()));
    assert_eq!(fixture.connect().rest(), "error too many connections (limit 2)\r\n");
    drop(first);
    fixture.wait_until("a place is free", |counters| counters.read().open == 1);
    let mut third = fixture.connect();
    third.send("echo 3\n");
    assert_eq!(third.line(), "3");
    assert_eq!(fixture.counters.read().refused, 1);
}

#[test]
fn a_panic_ends_its_connection_and_no_other() {
    let fixture = start(Config::default());
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    first.send("panic\n");
    assert_eq!(first.rest(), "");
    second.send("echo alive\n");
    assert_eq!(second.line(), "alive");
    fixture.wait_until("counted out", |counters| {
        counters.read().panicked == 1 && counters.read().open == 1
    });
}

#[test]
fn a_session_may_close_its_connection() {
    let fixture = start(Config::default());
    let mut client = fixture.connect();
    client.send("echo last\nclose\necho not done\n");
    assert_eq!(client.rest(), "last\n");
}

#[test]
fn stopping_answers_what_has_come_and_refuses_new_connections() {
    let fixture = start(Config::default());
    let mut client = fixture.connect();
    client.send("later\necho after\n");
    let mut tickets = fixture.verbs.tickets(1);
    let address = fixture.server.address();
    let stopper = std::thread::spawn(move || fixture.server.stop(PATIENCE));
    while TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
    tickets.remove(0).complete(b"now\n".to_vec());
    assert_eq!(client.rest(), "now\nafter\n");
    assert_eq!(stopper.join().unwrap(), 0);
}

#[test]
fn stopping_cuts_off_who_does_not_end_in_time() {
    let fixture = start(Config::default());
    let mut client = fixture.connect();
    client.send("later\n");
    let tickets = fixture.verbs.tickets(1);
    assert_eq!(fixture.server.stop(Duration::from_millis(50)), 1);
    assert_eq!(client.rest(), "");
    drop(tickets);
}

#[test]
fn a_busy_port_and_a_foreign_address_are_clear_errors() {
    let fixture = start(Config::default());
    let port = fixture.server.address().port();
    let error = Listener::bind("127.0.0.1", port, Config::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("address 127.0.0.1:{port} is in use by another process"));
    let error = Listener::bind("192.0.2.1", 0, Config::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on 192.0.2.1:0: "), "{error}");
}
