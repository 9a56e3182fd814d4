//! Tests of the host over real connections, with a journal that the test holds.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use cluster::coordinator::Entry;
use crossbeam_channel::{Receiver, bounded, unbounded};
use net::{Listener, Server};

use super::*;
use crate::service::{Service, config};
use crate::testing::small;

/// Far above what any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells how many decisions it is given, and does with them what it is told.
#[derive(Debug)]
struct Held {
    given: Channel<usize>,
    told: Receiver<Result<(), Error>>,
}

impl Journal for Held {
    fn append(&mut self, entries: &[&Entry]) -> Result<(), Error> {
        self.given.send(entries.len()).unwrap();
        // Where the test tells nothing any more, this is the panic it wants.
        self.told.recv().expect("the test is silent")
    }

    fn is_long(&self) -> bool {
        false
    }

    fn cut(&mut self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

struct Fixture {
    server: Server,
    host: Arc<Host>,
    given: Receiver<usize>,
    tell: Channel<Result<(), Error>>,
    failed: Receiver<Error>,
}

fn start() -> Fixture {
    let (giving, given) = unbounded();
    let (tell, told) = unbounded();
    let (failing, failed) = bounded(1);
    let journal = Box::new(Held { given: giving, told });
    let host = Arc::new(Host::new(Coordinator::new(small()), 7, journal, failing));
    let listener = Listener::bind("127.0.0.1", 0, config(100)).unwrap();
    let service = Service { host: Arc::clone(&host), secret: None };
    let server = listener.start(Arc::new(service)).unwrap();
    Fixture { server, host, given, tell, failed }
}

impl Fixture {
    /// Connects as a server and reads the welcome.
    fn server(&self, name: u128) -> BufReader<TcpStream> {
        let mut line = self.line(&format!("server 1 {name:032x}\n"));
        assert!(read(&mut line).starts_with("welcome "));
        line
    }

    fn line(&self, first: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        BufReader::new(stream)
    }
}

fn read(line: &mut BufReader<TcpStream>) -> String {
    let mut text = String::new();
    line.read_line(&mut text).unwrap();
    text
}

fn register(line: &mut BufReader<TcpStream>, name: u128) {
    let text = format!("register {name:032x} 1 0 complete 127.0.0.1:{}\n", 7000 + name);
    line.get_mut().write_all(text.as_bytes()).unwrap();
}

fn has_nothing(line: &mut BufReader<TcpStream>) -> bool {
    line.get_ref().set_nonblocking(true).unwrap();
    let outcome = line.get_mut().read(&mut [0; 1]);
    line.get_ref().set_nonblocking(false).unwrap();
    outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn nobody_is_told_before_it_is_durable_and_those_who_wait_share_a_sync() {
    let fixture = start();
    let mut first = fixture.server(1);
    register(&mut first, 1);
    // The first server's slots all begin: one decision.
    assert_eq!(fixture.given.recv_timeout(PATIENCE), Ok(1));
    let mut others = [fixture.server(2), fixture.server(3)];
    for (index, line) in (2..).zip(&mut others) {
        register(line, index);
    }
    wait_until("both registered", || fixture.host.look(|map| map.servers().len()) == 3);
    let mut operator = fixture.line("status\n");
    assert!(has_nothing(&mut first) && has_nothing(&mut others[0]) && has_nothing(&mut others[1]));
    assert!(has_nothing(&mut operator), "a question may show what is not durable yet");
    fixture.tell.send(Ok(())).unwrap();
    assert!(read(&mut first).starts_with("registered 1 1 {\"from\":0,\"to\":1,"));
    let together = fixture.given.recv_timeout(PATIENCE).unwrap();
    assert!(together >= 2, "{together} decisions in the second sync");
    assert!(has_nothing(&mut first) && has_nothing(&mut others[0]));
    fixture.tell.send(Ok(())).unwrap();
    // What the status shows may have been queued just behind that sync, with nothing to wait for.
    for line in &mut others {
        assert!(read(line).starts_with("registered 1 1 "));
    }
    assert!(read(&mut first).starts_with("push {\"from\":1,"));
    assert!(read(&mut operator).starts_with("status_success {"));
}

#[test]
fn what_cannot_be_made_durable_is_told_to_nobody_and_nothing_follows_it() {
    let fixture = start();
    let mut first = fixture.server(1);
    register(&mut first, 1);
    assert_eq!(fixture.given.recv_timeout(PATIENCE), Ok(1));
    let mut operator = fixture.line("map\n");
    let path = "log".into();
    let cause = std::io::Error::other("gone");
    fixture.tell.send(Err(Error::Io { path, what: "sync", cause })).unwrap();
    assert!(fixture.failed.recv_timeout(PATIENCE).unwrap().to_string().contains("gone"));
    assert_eq!(read(&mut operator), "", "who waits for a reply is cut off");
    register(&mut first, 1);
    fixture.host.tick();
    assert!(fixture.given.is_empty(), "nothing is decided any more");
    assert!(has_nothing(&mut first));
    assert_eq!(fixture.server.stop(PATIENCE), 0);
}

#[test]
fn a_panic_while_a_thread_carries_ends_the_program_and_not_only_that_thread() {
    let Fixture { server, host, given, tell, failed } = start();
    drop(tell);
    let fixture = Fixture { server, host, given, tell: unbounded().0, failed };
    let mut first = fixture.server(1);
    register(&mut first, 1);
    assert!(fixture.failed.recv_timeout(PATIENCE).unwrap().to_string().contains("panic"));
    let mut operator = fixture.line("status\n");
    assert_eq!(read(&mut operator), "", "who asks now is cut off");
    assert_eq!(fixture.server.stop(PATIENCE), 0);
}
