//! The client: requests that are answered one by one, over a connection that is made again when it is lost.
//!
//! ```text
//!   put ──▶ connected? ──▶ send, wait ──▶ done ─────────────────────────────▶ Done
//!             │ no            │  ├─ refused for the moment ─▶ pause ─▶ again   (until the deadline: Refused)
//!             ▼               │  ├─ refused ───────────────────────────────▶ Refused
//!       try each server       │  └─ lost before the request's last byte ───▶ pause ─▶ again
//!                             └─ lost after it ────▶ a read: again; a write ▶ Unknown
//! ```
//!
//! Each operation has one deadline, over all its attempts. A write is repeated only when it is certain that
//! it was not done; a read may always be repeated.

use std::io;
use std::net::ToSocketAddrs as _;
use std::time::Duration;

use protocol::{Range, Reply, Request};

use crate::answer::{self, Attempt, Miss};
use crate::backoff::Backoff;
use crate::connection::{Connection, Fault};
use crate::deadline::Deadline;
use crate::{Backup, Config, Error, Outcome, Page, Pipeline, ServerState, Stored};

/// The least time worth another attempt: with less, it is likelier to leave a write's outcome unknown than to
/// succeed, and to hide why the attempts before it failed.
const ATTEMPT_MIN: Duration = Duration::from_millis(100);

/// A client of one server out of several.
#[derive(Debug)]
pub struct Client {
    config: Config,
    servers: Vec<String>,
    /// Index of the server in use, or to be tried first.
    current: usize,
    pub(crate) connection: Option<Connection>,
}

impl Client {
    /// Returns a client of the first of `servers` (`<address>:<port>` each) that can be reached. Connects when
    /// it is first needed.
    #[must_use]
    pub fn new(servers: Vec<String>, config: Config) -> Self {
        Self { config, servers, current: 0, connection: None }
    }

    /// Connects, unless it is connected; tries every server once. Returns the server's address as it was given.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], about the first server, if no server can be reached.
    pub fn connect(&mut self) -> Result<&str, Error> {
        let deadline = Deadline::after(self.config.timeout);
        self.ready(&deadline).map_err(|miss| miss.error)?;
        Ok(self.name())
    }

    /// Closes the connection, if there is one, and returns the server's address.
    pub fn disconnect(&mut self) -> Option<&str> {
        self.connection.take()?;
        Some(self.name())
    }

    /// Closes the connection and uses other servers from now on.
    pub fn set_servers(&mut self, servers: Vec<String>) {
        self.connection = None;
        self.current = 0;
        self.servers = servers;
    }

    /// Returns the address of the server that this client is connected to, as far as it knows.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.connection.as_ref().map(|_| self.name())
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Stores `value` under `key`.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Outcome<Stored> {
        let request = Request::Put { key: key.into(), value: value.into() };
        let checked = self.check_key(key).and_then(|()| self.check_value(value));
        if let Err(error) = checked {
            return Outcome::Refused(error);
        }
        self.write(&request, self.config.timeout, |server, reply| answer::put(server, key, reply))
    }

