//! Operations under way: each on its way to its server and back, as many at once as the ring allows, on one thread.
//!
//! ```text
//!   submit ──▶ waits for its slot ──▶ ready ──▶ in flight on a link ──▶ done
//!                                      ▲ ▲            │
//!                          delayed ────┘ └── parked ◀─┴── refused for the moment, lost
//!                          (until then)      (until the map is learned)
//! ```
//!
//! * **Of one slot** only reads are under way together; a write waits for what was submitted before it, and all wait for it. So
//!   writes of a key keep their order through all retries, a read sees the writes before it, and servers, which remember
//!   the last request of a client in each slot, can tell each repetition (R24).
//! * **Nothing blocks** but a connect, and that at most for its time-out: one poll waits for all servers.
//! * **A write is repeated** if it is certain that it was not done, or if it went with a request id. Then it is sent again under
//!   the same id until it has an answer, or its deadline comes: *unknown*.
//! * **A quiet server** (nothing moves on its connection) makes the run ask another one for the map. When the map
//!   names another server in its place, or its time is up, its requests go on elsewhere; a read does not wait that long.

mod expire;
mod learn;
mod receive;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use hashring::SlotId;

use crate::answer::{Attempt, Miss};
use crate::core::Core;
use crate::link::Asked;
use crate::op::{Op, Value};
use crate::router::{Met, Step};
use crate::{Error, ServerState};
pub(crate) use learn::Learning;

/// The least time worth another attempt: with less, it is likelier to leave a write's outcome unknown than to
/// succeed, and to hide why the attempts before it failed.
const ATTEMPT_MIN: Duration = Duration::from_millis(100);

/// Requests under way on one connection at once: enough that a round trip is small beside the work.
const LINK_COUNT_MAX: usize = 4096;

/// Unsent bytes at which a connection gets no more requests; one request may go beyond.
const LINK_LEN_MAX: usize = 1024 * 1024;

/// The longest wait for sockets: whatever was overlooked is looked at again then.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Whose turn it is in a slot: one write, or reads.
#[derive(Debug, Default)]
struct Turns {
    /// Operations on their way, and whether they are a write.
    under_way: usize,
    has_write: bool,
    /// The others, in their order, each with whether it is a read.
    waiting: VecDeque<(u64, bool)>,
}

/// Operations under way.
#[derive(Debug)]
pub(crate) struct Run<'c, 'a> {
    core: &'c mut Core,
    /// Those whose results were not taken, in the order of their submission.
    ops: VecDeque<Op<'a>>,
    /// The number of the first of `ops`.
    first: u64,
    /// The bytes that `ops` hold.
    len: usize,
    /// The slots of which operations are not done.
    slots: BTreeMap<SlotId, Turns>,
    ready: VecDeque<u64>,
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    parked: Vec<u64>,
    learn_error: Option<Error>,
}

impl<'c, 'a> Run<'c, 'a> {
    pub(crate) fn new(core: &'c mut Core) -> Self {
        core.tidy();
        Self {
            core,
            ops: VecDeque::new(),
            first: 0,
            len: 0,
            slots: BTreeMap::new(),
            ready: VecDeque::new(),
            delayed: BinaryHeap::new(),
            parked: Vec::new(),
            learn_error: None,
        }
    }

    /// Returns what the client keeps.
    pub(crate) fn core(&mut self) -> &mut Core {
        self.core
    }

    /// Returns how many operations there are whose results were not taken.
    pub(crate) fn count(&self) -> usize {
        self.ops.len()
    }

    /// Returns how many bytes they hold.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes an operation; its request goes out in the next turn at the latest.
    pub(crate) fn submit(&mut self, op: Op<'a>) {
        let number = self.first.saturating_add(self.ops.len() as u64);
        let slot = op.route.token.slot();
        self.len = self.len.saturating_add(op.len());
        self.slots.entry(slot).or_default().waiting.push_back((number, op.is_read()));
        self.ops.push_back(op);
        self.admit(slot);
    }

    /// Waits for the result of the oldest operation and takes it; none if there is no operation.
    pub(crate) fn next(&mut self) -> Option<Attempt<Value>> {
        while self.ops.front()?.result.is_none() {
            self.turn();
        }
        self.take_front()
    }

