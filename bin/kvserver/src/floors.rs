//! Tells the engine which tombstones nobody needs any more (R5).
//!
//! A tombstone hides older records of its key from recovery and, in a cluster, from servers that were away. A server
//! that owns the ring alone has nobody to tell, so every tombstone may go once no write below it is still pending: a
//! record with a lower lsn that is published later would bring the key back. That lsn, for each slot that
//! had deletes, is handed down every [`PERIOD`] in one step, which costs one sync. The same thread says in the log what
//! merges did meanwhile.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bitcask::{SlotId, Store};

use crate::merges::Merges;
use crate::slots::Slots;

/// Time between two reports: tombstones are small and merges are rarer.
const PERIOD: Duration = Duration::from_secs(30);

/// The thread that reports.
#[derive(Debug)]
pub(crate) struct Floors {
    is_over: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Floors {
    /// Starts to report the floors of `slots` to `store`.
    ///
    /// # Errors
    /// What the operating system says when it has no thread.
    pub(crate) fn start(store: &Store, slots: &Arc<Slots>) -> io::Result<Self> {
        let is_over = Arc::new((Mutex::new(false), Condvar::new()));
        let (store, slots, of_thread) = (store.clone(), Arc::clone(slots), Arc::clone(&is_over));
        let builder = thread::Builder::new().name("floors".into());
        let thread = builder.spawn(move || run(&store, &slots, &of_thread))?;
        Ok(Self { is_over, thread })
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        *self.is_over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.is_over.1.notify_all();
        if self.thread.join().is_err() {
            log::error!("the thread that reports tombstone floors had panicked");
        }
    }
}

fn run(store: &Store, slots: &Slots, (is_over, ended): &(Mutex<bool>, Condvar)) {
    let mut merges = Merges::default();
    let mut over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
    while !*over {
        over = ended.wait_timeout(over, PERIOD).unwrap_or_else(PoisonError::into_inner).0;
        report(store, slots);
        merges.report(&store.stats());
    }
}

/// Hands down the floors that have risen.
pub(crate) fn report(store: &Store, slots: &Slots) {
    let risen: Vec<_> =
        SlotId::all().filter_map(|slot| Some((slot, slots.lock(slot).risen_floor()?))).collect();
    if risen.is_empty() || store.poison_cause().is_some() {
        return;
    }
    if let Err(error) = store.set_tombstone_floors(&risen) {
        log::warn!("tombstones stay for now: {error}");
    }
}
