//! One operation: what is asked, on which way it is, and what its answers mean.

use std::borrow::Cow;

use hashring::Token;
use protocol::{Reply, Request, With};

use crate::answer::{self, Attempt, Miss};
use crate::deadline::Deadline;
use crate::router::{Need, Route};
use crate::{Error, PutOptions, Stored, Versioned};

/// What is asked about a key.
#[derive(Debug)]
pub(crate) enum Ask<'a> {
    Put { value: Cow<'a, [u8]>, options: PutOptions },
    Delete,
    Get,
    Read,
}

/// What an operation came to when it was done.
#[derive(Debug)]
pub(crate) enum Value {
    Stored(Stored),
    Deleted(bool),
    Found(Option<Vec<u8>>),
    Read(Option<Versioned>),
}

/// An operation.
#[derive(Debug)]
pub(crate) struct Op<'a> {
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) ask: Ask<'a>,
    pub(crate) deadline: Deadline,
    pub(crate) route: Route,
    /// The number in its request id.
    pub(crate) number: u64,
    /// It is on its way: all operations of its slot that it must not overtake are done.
    pub(crate) is_admitted: bool,
    /// An attempt was made that may have been carried out.
    pub(crate) is_doubtful: bool,
    /// What the last attempt failed of.
    pub(crate) last_error: Option<Error>,
    /// What it came to.
    pub(crate) result: Option<Attempt<Value>>,
}

impl<'a> Op<'a> {
    pub(crate) fn new(key: Cow<'a, [u8]>, ask: Ask<'a>, deadline: Deadline, number: u64) -> Self {
        let need = match ask {
            Ask::Put { .. } | Ask::Delete => Need::Write,
            Ask::Get | Ask::Read => Need::Read,
        };
        let route = Route::new(Token::of_key(&key), need);
        Self {
            key,
            ask,
            deadline,
            route,
            number,
            is_admitted: false,
            is_doubtful: false,
            last_error: None,
            result: None,
        }
    }

    /// Returns whether it changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        self.route.need == Need::Read
    }

    /// Returns how many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        let value_len = match &self.ask {
            Ask::Put { value, .. } => value.len(),
            Ask::Delete | Ask::Get | Ask::Read => 0,
        };
        self.key.len().saturating_add(value_len)
    }

    /// Appends the request; `client` is whose id it goes with, if the server takes ids.
    pub(crate) fn encode_into(&self, client: Option<u64>, out: &mut Vec<u8>) {
        let key = Cow::Borrowed(&*self.key);
        let id = client.map(|client| (client, self.number));
        let request = match &self.ask {
            Ask::Get => Request::Get { key },
            Ask::Read => Request::Read { key },
            Ask::Delete if id.is_none() => Request::Delete { key },
            Ask::Delete => Request::With(With { id, key, ..With::default() }),
            Ask::Put { value, options } => {
                let value = Cow::Borrowed(&**value);
                if id.is_none() && *options == PutOptions::default() {
                    Request::Put { key, value }
                } else {
                    let condition = options.condition;
                    let ttl_ms = options.ttl.map(ttl_ms);
                    Request::With(With { id, condition, ttl_ms, key, value: Some(value) })
                }
            }
        };
        request.encode_into(out);
    }

    /// Reads an answer of `server`.
    pub(crate) fn read(&self, server: &str, reply: &mut Reply<'_>) -> Attempt<Value> {
        match &self.ask {
            Ask::Put { .. } => answer::put(server, &self.key, reply).map(Value::Stored),
            Ask::Delete => answer::delete(server, &self.key, reply).map(Value::Deleted),
            Ask::Get => answer::get(server, &self.key, reply).map(Value::Found),
            Ask::Read => answer::read(server, &self.key, reply).map(Value::Read),
        }
    }

    /// Returns what an attempt's outcome is to the operation.
    ///
    /// An earlier attempt that may have been carried out may still be: it waits in a socket of a server that is slow. A write that
    /// was done fences it, by its number. A refusal does not, nor does a delete that found nothing: that is
    /// not remembered.
    pub(crate) fn settle(&self, server: &str, attempt: Attempt<Value>) -> Attempt<Value> {
        match attempt {
            Ok(Value::Deleted(false)) if self.is_doubtful => {
                let reason = "it was not there when asked again".to_owned();
                Err(Miss::doubtful(Error::Doubt { server: server.to_owned(), reason }))
            }
            Ok(value) => Ok(value),
            Err(miss) => {
                let is_definite = miss.is_definite && !self.is_doubtful;
                Err(Miss { error: miss.error, is_definite })
            }
        }
    }
}

/// Returns a time to live in milliseconds, rounded up, at least one.
fn ttl_ms(ttl: std::time::Duration) -> u64 {
    let ms = ttl.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).unwrap_or(u64::MAX).max(1)
}
