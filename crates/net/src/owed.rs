//! The memory that all connections of a listener together may hold for readers that are behind.
//!
//! What a connection owes its reader is bounded for each (module `outbox`), but not so that thousands of slow readers
//! of large values could not fill the memory. A reply cannot be refused once its request was carried out, and to
//! hold back new requests would make all wait for the slowest. So, when more than `Config::owed_len_max` bytes are
//! owed by all connections together, the connection that owes most is cut off, until it is less: those who read get
//! their replies, whatever others do.
//!
//! Less than [`ORDINARY_LEN`] is not counted, so that everyday replies never come here.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Counters;
use crate::counters::count;

/// What a connection may owe without being counted: a batch of everyday replies.
pub(crate) const ORDINARY_LEN: usize = 64 * 1024;

/// What all connections owe.
#[derive(Debug)]
pub(crate) struct Owed {
    len_max: usize,
    counters: Arc<Counters>,
    debts: Mutex<Debts>,
}

#[derive(Debug, Default)]
struct Debts {
    total_len: usize,
    next_number: u64,
    by_connection: BTreeMap<u64, (usize, Arc<TcpStream>)>,
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
        Arc::new(Self { len_max, counters, debts: Mutex::default() })
    }

    /// Returns the account of one connection.
    pub(crate) fn account(self: &Arc<Self>, socket: Arc<TcpStream>) -> Debt {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        debts.next_number += 1;
        Debt { owed: Arc::clone(self), number: debts.next_number, socket }
    }
}

impl Debt {
    /// Notes that `len` bytes are owed now; cuts off who owes most while all together owe too much.
    pub(crate) fn set(&self, len: usize) {
        let mut debts = self.owed.debts.lock().unwrap_or_else(PoisonError::into_inner);
        debts.clear(self.number);
        if len > ORDINARY_LEN {
            debts.by_connection.insert(self.number, (len, Arc::clone(&self.socket)));
            debts.total_len += len;
        }
        while debts.total_len > self.owed.len_max {
            let most = debts.by_connection.iter().max_by_key(|(_, (len, _))| *len);
            let Some((number, (len, socket))) = most.map(|(number, debt)| (*number, debt)) else {
                break;
            };
            log::debug!("cutting off a reader that is {len} bytes behind: all are owed too much");
            count(&self.owed.counters.too_slow);
            // A socket that is closed already is what was wanted; its thread finds it so and gives the memory back.
            socket.shutdown(Shutdown::Both).unwrap_or_default();
            debts.clear(number);
        }
        self.owed.counters.owed.store(debts.total_len as u64, Relaxed);
    }
}

impl Debts {
    fn clear(&mut self, number: u64) {
        if let Some((len, _)) = self.by_connection.remove(&number) {
            self.total_len -= len;
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn at_the_limit_nobody_is_cut_off_and_one_byte_past_it_who_owes_most_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counters = Arc::new(Counters::default());
        let owed = Owed::new(5 * ORDINARY_LEN, Arc::clone(&counters));
        let (mut peers, mut accounts) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            accounts.push(owed.account(Arc::new(listener.accept().unwrap().0)));
        }
        accounts[0].set(3 * ORDINARY_LEN);
        accounts[1].set(2 * ORDINARY_LEN);
        assert_eq!((counters.read().owed_len, counters.read().too_slow), (5 * 65_536, 0));
        accounts[1].set(2 * ORDINARY_LEN + 1);
        assert_eq!((counters.read().owed_len, counters.read().too_slow), (2 * 65_536 + 1, 1));
        assert_eq!(peers[0].read(&mut [0; 1]).unwrap(), 0, "its connection was closed");
        accounts[1].set(ORDINARY_LEN);
        assert_eq!(counters.read().owed_len, 0, "everyday replies are not counted");
        accounts[1].set(ORDINARY_LEN + 1);
        drop(accounts);
        assert_eq!(counters.read().owed_len, 0);
    }
}
