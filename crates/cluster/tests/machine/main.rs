//! One server's machine, its peers and its coordinator played by hand: what a whole simulated cluster meets too rarely, or
//! cannot see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "the whole crate is a test, and a test says what it expects by failing"
)]

mod accusing;
mod bounds;
mod damage;
#[path = "../sim/disk.rs"]
mod disk;
mod fake;
mod host;
mod lives;
mod walks;
