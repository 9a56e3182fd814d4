//! A server that is one of a cluster: the host of [`cluster::Server`].
//!
//! ```text
//!  clients' lines ─▶ session ─▶ ops ─┐                      ┌─▶ links: one connection a peer and direction
//!  peers' lines ───▶ links ──────────┼─▶ machine (one lock) ───┼─▶ ecs: one connection
//!  the coordinator's lines ─▶ ecs ───┤   machine, storage   ├─▶ kept: maps, durable before they are in force
//!  ticks, ends of syncs ─────────────┘                      └─▶ outcomes to clients, by whoever learns them
//! ```
//!
//! | file | what |
//! |---|---|
//! | `machine` | the machine under its lock, and the order of its actions |
//! | `ops` | clients' operations and their answers |
//! | `session` | lines of clients, told apart from those of peers |
//! | `links` | connections with peers |
//! | `ecs` | the connection with the coordinator |
//! | `gossip` | hints from server to server: who lives, newer maps, loads |
//! | `storage` | the engine behind the machine's contract |
//! | `sync` | who syncs, for all who wait |
//! | `kept` | the map and what the server must remember of itself, on disk |
//! | `threads` | the ticker, the keeper of maps, the reader of pages |
//! | `clock` | the time that leases go by |
//!
//! The host decides nothing. It does what the machine says, in its order, and tells what became of it.

mod clock;
mod ecs;
mod gossip;
mod kept;
mod links;
mod machine;
mod ops;
mod session;
mod storage;
mod sync;
mod threads;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bitcask::{Error, Found, Store};
use cluster::coordinator::WholeMap;
use cluster::lines::Secret;
use cluster::{
    Bytes, Event, Link, Permits, ReadTicket, Role, ServerId, SlotId, Standing, StopReason,
};
use crossbeam_channel::Sender;
use hashring::{Ring, Token, arcs_by};
use net::LARGE_REPLY_LEN;
use protocol::{Limits, Range, write_ranges};

pub(crate) use self::kept::Kept;
pub use self::kept::KeptError;
use self::machine::{Core, Effects};
pub(crate) use self::session::ClusterService;
use self::storage::engine_slot;
pub(crate) use self::threads::{Start, Threads};

/// Bytes that may wait for a peer before clients' writes wait too: what the network takes in a tenth of a second.
const BACKLOG_LEN_MAX: usize = 16 << 20;

/// How long a client's writes wait for a peer at most: longer than a peer takes to be removed.
const BACKLOG_WAIT_MAX: Duration = Duration::from_secs(2);

/// Between two looks at how far a peer is behind.
const BACKLOG_LOOK: Duration = Duration::from_millis(1);

/// Looks at the lock before its holder is given the processor.
const SPIN_COUNT: u32 = 200;

/// Times a thread that can wait gives its processor away before it sleeps.
const YIELD_COUNT: u32 = 20;

/// Why a server that is one of a cluster ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The machine says so.
    Machine(StopReason),
    /// The coordinator is that of another cluster.
    OtherCluster,
}

/// A server that is one of a cluster.
#[derive(Debug)]
pub(crate) struct Node {
    core: Mutex<Core>,
    /// What may be read without the lock.
    permits: Arc<Permits>,
    store: Store,
    syncer: sync::Syncer,
    id: ServerId,
    life: u64,
    secret: Option<Secret>,
    /// Of the lines between servers: as long as any server's clients may make them.
    limits: Limits,
    welcome: cluster::lines::Welcome,
    kept: Arc<Mutex<Kept>>,
    gossiping: gossip::Gossiping,
    /// An empty ring of the cluster's shape, which knows the slots of keys.
    shape: Ring,
    ecs_address: SocketAddr,
    is_dialing_ecs: AtomicBool,
    /// A connection to the coordinator that was not welcomed yet, and since when.
    unwelcomed: Mutex<Option<(Instant, net::Sender)>>,
    /// When the log was told last of a coordinator of another cluster.
    stranger_told_at: Mutex<Option<Instant>>,
    pages: Sender<cluster::PageTicket>,
    ends: Sender<End>,
    ranges: Mutex<Ranges>,
    /// Whether the process is on its way out: nothing is opened any more.
    is_ending: AtomicBool,
    /// Bytes that wait for the slowest peer, when it was looked at last.
    backlog_len: AtomicUsize,
}

