//! A server from its start to its end, without the process around it.
//!
//! Start: the address is bound first, so that a busy port is found before anything is read; connections wait in the
//! kernel until the store is open. Then the store is opened. A server alone creates the slots that are missing; one of a
//! cluster waits for the ECS if its folder has no map yet. Then accepting begins.
//! End: connections drain, the server's own threads end, the store is sealed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bitcask::{Lsn, Recovery, SlotId, Store};
use cluster::lines::{SECRET_LEN_MAX, Secret};
use crossbeam_channel::Sender;
use net::{Listener, Server};
use protocol::Limits;

use crate::commit::{Committer, Helpers, Settings};
use crate::common::Common;
use crate::counts::Counts;
use crate::floors::Floors;
use crate::info::{About, sync_name};
use crate::node::{ClusterService, End, Kept, Node, Start, Threads};
use crate::service::{Service, Shared};
use crate::slots::Slots;
use crate::{Args, Error};

/// How long connections get to finish when the server ends.
const DRAIN: Duration = Duration::from_secs(10);

/// Carriage returns that may stand around a line besides the bytes that are limited.
const LINE_END_ROOM: usize = 2;

/// Connections beyond the limit that servers of the cluster may have: two each way and some in their last moments.
const RESERVED_COUNT: usize = 256;

/// Bytes of answers that may wait for another server.
const PEER_QUEUE_LEN_MAX: usize = 1 << 30;

/// A server at work.
#[derive(Debug)]
pub struct Running {
    server: Server,
    common: Arc<Common>,
    kind: Kind,
}

/// What only one kind of server has.
#[derive(Debug)]
enum Kind {
    Alone { helpers: Helpers, floors: Floors },
    OfCluster { node: Arc<Node>, threads: Threads },
}

impl Running {
    /// Starts a server; it answers when this returns.
    ///
    /// # Errors
    /// Says what could not be had; nothing is left behind but the folder.
    pub fn start(args: &Args) -> Result<Self, Error> {
        let (ends, _) = crossbeam_channel::unbounded();
        Self::start_and_say(args, &AtomicBool::new(false), ends)
    }

    /// Starts a server as [`start`](Self::start) does. One of a cluster says on `ends` when its life is over, and stops waiting
    /// for the ECS when `is_ending` comes true.
    pub(crate) fn start_and_say(
        args: &Args,
        is_ending: &AtomicBool,
        ends: Sender<End>,
    ) -> Result<Self, Error> {
        let limits =
            Limits { key_len_max: args.max_key_bytes, value_len_max: args.max_value_bytes };
        let listener = Listener::bind(&args.address, args.port, net_config(args, &limits))
            .map_err(Error::Net)?;
        check_open(args, listener.address())?;
        let (store, recovery) = open_store(args)?;
        let common = Arc::new(Common {
            store,
            dialect: args.dialect,
            limits,
            counts: Counts::default(),
            about: About {
                started_at: Instant::now(),
                address: listener.address(),
                advertise: args.advertise,
                dir: args.dir.clone(),
                backup_dir: args.backup_dir.clone(),
                sync: args.sync,
                connection_count_max: args.max_connections,
                connections: listener.counters(),
            },
        });
        let (server, kind) = match args.bootstrap {
            None => start_alone(args, listener, &common)?,
            Some(ecs) => {
                start_of_cluster(args, ecs, listener, &common, &recovery, is_ending, ends)?
            }
        };
        log::info!(
            "listening on {}, data in {}, sync {}",
            server.address(),
            args.dir.display(),
            sync_name(args.sync),
        );
        Ok(Self { server, common, kind })
    }

