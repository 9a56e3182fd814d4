//! Tests of the outbox over a real pair of sockets.

use std::io::Read;
use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::*;

const WRITE_TIMEOUT: Duration = Duration::from_millis(300);

fn pair() -> (Arc<Outbox>, TcpStream, Arc<Counters>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_write_timeout(Some(WRITE_TIMEOUT)).unwrap();
    let counters = Arc::new(Counters::default());
    let owed = Owed::new(usize::MAX, Arc::clone(&counters));
    (Outbox::new(Arc::new(socket), Arc::clone(&counters), &owed), reader, counters)
}

fn read_exactly(reader: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn replies_leave_in_order_whatever_the_order_of_completion() {
    let (outbox, mut reader, _) = pair();
    let orders: [[usize; 4]; 5] =
        [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [1, 0, 3, 2]];
    for order in orders {
        let mut tickets = Vec::new();
        for index in 0..4 {
            tickets.push(Some(outbox.reserve()));
            outbox.push(format!("r{index} ").into_bytes());
        }
        for index in order {
            tickets[index].take().unwrap().complete(format!("t{index} ").into_bytes());
        }
        let text = String::from_utf8(read_exactly(&mut reader, 24)).unwrap();
        assert_eq!(text, "t0 r0 t1 r1 t2 r2 t3 r3 ", "completed in order {order:?}");
        outbox.wait_idle();
    }
}

#[test]
fn many_threads_completing_at_once_keep_the_order() {
    let (outbox, mut reader, _) = pair();
    let ticket_count = 4000_usize;
    let mut shares: Vec<Vec<(usize, Ticket)>> = (0..4).map(|_| Vec::new()).collect();
    for index in 0..ticket_count {
        shares[(index * 7 + index / 3) % 4].push((index, outbox.reserve()));
    }
    let threads: Vec<_> = shares
        .into_iter()
        .map(|share| {
            thread::spawn(move || {
                for (index, ticket) in share.into_iter().rev() {
                    ticket.complete(format!("{index:07}\n").into_bytes());
                }
            })
        })
        .collect();
    let text = String::from_utf8(read_exactly(&mut reader, ticket_count * 8)).unwrap();
    for (index, line) in text.lines().enumerate() {
        assert_eq!(line.parse::<usize>().unwrap(), index);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    outbox.wait_idle();
    assert!(outbox.is_idle());
}

#[test]
fn a_slow_reader_does_not_hold_up_who_completes() {
    let (outbox, mut reader, counters) = pair();
    let len = 32 * 1024 * 1024;
    let first = outbox.reserve();
    let second = outbox.reserve();
    first.complete(vec![b'a'; len]);
    second.complete(vec![b'b'; 10]);
    assert!(!outbox.is_idle(), "32 MiB fit into no socket");
    let bytes = read_exactly(&mut reader, len + 10);
    assert!(bytes[..len].iter().all(|byte| *byte == b'a'));
    assert_eq!(&bytes[len..], b"bbbbbbbbbb");
    outbox.wait_idle();
    assert_eq!(counters.too_slow.load(Relaxed), 0);
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off() {
    let (outbox, mut reader, counters) = pair();
    let begun_at = Instant::now();
    outbox.reserve().complete(vec![b'a'; 32 * 1024 * 1024]);
    let late = outbox.reserve();
    assert!(!outbox.is_dead());
    outbox.wait_idle();
    assert!(begun_at.elapsed() >= WRITE_TIMEOUT);
    assert!(outbox.is_dead());
    assert_eq!(counters.too_slow.load(Relaxed), 1);
    late.complete(b"thrown away".to_vec());
    let mut rest = Vec::new();
    // Either the end of the stream or a reset.
    reader.read_to_end(&mut rest).map(|_| ()).unwrap_or_default();
    assert!(rest.len() < 32 * 1024 * 1024);
}

#[test]
fn waiting_for_room_ends_at_the_bound_and_not_before() {
    let (outbox, mut reader, _) = pair();
    let first = outbox.reserve();
    outbox.push(vec![b'x'; 100]);
    outbox.wait_for_room(100, 2);
    let waiter = {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || outbox.wait_for_room(99, 2))
    };
    while outbox.lock().waiter_count == 0 {
        thread::yield_now();
    }
    first.complete(Vec::new());
    waiter.join().unwrap();
    assert_eq!(read_exactly(&mut reader, 100), vec![b'x'; 100]);

    let tickets = [outbox.reserve(), outbox.reserve()];
    outbox.wait_for_room(0, 3);
    let waiter = {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || outbox.wait_for_room(0, 2))
    };
    while outbox.lock().waiter_count == 0 {
        thread::yield_now();
    }
    // The later ticket counts as much as the first.
    let [first, second] = tickets;
    second.complete(Vec::new());
    waiter.join().unwrap();
    first.complete(Vec::new());
    outbox.wait_completed();
    outbox.wait_idle();
}

#[test]
fn a_ticket_dropped_without_a_reply_ends_the_connection() {
    let (outbox, mut reader, _) = pair();
    let first = outbox.reserve();
    let second = outbox.reserve();
    drop(first);
    second.complete(b"must not take the first's place".to_vec());
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    outbox.wait_idle();
}
