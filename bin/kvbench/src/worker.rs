//! The loop: one thread, one connection (in a cluster, a *lane* to each server), batch after batch.
//!
//! ```text
//!   source ─▶ fill ─┬▶ lane: out ──send──▶ server ──receive──▶ take_replies ─▶ tally
//!    (routes)       │    └─▶ pending (kind, key, when it began) ──────┘
//!                   └▶ lane …
//! ```
//!
//! The client shares the machine with the server, so the loop allocates nothing and asks for the time once a
//! read. All requests of a batch begin when it is rendered (or, paced, when each was due) and end with the read
//! that completes them; equal latencies are recorded together.
//!
//! A batch is cut short before both its requests and its replies exceed [`EITHER_LEN_MAX`]: a server that
//! answers while it reads would wait for us to read while we wait for it to read. A read-modify-write's set
//! goes out in a batch of its own when the gets of its batch are answered.
//!
//! Of a batch over several lanes all parts are sent before the first reply is awaited; then lane after lane is read. A reply on a
//! later lane may have arrived a little before it is read, so latencies of batches over several servers are upper
//! bounds, of any depth above 1. With `--redis-wait` what a batch with sets asked counts as answered when its `WAIT` is.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::pace::Pace;
use crate::plan::Protocol;
use crate::proto::{Kind, Outcome, Step, Wire, redis};
use crate::routes::Routes;
use crate::source::{Op, Source};
use crate::tally::{Tally, shortened};
use crate::values::Values;

/// Both requests and replies of a batch may not exceed this, bytes: what the socket buffers of both sides hold
/// with the system's default settings.
pub(crate) const EITHER_LEN_MAX: usize = 64 << 10;

/// What a request or a reply takes besides key and value, at most, bytes.
pub(crate) const FRAME_LEN_MAX: usize = 64;

/// Longest sleep at a low rate, so that a failure elsewhere ends this thread too.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// When a run measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Replies that come from here on are counted.
    pub(crate) measure_from: Instant,
    /// No request begins from here on.
    pub(crate) end: Option<Instant>,
    /// No more counted requests than these.
    pub(crate) ops_max: u64,
}

/// A counter that no other thread's counter shares a cache line with.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Progress(AtomicU64);

impl Progress {
    /// Returns the requests answered so far.
    pub(crate) fn ops(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What all threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) values: &'a Values,
    pub(crate) value_len: RangeInclusive<usize>,
    pub(crate) key_len: usize,
    pub(crate) depth: usize,
    pub(crate) protocol: Protocol,
    pub(crate) routes: &'a Routes,
    pub(crate) spreads_reads: bool,
    /// Copies to wait for after a batch with sets, in Redis's protocol.
    pub(crate) redis_wait: u32,
    /// Set by the first thread that fails.
    pub(crate) stop: &'a AtomicBool,
}

/// A request whose reply is due.
#[derive(Clone, Copy, Debug)]
struct Pending {
    op: Op,
    value_len: usize,
    begun_at: Instant,
}

/// A connection to one server, and the part of the batch that goes there.
struct Lane {
    connection: Connection,
    out: Vec<u8>,
    pending: Vec<Pending>,
    /// A reply to `WAIT` is due behind those of the requests.
    has_wait: bool,
    /// Received bytes that are known to hold no whole reply.
    searched: usize,
}

impl Lane {
    fn clear(&mut self) {
        self.out.clear();
        self.pending.clear();
        self.has_wait = false;
    }
}

/// One thread's part of a run.
pub(crate) struct Worker<'a, W> {
    wire: W,
    shared: &'a Shared<'a>,
    progress: &'a Progress,
    /// One to each server of the routes, in their order.
    lanes: Vec<Lane>,
    /// Requests rendered for the next exchange, on all lanes.
    rendered: usize,
    /// Chooses among the servers that may be asked to read.
    turn: usize,
    source: Source,
    window: Window,
    pace: Option<Pace>,
    key: Key,
    /// For versions and lengths of values.
    rng: fastrand::Rng,
    /// Keys read that are now to be set.
    modifies: Vec<u32>,
    /// Taken from the source but not sent yet.
    held: Option<Op>,
    tally: Tally,
}

impl<'a, W: Wire> Worker<'a, W> {
    /// Returns a worker; nothing is sent yet.
    pub(crate) fn new(
        wire: W,
        shared: &'a Shared<'a>,
        progress: &'a Progress,
        connections: Vec<Connection>,
        source: Source,
        (window, pace): (Window, Option<Pace>),
        seed: u64,
    ) -> Self {
        let lane = |connection| Lane {
            connection,
            out: Vec::new(),
            pending: Vec::with_capacity(shared.depth),
            has_wait: false,
            searched: 0,
        };
        Self {
            wire,
            shared,
            progress,
            lanes: connections.into_iter().map(lane).collect(),
            rendered: 0,
            turn: 0,
            source,
            window,
            pace,
            key: Key::new(shared.key_len),
            rng: fastrand::Rng::with_seed(seed),
            modifies: Vec::new(),
            held: None,
            tally: Tally::new(),
        }
    }

