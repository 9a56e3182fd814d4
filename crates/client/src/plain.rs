//! Requests that are not about one key: asked of one server, answered one by one.
//!
//! What any server can tell is asked of the *home* server, the first of those known that can be reached; when it is
//! lost, or serves nothing, the next one is asked. Each request has one deadline, over all its attempts. A request
//! that changes something is repeated only when it is certain that it was not done.

use std::io;
use std::time::Duration;

use protocol::{Reply, Request};

use crate::answer::{Attempt, Miss};
use crate::backoff::Backoff;
use crate::core::Core;
use crate::deadline::Deadline;
use crate::{Error, ServerState};

/// The least time worth another attempt.
const ATTEMPT_MIN: Duration = Duration::from_millis(100);

/// Whether a request may be sent again although it may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

impl Core {
    /// Asks the home server, or another one if that fails; hands each line of the answer to what `begin` returns until that
    /// returns a result. `begin` is called for each attempt.
    pub(crate) fn ask<T, F>(
        &mut self,
        request: &Request<'_>,
        kind: Kind,
        timeout: Duration,
        begin: impl Fn() -> F,
    ) -> Attempt<T>
    where
        F: FnMut(&str, &mut Reply<'_>) -> Option<Attempt<T>>,
    {
        let deadline = self.deadline(timeout);
        let mut backoff = Backoff::new();
        loop {
            let attempt = match self.find_home(&deadline) {
                Ok(()) => self.exchange(self.home, request, &deadline, begin()),
                Err(error) => Err(Miss::definite(error)),
            };
            let miss = match attempt {
                Ok(value) => return Ok(value),
                Err(miss) => miss,
            };
            self.look_back(&miss.error);
            let pause = backoff.next_pause();
            let is_safe = kind == Kind::Read || miss.is_definite;
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

    /// Connects to the first server that can be reached, the one used last before the others.
    pub(crate) fn find_home(&mut self, deadline: &Deadline) -> Result<(), Error> {
        self.tidy();
        // Answers are read one by one here, and the next must be that of the next request.
        self.stop_learning();
        let count = self.router.server_count();
        let mut first_error = None;
        for server in (self.home..count).chain(0..self.home.min(count)) {
            match self.connect(server, deadline) {
                Ok(()) => {
                    self.home = server;
                    return Ok(());
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Unreachable {
            server: self.router.address(self.home).to_owned(),
            source: io::ErrorKind::InvalidInput.into(),
        }))
    }

    /// Sends one request to a server that is connected, and hands the lines of its answer to `take` until it returns a
    /// result. A connection on which something went wrong is closed.
    pub(crate) fn exchange<T>(
        &mut self,
        server: usize,
        request: &Request<'_>,
        deadline: &Deadline,
        mut take: impl FnMut(&str, &mut Reply<'_>) -> Option<Attempt<T>>,
    ) -> Attempt<T> {
        let address = self.router.address(server).to_owned();
        let Some(mut connection) = self.link(server).connection.take() else {
            return Err(Miss::definite(Error::Broken { server: address, source: None }));
        };
        let end = connection.queue(|out| request.encode_into(out));
        let attempt = loop {
            let result = match connection.line(deadline) {
                Ok(line) => match Reply::parse(line) {
                    Ok(mut reply) => take(&address, &mut reply),
                    Err(_) => Some(Err(Miss::doubtful(Error::nonsense(&address, line)))),
                },
                Err(fault) => {
                    let error = self.error(server, fault, deadline.limit());
                    let is_definite = !connection.is_handed_over(end);
                    Some(Err(Miss { error, is_definite }))
                }
            };
            if let Some(result) = result {
                break result;
            }
        };
        let is_lost = attempt.as_ref().is_err_and(|miss| miss.error.is_connection_lost());
        if !is_lost {
            self.link(server).connection = Some(connection);
        }
        attempt
    }

    /// Goes to another home when an error says that this one is of no use.
    fn look_back(&mut self, error: &Error) {
        let is_elsewhere_better = match error {
            Error::NotNow { state: ServerState::Stopped, .. } => true,
            _ => error.is_connection_lost(),
        };
        let count = self.router.server_count();
        if is_elsewhere_better && count > 1 {
            self.home = self.home.saturating_add(1) % count;
        }
    }
}
