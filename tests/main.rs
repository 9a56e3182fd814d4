//! Tests of the whole: real processes, driven from outside over real sockets.
//!
//! One executable holds them all, for linking each file by itself would cost more than running it. A module is
//! about one behaviour; `harness` is what they stand on. Tests that take minutes are `#[ignore]`d with the word
//! *heavy* and are run by `.ci/run`; docs/TESTING.md says how to run each kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "the whole crate is a test, and a test says what it expects by failing"
)]

mod client_commands;
mod cluster_script;
mod comings_and_goings;
mod crowds;
mod durability;
mod elastic;
mod failing_copies;
mod failing_disks;
mod gossip;
mod harness;
mod life;
mod limits;
mod nothing_is_left_behind;
mod replication;
mod replies;
mod strangers;
mod streams;
mod timeouts;
mod without_the_ecs;
