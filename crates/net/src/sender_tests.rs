//! Tests of the sender over a real pair of sockets.

use std::io::Read;
use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;

use super::*;

const WRITE_TIMEOUT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// Far more than the kernel's buffers of a loopback connection hold.
const MUCH_LEN: usize = 32 * 1024 * 1024;

fn pair(queue_len_max: usize) -> (Sender, TcpStream, Arc<Counters>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    reader.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_write_timeout(Some(WRITE_TIMEOUT)).unwrap();
    let counters = Arc::new(Counters::default());
    (Sender::new(Arc::new(socket), Arc::clone(&counters), queue_len_max), reader, counters)
}

fn read_exactly(reader: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

fn put(sender: &Sender, bytes: &[u8]) -> bool {
    sender.queue(|buffer| buffer.extend_from_slice(bytes))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        thread::yield_now();
    }
}

#[test]
fn lines_of_many_threads_leave_in_the_order_of_the_calls() {
    let (sender, mut reader, _) = pair(MUCH_LEN);
    let (thread_count, line_count) = (4_usize, 20_000_usize);
    let next = Arc::new(Mutex::new(0_usize));
    let threads: Vec<_> = (0..thread_count)
        .map(|_| {
            let (sender, next) = (sender.clone(), Arc::clone(&next));
            thread::spawn(move || {
                loop {
                    // The number is taken and queued in one step, so the numbers are the order of the calls.
                    let mut number = next.lock().unwrap();
                    if *number == line_count {
                        return;
                    }
                    assert!(put(&sender, format!("{:07}\n", *number).as_bytes()));
                    *number += 1;
                    drop(number);
                    sender.flush();
                }
            })
        })
        .collect();
    let text = String::from_utf8(read_exactly(&mut reader, line_count * 8)).unwrap();
    for (index, line) in text.lines().enumerate() {
        assert_eq!(line.parse::<usize>().unwrap(), index);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    sender.flush();
    assert_eq!(sender.queued_len(), 0);
}

#[test]
fn all_that_is_queued_goes_out_in_one_write() {
    let (sender, mut reader, _) = pair(MUCH_LEN);
    for number in 0..1000 {
        assert!(put(&sender, format!("{number:04}").as_bytes()));
    }
    assert_eq!(sender.queued_len(), 4000);
    reader.set_nonblocking(true).unwrap();
    let error = reader.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "nothing is sent before the flush");
    reader.set_nonblocking(false).unwrap();
    sender.flush();
    // A write of one piece is read as one piece on a fresh connection, where several would be several.
    let mut bytes = [0; 8192];
    assert_eq!(reader.read(&mut bytes).unwrap(), 4000);
    assert_eq!(sender.queued_len(), 0);
}

#[test]
fn a_reader_that_takes_nothing_blocks_nobody_and_is_cut_off() {
    let (sender, _reader, counters) = pair(2 * MUCH_LEN);
    let begun_at = Instant::now();
    assert!(put(&sender, &vec![b'a'; MUCH_LEN]));
    sender.flush();
    while begun_at.elapsed() < WRITE_TIMEOUT / 4 {
        let called_at = Instant::now();
        put(&sender, b"x");
        sender.flush();
        assert!(called_at.elapsed() < WRITE_TIMEOUT / 2, "a call waited for the reader");
        thread::yield_now();
    }
    wait_until("cut off", || !sender.is_open());
    assert_eq!(counters.too_slow.load(Relaxed), 1);
    assert!(!put(&sender, b"late"));
}

#[test]
fn a_slow_reader_gets_everything_in_order_whenever_it_stalls() {
    let (sender, mut reader, counters) = pair(2 * MUCH_LEN);
    for round in 0..3_u8 {
        assert!(put(&sender, &vec![round; MUCH_LEN]));
        sender.flush();
        assert!(sender.queued_len() > 0, "32 MiB fit into no socket");
        assert!(put(&sender, &[b'e', round]));
        sender.flush();
        let bytes = read_exactly(&mut reader, MUCH_LEN + 2);
        assert!(bytes.get(..MUCH_LEN).unwrap().iter().all(|byte| *byte == round));
        assert_eq!(bytes.get(MUCH_LEN..).unwrap(), [b'e', round]);
    }
    wait_until("all sent", || sender.queued_len() == 0);
    assert_eq!(counters.too_slow.load(Relaxed), 0);
}

#[test]
fn the_limit_of_the_queue_may_be_reached_and_one_byte_more_ends_the_connection() {
    let (sender, mut reader, counters) = pair(100);
    assert!(put(&sender, &[b'x'; 100]));
    sender.flush();
    assert!(put(&sender, &[b'y'; 99]));
    assert!(put(&sender, b"y"));
    assert!(!put(&sender, b"y"));
    assert!(!sender.is_open());
    assert_eq!(counters.too_slow.load(Relaxed), 1);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [b'x'; 100], "what was over the limit is not sent in part");
}

#[test]
fn finishing_sends_what_is_queued_and_takes_no_more() {
    let (sender, mut reader, _) = pair(MUCH_LEN);
    assert!(put(&sender, &vec![b'l'; MUCH_LEN]));
    let finisher = {
        let sender = sender.clone();
        thread::spawn(move || sender.finish())
    };
    wait_until("closing", || !sender.is_open());
    assert!(!put(&sender, b"late"));
    assert!(read_exactly(&mut reader, MUCH_LEN).iter().all(|byte| *byte == b'l'));
    finisher.join().unwrap();
    assert_eq!(sender.queued_len(), 0);
}

#[test]
fn closing_wakes_a_flush_that_waits_for_the_reader() {
    let (sender, _reader, _) = pair(2 * MUCH_LEN);
    assert!(put(&sender, &vec![b'a'; MUCH_LEN]));
    sender.flush();
    let (done, is_done) = mpsc::channel();
    let finisher = sender.clone();
    thread::spawn(move || {
        finisher.finish();
        done.send(()).unwrap();
    });
    sender.close();
    is_done.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_panic_while_a_line_is_written_ends_the_connection() {
    let (sender, mut reader, _) = pair(MUCH_LEN);
    let broken = sender.clone();
    let thread = thread::spawn(move || {
        broken.queue(|buffer| {
            buffer.extend_from_slice(b"half a li");
            assert!(buffer.is_empty(), "asked for");
        })
    });
    assert!(thread.join().is_err());
    assert!(!put(&sender, b"ne\n"), "half a line is never completed by another");
    sender.flush();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}
