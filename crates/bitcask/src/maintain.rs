//! The store's own threads: syncs by interval, commit points, hint files, merges.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::commit_point;
use crate::config::SyncPolicy;
use crate::data_file::DataFile;
use crate::error::{Context, Error, Result};
use crate::hint;
use crate::inner::Inner;
use crate::keydir::Table;
use crate::merge;

/// Time between two looks at whether something is to be merged. Each wait is drawn anew around it, so
/// that the stores of a cluster do not merge in step.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at how much is unsynced, under the policy `Never`.
const WRITE_BACK_EVERY: Duration = Duration::from_millis(100);
/// Unsynced bytes from which they are written back early under `Never`, so that sealing a file need not.
const WRITE_BACK_LEN: u64 = 64 << 20;
/// Bytes appended in a second above which merges are more patient.
const BUSY_RATE: f64 = (1 << 20) as f64;
/// The shortest time over which that is counted.
const BUSY_SPAN_MIN: Duration = Duration::from_millis(250);
/// Entries of a dropped slot that are counted in one go.
const UNCOUNT_MAX: usize = 1024;

/// The wish that the background threads end, and the bell that wakes them.
#[derive(Debug, Default)]
pub(crate) struct Background {
    state: Mutex<State>,
    bell: Condvar,
    /// A commit point has risen since they were last gathered.
    has_points: AtomicBool,
    /// Much was written lately.
    is_busy: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    is_woken: bool,
    /// When it was looked how much was appended, and how much.
    appended: Option<(Instant, u64)>,
}

impl Background {
    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_stopping
    }

    /// Lets maintenance run soon.
    pub(crate) fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_woken = true;
        self.bell.notify_all();
    }

    /// Returns whether much was written lately.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// Notes how much was ever appended to the log.
    pub(crate) fn note_appended(&self, len: u64) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before) = *state.appended.get_or_insert((now, len));
        let span = now.saturating_duration_since(at);
        if span >= BUSY_SPAN_MIN {
            let rate = len.saturating_sub(before) as f64 / span.as_secs_f64();
            self.is_busy.store(rate > BUSY_RATE, Ordering::Relaxed);
            state.appended = Some((now, len));
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_stopping = true;
        self.bell.notify_all();
    }

    /// Has commit points kept soon. Cheap when that was asked for already.
    pub(crate) fn note_points(&self) {
        if !self.has_points.swap(true, Ordering::AcqRel) {
            // Under the lock, or the thread could miss it between its look and its sleep.
            drop(self.state.lock().unwrap_or_else(PoisonError::into_inner));
            self.bell.notify_all();
        }
    }

    /// Waits until a commit point has risen; returns `false` when the threads shall end.
    pub(crate) fn wait_for_points(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle =
            |state: &mut State| !state.is_stopping && !self.has_points.load(Ordering::Acquire);
        let state = self.bell.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner);
        // Gathered later than this: what rises from now on is either gathered or asked for anew.
        self.has_points.store(false, Ordering::Release);
        !state.is_stopping
    }

    /// Waits for `time`, or less when the threads shall end.
    pub(crate) fn pause(&self, time: Duration) {
        self.wait(time, false);
    }

    /// Waits for `time`, or less when the threads shall end or, if `wakes` says so, when there is work.
    fn wait(&self, time: Duration, wakes: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |state: &mut State| !(state.is_stopping || wakes && state.is_woken);
        let waited = self.bell.wait_timeout_while(state, time, is_idle);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.is_woken &= !wakes;
    }
}

/// The running threads; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Threads {
    store: Weak<Inner>,
    handles: Vec<JoinHandle<()>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            store.background.stop();
            store.pace.stop();
        }
        for handle in self.handles.drain(..) {
            // The last handle may be dropped by one of the threads itself, which cannot wait for itself.
            if handle.thread().id() != thread::current().id() {
                drop(handle.join());
            }
        }
    }
}

