//! The client library: requests to a server, blocking, with one deadline for each operation.
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
//! [`Client`] asks one thing at a time, connects by itself, and tries again what is safe to try again.
//! [`Pipeline`] has thousands of requests under way at once, in order, and tries nothing again. Both tell
//! the three outcomes of a write apart ([`Outcome`]); a read has a value or an [`Error`]. Keys and values may hold
//! any bytes.
//!
//! | limit | default |
//! |---|---|
//! | an operation, all attempts together | 10 s ([`TIMEOUT_DEFAULT`]) |
//! | one attempt to connect | 2 s ([`CONNECT_TIMEOUT_DEFAULT`]); looking a name up is not counted |
//! | a key, a value, a reply's line | as the protocol's ([`protocol::Limits`]) |
//! | requests under way in a pipeline | 4,096, and 1 MiB unsent ([`WINDOW_COUNT`], [`WINDOW_LEN`]) |
//!
//! Left out: threads, and connections kept in a pool. A client belongs to one thread at a time; a program with many
//! threads has many clients, as the server has a thread for each anyway.

mod answer;
mod backoff;
mod client;
mod config;
mod connection;
mod deadline;
mod error;
mod outcome;
mod pipeline;

pub use client::Client;
pub use config::{CONNECT_TIMEOUT_DEFAULT, Config, TIMEOUT_DEFAULT};
pub use error::{Error, ServerState};
pub use outcome::{Backup, Outcome, Page, Stored};
pub use pipeline::{Answer, Pipeline, WINDOW_COUNT, WINDOW_LEN};
pub use protocol::{Limits, Range};
