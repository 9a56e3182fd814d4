//! Commit points: how far a slot's records are known to be committed, kept across restarts.
//!
//! ```text
//!            kept in the manifest      noted in memory
//!  records ──────────┬───────────────────────┬──────────▶ lsn
//!   published at     │  after a restart all of these are pending again:
//!   the next opening │  they may be committed, but this server does not know it any more
//! ```
//!
//! A commit point is told often and noted in memory. About once a second those that have risen are written to the
//! manifest in one edit. Late is harmless: more records are offered as pending. **Early is not**: a commit point in the
//! manifest promises that this server *has* the records below it, so the log is synced between the moment at which points are
//! gathered and the edit. Under the policies that do not sync each write, the background waits for their own next sync
//! first, for [`PATIENCE`] at most, before it forces one.
//!
//! Who needs a commit point kept for certain has it [kept with the log](Store::keep_commit_point): the position at which
//! it is told durable has it in the manifest too.
//!
//! A slot without a commit point is kept by one server alone, and an opening publishes all that is whole in the log.

use std::time::Duration;

use crate::config::SyncPolicy;
use crate::error::Result;
use crate::inner::Inner;
use crate::keydir::{CommitPoint, Generation};
use crate::manifest::Edit;
use crate::store::Store;
use crate::types::{Lsn, Position, SlotId};

/// Time between two edits of commit points. What was committed in it is reconciled anew after a crash.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How long the background waits for somebody else's sync.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at whether that sync came.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Store {
    /// Returns the slot's commit point as it was noted last; `None` when it has none, or is not here.
    #[must_use]
    pub fn commit_point(&self, slot: SlotId) -> Option<Lsn> {
        self.inner.keydir.lock(slot).commit_point.map(|point| point.noted)
    }

    /// Returns the slot's commit point as the manifest has it: what an opening would go by.
    #[must_use]
    pub fn kept_commit_point(&self, slot: SlotId) -> Option<Lsn> {
        self.inner.keydir.lock(slot).commit_point.and_then(|point| point.kept)
    }

    /// Notes that the records of the slots up to these lsns are committed, and here: appended, if not yet durable. It
    /// publishes nothing. A commit point never falls; what is said of a slot that is not here is left aside.
    ///
    /// The first one of a slot that had none counts from the moment it is [kept](Self::persist_commit_points); until
    /// then an opening publishes everything, as before.
    pub fn set_commit_points(&self, points: &[(SlotId, Lsn)]) {
        let mut has_risen = false;
        for (slot, lsn) in points {
            let mut slot = self.inner.keydir.lock(*slot);
            if slot.generation.is_none() {
                continue;
            }
            let unset = CommitPoint { noted: *lsn, kept: None };
            has_risen |= slot.commit_point.is_none_or(|point| *lsn > point.noted);
            let point = slot.commit_point.get_or_insert(unset);
            let falls = mutant!("commit point falls");
            point.noted = if falls { *lsn } else { point.noted.max(*lsn) };
        }
        if has_risen {
            self.inner.background.note_points();
        }
    }

    /// Writes the commit points that have risen to the manifest, in one edit, after syncing the log they speak of. The
    /// background does this by itself about once a second.
    ///
    /// # Errors
    /// `Full`: there was no room, and nothing was done. `Poisoned`, `Closed`, `Io`.
    pub fn persist_commit_points(&self) -> Result<()> {
        let points = changed(&self.inner);
        if points.is_empty() {
            return Ok(());
        }
        self.inner.health.check()?;
        if !mutant!("commit point before its records") {
            self.inner.durability.sync(&self.inner)?;
        }
        keep(&self.inner, &points)
    }

    /// Has the slot's commit point, as it is noted now, kept with the log: once the log is durable up to the position
    /// returned, the manifest has it. Nothing is written before the next sync; a slot that is not here or has no
    /// commit point has nothing to keep.
    pub fn keep_commit_point(&self, slot: SlotId) -> Position {
        let locked = self.inner.keydir.lock(slot);
        let point = locked.generation.zip(locked.commit_point.map(|point| point.noted));
        drop(locked);
        match point {
            Some(point) => self.inner.log.owe(point, &self.inner.around()),
            None => self.appended(),
        }
    }
}

/// Returns the commit points that are higher than the manifest has them.
pub(crate) fn changed(store: &Inner) -> Vec<(Generation, Lsn)> {
    let changed = |slot| {
        let slot = store.keydir.lock(slot);
        let point = slot.commit_point.filter(|point| Some(point.noted) > point.kept)?;
        Some((slot.generation?, point.noted))
    };
    SlotId::all().filter_map(changed).collect()
}

/// Writes those commit points to the manifest that it does not have yet; the log has been synced since they were noted.
pub(crate) fn keep_owed(store: &Inner, points: &[(Generation, Lsn)]) -> Result<()> {
    let is_kept = |(generation, lsn): &(Generation, Lsn)| {
        let slot = store.keydir.lock(generation.slot());
        slot.generation != Some(*generation)
            || slot.commit_point.is_some_and(|point| point.kept >= Some(*lsn))
    };
    let points: Vec<_> = points.iter().filter(|point| !is_kept(point)).copied().collect();
    keep(store, &points)
}

/// Writes commit points to the manifest. Everything appended when they were gathered must have been synced since.
pub(crate) fn keep(store: &Inner, points: &[(Generation, Lsn)]) -> Result<()> {
    if points.is_empty() {
        return Ok(());
    }
    let edit = Edit::CommitPoints(points.to_vec());
    let committed = store.lock_manifest().commit(&[edit]);
    store.health.poison_on_failure(committed)?;
    for (generation, lsn) in points {
        let mut slot = store.keydir.lock(generation.slot());
        // It may have been dropped meanwhile; then the edit changed nothing either.
        let is_same = slot.generation == Some(*generation);
        if let Some(point) = slot.commit_point.as_mut().filter(|_| is_same) {
            point.kept = point.kept.max(Some(*lsn));
        }
    }
    Ok(())
}

/// The life of the thread that keeps commit points.
pub(crate) fn keep_points(store: &Inner) {
    while store.background.wait_for_points() {
        store.background.pause(KEEP_EVERY);
        let points = changed(store);
        let upto = store.durability.appended();
        if is_synced_rarely(store) {
            let mut waited = Duration::ZERO;
            while store.durability.durable() < upto && waited < PATIENCE && !store.is_stopping() {
                store.background.pause(LOOK_EVERY);
                waited += LOOK_EVERY;
            }
        }
        let is_over = store.is_stopping() || store.health.check().is_err();
        // Closing the store keeps its points itself. A failed sync poisons the store, which every later write is told;
        // on a full disk the points stay noted, and the next that rises brings them here again.
        if is_over {
            return;
        }
        match store.durability.wait(upto, store) {
            Ok(_) => {}
            Err(error) if error.is_full() => continue,
            Err(_) => return,
        }
        if keep(store, &points).is_err_and(|error| !error.is_full()) {
            return;
        }
    }
}

fn is_synced_rarely(store: &Inner) -> bool {
    match store.config.sync {
        SyncPolicy::Always => false,
        SyncPolicy::Interval(_) | SyncPolicy::Never => true,
    }
}
