//! Counts of requests, spread so that connections on different processors do not share a cache line.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shares; a connection counts into the one of its number.
const SHARE_COUNT: usize = 16;

/// What kind of request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Put,
    Delete,
    Other,
}

/// Requests since the start, by kind.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    shares: [Share; SHARE_COUNT],
}

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Share {
    gets: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    others: AtomicU64,
}

impl Share {
    fn of(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Get => &self.gets,
            Kind::Put => &self.puts,
            Kind::Delete => &self.deletes,
            Kind::Other => &self.others,
        }
    }
}

impl Counts {
    /// Counts one request of the connection numbered `session`.
    pub(crate) fn add(&self, session: u64, kind: Kind) {
        let index = usize::try_from(session).unwrap_or_default() % SHARE_COUNT;
        if let Some(share) = self.shares.get(index) {
            share.of(kind).fetch_add(1, Relaxed);
        }
    }

    /// Returns the requests of one kind.
    pub(crate) fn total(&self, kind: Kind) -> u64 {
        self.shares.iter().map(|share| share.of(kind).load(Relaxed)).sum()
    }
}
