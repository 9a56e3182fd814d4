//! A server from its start to its end, without the process around it.
//!
//! Start: the address is bound first, so that a busy port is found before anything is read; connections wait in the
//! kernel until the store is open. Then the store is opened, missing slots are created, and accepting begins.
//! End: connections drain, the committer's helpers end, the store is sealed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcask::{Lsn, Recovery, SlotId, Store};
use net::{Listener, Server};
use protocol::Limits;

use crate::commit::{Committer, Helpers};
use crate::counts::Counts;
use crate::floors::Floors;
use crate::info::{About, sync_name};
use crate::service::{Service, Shared};
use crate::slots::Slots;
use crate::{Args, Error};

/// How long connections get to finish when the server ends.
const DRAIN: Duration = Duration::from_secs(10);

/// Carriage returns that may stand around a line besides the bytes that are limited.
const LINE_END_ROOM: usize = 2;

/// A server at work.
#[derive(Debug)]
pub struct Running {
    server: Server,
    shared: Arc<Shared>,
    helpers: Helpers,
    floors: Floors,
}

impl Running {
    /// Starts a server; it answers when this returns.
    ///
    /// # Errors
    /// Says what could not be had; nothing is left behind but the folder.
    pub fn start(args: &Args) -> Result<Self, Error> {
        let limits =
            Limits { key_len_max: args.max_key_bytes, value_len_max: args.max_value_bytes };
        let listener = Listener::bind(&args.address, args.port, net_config(args, &limits))
            .map_err(Error::Net)?;
        let (store, slots) = open_store(args)?;
        let slots = Arc::new(slots);
        let is_synced = args.sync == bitcask::SyncPolicy::Always;
        let committer = Committer::new(store.clone(), Arc::clone(&slots), args.dialect, is_synced);
        let committer = Arc::new(committer);
        let about = About {
            started_at: Instant::now(),
            address: listener.address(),
            advertise: args.advertise,
            dir: args.dir.clone(),
            sync: args.sync,
            connection_count_max: args.max_connections,
            connections: listener.counters(),
        };
        let no_thread = |cause| Error::System { what: "start a thread", cause };
        let helpers = Helpers::start(&committer).map_err(no_thread)?;
        let floors = Floors::start(&store, &slots).map_err(no_thread)?;
        let shared = Arc::new(Shared {
            store,
            slots,
            committer,
            dialect: args.dialect,
            limits,
            counts: Counts::default(),
            about,
        });
        let server =
            listener.start(Arc::new(Service::new(Arc::clone(&shared)))).map_err(Error::Net)?;
        log::info!(
            "listening on {}, data in {}, sync {}, epoch {}",
            server.address(),
            args.dir.display(),
            sync_name(args.sync),
            shared.slots.epoch()
        );
        Ok(Self { server, shared, helpers, floors })
    }

    /// Returns the address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Ends the server: answers what has come in, seals the store.
    ///
    /// # Errors
    /// If the store could not be sealed; it is then as after a crash, which the next start puts right.
    pub fn stop(self) -> Result<(), Error> {
        let Self { server, shared, helpers, floors } = self;
        let left = server.stop(DRAIN);
        if left > 0 {
            log::warn!(
                "{left} connections did not end within {} s and were cut off",
                DRAIN.as_secs()
            );
        }
        helpers.stop();
        floors.stop();
        let dir = shared.about.dir.clone();
        shared.store.close().map_err(|cause| Error::Store { dir, cause })?;
        log::info!("stopped after {} s", shared.about.started_at.elapsed().as_secs());
        Ok(())
    }
}

fn net_config(args: &Args, limits: &Limits) -> net::Config {
    net::Config {
        connection_count_max: args.max_connections,
        line_len_max: limits.line_len_max().saturating_add(LINE_END_ROOM),
        idle_timeout: Some(args.idle_timeout_s).filter(|timeout| !timeout.is_zero()),
        request_timeout: args.request_timeout_s,
        write_timeout: args.write_timeout_s,
        ..net::Config::default()
    }
}

fn open_store(args: &Args) -> Result<(Store, Slots), Error> {
    let failed = |cause| Error::Store { dir: args.dir.clone(), cause };
    let config = bitcask::Config {
        sync: args.sync,
        file_len_max: args.file_bytes,
        key_len_max: args.max_key_bytes,
        value_len_max: args.max_value_bytes,
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
    let missing: Vec<SlotId> = SlotId::all().filter(|slot| !store.has_slot(*slot)).collect();
    store.create_slots(&missing).map_err(failed)?;
    match next_epoch(&store) {
        epoch @ ..=Lsn::EPOCH_MAX => Ok((store, Slots::new(epoch))),
        _ => Err(Error::NoEpoch),
    }
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
