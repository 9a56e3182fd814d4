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
//!
//! A commit point can be *owed*: it has a position of its own in the log, and the log is not told durable up to there before
//! the manifest has it. The thread that syncs writes it between its sync and the end of its turn; where the log becomes
//! durable by other means, at the end of a file, `durable` stops short of what is owed until the next sync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::commit_point;
use crate::data_file::DataFile;
use crate::error::Result;
use crate::health::Health;
use crate::inner::Inner;
use crate::keydir::Generation;
use crate::types::{Lsn, Position};

/// The two ends of what is not yet durable.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    appended: AtomicU64,
    durable: AtomicU64,
    turn: Mutex<Turn>,
    turn_ended: Condvar,
    /// Commit points to be kept, in the order of their positions.
    owed: Mutex<Vec<Owed>>,
}

/// A commit point that is to be kept before the log is durable up to `position`.
#[derive(Clone, Copy, Debug)]
struct Owed {
    position: u64,
    point: (Generation, Lsn),
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

    /// Owes a commit point at `position`, which the log is about to reach.
    pub(crate) fn owe(&self, position: u64, point: (Generation, Lsn)) {
        self.lock_owed().push(Owed { position, point });
    }

    /// Keeps the commit points owed up to `upto`, up to where the log has been synced.
    fn pay(&self, upto: Position, store: &Inner) -> Result<()> {
        let is_due = |owed: &&Owed| owed.position <= upto.0;
        let due: Vec<_> = self.lock_owed().iter().filter(is_due).map(|owed| owed.point).collect();
        if !mutant!("commit point owed for ever") {
            commit_point::keep_owed(store, &due)?;
        }
        self.lock_owed().retain(|owed| owed.position > upto.0);
        Ok(())
    }

    /// Notes that the log was synced up to `upto`: it is durable, but for what is owed.
    fn advance(&self, upto: Position) {
        let first = self.lock_owed().first().map_or(u64::MAX, |owed| owed.position);
        self.durable.fetch_max(upto.0.min(first.saturating_sub(1)), Ordering::AcqRel);
    }

    fn lock_owed(&self) -> MutexGuard<'_, Vec<Owed>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log is durable up to `at`, syncing in person when nobody else does.
    pub(crate) fn wait(&self, at: Position, store: &Inner) -> Result<()> {
        let (mut turn, mut kept) = (self.lock(), Ok(()));
        loop {
            if self.durable() >= at {
                return Ok(());
            }
            kept?;
            health_of_waiter(&store.health)?;
            if turn.is_taken {
                (turn, kept) = (self.wait_for_turn(turn), Ok(()));
            } else {
                (turn, kept) = self.sync_in(turn, store)?;
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
    pub(crate) fn sync(&self, store: &Inner) -> Result<Position> {
        let at = self.appended();
        self.wait(at, store)?;
        Ok(self.durable())
    }

    /// Takes the free turn, syncs, keeps what is owed, and gives the turn back, with what became of the keeping: on a full
    /// disk the log may be durable though a commit point could not be kept.
    fn sync_in<'a>(
        &'a self,
        mut turn: MutexGuard<'a, Turn>,
        store: &Inner,
    ) -> Result<(MutexGuard<'a, Turn>, Result<()>)> {
        turn.is_taken = true;
        // The order matters: what was appended before the file is looked up is in it, or in one sealed before.
        let appended = self.appended();
        let file = turn.file.clone();
        drop(turn);
        let synced = store.health.poison_on_failure(file.map_or(Ok(()), |file| file.sync()));
        let kept = if synced.is_ok() { self.pay(appended, store) } else { Ok(()) };
        let mut turn = self.lock();
        self.end_turn(&mut turn);
        synced?;
        self.advance(appended);
        Ok((turn, kept))
    }

    /// Runs `change` while no sync runs. It has made everything appended durable when it returns `Ok`, and the
    /// file it returns is the one that grows from now on. The caller does not hold the manifest, which a sync may want.
    pub(crate) fn replace_file(
        &self,
        change: impl FnOnce() -> Result<Option<Arc<DataFile>>>,
    ) -> Result<()> {
        let mut turn = self.lock();
        while turn.is_taken {
            turn = self.wait_for_turn(turn);
        }
        turn.file = change()?;
        self.advance(self.appended());
        self.end_turn(&mut turn);
        Ok(())
    }
}

/// A waiter whose sync failed must not go on waiting, and must not try again (R3). A store that is being closed
/// still syncs for those who wait.
fn health_of_waiter(health: &Health) -> Result<()> {
    if health.cause().is_some() { health.check() } else { Ok(()) }
}
