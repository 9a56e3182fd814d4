//! Whether a store still takes writes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// The state that stops writes.
#[derive(Debug, Default)]
pub(crate) struct Health {
    cause: OnceLock<String>,
    is_closed: AtomicBool,
}

impl Health {
    /// Fails when the store takes no writes.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(cause) = self.cause.get() {
            return Err(Error::Poisoned { cause: cause.clone() });
        }
        if self.is_closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Returns what poisoned the store.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.get().map(String::as_str)
    }

    /// Stops writes for good when `result` is a failure of the disk that may have left something half done (R3).
    /// A refusal leaves nothing half done.
    pub(crate) fn poison_on_failure<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && !error.is_refusal()
            && !mutant!("sync tried again")
        {
            // The first failure is the one to report; later ones often only follow from it.
            self.cause.get_or_init(|| error.to_string());
        }
        result
    }

    /// Marks the store closed; returns whether it was open.
    pub(crate) fn close(&self) -> bool {
        !self.is_closed.swap(true, Ordering::AcqRel)
    }
}
