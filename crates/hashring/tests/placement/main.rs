//! Placement as those above see it: rings before and after, over long histories of joins and leaves.
//!
//! | module | what |
//! |---|---|
//! | `history` | rings that live through many changes, and what is measured on them |
//! | `steps` | what one join, leave or rebalance may and may not do |
//! | `level` | how level shares and copies are after any history |
//!
//! Histories are drawn from seeds, so that a failure names the seed and comes again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "the whole crate is a test, and a test says what it expects by failing"
)]

mod history;
mod level;
mod steps;
