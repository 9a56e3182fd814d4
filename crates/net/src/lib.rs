//! Sockets and threads: accepts connections, hands over the lines that came in, sends replies in order.
//!
//! This crate decides nothing about what a line means. A program gives it a [`Service`]; each connection
//! gets a thread and a [`Session`] made by that service, and the thread goes round one loop:
//!
//! ```text
//!            ┌──────────── one recv ────────────┐
//!            │  every complete line of it       │
//!  socket ──▶│  → Session::handle → Replies     │──▶ one send ──▶ socket
//!            └──────────────────────────────────┘
//! ```
//!
//! A reply that cannot be given yet (it waits for a disk or for another server) is *reserved*: its place
//! in the order is taken by a [`Ticket`], and the connection's thread goes back to read. Whoever learns the
//! outcome completes the ticket and writes every reply that is now in turn to the socket itself, without
//! ever waiting for a slow reader (module `outbox`). So a write costs its connection one wake-up, not two.
//!
//! Peers speak unasked: a connection may instead be written to through its [`Sender`], by any thread, and a
//! connection may be made *to* another server with [`dial()`]; it is then served by the same loop.
//!
//! | limit | default | what happens there |
//! |---|---|---|
//! | connections | 4,096 | a refusal line, then the connection closes |
//! | bytes of a line | 64 KiB | a refusal line, then the connection closes |
//! | a request begun | 10 s | the same |
//! | nothing asked | 5 min | the connection closes |
//! | a reader takes nothing | 10 s | the connection closes |
//! | bytes of large lines, all connections | 256 MiB | more wait, unread; refused when the request's time is over |
//! | bytes of large replies, all connections | 256 MiB | more wait; who reads too slowly while others wait is cut off |
//! | bytes of unsent replies, all connections | 256 MiB | connections are read when they owe 64 KiB at most |
//! | bytes of unsent replies, tickets open | 1 MiB, 256 | the connection is not read until there is room |
//! | bytes queued at a sender | 64 MiB | the connection closes |
//!
//! Source of the shape: measurements in which system calls and wake-ups across processors were the whole
//! cost of a request. Left out: an event loop, encryption, and dialling again after a failure.

mod accept;
mod budget;
mod config;
mod connection;
mod counters;
mod dial;
mod error;
mod input;
mod listener;
mod outbox;
mod owed;
mod replies;
mod send;
mod sender;
mod server;
mod service;

pub use config::Config;
pub use counters::{Counters, Counts};
pub use dial::dial;
pub use error::Error;
pub use listener::{Listener, raise_descriptor_limit};
pub use outbox::Ticket;
pub use owed::LARGE_REPLY_LEN;
pub use replies::Replies;
pub use sender::Sender;
pub use server::Server;
pub use service::{Next, Peer, Refusal, Service, Session};

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