    /// Returns the address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Asks to leave the ring. Says why that cannot be, if it cannot.
    pub(crate) fn leave(&self) -> Result<(), &'static str> {
        match &self.kind {
            Kind::Alone { .. } => Err("it is alone"),
            Kind::OfCluster { node, .. } => node.leave(),
        }
    }

    /// Ends the server: answers what has come in, seals the store.
    ///
    /// # Errors
    /// If the store could not be sealed; it is then as after a crash, which the next start puts right.
    pub fn stop(self) -> Result<(), Error> {
        let Self { server, common, kind } = self;
        let left = server.stop(DRAIN);
        if left > 0 {
            log::warn!(
                "{left} connections did not end within {} s and were cut off",
                DRAIN.as_secs()
            );
        }
        let dir = common.about.dir.clone();
        let close = || common.store.close().map_err(|cause| Error::Store { dir, cause });
        match kind {
            Kind::Alone { helpers, floors } => {
                helpers.stop();
                floors.stop();
                close()?;
            }
            Kind::OfCluster { threads, .. } => {
                let ended = threads.stop();
                let closed = close();
                ended.end(closed.is_ok()).map_err(Error::Kept)?;
                closed?;
            }
        }
        log::info!("stopped after {} s", common.about.started_at.elapsed().as_secs());
        Ok(())
    }
}

fn start_alone(
    args: &Args,
    listener: Listener,
    common: &Arc<Common>,
) -> Result<(Server, Kind), Error> {
    let dir = &common.about.dir;
    if Kept::is_in(dir) {
        return Err(Error::OfCluster { dir: dir.clone() });
    }
    let store = &common.store;
    let missing: Vec<SlotId> = SlotId::all().filter(|slot| !store.has_slot(*slot)).collect();
    let created = store.create_slots(&missing);
    created.map_err(|cause| Error::Store { dir: dir.clone(), cause })?;
    let slots = match next_epoch(store) {
        epoch @ ..=Lsn::EPOCH_MAX => Arc::new(Slots::new(epoch)),
        _ => return Err(Error::NoEpoch),
    };
    let settings = Settings {
        dialect: common.dialect,
        is_synced: common.about.sync == bitcask::SyncPolicy::Always,
        queued_len_max: buffer_len(args),
    };
    let committer = Arc::new(Committer::new(store.clone(), Arc::clone(&slots), settings));
    let no_thread = |cause| Error::System { what: "start a thread", cause };
    let helpers = Helpers::start(&committer).map_err(no_thread)?;
    let floors = Floors::start(store, &slots).map_err(no_thread)?;
    let shared = Arc::new(Shared { common: Arc::clone(common), slots, committer });
    let server = listener.start(Arc::new(Service::new(shared))).map_err(Error::Net)?;
    Ok((server, Kind::Alone { helpers, floors }))
}

fn start_of_cluster(
    args: &Args,
    ecs_address: SocketAddr,
    listener: Listener,
    common: &Arc<Common>,
    recovery: &Recovery,
    is_ending: &AtomicBool,
    ends: Sender<End>,
) -> Result<(Server, Kind), Error> {
    let is_used = SlotId::all().any(|slot| common.store.has_slot(slot));
    if is_used && !Kept::is_in(&args.dir) {
        return Err(Error::Alone { dir: args.dir.clone() });
    }
    let start = Start {
        dir: args.dir.clone(),
        store: common.store.clone(),
        config: args.cluster_config(),
        address: args.advertise.unwrap_or(listener.address()).to_string(),
        ecs_address,
        secret: args.secret_file.as_deref().map(read_secret).transpose()?,
        is_standby: args.standby,
        connections: listener.counters(),
        life: fastrand::u64(1..),
    };
    let kept = start.kept(is_ending).map_err(Error::Kept)?.ok_or(Error::Interrupted)?;
    let (node, threads) = start.run(kept, recovery, ends).map_err(Error::Kept)?;
    let service = ClusterService::new(Arc::clone(common), Arc::clone(&node));
    let server = listener.start(Arc::new(service)).map_err(Error::Net)?;
    Ok((server, Kind::OfCluster { node, threads }))
}

