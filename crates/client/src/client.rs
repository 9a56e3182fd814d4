//! The client: every request finds its way to a server that answers for its key.
//!
//! ```text
//!   put, get, delete, read ──▶ one operation ─┐
//!   mput, mget, mdelete ─────▶ many ──────────┼──▶ Run ──▶ every server that has a part of it
//!   pipeline ────────────────▶ one by one ────┘
//!   keyrange, info, scan, backup ──────────────────────▶ one server
//! ```
//!
//! The map is learned when it is first needed. Each operation has one deadline, over all its attempts. A read may always
//! be repeated; a write is repeated when it is certain that it was not done, or in a cluster under its request id.

use std::time::Duration;

use protocol::{Condition, Range, Request};

use crate::answer::{self, Miss};
use crate::core::Core;
use crate::op::{Ask, Op, Value};
use crate::plain::Kind;
use crate::run::Run;
use crate::{Backup, Config, Error, Outcome, Page, Pipeline, Stored};

/// A client of a server, or of a cluster of them.
#[derive(Debug)]
pub struct Client {
    pub(crate) core: Core,
}

/// More to a put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// What must hold for it to be done.
    pub condition: Option<Condition>,
    /// After which time the value is gone; rounded up to milliseconds.
    pub ttl: Option<Duration>,
}

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Names this state of the key, for [`Condition::Version`].
    pub version: u64,
    /// The value.
    pub value: Vec<u8>,
}

impl Client {
    /// Returns a client of the cluster that any of `servers` (`<address>:<port>` each) belongs to. Connects when
    /// it is first needed.
    #[must_use]
    pub fn new(servers: Vec<String>, config: Config) -> Self {
        Self { core: Core::new(servers, config) }
    }

    /// Connects to a server, unless it is connected; tries every known one once. Returns its address.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], about the first server, if no server can be reached.
    pub fn connect(&mut self) -> Result<&str, Error> {
        let deadline = self.core.deadline(self.core.config.timeout);
        self.core.find_home(&deadline)?;
        Ok(self.core.router.address(self.core.home))
    }

    /// Closes all connections, and returns the address that [`server`](Self::server) gave.
    pub fn disconnect(&mut self) -> Option<&str> {
        let was_connected = self.server().is_some();
        self.core.forget();
        self.core.close();
        was_connected.then(|| self.core.router.address(self.core.home))
    }

    /// Closes all connections and uses other servers from now on.
    pub fn set_servers(&mut self, servers: Vec<String>) {
        self.core.forget();
        self.core = Core::new(servers, self.core.config.clone());
    }

