//! Lines of clients, told apart from those of peers by the first one.
//!
//! ```text
//! first line ─▶ `peer 1 …`, meant for this server, the secret right ─▶ a peer's session
//!           └─▶ anything else ─▶ a client's
//! ```
//!
//! A client's requests are carried out in their order: those of one read of the socket are given to the machine together,
//! under one lock. A read of a key that this connection wrote waits until those writes have their outcome, so that a
//! client sees its own writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcask::Found;
use cluster::lines::{Opening, Secret, read_opening};
use cluster::{Ask, Bytes, Event, SlotId};
use hashring::Token;
use net::{LARGE_REPLY_LEN, Next, Peer, Refusal, Replies};
use protocol::{Condition, Error, Framer, Reply, Request, With};

use super::Node;
use super::gossip::GossipSession;
use super::links::{PeerSession, refusal_line};
use super::machine::Core;
use super::ops::{Batch, Kind, Waiter};
use crate::common::Common;
use crate::counts::{self, Counts};
use crate::info;
use crate::own_writes::OwnWrites;
use crate::reads::encode_found;
use crate::scan::{Scanner, Source};

/// Operations given to the machine under one lock, so that nobody waits for it for long.
const BATCH_COUNT_MAX: usize = 256;

/// Bytes of values that a connection may be answered later, because of writes before them whose outcomes are awaited; a
/// read that would pass this waits for them.
const AHEAD_LEN_MAX: usize = 256 * 1024;

/// Memory that a connection keeps for reading values.
const KEPT_LEN: usize = 16 * 1024;

/// Slots that are told together that a client needs to be remembered no more.
const FORGET_COUNT_MAX: usize = 64;

/// What asks for the map in force: for who must make the coordinator's folder anew.
const MAP_VERB: &[u8] = b"map";

/// What asks how this server sees the others: for people, while the coordinator is away.
const MEMBERS_VERB: &[u8] = b"members";

/// The service of a server that is one of a cluster.
#[derive(Debug)]
pub(crate) struct ClusterService {
    common: Arc<Common>,
    node: Arc<Node>,
    next_number: AtomicU64,
}

/// One connection: a client's, until its first line says otherwise.
#[derive(Debug)]
pub(crate) struct Session {
    who: Who,
    is_met: bool,
}

#[derive(Debug)]
enum Who {
    Client(Box<Client>),
    Peer(Box<PeerSession>),
    Gossip(Box<GossipSession>),
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    common: Arc<Common>,
    node: Arc<Node>,
    /// Picks this connection's counters.
    number: u64,
    scanner: Scanner,
    own_writes: OwnWrites,
    gathered: Vec<Gathered>,
    /// Values are read into it.
    record: Vec<u8>,
    /// Bytes of values that replies not settled yet hold.
    ahead_len: usize,
}

/// An operation on its way to the machine.
#[derive(Debug)]
struct Gathered {
    kind: Kind,
    token: Token,
    slot: SlotId,
    key: Bytes,
    echo: Option<Bytes>,
    ask: Ask,
}

impl Gathered {
    fn is_write(&self) -> bool {
        !matches!(self.ask, Ask::Get)
    }
}

impl ClusterService {
    pub(crate) fn new(common: Arc<Common>, node: Arc<Node>) -> Self {
        Self { common, node, next_number: AtomicU64::new(0) }
    }
}

impl net::Service for ClusterService {
    type Session = Session;

    fn open(&self, peer: &Peer, replies: &mut Replies) -> Session {
        self.common.dialect.encode_greeting(peer.local, replies.buffer());
        let client = Client {
            common: Arc::clone(&self.common),
            node: Arc::clone(&self.node),
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            scanner: Scanner::default(),
            own_writes: OwnWrites::default(),
            gathered: Vec::new(),
            record: Vec::new(),
            ahead_len: 0,
        };
        Session { who: Who::Client(Box::new(client)), is_met: false }
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        let mut line = Vec::new();
        Reply::Error { what: refusal.to_string().into() }
            .encode_into(self.common.dialect, &mut line);
        line
    }

    fn is_privileged(&self, line: &[u8]) -> bool {
        matches!(opened(&self.node, line), Some(Ok(_)))
    }
}

/// Another server that opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guest {
    /// To speak as primary.
    Peer(cluster::ServerId),
    /// To gossip.
    Gossip(cluster::ServerId),
}

