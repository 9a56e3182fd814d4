//! What every test of real processes stands on.
//!
//! | module | what it gives |
//! |---|---|
//! | [`binaries`] | paths of the project's binaries, built once for each run of the tests |
//! | [`cluster`] | an `ecs` and several servers: [`Cluster`] |
//! | [`copies`] | what servers hold, read from their folders |
//! | [`crowd`] | clients that know what they must see, while something befalls a cluster: [`Crowd`] |
//! | [`disk`] | small file systems that can be filled or cut off |
//! | [`info`] | figures out of the reply to `info`: [`figure`] |
//! | [`keeper`] | the promise that no process is left behind, even by a test run that is killed |
//! | [`line`] | a client that sees bytes: [`Line`] |
//! | [`oracle`] | writers that remember what was acknowledged |
//! | [`server`] | a `kvserver` or `ecs` in a folder of its own: [`Server`] |
//! | [`tool`] | a command that is run to its end: [`run`] |
//! | [`wait`] | [`eventually`], deadlines, and [`skip`] |
//!
//! Nothing here knows the protocol beyond lines: what a reply must be is for the tests to say.

pub(crate) mod binaries;
pub(crate) mod cluster;
pub(crate) mod copies;
pub(crate) mod crowd;
pub(crate) mod disk;
mod info;
pub(crate) mod keeper;
pub(crate) mod line;
pub(crate) mod oracle;
pub(crate) mod server;
pub(crate) mod tool;
pub(crate) mod wait;

pub(crate) use cluster::{Cluster, Setup};
pub(crate) use crowd::Crowd;
pub(crate) use info::figure;
pub(crate) use line::Line;
pub(crate) use server::{Launch, Server};
pub(crate) use tool::{Ended, run, run_fed};
pub(crate) use wait::{eventually, eventually_some, has_command, is_root, skip};
