//! The gossip machine: its rules by hand, and many of them together in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "the whole crate is a test, and a test says what it expects by failing"
)]

mod arbiter;
mod measure;
mod planted;
mod random;
mod rules;
mod scale;
mod world;
