//! A server of a cluster from its start to its end: what it makes of its folder, and the threads that only it has.
//!
//! | thread | what it does |
//! |---|---|
//! | `tick` | tells the machine that time passes, every [`TICK`]; sees to the connection with the coordinator |
//! | `keep` | makes maps durable; what waits together is kept with one sync |
//! | `gossip` | gossips with other servers |
//! | `pages` | reads what learners lack, so that no connection waits for it |
//! | `sync` | syncs while others wait (`--sync always`) |
//!
//! Start: without a map the coordinator is waited for, because it says how the ring is cut. With one, the server is
//! ready at once: clients are answered as soon as peers grant leases, whether the coordinator is there or not (P4).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bitcask::{Recovery, Store, SyncPolicy};
use cluster::lines::Secret;
use cluster::{Config, Delta, Event, Identity, Map, PageTicket, Server, ServerId};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use net::Counters;
use protocol::Limits;

use super::kept::{Kept, KeptError};
use super::machine::Core;
use super::storage::{NodeStorage, page};
use super::sync::Syncer;
use super::{End, Node, Ranges, ecs};

/// Between two ticks. The machine wants one every 10 ms.
const TICK: Duration = Duration::from_millis(10);

/// Ticks without a turn of the accept loop after which no connections are taken any more (R16): a second, ten turns. Ticks that were
/// made are counted and not time, so that a process which stood still, or waits for a processor as a whole, is not blamed.
const DEAF_TICK_COUNT: u32 = 100;

/// Between two attempts to reach the coordinator.
const ECS_RETRY: Duration = Duration::from_millis(150);

/// Between two looks at the free space of a full disk.
const ROOM_LOOK: Duration = Duration::from_millis(250);

/// Between two attempts to keep a map that the disk would not take.
const KEEP_RETRY: Duration = Duration::from_millis(500);

/// Changes of the map that are kept with one sync.
const KEEP_COUNT_MAX: usize = 256;

/// Pages that wait to be read: as many as transfers may run at a time, and some.
const PAGE_COUNT_MAX: usize = 4096;

/// Stack of these threads: nothing in them nests deeply.
const STACK_LEN: usize = 512 * 1024;

/// What a server needs to begin.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) dir: PathBuf,
    pub(crate) store: Store,
    pub(crate) config: Config,
    /// Where it tells others that it listens.
    pub(crate) address: String,
    pub(crate) ecs_address: SocketAddr,
    pub(crate) secret: Option<Secret>,
    pub(crate) is_standby: bool,
    /// The accept loop's signs of life.
    pub(crate) connections: Arc<Counters>,
    /// Drawn for this life.
    pub(crate) life: u64,
}

/// The threads of a server of a cluster.
#[derive(Debug)]
pub(crate) struct Threads {
    node: Arc<Node>,
    stop: Sender<()>,
    kept: Arc<Mutex<Kept>>,
    threads: Vec<JoinHandle<()>>,
}

impl Start {
    /// Waits for the coordinator if this folder has no map yet; `None` if `is_ending` comes true first.
    ///
    /// # Errors
    /// [`KeptError`].
    pub(crate) fn kept(&self, is_ending: &AtomicBool) -> Result<Option<Kept>, KeptError> {
        if let Some(kept) = Kept::open(&self.dir)? {
            return Ok(Some(kept));
        }
        log::info!("asking the ECS at {} which cluster this is", self.ecs_address);
        let id = ServerId(self.store.server_id());
        while !is_ending.load(Ordering::Relaxed) {
            if let Some(welcome) = ecs::ask_welcome(self.ecs_address, id, self.secret.clone()) {
                return Kept::create(&self.dir, &welcome).map(Some);
            }
            thread::sleep(ECS_RETRY);
        }
        Ok(None)
    }

