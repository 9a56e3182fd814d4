//! The fault suite: real processes in network namespaces, killed, paused, cut off, held up and starved, under clients whose
//! histories are judged.
//!
//! ```text
//! cargo test --release -p integration --test faults -- --ignored               two minutes, another seed each time
//! … -- --minutes 30                                                            longer
//! … -- --seed 7 --servers 5                                                    the faults of one seed again
//! … -- --only kill-two,cut-servers --minutes 5                                 only these
//! … -- --help
//! ```
//!
//! A run is made of *rounds*: clients work, faults come and go, alone and two at a time, quiet or during a join, a leave, a
//! rebalance, or while the ring grows and shrinks by itself; all is healed; every slot must get its ideal members; the clients stop; every key is read; the history is
//! judged by the checkers of the simulator; and the copies of each slot, read from each server's own files, must be equal.
//!
//! | module | |
//! |---|---|
//! | [`args`] | the command line |
//! | [`shelter`] | namespaces around the whole run, that take everything with them when it ends, however it ends |
//! | [`network`] | a bridge, a namespace for each machine, cuts and delays in one and both directions |
//! | [`relay`] | a machine that passes packets on late and out of order |
//! | [`node`] | a process on a machine of its own, with a disk of its own |
//! | [`cluster`] | the ECS and the servers, what the ECS says of them, and what it is asked to do |
//! | [`load`], [`asks`] | client threads, and what they ask and note |
//! | [`fault`] | the faults: how each is made, proven and undone |
//! | [`halfway`] | kills in the middle of a join or a leave |
//! | [`elastic`] | rounds in which the ring grows and shrinks by itself |
//! | [`round`] | the order of it all |
//! | [`copies`], [`records`] | each server's own copy of each slot, compared |
//! | [`figures`] | what was done, and whether it is enough |
//!
//! That the judges can find something is tried in `tests/judges.rs`, on any machine.
//!
//! A run fails also if it did not try what it was to try: a fault that cannot be shown to have been there, a kind of fault that
//! never came (in runs of two minutes and more), fewer than a thousand operations a second, more than two in a hundred
//! unknown outcomes. The seed decides which faults come when; processes decide the rest, so a seed shows a
//! mistake again often, not always.
//!
//! Without root, `unshare` or `/dev/net/tun` it says SKIPPED and passes; with `CI=true` it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    dead_code,
    unused_imports,
    reason = "the whole program is a test, and reads files of the simulator"
)]

mod args;
mod asks;
#[path = "../harness/binaries.rs"]
mod binaries;
#[path = "../../crates/cluster/tests/sim/check/mod.rs"]
mod check;
mod cluster;
mod copies;
mod elastic;
mod fault;
mod figures;
mod halfway;
#[path = "../../crates/cluster/tests/sim/history.rs"]
mod history;
mod load;
mod network;
mod node;
mod patience;
mod records;
mod relay;
mod round;
mod shelter;
#[path = "../harness/wait.rs"]
mod wait;
#[path = "../../crates/cluster/tests/sim/wishes.rs"]
mod wishes;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::read();
    if !args.is_asked() {
        println!(
            "faults: not run; it takes minutes: give --ignored, or a flag of its own (--help)"
        );
        return ExitCode::SUCCESS;
    }
    if args.is_inside() { round::run(&args) } else { shelter::enter(&args) }
}