    /// Runs to the window's end, the source's end, a failure, or another thread's failure. Returns what was
    /// counted and how many keys were inserted.
    ///
    /// # Errors
    /// If the connection fails or the server speaks another protocol.
    pub(crate) fn run(mut self) -> Result<(Tally, u64)> {
        let result = self.drive();
        if result.is_err() {
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        result.map(|()| (self.tally, self.source.inserted()))
    }

    fn drive(&mut self) -> Result<()> {
        if self.pace.is_some() {
            wake_precisely();
        }
        let mut now = Instant::now();
        while !self.is_over(now) {
            self.fill(now);
            if self.rendered == 0 {
                let Some(pace) = &self.pace else { break };
                now = sleep_until(pace.next_at(), self.window.end);
                continue;
            }
            now = self.exchange()?;
            if !self.modifies.is_empty() {
                self.fill_modifies(now);
                now = self.exchange()?;
            }
        }
        Ok(())
    }

    fn is_over(&self, now: Instant) -> bool {
        self.window.end.is_some_and(|end| now >= end)
            || self.tally.counts.ops() >= self.window.ops_max
            || self.shared.stop.load(Ordering::Relaxed)
    }

    /// Renders the next batch: up to `depth` requests, at a fixed rate those that are due.
    fn fill(&mut self, now: Instant) {
        self.clear();
        let left = self.window.ops_max - self.tally.counts.ops();
        let count_max = usize::try_from(left).unwrap_or(usize::MAX).min(self.shared.depth);
        let frame_len = FRAME_LEN_MAX + self.shared.key_len;
        let (mut requests_len, mut replies_len) = (0, 0);
        while self.rendered < count_max {
            let Some(op) = self.held.take().or_else(|| self.source.next()) else { break };
            let value_len = *self.shared.value_len.end();
            let (request, reply) = match op.kind {
                Kind::Get => (frame_len, frame_len + value_len),
                Kind::Set => (frame_len + value_len, frame_len),
            };
            replies_len += reply;
            requests_len += request;
            let is_cut = replies_len.min(requests_len) > EITHER_LEN_MAX;
            if is_cut && self.rendered > 0 {
                self.held = Some(op);
                break;
            }
            let begun_at = match &mut self.pace {
                None => Some(now),
                Some(pace) => pace.take(now),
            };
            let Some(begun_at) = begun_at else {
                self.held = Some(op);
                break;
            };
            self.render(op, begun_at);
        }
    }

    /// Renders the sets of the read-modify-writes whose gets were answered.
    fn fill_modifies(&mut self, now: Instant) {
        self.clear();
        while let Some(key) = self.modifies.pop() {
            self.render(Op { kind: Kind::Set, key, is_modify: false }, now);
        }
    }

    fn clear(&mut self) {
        self.rendered = 0;
        self.lanes.iter_mut().for_each(Lane::clear);
    }

    fn render(&mut self, op: Op, begun_at: Instant) {
        let Self { wire, shared, key, lanes, rng, turn, .. } = self;
        let key = key.render(op.key);
        let index = match op.kind {
            _ if shared.routes.is_single() => 0,
            Kind::Get if shared.spreads_reads => {
                *turn = turn.wrapping_add(1);
                shared.routes.member(key, *turn)
            }
            Kind::Get | Kind::Set => shared.routes.primary(key),
        };
        let Some(lane) = lanes.get_mut(index) else { return };
        let mut value_len = 0;
        match op.kind {
            Kind::Get => wire.get(&mut lane.out, key),
            Kind::Set => {
                let (from, to) = (*shared.value_len.start(), *shared.value_len.end());
                value_len = if from == to { to } else { rng.usize(from..=to) };
                let version = rng.u32(..);
                wire.set(&mut lane.out, key, value_len, |out| {
                    shared.values.render(out, op.key, version, value_len);
                });
                lane.has_wait |= shared.redis_wait > 0;
            }
        }
        lane.pending.push(Pending { op, value_len, begun_at });
        self.rendered += 1;
    }

    /// Sends the batch and takes all its replies. Returns when the last came.
    fn exchange(&mut self) -> Result<Instant> {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.pending.is_empty()) {
            if lane.has_wait {
                redis::wait(&mut lane.out, self.shared.redis_wait);
            }
            lane.connection.send(&lane.out)?;
        }
        let mut now = Instant::now();
        for index in 0..self.lanes.len() {
            now = self.collect(index)?.unwrap_or(now);
        }
        self.progress.0.fetch_add(self.rendered as u64, Ordering::Relaxed);
        Ok(now)
    }