/// Starts the threads that the settings ask for.
pub(crate) fn start(store: &Arc<Inner>) -> Result<Threads> {
    let mut threads = Threads { store: Arc::downgrade(store), handles: Vec::new() };
    if !store.config.has_background {
        return Ok(threads);
    }
    let spawn = |name: &str, work: fn(&Inner)| {
        let store = Arc::clone(store);
        let built = thread::Builder::new().name(name.to_owned()).spawn(move || work(&store));
        built.context("start a thread for", || store_path(&threads.store))
    };
    let mut handles = vec![
        spawn("bitcask-merge", keep_merging)?,
        spawn("bitcask-commit", commit_point::keep_points)?,
    ];
    match store.config.sync {
        SyncPolicy::Always => {}
        SyncPolicy::Interval(_) | SyncPolicy::Never => {
            handles.push(spawn("bitcask-sync", keep_syncing)?);
        }
    }
    threads.handles = handles;
    Ok(threads)
}

fn store_path(store: &Weak<Inner>) -> std::path::PathBuf {
    store.upgrade().map(|store| store.disk.path().to_owned()).unwrap_or_default()
}

fn keep_merging(store: &Inner) {
    while !store.is_stopping() {
        let jitter = 0.75 + 0.5 * fastrand::f64();
        store.background.wait(MAINTAIN_EVERY.mul_f64(jitter), true);
        // A failure is counted in the figures, and stops writes if it must; the next round tries again.
        if !store.is_stopping() && run(store).is_err() {
            store.background.wait(MAINTAIN_EVERY, false);
        }
    }
}

fn keep_syncing(store: &Inner) {
    let (every, len_min) = match store.config.sync {
        SyncPolicy::Interval(every) => (every, 1),
        SyncPolicy::Always | SyncPolicy::Never => (WRITE_BACK_EVERY, WRITE_BACK_LEN),
    };
    while !store.is_stopping() {
        store.background.wait(every, false);
        let unsynced_len = store.durability.appended().0 - store.durability.durable().0;
        // A failure poisons the store, which every later write is told.
        if unsynced_len >= len_min && store.durability.sync(store).is_err() {
            return;
        }
    }
}

/// Does all that is due: counts dropped slots' bytes as dead, writes hint files, merges.
pub(crate) fn run(store: &Inner) -> Result<()> {
    uncount_dropped(store);
    // One failing file must not keep the others from their hints, nor the store from its merges.
    let mut outcome = write_hints(store, is_lasting);
    let merged = loop {
        match merge::run(store) {
            Ok(Some(_)) if !store.is_stopping() => {
                outcome = outcome.and(write_hints(store, is_lasting));
            }
            merged => break merged,
        }
    };
    merged.map(|_| ()).and(outcome).and(write_hints(store, |_| true))
}

/// Returns whether a file is unlikely to be merged soon: a hint file of one that is would be work for nothing, at a time
/// when merges have enough to do.
fn is_lasting(file: &DataFile) -> bool {
    file.dead_len() * 100 < file.data_end() * merge::INPUT_DEAD_PERCENT
}

fn uncount_dropped(store: &Inner) {
    let dropped =
        std::mem::take(&mut *store.dropped.lock().unwrap_or_else(PoisonError::into_inner));
    for slot in dropped {
        uncount(store, &slot.table);
        for (_, pending) in slot.pending.iter() {
            store.files.with(pending.entry.file, |file| file.sub_live(pending.entry.live_len()));
        }
        slot.requests.alone().for_each(|file| store.bury_request(Some(file)));
    }
}

fn uncount(store: &Inner, table: &Table) {
    let mut at = Some(0);
    while let Some(from) = at {
        at = table.walk(from, UNCOUNT_MAX, |_, entry| {
            store.files.with(entry.file, |file| file.uncount_newest(entry));
        });
    }
}

/// Writes the hint files that are missing, where `is_due` says so. A full disk and a damaged file do without.
fn write_hints(store: &Inner, is_due: fn(&DataFile) -> bool) -> Result<()> {
    for file in store.files.all().iter().filter(|file| is_lacking_hint(file) && is_due(file)) {
        let _not_merged_away = store.lock_merging();
        if store.files.with(file.id, |_| ()).is_none() {
            continue;
        }
        let Some(footer) = file.read_footer()? else { continue };
        let pace = &mut |len| store.pace.take(len, store);
        match hint::write(&store.disk, store.id, file, &footer, pace) {
            Ok(()) | Err(Error::Corrupt { .. } | Error::Full { .. }) => {}
            Err(Error::Io { source, .. }) if crate::error::is_out_of_space(&source) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_lacking_hint(file: &DataFile) -> bool {
    file.is_sealed() && !file.has_hint() && !file.is_damaged()
}
