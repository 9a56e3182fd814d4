//! The memory that all connections of a listener together may hold for replies.
//!
//! What a connection owes its reader is bounded for each (module `outbox`), but not so that thousands of readers of large
//! values could not fill the memory. For all of them together there are two bounds, each of `Config::owed_len_max` bytes:
//!
//! * **Large replies** ([`LARGE_REPLY_LEN`]) *claim* room before their values are held for long, when all replies before them are
//!   there. Who finds too little waits in line, holding nothing, and is not read meanwhile. A claim ends when its reply was sent. A connection may always
//!   add to what it has if nobody else has anything, so nothing is too large for ever.
//! * **The backlog** is what connections have ready for readers that are behind. Beyond the bound a connection is read again only when it
//!   owes next to nothing ([`ORDINARY_LEN`]); what is ready is still sent.
//!
//! ```text
//!   claim ──▶ fits, first in line ──▶ held ──▶ sent: released
//!               └─ else: waits ◀───────┴── others wait, and it takes longer than HELD_MAX and its length allow: cut off
//! ```
//!
//! Readers that are merely many wait for each other; only one that holds others up by reading slowly is cut off. Small replies never
//! wait for large ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Counters;
use crate::counters::count;

/// Bytes of a value from which on a reply claims room first.
pub const LARGE_REPLY_LEN: usize = 256 * 1024;

/// What a connection may have ready without being counted: a batch of everyday replies.
pub(crate) const ORDINARY_LEN: usize = 64 * 1024;

/// How long a reader may take for a large reply while others wait for room, besides a second for each [`RATE_MIN`] bytes: as
/// long as one may take nothing at all.
const HELD_MAX: Duration = Duration::from_secs(10);

/// Bytes a second.
const RATE_MIN: usize = 1024 * 1024;

/// Between two looks at who takes too long.
const LOOK: Duration = Duration::from_millis(200);

/// What all connections owe.
#[derive(Debug)]
pub(crate) struct Owed {
    len_max: usize,
    counters: Arc<Counters>,
    rooms: Mutex<Rooms>,
    /// Tells those in line that less is held.
    less: Condvar,
}

#[derive(Debug, Default)]
struct Rooms {
    held_len: usize,
    by_connection: BTreeMap<u64, Held>,
    /// Who waits, in the order of their coming.
    line: BTreeSet<u64>,
    next_number: u64,
    is_over: bool,
}

#[derive(Debug)]
struct Held {
    len: usize,
    since: Instant,
    socket: Arc<TcpStream>,
}

/// What one connection owes; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Debt {
    owed: Arc<Owed>,
    number: u64,
    socket: Arc<TcpStream>,
}

impl Owed {
    /// Returns the books of connections that owe nothing.
    pub(crate) fn new(len_max: usize, counters: Arc<Counters>) -> Arc<Self> {
        let (rooms, less) = (Mutex::default(), Condvar::new());
        Arc::new(Self { len_max, counters, rooms, less })
    }

    /// Returns the account of one connection.
    pub(crate) fn account(self: &Arc<Self>, socket: Arc<TcpStream>) -> Debt {
        Debt { owed: Arc::clone(self), number: self.lock().number(), socket }
    }

    /// Ends all waiting: the listener stops.
    pub(crate) fn close(&self) {
        self.lock().is_over = true;
        self.less.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        // Its changes are single steps that cannot panic half way.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, rooms: &Rooms) {
        self.counters.claimed.store(rooms.held_len as u64, Relaxed);
        self.counters.reply_waiting.store(rooms.line.len() as u64, Relaxed);
    }
}

impl Rooms {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn has_room(&self, connection: u64, len: usize, len_max: usize) -> bool {
        let own_len = self.by_connection.get(&connection).map_or(0, |held| held.len);
        self.held_len == own_len || self.held_len.saturating_add(len) <= len_max || self.is_over
    }

    fn release(&mut self, connection: u64) {
        self.held_len -= self.by_connection.remove(&connection).map_or(0, |held| held.len);
    }

    /// Cuts off who takes too long.
    fn cut_off(&mut self, counters: &Counters) {
        let is_slow = |held: &Held| {
            let seconds = u64::try_from(held.len / RATE_MIN).unwrap_or(u64::MAX);
            held.since.elapsed() > HELD_MAX.saturating_add(Duration::from_secs(seconds))
        };
        let slow: Vec<u64> =
            self.by_connection.iter().filter(|(_, held)| is_slow(held)).map(|(n, _)| *n).collect();
        for connection in slow {
            if let Some(held) = self.by_connection.get(&connection) {
                count(&counters.too_slow);
                // A socket that is closed already is what was wanted; its thread finds it so.
                held.socket.shutdown(Shutdown::Both).unwrap_or_default();
            }
            self.release(connection);
        }
    }
}

impl Debt {
    /// Claims room for a reply of `len` bytes if that takes no waiting.
    pub(crate) fn try_claim(&self, len: usize) -> bool {
        let mut rooms = self.owed.lock();
        let is_granted =
            rooms.line.is_empty() && rooms.has_room(self.number, len, self.owed.len_max);
        if is_granted {
            self.hold(&mut rooms, len);
        }
        is_granted
    }

    /// Claims room for a reply of `len` bytes; waits in line for it.
    pub(crate) fn claim(&self, len: usize) {
        let mut rooms = self.owed.lock();
        let place = rooms.number();
        rooms.line.insert(place);
        loop {
            let is_first = rooms.line.first() == Some(&place) || rooms.is_over;
            if is_first && rooms.has_room(self.number, len, self.owed.len_max) {
                break;
            }
            self.owed.tell(&rooms);
            let waited = self.owed.less.wait_timeout(rooms, LOOK);
            rooms = waited.unwrap_or_else(PoisonError::into_inner).0;
            if rooms.line.first() == Some(&place) {
                rooms.cut_off(&self.owed.counters);
            }
        }
        rooms.line.remove(&place);
        self.hold(&mut rooms, len);
        // The next in line may find room, too.
        self.owed.less.notify_all();
    }

