//! How far the log is durable, and the group commit that moves it on.
//!
//! ```text
//! appended ────────────────────▶  every finished append moves it
//! durable  ──────────▶            every finished sync moves it to where appended was when the sync began
//! ```
//!
//! One sync runs at a time. That is not only for speed: the kernel reports a failed write-back to one caller of
//! `fdatasync` on an open file, so of two that run at once, one may be told that all is well.
//! Whoever comes while a sync runs waits, and the first to wake syncs for all who wait: with k waiting
//! threads, about k/2 share each sync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::data_file::DataFile;
use crate::error::Result;
use crate::health::Health;
use crate::types::Position;

/// The two ends of what is not yet durable.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    appended: AtomicU64,
    durable: AtomicU64,
    turn: Mutex<Turn>,
    turn_ended: Condvar,
}

#[derive(Debug, Default)]
struct Turn {
    is_taken: bool,
    /// The file that grows.
    file: Option<Arc<DataFile>>,
    /// Threads that wait for the turn to end; a wake-up with nobody there would still be a system call.
    waiter_count: usize,
}

impl Durability {
    pub(crate) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn appended(&self) -> Position {
        Position(self.appended.load(Ordering::Acquire))
    }

    /// Notes that everything up to `position` is in the file that grows.
    pub(crate) fn note_appended(&self, position: u64) {
        self.appended.store(position, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log is durable up to `at`, syncing in person when nobody else does.
    pub(crate) fn wait(&self, at: Position, health: &Health) -> Result<()> {
        let mut turn = self.lock();
        loop {
            if self.durable() >= at {
                return Ok(());
            }
            health_of_waiter(health)?;
            if !turn.is_taken {
                turn = self.sync_in(turn, health)?;
            } else {
                turn = self.wait_for_turn(turn);
            }
        }
    }

    fn wait_for_turn<'a>(&'a self, mut turn: MutexGuard<'a, Turn>) -> MutexGuard<'a, Turn> {
        turn.waiter_count += 1;
        turn = self.turn_ended.wait(turn).unwrap_or_else(PoisonError::into_inner);
        turn.waiter_count -= 1;
        turn
    }

    fn end_turn(&self, turn: &mut Turn) {
        turn.is_taken = false;
        if turn.waiter_count > 0 {
            self.turn_ended.notify_all();
        }
    }

    /// Syncs everything appended so far, and returns how far the log is durable.
    pub(crate) fn sync(&self, health: &Health) -> Result<Position> {
        let at = self.appended();
        self.wait(at, health)?;
        Ok(self.durable())
    }

    /// Takes the free turn, syncs, and gives the turn back.
    fn sync_in<'a>(
        &'a self,
        mut turn: MutexGuard<'a, Turn>,
        health: &Health,
    ) -> Result<MutexGuard<'a, Turn>> {
        turn.is_taken = true;
        // The order matters: what was appended before the file is looked up is in it, or in one sealed before.
        let appended = self.appended();
        let file = turn.file.clone();
        drop(turn);
        let synced = health.poison_on_failure(file.map_or(Ok(()), |file| file.sync()));
        let mut turn = self.lock();
        self.end_turn(&mut turn);
        synced?;
        self.durable.fetch_max(appended.0, Ordering::AcqRel);
        Ok(turn)
    }

    /// Runs `change` while no sync runs. It has made everything appended durable when it returns `Ok`, and the
    /// file it returns is the one that grows from now on.
    pub(crate) fn replace_file(
        &self,
        change: impl FnOnce() -> Result<Option<Arc<DataFile>>>,
    ) -> Result<()> {
        let mut turn = self.lock();
        while turn.is_taken {
            turn = self.wait_for_turn(turn);
        }
        turn.file = change()?;
        self.durable.fetch_max(self.appended().0, Ordering::AcqRel);
        self.end_turn(&mut turn);
        Ok(())
    }
}

/// A waiter whose sync failed must not go on waiting, and must not try again (R3). A store that is being closed
/// still syncs for those who wait.
fn health_of_waiter(health: &Health) -> Result<()> {
    if health.cause().is_some() { health.check() } else { Ok(()) }
}
