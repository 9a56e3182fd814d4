//! Many requests under way at once on one connection, answered in their order.
//!
//! ```text
//!   put, get, delete ──▶ [ waiting, in order ] ──▶ next
//!                          at most WINDOW_COUNT requests and WINDOW_LEN unsent bytes
//! ```
//!
//! Requests are gathered and sent [`PUSH_LEN`] bytes at a time, or when an answer is waited for. The connection
//! reads while it writes, so a server that will not read on before its replies are taken cannot hold
//! both sides up. [`has_room`](Pipeline::has_room) turns false at the limits and true again at half of them, so that a
//! caller who fills and drains by it works in batches, not one by one.
//!
//! **Nothing is tried again**: a repeated request would overtake those behind it. Each request has its own deadline from
//! when it was submitted. When the connection is lost, every request whose last byte was not sent is
//! refused, every other write is unknown, and the pipeline is over: what is submitted after is refused.

use std::collections::VecDeque;
use std::io;

use protocol::{Reply, Request};

use crate::answer::{self, Attempt, Miss};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::{Client, Error, Outcome, Stored};

/// Requests that may wait for their answers at once: enough that a round trip is small beside the work.
pub const WINDOW_COUNT: usize = 4096;

/// Unsent bytes at which no more requests are taken; one request may go beyond.
pub const WINDOW_LEN: usize = 1024 * 1024;

/// Unsent bytes that are worth a system call of their own: as much as a socket's buffer holds.
const PUSH_LEN: usize = 64 * 1024;

/// What became of one request.
#[derive(Debug)]
pub enum Answer {
    /// Of a put.
    Put(Outcome<Stored>),
    /// Of a get: the value, if the key is there.
    Get(Result<Option<Vec<u8>>, Error>),
    /// Of a delete: whether the key was there.
    Delete(Outcome<bool>),
}

/// Requests under way; see [`Client::pipeline`].
///
/// To drop it while answers are outstanding closes the connection.
#[derive(Debug)]
pub struct Pipeline<'c> {
    client: &'c mut Client,
    waiting: VecDeque<Waiting>,
    /// Whether the window was full and has not come down to half since.
    is_draining: bool,
    /// What ended the connection, once something has.
    end: Option<End>,
}

#[derive(Debug)]
struct Waiting {
    verb: Verb,
    key: Box<[u8]>,
    /// Where the request ends in what the connection has queued; none if it came too late to be queued.
    end: Option<u64>,
    deadline: Deadline,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Put,
    Get,
    Delete,
}

/// How the connection ended, as the requests behind the one that met it are told.
#[derive(Clone, Copy, Debug)]
enum End {
    /// In good order, or by this side after an answer that was late, too long or nonsense.
    Closed,
    /// With an error.
    Failed(io::ErrorKind),
}

impl<'c> Pipeline<'c> {
    pub(crate) fn new(client: &'c mut Client) -> Self {
        Self { client, waiting: VecDeque::new(), is_draining: false, end: None }
    }

    /// Returns whether another request is taken now; if not, take answers with [`next`](Self::next).
    pub fn has_room(&mut self) -> bool {
        let unsent_len = self.client.connection.as_ref().map_or(0, Connection::unsent_len);
        let is_below = |count_max, len_max| self.waiting.len() < count_max && unsent_len < len_max;
        self.is_draining = if self.is_draining {
            !is_below(WINDOW_COUNT / 2, WINDOW_LEN / 2)
        } else {
            !is_below(WINDOW_COUNT, WINDOW_LEN)
        };
        !self.is_draining
    }

