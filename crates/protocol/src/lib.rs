//! Ringcask's messages as lines of text, and back: no sockets, no threads, no clocks.
//!
//! A [`Framer`] cuts received bytes into lines, [`Request::parse`] reads a line, [`Reply::encode_into`]
//! appends the answer to a buffer; a client does the same the other way round.
//!
//! ```text
//!   bytes ──Framer──▶ lines ──Request::parse──▶ Request ─ ─ ▶ Reply ──encode_into──▶ bytes
//!   bytes ◀──encode_into── Request   (client)   Reply ◀──Reply::parse── lines ◀──Framer── bytes
//! ```
//!
//! Keys and values are borrowed from the received bytes; they are copied only where an escape makes
//! the text differ from what it stands for ([`Cow`](std::borrow::Cow)). Lengths are checked before
//! anything is copied ([`Limits`]). Nothing here panics on what a peer sends: it is an [`Error`],
//! which knows its own answer ([`Error::encode_into`]).
//!
//! The stores of this family answer in three ways that cannot be told apart from requests: see
//! [`Dialect`]. Clients of this crate speak [`Dialect::Native`].
//!
//! The format itself, with every reply, is in `docs/PROTOCOL.md`.

mod dialect;
mod error;
pub mod escape;
mod framer;
mod limits;
mod ranges;
mod reply;
mod request;
mod verb;
mod with;

pub use dialect::{Dialect, UnknownDialect};
pub use error::{Error, Fault, Part};
pub use framer::{Framer, Lines};
pub use limits::{KEY_LEN_MAX, Limits, PATH_LEN_MAX, SCAN_COUNT_MAX, VALUE_LEN_MAX};
pub use ranges::{BadRanges, Range, parse_ranges, write_ranges};
pub use reply::{InfoPair, NEEDS_CLUSTER, Reply};
pub use request::{Request, peek};
pub use verb::Verb;
pub use with::{Condition, With};
