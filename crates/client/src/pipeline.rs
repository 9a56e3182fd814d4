//! Many requests under way at once, answered in the order in which they were submitted.
//!
//! ```text
//!   put, get, delete ──▶ [ under way, in order ] ──▶ next
//!                          at most WINDOW_COUNT requests with WINDOW_LEN bytes of keys and values
//! ```
//!
//! Requests are gathered and sent some at a time, or when an answer is waited for. The connections are read while they are
//! written to, so a server that will not read on before its replies are taken cannot hold both sides up.
//! [`has_room`](Pipeline::has_room) turns false at the limits and true again at half of them, so that a
//! caller who fills and drains by it works in batches, not one by one.
//!
//! Each request has its own deadline from when it was submitted, and is tried again as any is. Those of one slot keep
//! their order.

use crate::answer::Attempt;
use crate::core::Core;
use crate::op::{Ask, Op, Value};
use crate::run::Run;
use crate::{Error, Outcome, PutOptions, Stored};

/// Requests that may wait for their answers at once: enough that a round trip is small beside the work.
pub const WINDOW_COUNT: usize = 4096;

/// Bytes of keys and values under way at which no more requests are taken; one request may go beyond. They are kept until
/// the answer, since they may have to be sent again.
pub const WINDOW_LEN: usize = 4 * 1024 * 1024;

/// Requests that are gathered before they are sent.
const GATHER_COUNT: usize = 64;

/// Bytes that are gathered before they are sent: as much as a socket's buffer holds.
const GATHER_LEN: usize = 64 * 1024;

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

/// Requests under way; see [`Client::pipeline`](crate::Client::pipeline).
///
/// To drop it while answers are outstanding closes the connections they are awaited on.
#[derive(Debug)]
pub struct Pipeline<'c> {
    run: Run<'c, 'static>,
    /// What each request under way is.
    verbs: std::collections::VecDeque<Verb>,
    /// Whether the window was full and has not come down to half since.
    is_draining: bool,
    /// Requests, and their bytes, that were submitted since something was sent.
    gathered: (usize, usize),
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Put,
    Get,
    Delete,
}

impl<'c> Pipeline<'c> {
    pub(crate) fn new(core: &'c mut Core) -> Self {
        let verbs = std::collections::VecDeque::new();
        Self { run: Run::new(core), verbs, is_draining: false, gathered: (0, 0) }
    }

    /// Returns whether another request is taken now; if not, take answers with [`next`](Self::next).
    pub fn has_room(&mut self) -> bool {
        let is_below =
            |count_max, len_max| self.run.count() < count_max && self.run.len() < len_max;
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
        self.run.count()
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
        self.run.core().check_value(value)?;
        let value = value.to_vec().into();
        self.submit(Verb::Put, key, Ask::Put { value, options: PutOptions::default() })
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
        self.submit(Verb::Get, key, Ask::Get)
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
        self.submit(Verb::Delete, key, Ask::Delete)
    }

    fn submit(&mut self, verb: Verb, key: &[u8], ask: Ask<'static>) -> Result<(), Error> {
        assert!(self.run.count() < WINDOW_COUNT, "submitted beyond the window");
        self.run.core().check_key(key)?;
        let core = self.run.core();
        let deadline = core.deadline(core.config.timeout);
        let number = self.run.core().take_number();
        let op = Op::new(key.to_vec().into(), ask, deadline, number);
        let (count, len) = self.gathered;
        self.gathered = (count.saturating_add(1), len.saturating_add(op.len()));
        self.verbs.push_back(verb);
        self.run.submit(op);
        if self.gathered.0 >= GATHER_COUNT || self.gathered.1 >= GATHER_LEN {
            self.gathered = (0, 0);
            self.run.push();
        }
        Ok(())
    }

    /// Waits for the answer to the oldest request under way and returns it; none if there is no request.
    #[expect(
        clippy::should_implement_trait,
        reason = "the end is not final: more may be submitted"
    )]
    pub fn next(&mut self) -> Option<Answer> {
        let verb = self.verbs.pop_front()?;
        let attempt: Attempt<Value> = self.run.next()?;
        Some(match verb {
            Verb::Put => Answer::Put(attempt.map(Value::stored).into()),
            Verb::Delete => Answer::Delete(attempt.map(Value::deleted).into()),
            Verb::Get => Answer::Get(attempt.map(Value::found).map_err(|miss| miss.error)),
        })
    }
}