    /// Returns how many requests wait for their answers.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Submits a put.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] or [`Error::Empty`] if the request is not one to send; it then has no answer.
    ///
    /// # Panics
    ///
    /// If [`WINDOW_COUNT`] requests wait already: see [`has_room`](Self::has_room).
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.client.check_value(value)?;
        let request = Request::Put { key: key.into(), value: value.into() };
        self.submit(Verb::Put, key, &request)
    }

    /// Submits a get.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub fn get(&mut self, key: &[u8]) -> Result<(), Error> {
        self.submit(Verb::Get, key, &Request::Get { key: key.into() })
    }

    /// Submits a delete.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub fn delete(&mut self, key: &[u8]) -> Result<(), Error> {
        self.submit(Verb::Delete, key, &Request::Delete { key: key.into() })
    }

    fn submit(&mut self, verb: Verb, key: &[u8], request: &Request<'_>) -> Result<(), Error> {
        assert!(self.waiting.len() < WINDOW_COUNT, "submitted beyond the window");
        self.client.check_key(key)?;
        let end = match (&mut self.client.connection, self.end) {
            (Some(connection), None) => {
                let end = connection.queue(|out| request.encode_into(out));
                if connection.unsent_len() >= PUSH_LEN {
                    connection.push();
                }
                Some(end)
            }
            _ => None,
        };
        let deadline = Deadline::after(self.client.config().timeout);
        self.waiting.push_back(Waiting { verb, key: key.into(), end, deadline });
        Ok(())
    }

    /// Waits for the answer to the oldest request under way and returns it; none if there is no request.
    #[expect(
        clippy::should_implement_trait,
        reason = "the end is not final: more may be submitted"
    )]
    pub fn next(&mut self) -> Option<Answer> {
        let waiting = self.waiting.pop_front()?;
        Some(match waiting.verb {
            Verb::Put => Answer::Put(
                self.take(&waiting, |server, reply| answer::put(server, &waiting.key, reply))
                    .into(),
            ),
            Verb::Delete => Answer::Delete(
                self.take(&waiting, |server, reply| answer::delete(server, &waiting.key, reply))
                    .into(),
            ),
            Verb::Get => Answer::Get(
                self.take(&waiting, |server, reply| answer::get(server, &waiting.key, reply))
                    .map_err(|miss| miss.error),
            ),
        })
    }

    /// Waits for the next line and reads it as the answer to the request that waited for it.
    fn take<T>(
        &mut self,
        waiting: &Waiting,
        read: impl FnOnce(&str, &mut Reply<'_>) -> Attempt<T>,
    ) -> Attempt<T> {
        let (connection, server, config) = self.client.parts();
        let is_sent =
            |connection: &Connection| waiting.end.is_some_and(|end| connection.is_handed_over(end));
        let connection = match (connection, self.end) {
            (Some(connection), None) => connection,
            (connection, end) => {
                let source = match end {
                    Some(End::Failed(kind)) => Some(kind.into()),
                    Some(End::Closed) | None => None,
                };
                let error = Error::Broken { server: server.to_owned(), source };
                let is_definite = !connection.is_some_and(|connection| is_sent(connection));
                return Err(Miss { error, is_definite });
            }
        };
        let attempt = match connection.line(&waiting.deadline) {
            Ok(line) => match Reply::parse(line) {
                Ok(mut reply) => read(server, &mut reply),
                Err(_) => Err(Miss::doubtful(Error::nonsense(server, line))),
            },
            Err(fault) => {
                let error = config.error(server, fault, waiting.deadline.limit());
                Err(Miss { error, is_definite: !is_sent(connection) })
            }
        };
        if let Err(miss) = &attempt {
            self.end = end_of(&miss.error);
        }
        attempt
    }
}

/// Returns how an error ends the connection, if it does.
fn end_of(error: &Error) -> Option<End> {
    match error {
        Error::Broken { source: Some(source), .. } => Some(End::Failed(source.kind())),
        // A server that complains of one request may yet answer the others.
        Error::Complaint { .. } => None,
        other => other.is_connection_lost().then_some(End::Closed),
    }
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        if self.end.is_some() || !self.waiting.is_empty() {
            self.client.connection = None;
        }
    }
}