/// The key ranges of a map, as clients are told them.
#[derive(Debug, Default)]
struct Ranges {
    version: cluster::Version,
    primaries: Arc<str>,
    members: Arc<str>,
}

impl Node {
    /// Gives the machine events, and does what it says.
    fn run(self: &Arc<Self>, give: impl FnOnce(&mut Core)) {
        let effects = Self::step(self.lock(), give);
        self.carry_out(effects);
    }

    /// The same for what comes in numbers, and can wait for the processor.
    fn run_patiently(self: &Arc<Self>, give: impl FnOnce(&mut Core)) {
        let effects = Self::step(self.lock_yielding(YIELD_COUNT), give);
        self.carry_out(effects);
    }

    fn step(mut core: MutexGuard<'_, Core>, give: impl FnOnce(&mut Core)) -> Effects {
        give(&mut core);
        core.end()
    }

    /// Gives the machine one event.
    fn tell(self: &Arc<Self>, event: Event) {
        self.run(|core| core.step(event));
    }

    fn carry_out(self: &Arc<Self>, effects: Effects) {
        let mut next = Some(effects);
        while let Some(mut effects) = next.take() {
            if effects.failure.is_some() {
                // Before anybody hears of it, and may do without this server.
                self.owe();
            }
            let mut backlog_len = 0;
            for sender in effects.senders.drain(..) {
                sender.flush();
                backlog_len = backlog_len.max(sender.queued_len());
            }
            if backlog_len > BACKLOG_LEN_MAX {
                self.backlog_len.fetch_max(backlog_len, Ordering::Relaxed);
            }
            for sender in effects.closes.drain(..) {
                sender.close();
            }
            for (waiter, reply) in effects.replies.drain(..) {
                waiter.complete(reply, || self.ranges(false).to_string());
            }
            for (link, address) in effects.dials.drain(..) {
                links::dial(self, link, &address);
            }
            for ticket in effects.pages.drain(..) {
                // The reader of pages ends with the process.
                self.pages.send(ticket).unwrap_or_default();
            }
            self.note(&effects);
            if let Some(upto) = effects.unsynced {
                self.sync(upto);
            }
            if !effects.reads.is_empty() {
                next = Some(self.read(&effects.reads));
            }
        }
    }

    /// Notes that the disk failed: without syncs, what was acknowledged before may be lost with the next power cut,
    /// whatever this process still sees of it.
    fn owe(&self) {
        if let Err(error) = threads::lock(&self.kept).fail() {
            log::warn!("{error}");
        }
    }

    fn note(&self, effects: &Effects) {
        if let Some(error) = &effects.failure {
            log::error!("the disk failed, this server takes no more writes: {error}");
        }
        if let Some(version) = effects.version {
            log::debug!("map {version} is in force");
        }
        if let Some(reason) = effects.stop {
            // Where nobody listens any more, the process is ending.
            self.ends.send(End::Machine(reason)).unwrap_or_default();
        }
    }

    /// Makes reads, and tells the machine what they found.
    fn read(self: &Arc<Self>, reads: &[(ReadTicket, Bytes)]) -> Effects {
        let mut buf = Vec::new();
        let found: Vec<_> = reads
            .iter()
            .map(|(ticket, key)| {
                let found = self.store.get(engine_slot(ticket.slot), key, &mut buf);
                (*ticket, found.map(|found| found.map(|f| (Bytes::from(f.value), f.lsn))))
            })
            .collect();
        let mut failed = Vec::new();
        let effects = {
            let mut core = self.lock();
            for (ticket, found) in found {
                match found {
                    Ok(value) => core.step(Event::ReadDone { ticket, value }),
                    Err(error @ (Error::Corrupt { .. } | Error::Io { .. })) => {
                        log::error!("slot {}: a read failed: {error}", ticket.slot.index());
                        core.step(Event::ReadFailed(ticket));
                    }
                    Err(error) => failed.extend(core.take_op(ticket.op).map(|op| (op, error))),
                }
            }
            core.end()
        };
        for (waiter, error) in failed {
            log::error!("a read failed: {error}");
            waiter.fail(&error.to_string());
        }
        effects
    }

