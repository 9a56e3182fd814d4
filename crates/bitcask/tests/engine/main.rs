//! The engine's tests from outside: histories on a simulated disk, damaged files, many threads.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

mod copies;
mod damage;
mod defects;
mod driver;
mod ended;
mod gate;
mod histories;
mod ledger;
mod look;
mod mutants;
mod oracle;
mod replica;
mod requests;
mod small;
mod threads;