    fn hold(&self, rooms: &mut Rooms, len: usize) {
        let (since, socket) = (Instant::now(), Arc::clone(&self.socket));
        let fresh = || Held { len: 0, since, socket };
        let held = rooms.by_connection.entry(self.number).or_insert_with(fresh);
        (held.len, held.since) = (held.len + len, since);
        rooms.held_len += len;
        self.owed.tell(rooms);
    }

    /// Ends the claims: what they were for was sent.
    pub(crate) fn release(&self) {
        let mut rooms = self.owed.lock();
        rooms.release(self.number);
        self.owed.tell(&rooms);
        if !rooms.line.is_empty() {
            self.owed.less.notify_all();
        }
    }

    /// Notes that this connection has `after` bytes ready where it had `before`.
    pub(crate) fn note(&self, before: usize, after: usize) {
        let counted = |len: usize| if len > ORDINARY_LEN { len as u64 } else { 0 };
        let (before, after) = (counted(before), counted(after));
        if before < after {
            self.owed.counters.owed.fetch_add(after - before, Relaxed);
        } else if after < before {
            self.owed.counters.owed.fetch_sub(before - after, Relaxed);
        }
    }

    /// Returns how much this connection may have ready before it is read again, `len_max` unless the backlog of all is too
    /// large.
    pub(crate) fn ready_len_max(&self, len_max: usize) -> usize {
        let is_over = self.owed.counters.owed.load(Relaxed) > self.owed.len_max as u64;
        if is_over { len_max.min(ORDINARY_LEN) } else { len_max }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn accounts<const N: usize>(owed: &Arc<Owed>) -> [Debt; N] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        [0; N].map(|_| {
            let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            owed.account(Arc::new(listener.accept().unwrap().0))
        })
    }

    #[test]
    fn the_limit_is_granted_and_one_byte_more_waits_in_line() {
        let counters = Arc::new(Counters::default());
        let owed = Owed::new(100, Arc::clone(&counters));
        let [first, second, third, fourth] = accounts(&owed);
        assert!(first.try_claim(60) && second.try_claim(40));
        assert_eq!((counters.read().reply_len, counters.read().reply_waiting), (100, 0));
        assert!(!third.try_claim(1));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| third.claim(70));
            while counters.read().reply_waiting == 0 {
                thread::yield_now();
            }
            second.release();
            assert!(!fourth.try_claim(1), "there is room, but somebody waits for it");
            assert!(!waiting.is_finished(), "60 and 70 are more than 100");
            first.release();
            waiting.join().unwrap();
        });
        assert!(fourth.try_claim(30));
        drop((third, fourth));
        assert_eq!(counters.read().reply_len, 0);
    }

    #[test]
    fn one_that_is_larger_than_all_room_is_granted_when_nobody_else_has_any() {
        let owed = Owed::new(100, Arc::default());
        let [first, second] = accounts(&owed);
        assert!(first.try_claim(1_000));
        assert!(first.try_claim(1_000), "nobody else has anything");
        assert!(!second.try_claim(1));
        first.release();
        assert!(second.try_claim(1));
    }

    #[test]
    fn nobody_waits_when_the_listener_stops() {
        let counters = Arc::new(Counters::default());
        let owed = Owed::new(100, Arc::clone(&counters));
        let [first, second] = accounts(&owed);
        assert!(first.try_claim(100));
        thread::scope(|scope| {
            scope.spawn(|| second.claim(100));
            while counters.read().reply_waiting == 0 {
                thread::yield_now();
            }
            owed.close();
        });
    }

    #[test]
    fn who_takes_too_long_is_cut_off_and_who_has_time_left_is_not() {
        let owed = Owed::new(100, Arc::default());
        let [slow, large, young] = accounts(&owed);
        assert!(slow.try_claim(10) && large.try_claim(10) && young.try_claim(10));
        let mut rooms = owed.lock();
        let long_ago = Instant::now().checked_sub(HELD_MAX + Duration::from_millis(500)).unwrap();
        for (debt, len) in [(&slow, 10), (&large, 10 + RATE_MIN)] {
            let held = rooms.by_connection.get_mut(&debt.number).unwrap();
            (held.since, held.len) = (long_ago, len);
            rooms.held_len += len - 10;
        }
        rooms.cut_off(&owed.counters);
        let left: Vec<u64> = rooms.by_connection.keys().copied().collect();
        assert_eq!(left, [large.number, young.number]);
        assert_eq!(owed.counters.read().too_slow, 1);
    }

    #[test]
    fn beyond_the_backlog_of_all_a_connection_may_have_everyday_replies_ready() {
        let counters = Arc::new(Counters::default());
        let owed = Owed::new(10 * ORDINARY_LEN, Arc::clone(&counters));
        let [first, second] = accounts(&owed);
        first.note(0, 10 * ORDINARY_LEN);
        second.note(0, ORDINARY_LEN);
        assert_eq!(counters.read().owed_len, 10 * 65_536, "everyday replies are not counted");
        assert_eq!(second.ready_len_max(1 << 20), 1 << 20);
        second.note(ORDINARY_LEN, ORDINARY_LEN + 1);
        assert_eq!(second.ready_len_max(1 << 20), ORDINARY_LEN);
        second.note(ORDINARY_LEN + 1, 0);
        assert_eq!(second.ready_len_max(1 << 20), 1 << 20);
        first.note(10 * ORDINARY_LEN, 0);
        assert_eq!(counters.read().owed_len, 0);
    }
}