    /// Gives `tell` what there is of a key, if it can be told without the machine, which has permitted reads of the slot.
    /// Returns whether it could.
    pub(crate) fn read_by_permit(
        &self,
        slot: SlotId,
        key: &[u8],
        buf: &mut Vec<u8>,
        tell: impl FnOnce(Option<Found<'_>>),
    ) -> bool {
        let Some(look) = self.permits.look(slot, clock::now()) else { return false };
        // A large one must wait for room before it is read. A read that fails is the machine's to hear of.
        let found = self.store.get_up_to(engine_slot(slot), key, LARGE_REPLY_LEN - 1, buf);
        let Ok(found) = found else { return false };
        let is_told = self.permits.confirm(look, clock::now());
        if is_told {
            tell(found);
        }
        is_told
    }

    /// Returns the slot of a key.
    pub(crate) fn slot_of(&self, token: Token) -> SlotId {
        self.shape.slot_of(token)
    }

    /// Returns which server answers for which keys, as `keyrange` says it; with all members, as `keyrange_read` does.
    pub(crate) fn ranges(&self, has_members: bool) -> Arc<str> {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let core = self.lock();
        let map = core.machine.map();
        if ranges.version != map.version() {
            let address = |id: &ServerId| map.servers().get(id)?.address.parse().ok();
            let text = |members: &dyn Fn(SlotId) -> Vec<ServerId>| {
                let arcs = arcs_by(map.slot_count(), members);
                let all = arcs.iter().flat_map(|(arc, members)| {
                    let servers = members.iter().filter_map(address);
                    servers.map(|server: SocketAddr| Range { arc: *arc, server })
                });
                Arc::<str>::from(write_ranges(&all.collect::<Vec<_>>()))
            };
            *ranges = Ranges {
                version: map.version(),
                primaries: text(&|slot| map.slot(slot).primary_id().into_iter().collect()),
                members: text(&|slot| map.slot(slot).members().collect()),
            };
        }
        Arc::clone(if has_members { &ranges.members } else { &ranges.primaries })
    }

    /// Notes that a connection ended, or could not be made.
    fn closed(self: &Arc<Self>, link: Link) {
        self.run(|core| {
            core.links.remove(&link);
            core.step(Event::Closed(link));
        });
    }

    /// Returns whether this server is the slot's primary by the map in force.
    pub(crate) fn is_primary(&self, slot: bitcask::SlotId) -> bool {
        let slot = SlotId::new(slot.index());
        slot.is_some_and(|slot| self.lock().machine.map().slot(slot).primary_id() == Some(self.id))
    }

    /// Returns a number that is another one in each life.
    pub(crate) fn epoch(&self) -> u32 {
        u32::try_from(self.life & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// Appends the newest map that this server heard of as one line.
    pub(crate) fn write_map(&self, out: &mut Vec<u8>) {
        // In the order in which a connection passes through the two, so that none is overlooked.
        let is_unwelcomed = self.has_unwelcomed_ecs();
        let (map, has_ecs) = {
            let core = self.lock();
            (core.machine.newest_heard(), core.ecs.is_some())
        };
        let map = WholeMap::new(self.welcome.cluster, &map);
        let map = WholeMap { has_ecs: has_ecs || is_unwelcomed, ..map };
        out.extend_from_slice(b"map_success ");
        // The types are ours, and none of them can fail to be written.
        out.extend_from_slice(&serde_json::to_vec(&map).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
    }

    /// Returns what `info` tells of the cluster.
    pub(crate) fn info(&self) -> Vec<protocol::InfoPair<'static>> {
        let core = self.lock();
        let (machine, now) = (&core.machine, clock::now());
        let (mut primary, mut backup, mut learner) = (0_u32, 0_u32, 0_u32);
        let (mut readable, mut writable) = (0_u32, 0_u32);
        for slot in SlotId::all().take(usize::from(self.welcome.slot_count)) {
            let peek = machine.peek(now, slot);
            match peek.role {
                Role::None => {}
                Role::Learner => learner += 1,
                Role::Backup => backup += 1,
                Role::Primary => primary += 1,
            }
            readable += u32::from(peek.can_read);
            writable += u32::from(peek.can_write);
        }
        let standing = machine.map().servers().get(&self.id).map(|server| server.standing);
        let standing = match standing {
            None => "unregistered",
            Some(Standing::Standby) => "standby",
            Some(Standing::Serving) => "serving",
            Some(Standing::Leaving) => "leaving",
            Some(Standing::Away) => "away",
        };
        let pair = |name: &'static str, value: String| (name.into(), value.into());
        vec![
            pair("server", self.id.to_string()),
            pair("cluster", format!("{:032x}", self.welcome.cluster)),
            pair("standing", standing.into()),
            pair("incarnation", machine.incarnation().to_string()),
            pair("map_version", machine.map().version().to_string()),
            pair("ecs", self.ecs_address.to_string()),
            pair("ecs_connected", if core.ecs.is_some() { "yes" } else { "no" }.into()),
            pair("links", core.links.len().to_string()),
            pair("operations_waiting", core.ops.count().to_string()),
            pair("slots_primary", primary.to_string()),
            pair("slots_backup", backup.to_string()),
            pair("slots_learner", learner.to_string()),
            pair("slots_readable", readable.to_string()),
            pair("slots_writable", writable.to_string()),
        ]
    }

    /// Asks to leave the ring. Says why not, if nobody could decide or take over.
    pub(crate) fn leave(self: &Arc<Self>) -> Result<(), &'static str> {
        let mut outcome = Ok(());
        self.run(|core| {
            let mut others = core.machine.map().servers().iter();
            let is_last =
                !others.any(|(id, server)| *id != self.id && server.standing == Standing::Serving);
            outcome = match (core.ecs.is_some(), is_last) {
                (false, _) => Err("the ECS cannot be reached"),
                (true, true) => Err("no other server is on the ring"),
                (true, false) => Ok(()),
            };
            if outcome.is_ok() {
                core.step(Event::Leave);
            }
        });
        outcome
    }

    /// Closes the connections with peers and the coordinator.
    pub(crate) fn hang_up(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let mut core = self.lock();
        let links = std::mem::take(&mut core.links);
        let ecs = core.ecs.take();
        drop(core);
        for sender in links.into_values().chain(ecs) {
            sender.close();
        }
    }

    /// Waits, before more writes are taken, while a peer is too far behind to be sent them; not for ever, since the
    /// peer may be on its way out.
    fn wait_for_room(&self) {
        let until = Instant::now() + BACKLOG_WAIT_MAX;
        while self.backlog_len.load(Ordering::Relaxed) > BACKLOG_LEN_MAX && Instant::now() < until {
            std::thread::sleep(BACKLOG_LOOK);
            let core = self.lock();
            let len = core.links.values().map(net::Sender::queued_len).max().unwrap_or(0);
            self.backlog_len.store(len, Ordering::Relaxed);
        }
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Takes the lock. Its holder is a few microseconds in it, less than a thread takes to fall asleep and be woken: so
    /// it is worth a short wait awake.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.lock_yielding(0)
    }

    /// Takes the lock; gives the processor to others before it sleeps, as the holder may have been preempted. That makes writes of many
    /// faster, but whoever yields goes behind everybody else who wants to run, for a tenth of a second with fifty of them:
    /// not for the ticker, on which leases hang.
    fn lock_yielding(&self, yield_count: u32) -> MutexGuard<'_, Core> {
        for round in 0..SPIN_COUNT + yield_count {
            match self.core.try_lock() {
                Ok(core) => return core,
                Err(TryLockError::Poisoned(_)) => break,
                Err(TryLockError::WouldBlock) if round < SPIN_COUNT => std::hint::spin_loop(),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        // A panic under the lock may have left the machine half way through a step: nothing may follow it.
        self.core.lock().unwrap_or_else(|_| {
            log::error!("the server's machine is broken by a panic; the process ends");
            std::process::abort()
        })
    }
}
