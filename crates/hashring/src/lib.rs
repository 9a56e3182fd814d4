//! Ring positions, slots and arcs: which piece of the ring a key belongs to, and which server owns the piece.
//!
//! The ring is the circle of 128-bit numbers. A key's position, its [`Token`], is the MD5 of its bytes
//! read as a big-endian number. The ring is cut into [`SLOT_COUNT`] equal pieces, the slots; a slot is
//! the unit of ownership, order, replication and transfer, and is named by the top 12 bits of a token:
//!
//! ```text
//! token   127 ........ 116 | 115 ................................ 0
//!         slot (12 bits)   | position inside the slot (116 bits)
//! ```
//!
//! An [`Arc`] is a run of positions, both ends included, that may wrap past the largest token to zero. A [`Ring`] says
//! which server owns each slot, and [`placement`] how that changes when servers join and leave. The lists of ranges
//! that clients see are made from [`Ring::arcs`] and [`arcs_by`]; their text is the protocol's.
//!
//! Consistent hashing: Karger et al., *Consistent Hashing and Random Trees*, STOC 1997, section 4.
//! MD5 is used for its spread, which every client of this family of stores shares, not for secrecy.

mod arc;
mod error;
pub mod placement;
mod ring;
mod server;
mod token;

pub use arc::Arc;
pub use error::Error;
pub use ring::{Ring, arcs_by};
pub use server::ServerId;
pub use token::{SLOT_COUNT, SlotId, Token};