    /// Begins this life.
    ///
    /// # Errors
    /// [`KeptError`], also where a thread cannot be had.
    pub(crate) fn run(
        self,
        mut kept: Kept,
        recovery: &Recovery,
        ends: Sender<End>,
    ) -> Result<(Arc<Node>, Threads), KeptError> {
        let is_synced = self.store.config().sync == SyncPolicy::Always;
        let is_complete = kept.is_complete() && recovery.damage.is_empty();
        kept.begin(is_synced, is_complete)?;
        if !is_complete {
            log::warn!("records may be missing here: the copies of this server are made anew");
        }
        let id = ServerId(self.store.server_id());
        let identity = Identity {
            server: id,
            address: self.address.clone(),
            life: self.life,
            is_complete,
            is_standby: self.is_standby,
        };
        let (map, welcome): (Map, _) = (kept.map().clone(), kept.welcome());
        let kept = Arc::new(Mutex::new(kept));
        log::info!("server {id} at {}, map {}", self.address, map.version());
        let storage = NodeStorage::new(self.store.clone(), map.slot_count());
        let machine = Server::new(self.config, identity, map, &storage);
        let (keeper, deltas) = unbounded();
        let (pages, tickets) = bounded(PAGE_COUNT_MAX);
        let node = Arc::new(Node {
            permits: machine.permits(),
            core: Mutex::new(Core::new(machine, storage, self.store.config().sync, keeper)),
            store: self.store,
            syncer: Syncer::default(),
            id,
            life: self.life,
            secret: self.secret,
            limits: Limits {
                key_len_max: bitcask::Config::KEY_LEN_CEILING,
                value_len_max: bitcask::Config::VALUE_LEN_CEILING,
            },
            shape: hashring::Ring::new(welcome.slot_count),
            welcome,
            kept: Arc::clone(&kept),
            gossiping: super::gossip::Gossiping::default(),
            ecs_address: self.ecs_address,
            is_dialing_ecs: AtomicBool::new(false),
            unwelcomed: Mutex::default(),
            stranger_told_at: Mutex::default(),
            pages,
            ends,
            ranges: Mutex::new(Ranges::default()),
            is_ending: AtomicBool::new(false),
            backlog_len: AtomicUsize::new(0),
        });
        let hearing = Hearing::new(self.connections);
        Threads::start(&node, kept, hearing, deltas, tickets).map(|threads| (node, threads))
    }
}

impl Threads {
    fn start(
        node: &Arc<Node>,
        kept: Arc<Mutex<Kept>>,
        hearing: Hearing,
        deltas: Receiver<Delta>,
        tickets: Receiver<PageTicket>,
    ) -> Result<Self, KeptError> {
        let (stop, stopped) = bounded(0);
        let mut threads = Vec::new();
        let mut spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let builder = thread::Builder::new().name(name.into()).stack_size(STACK_LEN);
            let thread = builder.spawn(work).map_err(|cause| KeptError::Thread { cause })?;
            threads.push(thread);
            Ok(())
        };
        let of_tick = (Arc::clone(node), stopped.clone());
        let debtor = Arc::clone(&kept);
        spawn("tick", Box::new(move || tick(&of_tick.0, &debtor, hearing, &of_tick.1)))?;
        let of_keep = (Arc::clone(node), Arc::clone(&kept), stopped.clone());
        spawn("keep", Box::new(move || keep(&of_keep.0, &of_keep.1, &deltas, &of_keep.2)))?;
        let of_gossip = (Arc::clone(node), stopped.clone());
        spawn("gossip", Box::new(move || of_gossip.0.gossip(&of_gossip.1)))?;
        let of_pages = (Arc::clone(node), stopped);
        spawn("pages", Box::new(move || read_pages(&of_pages.0, &tickets, &of_pages.1)))?;
        let helper = Arc::clone(node);
        spawn("sync", Box::new(move || helper.help_sync()))?;
        Ok(Self { node: Arc::clone(node), stop, kept, threads })
    }

    /// Ends the threads, and returns what is to be told how it all ended.
    pub(crate) fn stop(self) -> Ended {
        self.node.end_gossip();
        self.node.hang_up();
        drop(self.stop);
        self.node.syncer.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread of the server had panicked");
            }
        }
        Ended { kept: self.kept }
    }
}

/// A server whose threads have ended.
#[derive(Debug)]
pub(crate) struct Ended {
    kept: Arc<Mutex<Kept>>,
}

impl Ended {
    /// Keeps whether everything acknowledged is on the disk.
    ///
    /// # Errors
    /// `Io`: the next life may have to have its copies made anew.
    pub(crate) fn end(&self, is_clean: bool) -> Result<(), KeptError> {
        lock(&self.kept).end(is_clean)
    }
}