    /// Deletes `key`; done with whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> Outcome<bool> {
        let request = Request::Delete { key: key.into() };
        if let Err(error) = self.check_key(key) {
            return Outcome::Refused(error);
        }
        let timeout = self.config.timeout;
        self.write(&request, timeout, |server, reply| answer::delete(server, key, reply))
    }

    /// Returns the value of `key`, if it is there.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but [`Error::Doubt`]; nothing is known of the key then.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.check_key(key)?;
        let request = Request::Get { key: key.into() };
        self.read(&request, |server, reply| answer::get(server, key, reply))
    }

    /// Returns which server answers for which arc of the ring.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keyrange(&mut self) -> Result<Vec<Range>, Error> {
        self.read(&Request::Keyrange, |server, reply| answer::ranges(server, false, reply))
    }

    /// Returns which servers may serve the reads of which arc, the primary of each first.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn keyrange_read(&mut self) -> Result<Vec<Range>, Error> {
        self.read(&Request::KeyrangeRead, |server, reply| answer::ranges(server, true, reply))
    }

    /// Returns the server's figures, as names and values.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn info(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.read(&Request::Info, |server, reply| answer::info(server, reply))
    }

    /// Returns up to `count` entries from `cursor` on; none begins at the beginning.
    ///
    /// The page is held in memory whole, so `count` should suit the length of the values.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn scan(&mut self, cursor: Option<&str>, count: u32) -> Result<Page, Error> {
        let request = Request::Scan { cursor: cursor.map(str::as_bytes), count };
        let deadline = Deadline::after(self.config.timeout);
        let outcome = self.retry(&deadline, true, |client| {
            let mut page = Page::default();
            client.exchange(&request, &deadline, |server, reply| {
                answer::scan(server, &mut page, reply)
            })?;
            Ok(page)
        });
        outcome.map_err(|miss| miss.error)
    }

    /// Has the server copy its data into `folder`, a new folder on its own machine; may take `timeout`.
    pub fn backup(&mut self, folder: &[u8], timeout: Duration) -> Outcome<Backup> {
        let request = Request::Backup { path: folder.into() };
        if folder.is_empty() {
            return Outcome::Refused(Error::Empty { part: "folder" });
        }
        self.write(&request, timeout, answer::backup)
    }

    /// Begins to send requests without waiting for the answer to each.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if no server can be reached.
    pub fn pipeline(&mut self) -> Result<Pipeline<'_>, Error> {
        self.connect()?;
        Ok(Pipeline::new(self))
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

    /// Returns the address of the server in use, or to be tried first.
    pub(crate) fn name(&self) -> &str {
        self.servers.get(self.current).map_or("no server", String::as_str)
    }

    /// Returns the connection, the server's address, and the settings.
    pub(crate) fn parts(&mut self) -> (Option<&mut Connection>, &str, &Config) {
        let server = self.servers.get(self.current).map_or("no server", String::as_str);
        (self.connection.as_mut(), server, &self.config)
    }

    fn read<T>(
        &mut self,
        request: &Request<'_>,
        take: impl Fn(&str, &mut Reply<'_>) -> Attempt<T>,
    ) -> Result<T, Error> {
        let deadline = Deadline::after(self.config.timeout);
        let attempt = self.retry(&deadline, true, |client| {
            client.exchange(request, &deadline, |server, reply| Some(take(server, reply)))
        });
        attempt.map_err(|miss| miss.error)
    }

    fn write<T>(
        &mut self,
        request: &Request<'_>,
        timeout: Duration,
        take: impl Fn(&str, &Reply<'_>) -> Attempt<T>,
    ) -> Outcome<T> {
        let deadline = Deadline::after(timeout);
        let attempt = self.retry(&deadline, false, |client| {
            client.exchange(request, &deadline, |server, reply| Some(take(server, reply)))
        });
        attempt.into()
    }

    /// Makes attempts until one succeeds, fails for good, or the deadline comes.
    fn retry<T>(
        &mut self,
        deadline: &Deadline,
        is_read: bool,
        mut attempt: impl FnMut(&mut Self) -> Attempt<T>,
    ) -> Attempt<T> {
        let mut backoff = Backoff::new();
        loop {
            let miss = match attempt(self) {
                Ok(value) => return Ok(value),
                Err(miss) => miss,
            };
            let pause = backoff.next_pause();
            let is_safe = is_read || miss.is_definite;
            let has_time =
                deadline.remaining().is_some_and(|left| left > pause.saturating_add(ATTEMPT_MIN));
            if !(miss.error.is_retryable() && is_safe && has_time) {
                return Err(miss);
            }
            log::debug!("{}; trying again in {} ms", miss.error, pause.as_millis());
            std::thread::sleep(pause);
            // The pause may have been longer than asked for.
            if deadline.remaining().is_none() {
                return Err(miss);
            }
        }
    }

    /// Sends one request and hands the lines of its answer to `take` until it returns a result.
    fn exchange<T>(
        &mut self,
        request: &Request<'_>,
        deadline: &Deadline,
        mut take: impl FnMut(&str, &mut Reply<'_>) -> Option<Attempt<T>>,
    ) -> Attempt<T> {
        let connection = self.ready(deadline)?;
        let end = connection.queue(|out| request.encode_into(out));
        loop {
            let (Some(connection), server, config) = self.parts() else {
                // Connected above, and given up only by what returns.
                return Err(Miss::doubtful(Error::Broken { server: String::new(), source: None }));
            };
            let result = match connection.line(deadline) {
                Ok(line) => match Reply::parse(line) {
                    Ok(mut reply) => take(server, &mut reply),
                    Err(_) => Some(Err(Miss::doubtful(Error::nonsense(server, line)))),
                },
                Err(fault) => {
                    let error = config.error(server, fault, deadline.limit());
                    let is_definite = !connection.is_handed_over(end);
                    Some(Err(Miss { error, is_definite }))
                }
            };
            if let Some(result) = result {
                if let Err(miss) = &result {
                    self.look_back(&miss.error);
                }
                return result;
            }
        }
    }

    /// Gives up the connection, or the server, when an error says that it is of no use.
    fn look_back(&mut self, error: &Error) {
        let is_elsewhere_better =
            matches!(error, Error::NotNow { state: ServerState::Stopped, .. });
        if error.is_connection_lost() || (is_elsewhere_better && self.servers.len() > 1) {
            log::debug!("leaving {}: {error}", self.name());
            self.connection = None;
        }
        if is_elsewhere_better {
            self.current = self.current.saturating_add(1) % self.servers.len().max(1);
        }
    }

    /// Returns the connection, made again if it is not there or was closed by the server meanwhile.
    fn ready(&mut self, deadline: &Deadline) -> Attempt<&mut Connection> {
        let found = self.connection.take().filter(|connection| !connection.is_stale());
        let connection = match found {
            Some(connection) => connection,
            None => self.open(deadline).map_err(Miss::definite)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Connects to the first server that can be reached, the one used last before the others.
    fn open(&mut self, deadline: &Deadline) -> Result<Connection, Error> {
        let count = self.servers.len();
        let mut first_error = None;
        for index in (self.current..count).chain(0..self.current) {
            let Some(server) = self.servers.get(index) else { continue };
            match open_one(server, &self.config, deadline) {
                Ok(connection) => {
                    log::debug!("connected to {server}");
                    self.current = index;
                    return Ok(connection);
                }
                Err(source) => {
                    let server = server.clone();
                    first_error.get_or_insert(Error::Unreachable { server, source });
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Unreachable {
            server: self.name().to_owned(),
            source: io::ErrorKind::InvalidInput.into(),
        }))
    }
}

/// Connects to one server, at any of its addresses.
fn open_one(server: &str, config: &Config, deadline: &Deadline) -> io::Result<Connection> {
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

impl Config {
    /// Returns what a fault of the connection to `server` is to the operation that met it.
    pub(crate) fn error(&self, server: &str, fault: Fault, limit: Duration) -> Error {
        let server = server.to_owned();
        match fault {
            Fault::Closed => Error::Broken { server, source: None },
            Fault::Io(source) => Error::Broken { server, source: Some(source) },
            Fault::Late => Error::Late { server, limit },
            Fault::ReplyTooLong => Error::ReplyTooLong { server, len_max: self.reply_len_max },
        }
    }
}

impl<T> From<Attempt<T>> for Outcome<T> {
    fn from(attempt: Attempt<T>) -> Self {
        match attempt {
            Ok(value) => Self::Done(value),
            Err(Miss { error, is_definite: true }) => Self::Refused(error),
            Err(Miss { error, is_definite: false }) => Self::Unknown(error),
        }
    }
}
