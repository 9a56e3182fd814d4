//! Who syncs, for all who wait (`--sync always`).
//!
//! ```text
//! a thread appended ─▶ nobody syncs? ─▶ it syncs what there is by now, tells the machine, and goes on with its own
//!                          │ no                     │ more was appended meanwhile
//!                          ▼                        ▼
//!                  leaves it to who syncs     the helper goes on, sync by sync, until nothing is left
//! ```
//!
//! So a lone client's write costs no wake-up of another thread, and under load one sync serves all that came during the
//! one before it. A thread that reads a peer's lines may sync too; while the disk is stuck it reads nothing, which does
//! no harm, since a server whose sync is stuck accuses nobody and sends no beacons (R16).
//!
//! A sync that fails is the end of the storage (R3): the machine is told.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcask::Error;
use cluster::{Event, Storage as _};

use super::{Node, YIELD_COUNT};

/// How long to wait before a sync is tried again for which a full disk had no room.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// The state of syncs.
#[derive(Debug, Default)]
pub(super) struct Syncer {
    state: Mutex<State>,
    /// Wakes the helper.
    passed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What somebody waits for.
    wanted: u64,
    /// What the last sync reached.
    done: u64,
    is_led: bool,
    is_passed: bool,
    /// The helper is to wait a moment first.
    is_late: bool,
    is_over: bool,
}

impl Syncer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the helper.
    pub(super) fn stop(&self) {
        self.lock().is_over = true;
        self.passed.notify_all();
    }
}

impl Node {
    /// Sees to it that everything up to `upto` gets synced; syncs in person if nobody does.
    pub(super) fn sync(self: &Arc<Self>, upto: u64) {
        {
            let mut state = self.syncer.lock();
            state.wanted = state.wanted.max(upto);
            if state.is_led || state.done >= state.wanted {
                return;
            }
            state.is_led = true;
        }
        self.lead();
    }

    /// Syncs once; passes the lead on if more is wanted by then.
    fn lead(self: &Arc<Self>) {
        let upto = {
            let core = self.lock_yielding(YIELD_COUNT);
            core.storage.flush();
            core.storage.appended().0
        };
        let outcome = self.store.sync();
        let lacks_room = matches!(outcome, Err(Error::Full { .. }));
        let mut state = self.syncer.lock();
        if !lacks_room {
            // Also where it failed: what is told then is the failure, and nothing waits for more.
            state.done = state.done.max(upto);
        }
        state.is_led = state.wanted > state.done;
        (state.is_passed, state.is_late) = (state.is_led, lacks_room);
        let is_passed = state.is_passed;
        drop(state);
        if is_passed {
            self.syncer.passed.notify_one();
        }
        match outcome {
            Ok(_) => self.run_patiently(|core| core.durable(upto)),
            Err(error) if lacks_room => log::warn!("a sync waits for room on the disk: {error}"),
            Err(error) => {
                log::error!("a sync failed, this server takes no more writes: {error}");
                self.run(|core| {
                    core.storage.fail();
                    core.step(Event::StorageFailed);
                });
            }
        }
    }

    /// The life of the helper.
    pub(super) fn help_sync(self: &Arc<Self>) {
        let mut state = self.syncer.lock();
        loop {
            // Where the disk has no room for what is owed there may be no last sync.
            if state.is_passed && !(state.is_over && state.is_late) {
                state.is_passed = false;
                let is_late = std::mem::take(&mut state.is_late);
                drop(state);
                if is_late {
                    std::thread::sleep(ROOM_WAIT);
                }
                self.lead();
                state = self.syncer.lock();
            } else if state.is_over {
                return;
            } else {
                state = self.syncer.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