pub(super) fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Tells the machine that time passes.
fn tick(node: &Arc<Node>, kept: &Mutex<Kept>, mut hearing: Hearing, stopped: &Receiver<()>) {
    let (mut ecs_at, mut room_at) = (Instant::now(), Instant::now());
    let (mut owes, mut was_failed) = (lock(kept).about.owes, false);
    let ticks = crossbeam_channel::tick(TICK);
    loop {
        crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(ticks) -> _ => {}
        }
        let (mut is_away, mut is_registered) = (false, false);
        let has_failed = node.store.poison_cause().is_some();
        if has_failed && !was_failed {
            // Found by a sync or a merge in the background.
            node.owe();
        }
        let accepting = hearing.tick();
        node.run(|core| {
            if let Some(accepting) = accepting {
                core.step(Event::Accepting(accepting));
            }
            if has_failed && !was_failed {
                core.storage.fail();
                core.step(Event::StorageFailed);
            }
            core.step(Event::Tick);
            is_away = core.ecs.is_none();
            is_registered = core.machine.incarnation().0 > 0;
        });
        was_failed = has_failed;
        if node.store.is_full() && room_at <= Instant::now() {
            room_at = Instant::now() + ROOM_LOOK;
            // Nobody appends while puts are refused, so nobody else would see that there is room again.
            if let Err(error) = node.store.look_for_room() {
                log::warn!("{error}");
            }
        }
        if is_away && ecs_at <= Instant::now() {
            ecs_at = Instant::now() + ECS_RETRY;
            node.hang_up_unwelcomed();
            node.reach_ecs();
        }
        if owes && is_registered && !has_failed {
            // The coordinator knows what this life lacks.
            match lock(kept).settle() {
                Ok(()) => owes = false,
                Err(error) => log::warn!("{error}"),
            }
        }
    }
}

/// Watches whether the accept loop goes round.
#[derive(Debug)]
struct Hearing {
    connections: Arc<Counters>,
    /// The turn that was seen last; none before the first.
    turn: u64,
    quiet_count: u32,
    is_deaf: bool,
}

impl Hearing {
    fn new(connections: Arc<Counters>) -> Self {
        Self { connections, turn: 0, quiet_count: 0, is_deaf: false }
    }

    /// Looks once a tick; returns whether connections are taken, when that has changed.
    fn tick(&mut self) -> Option<bool> {
        // A listener that was told to stop has nobody to hear any more, and the server goes on to its end.
        self.look(self.connections.accept_turns()?)
    }

    fn look(&mut self, turn: u64) -> Option<bool> {
        self.quiet_count = match turn == self.turn && turn > 0 {
            true => self.quiet_count.saturating_add(1),
            false => 0,
        };
        self.turn = turn;
        let was_deaf = std::mem::replace(&mut self.is_deaf, self.quiet_count >= DEAF_TICK_COUNT);
        match (was_deaf, self.is_deaf) {
            (false, true) => {
                log::error!("no connections are taken any more: other servers take over");
                Some(false)
            }
            (true, false) => {
                log::info!("connections are taken again");
                Some(true)
            }
            (true, true) | (false, false) => None,
        }
    }
}

/// Makes maps durable.
fn keep(node: &Arc<Node>, kept: &Mutex<Kept>, deltas: &Receiver<Delta>, stopped: &Receiver<()>) {
    loop {
        let first = crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(deltas) -> delta => match delta {
                Ok(delta) => delta,
                Err(_) => return,
            },
        };
        let mut batch = vec![first];
        batch.extend(deltas.try_iter().take(KEEP_COUNT_MAX));
        while let Err(error) = lock(kept).keep(&batch) {
            log::error!("a new map cannot be kept, so it is not in force here: {error}");
            if stopped.recv_timeout(KEEP_RETRY) != Err(crossbeam_channel::RecvTimeoutError::Timeout)
            {
                return;
            }
        }
        node.run(|core| {
            for delta in batch {
                core.step(Event::MapPersisted(delta.to));
            }
        });
    }
}

/// Reads pages.
fn read_pages(node: &Arc<Node>, tickets: &Receiver<PageTicket>, stopped: &Receiver<()>) {
    loop {
        let ticket = crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(tickets) -> ticket => match ticket {
                Ok(ticket) => ticket,
                Err(_) => return,
            },
        };
        let page = page(&node.store, ticket.slot, ticket.above, ticket.len_max);
        node.tell(Event::PageDone(ticket, page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accept_loop_is_given_up_after_a_second_without_a_turn_and_no_tick_before_r16() {
        let mut hearing = Hearing::new(Arc::default());
        for _ in 0..2 * DEAF_TICK_COUNT {
            assert_eq!(hearing.look(0), None, "it has not begun");
        }
        assert_eq!(hearing.look(1), None);
        for _ in 1..DEAF_TICK_COUNT {
            assert_eq!(hearing.look(1), None);
        }
        assert_eq!(hearing.look(1), Some(false));
        assert_eq!(hearing.look(1), None, "it is said once");
        assert_eq!(hearing.look(2), Some(true));
        assert_eq!(hearing.look(3), None);
    }
}