    /// Returns the address of the server that is asked what any server can tell, if this client is connected to it, as far as
    /// it knows.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        let home = self.core.home;
        let is_connected = |(server, link): (usize, &crate::link::Link)| {
            server == home && link.connection.is_some()
        };
        self.core.all_links().any(is_connected).then(|| self.core.router.address(home))
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// Stores `value` under `key`.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Outcome<Stored> {
        self.put_with(key, value, PutOptions::default())
    }

    /// Stores `value` under `key` on a condition, or for some time. Needs a cluster.
    ///
    /// A condition that does not hold is [`Error::Conflict`].
    pub fn put_with(&mut self, key: &[u8], value: &[u8], options: PutOptions) -> Outcome<Stored> {
        let checked = self.core.check_key(key).and_then(|()| self.core.check_value(value));
        if let Err(error) = checked {
            return Outcome::Refused(error);
        }
        self.one(key, Ask::Put { value: value.into(), options }).map(Value::stored).into()
    }

    /// Deletes `key`; done with whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> Outcome<bool> {
        if let Err(error) = self.core.check_key(key) {
            return Outcome::Refused(error);
        }
        self.one(key, Ask::Delete).map(Value::deleted).into()
    }

    /// Returns the value of `key`, if it is there.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but [`Error::Doubt`]; nothing is known of the key then.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.core.check_key(key)?;
        self.one(key, Ask::Get).map(Value::found).map_err(|miss| miss.error)
    }

    /// Returns the value of `key` with its version, if it is there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn read(&mut self, key: &[u8]) -> Result<Option<Versioned>, Error> {
        self.core.check_key(key)?;
        self.one(key, Ask::Read).map(Value::read).map_err(|miss| miss.error)
    }

    /// Returns which server is primary for which arc of the ring, as a server knows it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keyrange(&mut self) -> Result<Vec<Range>, Error> {
        self.any(&Request::Keyrange, |server, reply| answer::ranges(server, false, reply))
    }

    /// Returns how often a server said that it takes no writes of a slot for the moment, because it hands the slot over: each of
    /// these was waited out.
    #[must_use]
    pub fn write_lock_count(&self) -> u64 {
        self.core.write_lock_count
    }

    /// Returns which servers may serve the reads of which arc, the primary of each first, as a server knows it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keyrange_read(&mut self) -> Result<Vec<Range>, Error> {
        self.any(&Request::KeyrangeRead, |server, reply| answer::ranges(server, true, reply))
    }

    /// Returns where the cluster's coordinator listens, as a server knows it.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the server belongs to no cluster; otherwise as [`get`](Self::get).
    pub fn ecs(&mut self) -> Result<String, Error> {
        self.any(&Request::Ecs, |server, reply| answer::ecs(server, reply))
    }

    /// Returns the figures of one server, as names and values.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn info(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.any(&Request::Info, |server, reply| answer::info(server, reply))
    }

    /// Has one server copy its data into `folder`, a new folder on its own machine; may take `timeout`.
    pub fn backup(&mut self, folder: &[u8], timeout: Duration) -> Outcome<Backup> {
        let request = Request::Backup { path: folder.into() };
        if folder.is_empty() {
            return Outcome::Refused(Error::Empty { part: "folder" });
        }
        let begin =
            || |server: &str, reply: &mut protocol::Reply<'_>| Some(answer::backup(server, reply));
        self.core.ask(&request, Kind::Write, timeout, begin).into()
    }

    /// Returns up to `count` entries from `cursor` on; none begins at the beginning.
    ///
    /// The page is held in memory whole, so `count` should suit the length of the values. Of a cluster, one server after
    /// the other is asked for what it is primary of.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn scan(&mut self, cursor: Option<&str>, count: u32) -> Result<Page, Error> {
        self.scan_all(cursor, count)
    }

    /// Begins to send requests without waiting for the answer to each.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if no server can be reached.
    pub fn pipeline(&mut self) -> Result<Pipeline<'_>, Error> {
        self.connect()?;
        Ok(Pipeline::new(&mut self.core))
    }

    /// Carries out one operation.
    fn one(&mut self, key: &[u8], ask: Ask<'_>) -> Result<Value, Miss> {
        let deadline = self.core.deadline(self.core.config.timeout);
        let number = self.core.take_number();
        let mut run = Run::new(&mut self.core);
        run.submit(Op::new(key.into(), ask, deadline, number));
        let Some(attempt) = run.next() else { unreachable!("it was submitted") };
        attempt
    }

    /// Asks any server for something that changes nothing.
    fn any<T>(
        &mut self,
        request: &Request<'_>,
        take: impl Fn(&str, &mut protocol::Reply<'_>) -> Result<T, Miss>,
    ) -> Result<T, Error> {
        let timeout = self.core.config.timeout;
        let begin = || |server: &str, reply: &mut protocol::Reply<'_>| Some(take(server, reply));
        self.core.ask(request, Kind::Read, timeout, begin).map_err(|miss| miss.error)
    }
}

impl Drop for Client {
    /// Tells the servers that this client's request ids are needed no more, if there is nothing to wait for.
    fn drop(&mut self) {
        self.core.forget();
    }
}

impl Value {
    pub(crate) fn stored(self) -> Stored {
        match self {
            Self::Stored(stored) => stored,
            Self::Deleted(_) | Self::Found(_) | Self::Read(_) => unreachable!("it was a put"),
        }
    }

    pub(crate) fn deleted(self) -> bool {
        match self {
            Self::Deleted(was_there) => was_there,
            Self::Stored(_) | Self::Found(_) | Self::Read(_) => unreachable!("it was a delete"),
        }
    }

    pub(crate) fn found(self) -> Option<Vec<u8>> {
        match self {
            Self::Found(value) => value,
            Self::Stored(_) | Self::Deleted(_) | Self::Read(_) => unreachable!("it was a get"),
        }
    }

    pub(crate) fn read(self) -> Option<Versioned> {
        match self {
            Self::Read(value) => value,
            Self::Stored(_) | Self::Deleted(_) | Self::Found(_) => unreachable!("it was a read"),
        }
    }
}

impl<T> From<Result<T, Miss>> for Outcome<T> {
    fn from(attempt: Result<T, Miss>) -> Self {
        match attempt {
            Ok(value) => Self::Done(value),
            Err(Miss { error, is_definite: true }) => Self::Refused(error),
            Err(Miss { error, is_definite: false }) => Self::Unknown(error),
        }
    }
}
