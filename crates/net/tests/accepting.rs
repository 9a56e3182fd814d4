//! The accept loop's sign of life: when it counts its turns, and when it does not.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use net::{Config, Counters, Listener, Next, Peer, Refusal, Replies, Server, Service, Session};

const PATIENCE: Duration = Duration::from_secs(20);

/// Thinks about each refusal, which the accept loop waits for, as long as its lock is held.
#[derive(Default)]
struct Slow(Mutex<()>);

struct Nothing;

impl Service for Slow {
    type Session = Nothing;

    fn open(&self, _: &Peer, _: &mut Replies) -> Nothing {
        Nothing
    }

    fn refusal(&self, _: Refusal) -> Vec<u8> {
        drop(self.0.lock().unwrap());
        b"no\n".to_vec()
    }
}

impl Session for Nothing {
    fn handle(&mut self, _: &[u8], _: &mut Replies) -> Next {
        Next::Continue
    }
}

fn start(slow: &Arc<Slow>) -> (Server, Arc<Counters>) {
    let config = Config { connection_count_max: 1, ..Config::default() };
    let listener = Listener::bind("127.0.0.1", 0, config).unwrap();
    let counters = listener.counters();
    (listener.start(Arc::clone(slow)).unwrap(), counters)
}

/// Waits for `count` more turns; returns whether they came while one could wait for hundreds.
fn goes_round(counters: &Counters, count: u64, patience: Duration) -> bool {
    let (begun_at, from) = (Instant::now(), counters.accept_turns().unwrap());
    while counters.accept_turns().unwrap() < from + count {
        if begun_at.elapsed() > patience {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn the_loop_goes_round_when_nobody_connects_and_while_it_refuses_but_not_when_it_hangs() {
    let slow = Arc::new(Slow::default());
    let (server, counters) = start(&slow);
    assert!(goes_round(&counters, 3, PATIENCE), "nobody connects");

    let first = TcpStream::connect(server.address()).unwrap();
    while counters.read().open < 1 {
        std::thread::yield_now();
    }
    let refused: Vec<_> = (0..3).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    assert!(goes_round(&counters, 3, PATIENCE), "it refuses");
    while counters.read().refused < 3 {
        std::thread::yield_now();
    }

    let held = slow.0.lock().unwrap();
    let late = TcpStream::connect(server.address()).unwrap();
    while counters.read().accepted < 5 {
        std::thread::yield_now();
    }
    assert!(!goes_round(&counters, 1, Duration::from_secs(1)), "it hangs");
    drop(held);
    assert!(goes_round(&counters, 3, PATIENCE), "it goes on");
    drop((first, refused, late));
    assert_eq!(server.stop(PATIENCE), 0);
    assert_eq!(counters.accept_turns(), None, "there are no more turns");
}
