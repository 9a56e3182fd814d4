//! Giving up before the time is over, because a person does not want to wait any longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// While this is raised, the operations of every client that was given it end as if their time were over: each with the
/// outcome that is true of it, and [`Error::Interrupted`](crate::Error::Interrupted).
///
/// A signal that arrives while an operation waits ends it at once; otherwise it is noticed within a second, or when an attempt to
/// connect ends. Clones are the same interrupt, and may be raised by any thread, or by a signal's handler.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    is_raised: Arc<AtomicBool>,
}

impl Interrupt {
    /// Has all operations end.
    pub fn raise(&self) {
        self.is_raised.store(true, Ordering::SeqCst);
    }

    /// Lets operations take their time again.
    pub fn clear(&self) {
        self.is_raised.store(false, Ordering::SeqCst);
    }

    /// Returns whether it is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::SeqCst)
    }

    /// Returns the flag that raises it when it is set, for a handler of signals.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_raised)
    }
}
