//! A running listener: who is connected, and how it stops.
//!
//! Who is on a reserved place and has not shown that it may is *on probation*, the longest waiting first.
//!
//! Stopping: (1) accepting ends; (2) the read side of every connection is shut, so that its thread answers what
//! has come in and finds the end of the stream; (3) they get a bounded time; (4) who is left is cut off.

use std::collections::{BTreeSet, HashMap};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::accept::accept_loop;
use crate::budget::Budget;
use crate::owed::Owed;
use crate::{Config, Counters, Error, Listener, Result, Service};

/// How long connections that were cut off get to notice it.
const CUT_OFF_WAIT: Duration = Duration::from_secs(1);

/// A listener at work. Dropping it without [`Server::stop`] leaves it at work.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listener: Arc<std::net::TcpListener>,
    accept: JoinHandle<()>,
    address: SocketAddr,
}

/// What the accept loop, the connections and the server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) counters: Arc<Counters>,
    pub(crate) is_stopping: Arc<AtomicBool>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) owed: Arc<Owed>,
    connected: Mutex<Connected>,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Connected {
    sockets: HashMap<u64, Arc<TcpStream>>,
    /// Numbers of those on probation; numbers rise.
    on_probation: BTreeSet<u64>,
    next_number: u64,
}

/// A place among the connected; dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Registered {
    shared: Arc<Shared>,
    number: u64,
    is_reserved: bool,
}

impl Server {
    pub(crate) fn start<S: Service>(listener: Listener, service: Arc<S>) -> Result<Self> {
        let Listener { socket, address, config, counters } = listener;
        let shared = Arc::new(Shared {
            config,
            budget: Budget::new(config.input_len_max, Arc::clone(&counters)),
            owed: Owed::new(config.owed_len_max, Arc::clone(&counters)),
            counters,
            is_stopping: Arc::default(),
            connected: Mutex::default(),
            emptied: Condvar::new(),
        });
        // Its loop waits by `poll`, so that it goes round when nobody connects.
        socket
            .set_nonblocking(true)
            .map_err(|cause| Error::Unavailable { address: address.to_string(), cause })?;
        let listener = Arc::new(socket);
        let (socket, of_loop) = (Arc::clone(&listener), Arc::clone(&shared));
        let accept = thread::Builder::new()
            .name("accept".into())
            .spawn(move || accept_loop(&socket, &of_loop, &service))
            .map_err(|cause| Error::Thread { cause })?;
        Ok(Self { shared, listener, accept, address })
    }

    /// Returns the address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops as the module says, and returns how many connections had to be cut off after `drain`.
    #[must_use = "who was cut off may be worth a line in the log"]
    pub fn stop(self, drain: Duration) -> usize {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // On Linux this wakes a thread in `poll`; where it fails the loop is not there any more.
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both).unwrap_or_default();
        self.accept.thread().unpark();
        if self.accept.join().is_err() {
            log::error!("the accept loop had panicked");
        }
        self.shared.budget.close();
        self.shared.owed.close();
        self.shared.shut_all(Shutdown::Read);
        self.shared.wait_emptied(drain);
        let left = self.shared.shut_all(Shutdown::Both);
        self.shared.wait_emptied(CUT_OFF_WAIT);
        left
    }
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Counts `socket` among the connected; `None` if no place can be had.
    pub(crate) fn register(self: &Arc<Self>, socket: &Arc<TcpStream>) -> Option<Registered> {
        let mut connected = self.lock();
        let is_reserved = connected.sockets.len() >= self.config.connection_count_max;
        if is_reserved {
            let places = self.config.connection_count_max + self.config.reserved_count;
            if connected.sockets.len() >= places && !connected.cut_off_probationer() {
                return None;
            }
        }
        let number = connected.next_number;
        connected.next_number += 1;
        connected.sockets.insert(number, Arc::clone(socket));
        if is_reserved {
            connected.on_probation.insert(number);
        }
        self.counters.open.store(connected.sockets.len() as u64, Ordering::Relaxed);
        Some(Registered { shared: Arc::clone(self), number, is_reserved })
    }

    /// Shuts one or both sides of every connection and returns how many there are.
    fn shut_all(&self, side: Shutdown) -> usize {
        let connected = self.lock();
        for socket in connected.sockets.values() {
            // A socket that is closed already is what was wanted.
            socket.shutdown(side).unwrap_or_default();
        }
        connected.sockets.len()
    }

    fn wait_emptied(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut connected = self.lock();
        while !connected.sockets.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let outcome = self.emptied.wait_timeout(connected, left);
            connected = outcome.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    /// Cuts off who has been on probation longest and frees its place at once; `false` if nobody is.
    fn cut_off_probationer(&mut self) -> bool {
        let Some(socket) = self.on_probation.pop_first().and_then(|one| self.sockets.remove(&one))
        else {
            return false;
        };
        // A socket that is closed already is what was wanted; its thread ends.
        socket.shutdown(Shutdown::Both).unwrap_or_default();
        true
    }
}

impl Registered {
    /// Returns whether the place is one that the first line must be worth.
    pub(crate) fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Notes that the place is its connection's for good.
    pub(crate) fn end_probation(&self) {
        self.shared.lock().on_probation.remove(&self.number);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut connected = self.shared.lock();
        connected.sockets.remove(&self.number);
        connected.on_probation.remove(&self.number);
        self.shared.counters.open.store(connected.sockets.len() as u64, Ordering::Relaxed);
        self.shared.emptied.notify_all();
    }
}