    /// Takes all replies on one lane. Returns when the last came; none if nothing was asked there.
    fn collect(&mut self, index: usize) -> Result<Option<Instant>> {
        let mut answered = 0;
        loop {
            let Some(lane) = self.lanes.get_mut(index).filter(|lane| !lane.pending.is_empty())
            else {
                return Ok(None);
            };
            if !lane.connection.receive()? {
                return Err(nonsense(self.shared, &lane.connection, 0));
            }
            let now = Instant::now();
            answered = self.take_replies(index, answered, now)?;
            let Some(lane) = self.lanes.get_mut(index) else { return Ok(None) };
            if answered < lane.pending.len() || lane.has_wait {
                continue;
            }
            return match lane.connection.received() {
                [] => Ok(Some(now)),
                _ => Err(nonsense(self.shared, &lane.connection, 0)),
            };
        }
    }

    /// Takes all whole replies received, the first to pending request number `answered`; returns the next's.
    fn take_replies(&mut self, index: usize, mut answered: usize, now: Instant) -> Result<usize> {
        let Self { wire, shared, lanes, key, tally, window, modifies, .. } = self;
        let Some(lane) = lanes.get_mut(index) else { return Ok(answered) };
        let is_measured = now >= window.measure_from;
        let mut streak = Streak::default();
        let mut at = 0;
        while let Some(pending) = lane.pending.get(answered) {
            let input = lane.connection.received().get(at..).unwrap_or_default();
            let key = key.render(pending.op.key);
            match wire.reply(pending.op.kind, key, input, lane.searched) {
                Step::More => {
                    lane.searched = input.len();
                    break;
                }
                Step::Nonsense => return Err(nonsense(shared, &lane.connection, at)),
                Step::Reply { len, outcome } => {
                    shared.judge(tally, pending, key, outcome, is_measured);
                    if is_measured && !lane.has_wait {
                        streak.add(tally, pending, now);
                    }
                    if pending.op.is_modify {
                        modifies.push(pending.op.key);
                    }
                    lane.searched = 0;
                    at += len;
                    answered += 1;
                }
            }
        }
        if answered == lane.pending.len() && lane.has_wait {
            let input = lane.connection.received().get(at..).unwrap_or_default();
            if let Some((copies, len)) = redis::waited(input) {
                let words = input.get(..len).unwrap_or_default();
                if copies.is_none_or(|copies| copies < shared.redis_wait) {
                    tally.record_bad(b"WAIT", Outcome::Unknown(words.trim_ascii_end()));
                }
                for pending in lane.pending.iter().filter(|_| is_measured) {
                    streak.add(tally, pending, now);
                }
                lane.has_wait = false;
                at += len;
            }
        }
        streak.record(tally, now);
        lane.connection.consume(at);
        Ok(answered)
    }
}

/// Returns the error for received bytes that make no sense from `at` on.
fn nonsense(shared: &Shared<'_>, connection: &Connection, at: usize) -> Error {
    let found = connection.received().get(at..).unwrap_or_default();
    let line = found.split(|&byte| byte == b'\n').next().unwrap_or(found);
    Error::Nonsense {
        address: connection.address(),
        protocol: shared.protocol,
        found: shortened(line.strip_suffix(b"\r").unwrap_or(line)),
    }
}

impl Shared<'_> {
    /// Counts what a reply says; a wrong value counts whenever it comes, all else only while measured.
    fn judge(
        &self,
        tally: &mut Tally,
        pending: &Pending,
        key: &[u8],
        outcome: Outcome<'_>,
        is_measured: bool,
    ) {
        let value_len = match outcome {
            Outcome::Value(value) if self.values.is_right(pending.op.key, value) => value.len(),
            Outcome::Stored => pending.value_len,
            Outcome::NotFound if !is_measured => return,
            _ => return tally.record_bad(key, outcome),
        };
        if is_measured {
            tally.counts.value_bytes += value_len as u64;
        }
    }
}

/// Replies in a row that are recorded as one: same kind, same beginning, same end.
#[derive(Default)]
struct Streak {
    first: Option<(Kind, Instant)>,
    count: u32,
}

impl Streak {
    fn add(&mut self, tally: &mut Tally, pending: &Pending, now: Instant) {
        let this = Some((pending.op.kind, pending.begun_at));
        if self.first != this {
            self.record(tally, now);
            self.first = this;
        }
        self.count += 1;
    }

    fn record(&mut self, tally: &mut Tally, now: Instant) {
        if let (Some((kind, begun_at)), 1..) = (self.first, self.count) {
            tally.record(kind, now.saturating_duration_since(begun_at), self.count);
            tally.ended_at = Some(now);
        }
        *self = Self::default();
    }
}

/// Asks the system to end this thread's sleeps on time. By default they may end 50 µs late, which would count as
/// the server's latency.
fn wake_precisely() {
    // Without it figures are a little higher, no more.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).ok();
}

/// Sleeps until `at`, but not beyond `end` nor longer than [`SLEEP_MAX`]; returns the time.
fn sleep_until(at: Instant, end: Option<Instant>) -> Instant {
    let until = end.map_or(at, |end| at.min(end));
    std::thread::sleep(until.saturating_duration_since(Instant::now()).min(SLEEP_MAX));
    Instant::now()
}