/// Checks that servers of other machines are let in on purpose only, and can find this one.
fn check_open(args: &Args, address: SocketAddr) -> Result<(), Error> {
    if args.bootstrap.is_none() {
        return Ok(());
    }
    if address.ip().is_unspecified() && args.advertise.is_none() {
        return Err(Error::NoAddress);
    }
    match address.ip().is_loopback() || args.secret_file.is_some() || args.insecure {
        true => Ok(()),
        false => Err(Error::Open),
    }
}

/// Returns the secret in the first line of a file.
fn read_secret(path: &Path) -> Result<Secret, Error> {
    let wrong = |what: String| Error::Secret { path: path.to_path_buf(), what };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let line = text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    Secret::new(line).ok_or_else(|| {
        wrong(format!("its first line has {} bytes, not 1 to {SECRET_LEN_MAX}", line.len()))
    })
}

fn net_config(args: &Args, limits: &Limits) -> net::Config {
    net::Config {
        connection_count_max: args.max_connections,
        reserved_count: if args.bootstrap.is_some() { RESERVED_COUNT } else { 0 },
        line_len_max: limits.line_len_max().saturating_add(LINE_END_ROOM),
        idle_timeout: Some(args.idle_timeout_s).filter(|timeout| !timeout.is_zero()),
        request_timeout: args.request_timeout_s,
        write_timeout: args.write_timeout_s,
        input_len_max: buffer_len(args),
        owed_len_max: buffer_len(args),
        // What a server answers to another is acknowledgements, and statements in parts.
        queue_len_max: PEER_QUEUE_LEN_MAX,
        ..net::Config::default()
    }
}

/// Returns how much of each kind of buffers there may be.
fn buffer_len(args: &Args) -> usize {
    usize::try_from(args.buffer_bytes).unwrap_or(usize::MAX)
}

fn open_store(args: &Args) -> Result<(Store, Recovery), Error> {
    let failed = |cause| Error::Store { dir: args.dir.clone(), cause };
    // A server of a cluster must be able to keep what the clients of any other were allowed to store.
    let (key_len_max, value_len_max) = match args.bootstrap {
        None => (args.max_key_bytes, args.max_value_bytes),
        Some(_) => (bitcask::Config::KEY_LEN_CEILING, bitcask::Config::VALUE_LEN_CEILING),
    };
    let config = bitcask::Config {
        sync: args.sync,
        file_len_max: args.file_bytes,
        key_len_max,
        value_len_max,
        reserve_len: args.reserve_bytes,
        cache_len: usize::try_from(args.cache_bytes).unwrap_or(usize::MAX),
        merge: bitcask::MergeConfig {
            dead_percent: args.merge_dead_percent,
            rate: args.merge_rate,
            ..bitcask::MergeConfig::default()
        },
        ..bitcask::Config::default()
    };
    let (store, recovery) = Store::open(&args.dir, config).map_err(failed)?;
    log_recovery(&recovery);
    Ok((store, recovery))
}
/// Returns an epoch above all that the store has seen (R19). Tombstone floors count: the records that made them
/// may be gone.
fn next_epoch(store: &Store) -> u32 {
    let floors = SlotId::all().filter_map(|slot| Some(store.slot_stats(slot)?.tombstone_floor));
    let highest = floors.max().unwrap_or_default().max(store.highest_lsn());
    highest.epoch() + 1
}

/// Says what opening the store found; what is lost or damaged, a person must know.
fn log_recovery(recovery: &Recovery) {
    log::info!(
        "read {} records in {} data files, {} of them by their hint files",
        recovery.record_count,
        recovery.file_count,
        recovery.hint_count
    );
    if recovery.torn_len > 0 {
        log::warn!(
            "cut off a torn tail of {} bytes, which was not acknowledged",
            recovery.torn_len
        );
    }
    for damage in &recovery.damage {
        log::error!(
            "{} is damaged at byte {} for {} bytes: {}",
            damage.path.display(),
            damage.offset,
            damage.len,
            damage.what
        );
    }
}
