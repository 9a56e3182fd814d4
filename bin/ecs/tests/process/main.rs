//! The ECS as a process, spoken to over plain sockets: by servers that are played, by operators, by crowds and by nonsense.
//!
//! | module | |
//! |---|---|
//! | `played` | a server that registers, takes maps and asks for what a primary asks for |
//! | `servers` | registration, maps, whole histories, secrets |
//! | `crashes` | kill -9, restarts, torn tails, the log's cut, a disk that takes no more |
//! | `crowds` | nonsense, slow writers and readers, idle connections |
//! | `operators`, `document` | the verbs, and what is written about them |
//! | `rebuilding` | a new folder from what the servers kept |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed step of a test is its failure"
)]

#[path = "../common/mod.rs"]
mod common;
mod crashes;
mod crowds;
mod document;
mod operators;
mod played;
mod rebuilding;
mod servers;
