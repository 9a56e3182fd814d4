//! The small words of the deciding core: times, epochs, incarnations, sessions, records.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use bitcask::{Lsn, Request};
pub use hashring::{ServerId, SlotId};

/// A moment of one machine's own clock, in nanoseconds from a start that only this machine knows. The clock never goes
/// back and counts suspension (`CLOCK_BOOTTIME`). Moments of different machines cannot be compared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Time(pub u64);

impl Time {
    /// Returns how long ago `earlier` was, zero if it is still to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// What a slot's primary tells of how much the slot is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotLoad {
    /// Stored bytes.
    pub stored_len: u64,
    /// Operations that the primary answered in about the last minute.
    pub op_rate: u64,
}

impl SlotLoad {
    /// Returns the load of a slot that stores so many bytes and that nobody asks for.
    #[must_use]
    pub const fn of_len(stored_len: u64) -> Self {
        Self { stored_len, op_rate: 0 }
    }
}

/// Defines a counter type that shows as its number.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// Returns the one after this.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter! {
    /// Version of the map: one more with each change that the coordinator decides.
    Version, u64
}
counter! {
    /// A slot's epoch: one more with each change of its members or of its primary's life. At most 24 bits.
    Epoch, u32
}
counter! {
    /// One life of a server's process, numbered by the coordinator. Zero: not registered.
    Incarnation, u64
}
counter! {
    /// The number of a request to the coordinator, rising in one incarnation.
    Number, u64
}

impl Epoch {
    /// Returns the lsn of `counter` in this epoch.
    #[must_use]
    pub fn lsn(self, counter: u64) -> Lsn {
        Lsn::new(self.0, counter)
    }
}

/// One connection from a server to a peer, numbered by the one that opened it: a later one fences every earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// The life of the server that opened it.
    pub incarnation: Incarnation,
    /// Rising in that life.
    pub number: u64,
}

/// Bytes shared between a record's copies in memory: on its way to the disk and to each peer.
pub type Bytes = Arc<[u8]>;

/// One record: what a write leaves in its slot's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in its slot's order.
    pub lsn: Lsn,
    /// The key; empty in a record that only carries a request id.
    pub key: Bytes,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// When the value ends, in milliseconds since 1970-01-01 UTC; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// Who asked for it, if that is to be remembered.
    pub request: Option<Request>,
}

impl Record {
    /// About the bytes of a record beside its key and value: lsn, lengths, request id.
    pub(crate) const HEAD_LEN: usize = 48;

    /// Returns about how many bytes it takes in memory and on the wire.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        Self::HEAD_LEN + self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }

    /// Returns whether it carries a request id and nothing else.
    #[must_use]
    pub fn is_request_only(&self) -> bool {
        self.key.is_empty()
    }
}
