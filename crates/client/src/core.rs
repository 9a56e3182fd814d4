//! What a client keeps from one operation to the next: settings, servers, connections, its name in request ids.

use std::io;
use std::net::ToSocketAddrs as _;
use std::time::Duration;

use protocol::Request;

use crate::connection::{Connection, Fault};
use crate::deadline::Deadline;
use crate::link::{Asked, Link};
use crate::router::Router;
use crate::run::Learning;
use crate::{Config, Error, Interrupt};

/// Most writes with ids after which a client that closes says `forget`. To forget costs the servers a record in each slot that was
/// written, so for many it is not worth it: what they remember of one client is small, and goes with age. What must not
/// pile up is what many short-lived clients leave behind.
pub(crate) const FORGET_COUNT_MAX: u64 = 32;

/// A client's state.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) router: Router,
    /// One for each server that the router knows, by its number; those at the end may be missing.
    links: Vec<Link>,
    /// The server that is asked what any server can tell.
    pub(crate) home: usize,
    /// The client's part of its request ids: a number that no other client has, as far as chance can tell.
    pub(crate) client: u64,
    next_number: u64,
    /// The map is being asked for.
    pub(crate) learning: Option<Learning>,
    /// Whether the servers make up a cluster, and so take request ids; none: not known.
    pub(crate) takes_ids: Option<bool>,
    /// Requests with ids that were sent.
    pub(crate) id_count: u64,
    /// A write with an id was sent whose connection was lost: it may arrive late, and must be recognised then.
    pub(crate) has_strays: bool,
    /// Replies that a slot takes no writes for the moment.
    pub(crate) write_lock_count: u64,
}

impl Core {
    pub(crate) fn new(servers: Vec<String>, config: Config) -> Self {
        let router = Router::new(servers, config.spreads_reads);
        Self {
            config,
            router,
            links: Vec::new(),
            home: 0,
            client: fastrand::u64(..),
            next_number: 0,
            learning: None,
            takes_ids: None,
            id_count: 0,
            has_strays: false,
            write_lock_count: 0,
        }
    }

    /// Returns the deadline of an operation that begins now and may take `timeout`.
    pub(crate) fn deadline(&self, timeout: Duration) -> Deadline {
        Deadline::after(timeout, self.config.interrupt.as_ref())
    }

    /// Returns whether nobody wants to wait any longer.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.config.interrupt.as_ref().is_some_and(Interrupt::is_raised)
    }

    /// Returns the number of the next request.
    pub(crate) fn take_number(&mut self) -> u64 {
        self.next_number = self.next_number.saturating_add(1);
        self.next_number
    }

    /// Returns the link to a server.
    pub(crate) fn link(&mut self, server: usize) -> &mut Link {
        if self.links.len() <= server {
            self.links.resize_with(server.saturating_add(1), Link::default);
        }
        let Some(link) = self.links.get_mut(server) else { unreachable!("it was made above") };
        link
    }

    /// Returns every link with its server's number.
    pub(crate) fn links(&mut self) -> impl Iterator<Item = (usize, &mut Link)> {
        self.links.iter_mut().enumerate()
    }

    /// Returns every link with its server's number, to look at.
    pub(crate) fn all_links(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.links.iter().enumerate()
    }

    /// Closes every connection.
    pub(crate) fn close(&mut self) {
        self.learning = None;
        self.links.clear();
    }

    /// Closes the connections on which answers to operations are due, which nobody waits for any more, and forgets servers
    /// if they are too many.
    pub(crate) fn tidy(&mut self) {
        for (server, link) in self.links.iter_mut().enumerate() {
            if link.has_ops() {
                self.learning.take_if(|learning| learning.teacher == server);
                let had_ids =
                    |(asked, _): &(Asked, bool)| matches!(asked, Asked::Op { has_id: true, .. });
                self.has_strays |= link.lose().iter().any(had_ids);
            }
        }
        if self.router.forget_many() {
            self.close();
            self.home = 0;
        }
    }

    /// Gives up the question for the map, if it is under way.
    pub(crate) fn stop_learning(&mut self) {
        if let Some(learning) = self.learning.take() {
            self.link(learning.teacher).lose();
        }
    }

    /// Makes sure that there is a connection to `server`; one that it closed while idle is made again.
    pub(crate) fn connect(&mut self, server: usize, deadline: &Deadline) -> Result<(), Error> {
        let link = self.link(server);
        if link.is_idle() && link.connection.as_ref().is_some_and(Connection::is_stale) {
            link.connection = None;
        }
        if link.connection.is_some() {
            return Ok(());
        }
        let address = self.router.address(server).to_owned();
        match open(&address, &self.config, deadline) {
            Ok(connection) => {
                log::debug!("connected to {address}");
                self.link(server).connection = Some(connection);
                Ok(())
            }
            Err(_) if self.is_interrupted() => Err(Error::Interrupted { server: address }),
            Err(source) => Err(Error::Unreachable { server: address, source }),
        }
    }

    /// Tells the servers that the ids of this client are needed no more, without waiting for what they say.
    ///
    /// Not if a write may still be on its way somewhere: a server that has forgotten the client would do it again.
    pub(crate) fn forget(&mut self) {
        let client = self.client;
        let is_little = self.id_count <= FORGET_COUNT_MAX;
        let may_forget = is_little && !self.has_strays && !self.links.iter().any(Link::has_ops);
        for link in self.links.iter_mut().filter(|link| may_forget && link.had_ids) {
            if let Some(connection) = &mut link.connection {
                connection.queue(|out| Request::Forget { client }.encode_into(out));
                connection.push();
            }
        }
    }

    /// Returns what a fault of the connection to `server` is to the operation that met it.
    pub(crate) fn error(&self, server: usize, fault: Fault, limit: Duration) -> Error {
        let server = self.router.address(server).to_owned();
        match fault {
            Fault::Closed => Error::Broken { server, source: None },
            Fault::Io(source) => Error::Broken { server, source: Some(source) },
            Fault::Late if self.is_interrupted() => Error::Interrupted { server },
            Fault::Late => Error::Late { server, limit },
            Fault::ReplyTooLong => {
                Error::ReplyTooLong { server, len_max: self.config.reply_len_max }
            }
        }
    }

    /// Checks that a request may name `key`.
    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        let len_max = self.config.limits.key_len_max;
        match key.len() {
            0 => Err(Error::Empty { part: "key" }),
            len if len > len_max => Err(Error::Limit { part: "key", len, len_max }),
            _ => Ok(()),
        }
    }

    /// Checks that a request may carry `value`.
    pub(crate) fn check_value(&self, value: &[u8]) -> Result<(), Error> {
        let (len, len_max) = (value.len(), self.config.limits.value_len_max);
        if len > len_max { Err(Error::Limit { part: "value", len, len_max }) } else { Ok(()) }
    }
}

/// Connects to one server, at any of its addresses.
fn open(server: &str, config: &Config, deadline: &Deadline) -> io::Result<Connection> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
        let timeout = left.min(config.connect_timeout);
        match Connection::open(&address, timeout, config.reply_len_max) {
            Ok(connection) => return Ok(connection),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}
