//! The coordinator, played with: servers that say what real ones say, and every decision checked as it is made.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and nobody imports it"
)]

mod commands;
mod convergence;
mod days;
mod elastic;
mod golden;
mod journal;
mod play;
mod random;
mod registration;
mod requests;
mod scaling;
mod spawning;
mod status;
