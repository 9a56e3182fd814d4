//! The client library: requests to a server or a cluster, blocking, with one deadline for each operation.
//!
//! ```no_run
//! use client::{Client, Config, Outcome};
//!
//! let mut client = Client::new(vec!["127.0.0.1:5153".to_owned()], Config::default());
//! match client.put(b"greeting", b"hello") {
//!     Outcome::Done(stored) => assert!(matches!(stored, client::Stored::New)),
//!     Outcome::Refused(error) => eprintln!("nothing was done: {error}"),
//!     Outcome::Unknown(error) => eprintln!("it may or may not take effect: {error}"),
//! }
//! assert_eq!(client.get(b"greeting")?, Some(b"hello".to_vec()));
//! # Ok::<(), client::Error>(())
//! ```
//!
//! [`Client`] connects by itself, learns from any server which of them answers for which key, asks that one, and tries again
//! what is safe to try again: a write in a cluster goes with a request id, so that it is done once however often it is
//! sent. Reads go to all copies of a key in turn; every one of them knows the newest value, or passes. No single server is
//! needed for it, nor the cluster's coordinator. [`Client::mput`] and its like have the servers work side by side,
//! [`Pipeline`] has thousands of requests under way at once, in order. All tell the three outcomes of a write
//! apart ([`Outcome`]); a read has a value or an [`Error`]. Keys and values may hold any bytes.
//!
//! ```text
//!   client, batch, pipeline ──▶ run ──▶ router (whom to ask: decides, no I/O) ──▶ map
//!   scan ──▶ plain ──┐           │
//!                    └───────────┴──▶ core ──▶ link ──▶ connection ──▶ servers
//! ```
//!
//! | limit | default |
//! |---|---|
//! | an operation, all attempts together | 10 s ([`TIMEOUT_DEFAULT`]) |
//! | one attempt to connect | 1 s ([`CONNECT_TIMEOUT_DEFAULT`]); looking a name up is not counted |
//! | one attempt at a server where nothing moves | 2 s ([`ATTEMPT_TIMEOUT_DEFAULT`]), less if somebody else can be asked |
//! | a key, a value, a reply's line | as the protocol's ([`protocol::Limits`]) |
//! | requests under way in a pipeline | 4,096, and 4 MiB of keys and values ([`WINDOW_COUNT`], [`WINDOW_LEN`]) |
//!
//! Left out: threads, and connections kept in a pool. A client belongs to one thread at a time; a program with many
//! threads has many clients, as the server has a thread for each anyway.

mod answer;
mod backoff;
mod batch;
mod client;
mod config;
mod connection;
mod coordinator;
mod core;
mod deadline;
mod error;
mod interrupt;
mod link;
mod map;
mod op;
mod outcome;
mod pipeline;
mod plain;
mod router;
mod run;
mod scan;

pub use client::{Client, PutOptions, Versioned};
pub use config::{ATTEMPT_TIMEOUT_DEFAULT, CONNECT_TIMEOUT_DEFAULT, Config, TIMEOUT_DEFAULT};
pub use coordinator::Coordinator;
pub use error::{Error, ServerState};
pub use interrupt::Interrupt;
pub use outcome::{Backup, Outcome, Page, Stored};
pub use pipeline::{Answer, Pipeline, WINDOW_COUNT, WINDOW_LEN};
pub use protocol::{Condition, Limits, Range};
