//! What requests mean: reads whole lines, carries them out in order, gathers the replies.
//!
//! ```text
//!   lines ──▶ Request ──┬─ put, delete ──▶ Batch ──(run of one kind ends)──▶ one append
//!                       └─ the rest, after the batch before it ──▶ answered at once
//! ```
//!
//! A connection's requests are carried out in their order. What other connections see is committed state only (R2); a
//! connection that reads a key it wrote and whose write is not settled yet waits for it, so that it sees its own
//! writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashring::Token;
use net::{Next, Peer, Refusal, Replies};
use protocol::{Error, Framer, NEEDS_CLUSTER, Range, Reply, Request, Verb, write_ranges};

use crate::commit::Committer;
use crate::common::Common;
use crate::counts::Kind;
use crate::info;
use crate::own_writes::OwnWrites;
use crate::reads::Reader;
use crate::scan::{Scanner, Source};
use crate::slots::Slots;
use crate::writes::Batch;

/// What all connections of a server share that owns the whole ring.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) common: Arc<Common>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) committer: Arc<Committer>,
}

/// The service of a server that owns the whole ring.
#[derive(Debug)]
pub(crate) struct Service {
    shared: Arc<Shared>,
    next_session: AtomicU64,
}

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    /// Picks this connection's counters.
    number: u64,
    peer: Peer,
    reader: Reader,
    scanner: Scanner,
    own_writes: OwnWrites,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, next_session: AtomicU64::new(0) }
    }
}

impl net::Service for Service {
    type Session = Session;

    fn open(&self, peer: &Peer, replies: &mut Replies) -> Session {
        self.shared.common.dialect.encode_greeting(peer.local, replies.buffer());
        Session {
            shared: Arc::clone(&self.shared),
            number: self.next_session.fetch_add(1, Ordering::Relaxed),
            peer: *peer,
            reader: Reader::default(),
            scanner: Scanner::default(),
            own_writes: OwnWrites::default(),
        }
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        let mut line = Vec::new();
        Reply::Error { what: refusal.to_string().into() }
            .encode_into(self.shared.common.dialect, &mut line);
        line
    }
}

impl net::Session for Session {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        let shared = Arc::clone(&self.shared);
        let mut batch = Batch::new(&shared);
        let mut framer = Framer::new(shared.common.limits.line_len_max());
        for line in framer.lines(lines) {
            let next = match line {
                Ok(line) => self.answer(line, &mut batch, replies),
                Err(error) => {
                    batch.flush(&mut self.own_writes, replies);
                    error.encode_into(shared.common.dialect, replies.buffer());
                    Next::Close
                }
            };
            if next == Next::Close {
                return next;
            }
            replies.end_reply();
        }
        batch.flush(&mut self.own_writes, replies);
        Next::Continue
    }

    fn is_large(&self) -> bool {
        self.reader.is_large()
    }

    fn rest(&mut self) {
        self.reader.rest();
    }
}

impl Session {
    /// Carries out one line; its reply may come with the batch's.
    fn answer<'a>(&mut self, line: &'a [u8], batch: &mut Batch<'a>, replies: &mut Replies) -> Next {
        let shared = &*self.shared;
        match Request::parse(line, shared.common.dialect, &shared.common.limits) {
            Ok(Request::Put { key, value }) => {
                shared.common.counts.add(self.number, Kind::Put);
                batch.put(key, value, &mut self.own_writes, replies);
            }
            Ok(Request::Delete { key }) => {
                shared.common.counts.add(self.number, Kind::Delete);
                batch.delete(key, &mut self.own_writes, replies);
            }
            Ok(Request::Get { key }) => {
                batch.flush(&mut self.own_writes, replies);
                shared.common.counts.add(self.number, Kind::Get);
                let token = Token::of_key(&key);
                self.own_writes.wait_for(token, replies);
                self.reader.get(shared, token, &key, replies);
            }
            Ok(Request::Read { key }) => {
                batch.flush(&mut self.own_writes, replies);
                shared.common.counts.add(self.number, Kind::Get);
                let token = Token::of_key(&key);
                self.own_writes.wait_for(token, replies);
                self.reader.read(shared, token, &key, replies);
            }
            other => {
                batch.flush(&mut self.own_writes, replies);
                shared.common.counts.add(self.number, Kind::Other);
                return self.answer_rare(other, replies);
            }
        }
        Next::Continue
    }

    /// Answers what is neither a read nor a write of one key.
    fn answer_rare(
        &mut self,
        request: Result<Request<'_>, Error<'_>>,
        replies: &mut Replies,
    ) -> Next {
        let shared = &*self.shared;
        let reply = match request {
            Ok(Request::Keyrange) => Reply::Keyrange { ranges: self.ranges().into() },
            Ok(Request::KeyrangeRead) => Reply::KeyrangeRead { ranges: self.ranges().into() },
            Ok(Request::Info) => Reply::Info {
                pairs: info::pairs(
                    &shared.common,
                    vec![
                        info::pair("epoch", shared.slots.epoch().to_string()),
                        info::pair("queued_bytes", shared.committer.queued_len().to_string()),
                    ],
                ),
            },
            Ok(Request::Scan { cursor, count }) => {
                replies.wait_completed();
                let source = Source {
                    store: &shared.common.store,
                    epoch: shared.slots.epoch(),
                    dialect: shared.common.dialect,
                    is_own: &|_| true,
                };
                self.scanner.scan(&source, cursor, count, replies);
                return Next::Continue;
            }
            Ok(Request::Backup { path }) => {
                replies.wait_completed();
                shared.common.backup(&path).encode_into(shared.common.dialect, replies.buffer());
                return Next::Continue;
            }
            Ok(Request::With(_)) => needs_cluster(Verb::With),
            Ok(Request::Forget { .. }) => needs_cluster(Verb::Forget),
            Ok(Request::Ecs) => Reply::EcsError { reason: "no cluster".into() },
            Ok(Request::Ping) => Reply::Pong,
            Ok(Request::Quit) => return Next::Close,
            Ok(
                Request::Put { .. }
                | Request::Get { .. }
                | Request::Read { .. }
                | Request::Delete { .. },
            ) => unreachable!("answered by the caller"),
            Err(error) => {
                error.encode_into(shared.common.dialect, replies.buffer());
                return if error.is_fatal() { Next::Close } else { Next::Continue };
            }
        };
        reply.encode_into(shared.common.dialect, replies.buffer());
        Next::Continue
    }

    /// Returns the ring as clients see it: one arc, ours, at the address this client reached.
    fn ranges(&self) -> String {
        let server = self.shared.common.about.advertise.unwrap_or(self.peer.local);
        write_ranges(&[Range { arc: hashring::Arc::WHOLE, server }])
    }
}

/// Returns the answer to what only servers of a cluster can do.
fn needs_cluster(verb: Verb) -> Reply<'static> {
    Reply::Error { what: format!("{verb} {NEEDS_CLUSTER}").into() }
}