    /// Sends what can be sent, and takes in what has arrived, without waiting.
    pub(crate) fn push(&mut self) {
        let now = Instant::now();
        self.start(now);
        self.core.links().filter_map(|(_, link)| link.connection.as_mut()).for_each(|c| c.push());
    }

    fn take_front(&mut self) -> Option<Attempt<Value>> {
        let op = self.ops.pop_front()?;
        self.first = self.first.saturating_add(1);
        self.len = self.len.saturating_sub(op.len());
        op.result
    }

    /// Starts, sends, waits, receives, gives up: once each.
    fn turn(&mut self) {
        let now = Instant::now();
        while self.delayed.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            self.ready.extend(self.delayed.pop().map(|Reverse((_, number))| number));
        }
        self.push();
        self.receive();
        self.expire(Instant::now());
    }

    /// Gives the operations of a slot their way that nothing of the slot stands in.
    fn admit(&mut self, slot: SlotId) {
        let Some(turns) = self.slots.get_mut(&slot) else { return };
        while let Some(&(number, is_read)) = turns.waiting.front() {
            if turns.under_way > 0 && (turns.has_write || !is_read) {
                return;
            }
            turns.waiting.pop_front();
            turns.under_way += 1;
            turns.has_write = !is_read;
            let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
            if let Some(op) = self.ops.get_mut(index) {
                op.is_admitted = true;
            }
            self.ready.push_back(number);
        }
        if turns.under_way == 0 {
            self.slots.remove(&slot);
        }
    }

    fn op(&mut self, number: u64) -> Option<&mut Op<'a>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.ops.get_mut(index).filter(|op| op.result.is_none())
    }

    /// Sets what can go on its way.
    fn start(&mut self, now: Instant) {
        if !self.parked.is_empty() || self.core.router.is_stale(now) {
            self.learn(None, now);
        }
        let mut held = VecDeque::new();
        while let Some(number) = self.ready.pop_front() {
            let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
            let Some(op) = self.ops.get_mut(index).filter(|op| op.result.is_none()) else {
                continue;
            };
            match self.core.router.next(&mut op.route, now) {
                Step::Ask(server) => {
                    let link = self.core.link(server);
                    let is_full =
                        link.in_flight.len() >= LINK_COUNT_MAX || link.unsent_len() >= LINK_LEN_MAX;
                    if is_full {
                        held.push_back(number);
                    } else {
                        self.send(number, server, now);
                    }
                }
                Step::Learn => {
                    self.parked.push(number);
                    self.learn(None, now);
                }
                Step::Wait(at) => self.delayed.push(Reverse((at, number))),
            }
        }
        self.ready = held;
    }

    fn send(&mut self, number: u64, server: usize, now: Instant) {
        let began_at = Instant::now();
        let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let Some(op) = self.ops.get(index) else { return };
        let has_id = !op.is_read() && self.core.takes_ids == Some(true);
        if op.is_doubtful && !op.is_read() && !has_id {
            let error = self.failure(number);
            return self.finish(number, Err(Miss::doubtful(error)));
        }
        if let Err(error) = self.core.connect(server, &op.deadline) {
            let now = Instant::now();
            self.core.router.unreachable(server, now.saturating_duration_since(began_at), now);
            return self.missed(number, server, has_id, Miss::definite(error));
        }
        let client = has_id.then_some(self.core.client);
        self.core.id_count = self.core.id_count.saturating_add(u64::from(has_id));
        let link = self.core.link(server);
        link.had_ids |= has_id;
        link.ask(Asked::Op { op: number, has_id }, now, |out| op.encode_into(client, out));
    }

    /// Takes note of an attempt that did not succeed: tries again, or not.
    fn missed(&mut self, number: u64, server: usize, had_id: bool, miss: Miss) {
        let now = Instant::now();
        let Self { core, ops, first, .. } = self;
        let index = usize::try_from(number.saturating_sub(*first)).unwrap_or(usize::MAX);
        let Some(op) = ops.get_mut(index).filter(|op| op.result.is_none()) else { return };
        if !miss.is_definite && !op.is_read() {
            core.has_strays |= had_id;
        }
        let is_safe = op.is_read() || miss.is_definite || had_id;
        let Some(met) = met(&miss.error, had_id).filter(|_| is_safe) else {
            let attempt = op.settle(core.router.address(server), Err(miss));
            return self.finish(number, attempt);
        };
        core.write_lock_count += u64::from(matches!(met, Met::WriteLock));
        op.is_doubtful |= !miss.is_definite && !op.is_read();
        let at = core.router.met(&mut op.route, server, met, now);
        let pause = at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let has_time =
            op.deadline.remaining().is_some_and(|left| left > pause.saturating_add(ATTEMPT_MIN));
        if !has_time {
            let attempt = op.settle(core.router.address(server), Err(miss));
            return self.finish(number, attempt);
        }
        log::debug!("{}; trying again", miss.error);
        op.last_error = Some(miss.error);
        match at {
            Some(at) => self.delayed.push(Reverse((at, number))),
            None => self.ready.push_back(number),
        }
    }

    /// Gives an operation its result, and those behind it their way.
    fn finish(&mut self, number: u64, attempt: Attempt<Value>) {
        let Some(op) = self.op(number) else { return };
        op.result = Some(attempt);
        let slot = op.route.token.slot();
        let is_admitted = std::mem::replace(&mut op.is_admitted, false);
        if let Some(turns) = self.slots.get_mut(&slot) {
            if is_admitted {
                turns.under_way = turns.under_way.saturating_sub(1);
            } else {
                // Its deadline came before its turn.
                turns.waiting.retain(|(other, _)| *other != number);
            }
        }
        self.admit(slot);
    }

    /// Returns why an operation that has no answer got none.
    fn failure(&mut self, number: u64) -> Error {
        let learn_error = self.learn_error.as_ref().map(Error::again);
        let server = self.core.router.address(self.core.home).to_owned();
        if self.core.is_interrupted() {
            return Error::Interrupted { server };
        }
        let limit = self.core.config.timeout;
        let last = self.op(number).and_then(|op| op.last_error.take());
        last.or(learn_error).unwrap_or(Error::Late { server, limit })
    }

    /// Gives up a connection; what waited there goes on elsewhere, or fails: the first of `error` itself.
    fn lose(&mut self, server: usize, error: Error) {
        log::debug!("leaving {}: {error}", self.core.router.address(server));
        let now = Instant::now();
        self.core.router.lost(server, now);
        let again = error.again();
        let errors = std::iter::once(error).chain(std::iter::repeat_with(|| again.again()));
        for ((asked, is_sent), error) in self.core.link(server).lose().into_iter().zip(errors) {
            match asked {
                Asked::Op { op, has_id } => {
                    let miss = Miss { error, is_definite: !is_sent };
                    self.missed(op, server, has_id, miss);
                }
                Asked::Map | Asked::Ecs => {
                    self.core.learning = None;
                    self.learn_error = Some(error);
                }
            }
        }
    }
}

/// Returns what an error is to the way of an operation; none if trying again is of no use.
fn met(error: &Error, had_id: bool) -> Option<Met> {
    match error {
        Error::NotNow { state: ServerState::NotResponsible, .. } => Some(Met::NotResponsible),
        Error::NotNow { state: ServerState::WriteLock, .. } => Some(Met::WriteLock),
        Error::NotNow { state: ServerState::Stopped, .. } => Some(Met::Stopped),
        Error::Unreachable { .. } | Error::Broken { .. } => Some(Met::Lost),
        // Late is an attempt here: who has no time left is finished before.
        Error::Late { .. } => Some(Met::Lost),
        // Who takes the server's place can tell what became of a request with an id.
        Error::Doubt { .. } if had_id => Some(Met::Stopped),
        Error::Doubt { .. }
        | Error::Interrupted { .. }
        | Error::Rejected { .. }
        | Error::Conflict { .. }
        | Error::Complaint { .. }
        | Error::Limit { .. }
        | Error::Empty { .. }
        | Error::Nonsense { .. }
        | Error::ReplyTooLong { .. } => None,
    }
}