/// Says who opens a connection to this server, if it may.
fn admit(node: &Node, opening: &Opening) -> Result<Guest, &'static str> {
    let (guest, to, secret) = match opening {
        Opening::Peer { from, to, secret } => (Guest::Peer(*from), to, secret),
        Opening::Gossip { from, to, secret } => (Guest::Gossip(*from), to, secret),
        Opening::Server { .. } => return Err("this is no ECS but a server"),
    };
    if *to != node.id {
        return Err("another server listens here now");
    }
    match is_right(node.secret.as_ref(), secret.as_ref()) {
        true => Ok(guest),
        false => Err("the secret is not this cluster's"),
    }
}

fn is_right(own: Option<&Secret>, said: Option<&Secret>) -> bool {
    own.is_none_or(|own| said == Some(own))
}

impl net::Session for Session {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        let is_met = std::mem::replace(&mut self.is_met, true);
        let mut lines = lines;
        if !is_met && let Who::Client(client) = &self.who {
            let first = lines.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            match opened(&client.node, first) {
                None => {}
                Some(Ok(guest)) => {
                    self.who = match guest {
                        Guest::Peer(from) => {
                            let node = Arc::clone(&client.node);
                            Who::Peer(Box::new(PeerSession::new(node, from, None)))
                        }
                        Guest::Gossip(from) => {
                            let session = GossipSession::accepted(&client.node, from, replies);
                            Who::Gossip(Box::new(session))
                        }
                    };
                    lines = lines.get(first.len()..).unwrap_or_default();
                }
                Some(Err(why)) => {
                    log::warn!("a connection that says it is a server's is refused: {why}");
                    replies.buffer().extend_from_slice(&refusal_line(&why));
                    return Next::Close;
                }
            }
        }
        match &mut self.who {
            Who::Peer(peer) => peer.take(lines, replies),
            Who::Gossip(peer) => peer.take(lines, replies),
            Who::Client(client) => client.handle(lines, replies),
        }
    }
}

/// Says who opens a connection with this line, or why it may not; `None`: it is a client's.
fn opened(node: &Node, line: &[u8]) -> Option<Result<Guest, String>> {
    let opening = read_opening(line.strip_suffix(b"\n").unwrap_or(line))?;
    let opening = opening.map_err(|error| error.to_string());
    Some(opening.and_then(|opening| admit(node, &opening).map_err(str::to_owned)))
}

