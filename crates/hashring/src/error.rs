//! What can be wrong with a ring that comes from outside.

use std::fmt;

use crate::{SLOT_COUNT, SlotId};

/// Why a list of tokens is no ring. Nobody can do anything about it but ask for another list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The number of slots is not a power of two from 1 to [`SLOT_COUNT`].
    SlotCount {
        /// The number given.
        found: u16,
    },
    /// A token lies beyond the last slot.
    TokenBeyond {
        /// The token.
        slot: SlotId,
        /// How many slots the ring has.
        slot_count: u16,
    },
    /// A token is there twice, so that nobody can say whose the slot is.
    TokenTwice {
        /// The token.
        slot: SlotId,
    },
    /// A text is not the id of a server.
    ServerId,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlotCount { found } => {
                write!(f, "{found} slots: need a power of two from 1 to {SLOT_COUNT}")
            }
            Self::TokenBeyond { slot, slot_count } => {
                write!(f, "token at slot {} of a ring of {slot_count} slots", slot.index())
            }
            Self::TokenTwice { slot } => write!(f, "two tokens at slot {}", slot.index()),
            Self::ServerId => write!(f, "not a server id: need 32 lower-case hexadecimal digits"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_found_and_what_is_needed() {
        let slot = SlotId::new(9).unwrap();
        for (error, text) in [
            (Error::SlotCount { found: 3 }, "3 slots: need a power of two from 1 to 4096"),
            (Error::TokenBeyond { slot, slot_count: 8 }, "token at slot 9 of a ring of 8 slots"),
            (Error::TokenTwice { slot }, "two tokens at slot 9"),
            (Error::ServerId, "not a server id: need 32 lower-case hexadecimal digits"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