impl Client {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        let common = Arc::clone(&self.common);
        let mut framer = Framer::new(common.limits.line_len_max());
        for line in framer.lines(lines) {
            let next = match line {
                Ok(line) => self.answer(line, replies),
                Err(error) => {
                    self.submit(replies);
                    error.encode_into(common.dialect, replies.buffer());
                    Next::Close
                }
            };
            if next == Next::Close {
                return next;
            }
            replies.end_reply();
        }
        self.submit(replies);
        Next::Continue
    }

    fn answer(&mut self, line: &[u8], replies: &mut Replies) -> Next {
        let common = Arc::clone(&self.common);
        if line.eq_ignore_ascii_case(MAP_VERB) {
            self.submit(replies);
            self.node.write_map(replies.buffer());
            return Next::Continue;
        }
        if line.eq_ignore_ascii_case(MEMBERS_VERB) {
            self.submit(replies);
            self.node.write_members(replies.buffer());
            return Next::Continue;
        }
        match Request::parse(line, common.dialect, &common.limits) {
            Ok(Request::Get { key }) => self.read(Kind::Get, &key, replies),
            Ok(Request::Read { key }) => self.read(Kind::Read, &key, replies),
            Ok(Request::Put { key, value }) => {
                let with =
                    With { id: None, condition: None, ttl_ms: None, key, value: Some(value) };
                self.write(&with, replies);
            }
            Ok(Request::Delete { key }) => {
                let with = With { id: None, condition: None, ttl_ms: None, key, value: None };
                self.write(&with, replies);
            }
            Ok(Request::With(with)) => self.write(&with, replies),
            other => {
                self.submit(replies);
                common.counts.add(self.number, counts::Kind::Other);
                return self.answer_rare(other, replies);
            }
        }
        Next::Continue
    }

    fn read(&mut self, kind: Kind, key: &[u8], replies: &mut Replies) {
        self.common.counts.add(self.number, counts::Kind::Get);
        let token = Token::of_key(key);
        // Nothing is before it whose outcome it would have to wait for.
        if self.gathered.is_empty() && replies.is_idle() && self.read_now(kind, token, key, replies)
        {
            return;
        }
        if self.gathered.iter().any(|g| g.is_write() && *g.key == *key) {
            self.submit(replies);
        }
        let is_large = self.make_room(token, key, replies);
        self.own_writes.wait_for(token, replies);
        self.gather(kind, token, key.into(), None, Ask::Get, replies);
        if is_large {
            // Its room must not be held until writes behind it are answered.
            self.submit(replies);
        }
    }

    /// Answers a read without the machine, if it has permitted that.
    fn read_now(&mut self, kind: Kind, token: Token, key: &[u8], replies: &mut Replies) -> bool {
        let (slot, dialect) = (self.node.slot_of(token), self.common.dialect);
        let out = replies.buffer();
        let tell = |found: Option<Found<'_>>| {
            encode_found(kind == Kind::Read, key, found, dialect, out);
        };
        let is_told = self.node.read_by_permit(slot, key, &mut self.record, tell);
        if self.record.capacity() > KEPT_LEN {
            self.record = Vec::new();
        }
        is_told
    }

    /// Sees to it that a read's value need not wait in memory with many others for writes that were asked for before it, and
    /// that there is room for it if it is large; returns whether it is.
    fn make_room(&mut self, token: Token, key: &[u8], replies: &mut Replies) -> bool {
        let slot = super::engine_slot(self.node.slot_of(token));
        let len = self.common.store.entry(slot, key).map_or(0, |entry| entry.record_len);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if self.gathered.is_empty() && replies.is_settled() {
            self.ahead_len = 0;
        } else {
            self.look_ahead(len, replies);
        }
        let is_large = len >= LARGE_REPLY_LEN;
        if is_large && !replies.try_claim(len) {
            self.submit(replies);
            replies.claim(len);
        }
        is_large
    }

    /// Notes a value of `len` bytes that will be answered; waits for what is owed before it if that is too much.
    fn look_ahead(&mut self, len: usize, replies: &mut Replies) {
        if self.ahead_len.saturating_add(len) > AHEAD_LEN_MAX {
            self.submit(replies);
            replies.end_reply();
            replies.wait_completed();
            self.ahead_len = 0;
        }
        self.ahead_len = self.ahead_len.saturating_add(len);
    }

    fn write(&mut self, with: &With<'_>, replies: &mut Replies) {
        let counts: &Counts = &self.common.counts;
        let token = Token::of_key(&with.key);
        let key = Bytes::from(&*with.key);
        match &with.value {
            Some(value) => {
                counts.add(self.number, counts::Kind::Put);
                let value = Bytes::from(&**value);
                let condition = with.condition.map(|condition| match condition {
                    Condition::Absent => cluster::Condition::Absent,
                    Condition::Version(version) => {
                        cluster::Condition::Version(cluster::Lsn(version))
                    }
                });
                let echo = self.has_echo().then(|| Bytes::clone(&value));
                if echo.is_some() {
                    self.look_ahead(value.len(), replies);
                }
                let expires_at_ms = with.ttl_ms.map(|ttl| now_ms().saturating_add(ttl));
                let ask = Ask::Put { value, expires_at_ms, condition, request: with.id };
                self.gather(Kind::Put, token, key, echo, ask, replies);
            }
            None => {
                counts.add(self.number, counts::Kind::Delete);
                let echo = self.has_echo().then(|| self.old_value(token, &key, replies)).flatten();
                let ask = Ask::Delete { request: with.id };
                self.gather(Kind::Delete, token, key, echo, ask, replies);
            }
        }
    }

    /// Returns whether the dialect shows values again.
    fn has_echo(&self) -> bool {
        self.common.dialect == protocol::Dialect::Toronto
    }

    /// Returns the value that a delete is about to delete, as far as it can be seen from here.
    fn old_value(&mut self, token: Token, key: &[u8], replies: &mut Replies) -> Option<Bytes> {
        self.submit(replies);
        self.own_writes.wait_for(token, replies);
        let (mut buf, slot) = (Vec::new(), self.node.slot_of(token));
        let slot = super::engine_slot(slot);
        let found = self.common.store.get(slot, key, &mut buf).ok()??;
        Some(Bytes::from(found.value))
    }

    fn gather(
        &mut self,
        kind: Kind,
        token: Token,
        key: Bytes,
        echo: Option<Bytes>,
        ask: Ask,
        replies: &mut Replies,
    ) {
        let slot = self.node.slot_of(token);
        self.gathered.push(Gathered { kind, token, slot, key, echo, ask });
        if self.gathered.len() >= BATCH_COUNT_MAX {
            self.submit(replies);
        }
    }

    /// Gives what was gathered to the machine, and answers it, or leaves it to who learns the last outcome.
    fn submit(&mut self, replies: &mut Replies) {
        if self.gathered.is_empty() {
            return;
        }
        let gathered = std::mem::take(&mut self.gathered);
        let is_written = |g: &&Gathered| g.is_write();
        let written: Vec<Token> = gathered.iter().filter(is_written).map(|g| g.token).collect();
        if !written.is_empty() {
            self.node.wait_for_room();
        }
        let batch = Batch::new(self.common.dialect, gathered.len());
        let give = |core: &mut Core| {
            let mut events = Vec::with_capacity(gathered.len());
            for (index, g) in gathered.into_iter().enumerate() {
                let Gathered { kind, slot, key, echo, ask, .. } = g;
                let batch = Arc::clone(&batch);
                events.push(core.ask(Waiter { batch, index, kind, key, echo }, slot, ask));
            }
            core.step_all(events);
        };
        if written.is_empty() {
            self.node.run(give);
            batch.answer(replies);
        } else {
            self.node.run_patiently(give);
            batch.answer(replies);
            self.own_writes.note(&written, replies);
        }
    }

    /// Answers what is neither a read nor a write of one key.
    fn answer_rare(
        &mut self,
        request: Result<Request<'_>, Error<'_>>,
        replies: &mut Replies,
    ) -> Next {
        let common = Arc::clone(&self.common);
        let reply = match request {
            Ok(Request::Keyrange) => {
                Reply::Keyrange { ranges: self.node.ranges(false).to_string().into() }
            }
            Ok(Request::KeyrangeRead) => {
                Reply::KeyrangeRead { ranges: self.node.ranges(true).to_string().into() }
            }
            Ok(Request::Info) => Reply::Info { pairs: info::pairs(&common, self.node.info()) },
            Ok(Request::Scan { cursor, count }) => {
                replies.wait_completed();
                let node = Arc::clone(&self.node);
                let is_own = |slot: bitcask::SlotId| node.is_primary(slot);
                let source = Source {
                    store: &common.store,
                    epoch: self.node.epoch(),
                    dialect: common.dialect,
                    is_own: &is_own,
                };
                self.scanner.scan(&source, cursor, count, replies);
                return Next::Continue;
            }
            Ok(Request::Backup { path }) => {
                replies.wait_completed();
                common.backup(&path).encode_into(common.dialect, replies.buffer());
                return Next::Continue;
            }
            Ok(Request::Forget { client }) => {
                self.node.forget(client);
                Reply::Forgotten
            }
            Ok(Request::Ecs) => {
                Reply::EcsSuccess { address: self.node.ecs_address.to_string().into() }
            }
            Ok(Request::Ping) => Reply::Pong,
            Ok(Request::Quit) => return Next::Close,
            Ok(
                Request::Put { .. }
                | Request::Get { .. }
                | Request::Delete { .. }
                | Request::Read { .. }
                | Request::With(_),
            ) => unreachable!("answered by the caller"),
            Err(error) => {
                error.encode_into(common.dialect, replies.buffer());
                return if error.is_fatal() { Next::Close } else { Next::Continue };
            }
        };
        reply.encode_into(common.dialect, replies.buffer());
        Next::Continue
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Node {
    /// Tells the machine that a client needs none of its ids any more.
    ///
    /// Only the slots that remember it are told, a few at a time, so that nobody waits for the lock for long. What is still
    /// on its way when a client says this is forgotten with its age.
    fn forget(self: &Arc<Self>, client: u64) {
        let all = SlotId::all().take(usize::from(self.welcome.slot_count));
        let knows = |slot: &SlotId| self.store.request(super::engine_slot(*slot), client).is_some();
        let slots: Vec<SlotId> = all.filter(knows).collect();
        for slots in slots.chunks(FORGET_COUNT_MAX) {
            self.run(|core| {
                for slot in slots {
                    core.step(Event::Forget { slot: *slot, client });
                }
            });
        }
    }
}
