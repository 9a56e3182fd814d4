//! Rounds in which the ECS makes the ring grow and shrink by itself, and the load that has it do so.
//!
//! ```text
//! bytes ▲   ┌──────┐      ┌────── ballast: large values beside the judged ones
//!  up ──┼───┼──────┼──────┼────── a server on standby joins
//! down ─┼───┘      └──────┘       one is drained
//! ```
//!
//! The ECS is started again with `--elastic on`, limits a little above what is stored, and a cool-down of a second; all servers that are
//! not on the ring are started with `--standby`. While faults come, a thread of its own stores ballast until the ring has grown,
//! deletes it until the ring has shrunk, and so on. At the end it must have grown and shrunk once at least; what was not to be
//! seen under faults is waited for without. Then the ECS is started again as it was, and who is on standby ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use client::{Client, Config};
use cluster::coordinator::Status;

use crate::cluster::{Cluster, RING_COUNT_MIN, owners, status};
use crate::patience::wait_for;

/// Bytes of each value of the ballast.
const VALUE_LEN: usize = 64 << 10;
/// Bytes of the ballast, besides a third of what is stored already.
const BALLAST_LEN: u64 = 12 << 20;
/// What is stored in a round besides, at most.
const ROUND_LEN: u64 = 4 << 20;
/// How long the thread waits for the ring to follow before it goes on all the same: a few faults.
const FOLLOW_MAX: Duration = Duration::from_secs(8);
/// How long the ring may take to follow when there are no faults.
const END_MAX: Duration = Duration::from_secs(60);

/// A round in which the ring grows and shrinks.
#[derive(Debug)]
pub(crate) struct Tide {
    /// How often it had grown and shrunk before.
    before: (usize, usize),
    ballast: Ballast,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Large values that are stored and deleted.
#[derive(Clone, Debug)]
struct Ballast {
    addresses: Vec<String>,
    count: u64,
}

impl Tide {
    /// Has the ECS decide by itself, and begins.
    pub(crate) fn begin(cluster: &mut Cluster) -> Self {
        let before = decided(cluster);
        let stored = stored_len(&cluster.status().expect("all is whole"));
        // On three servers each stores everything: with the ballast more than `up`, without it less than `down`.
        let down = stored + ROUND_LEN;
        let up = down + down / 4 + (1 << 20);
        let (up, down) = (up.to_string(), down.to_string());
        let limits = ["--scale-up-bytes", &up, "--scale-down-bytes", &down];
        cluster.restart_ecs(&[&["--elastic", "on", "--cool-down-s", "1"], &limits[..]].concat());
        cluster.is_elastic = true;
        for server in &mut cluster.servers {
            server.more_flags = vec!["--standby".to_owned()];
            if !server.is_running() {
                server.start();
            }
        }
        cluster.on_ring = cluster.servers.iter().map(|server| server.place.number()).collect();
        let count = (BALLAST_LEN + stored / 3) / VALUE_LEN as u64;
        let ballast = Ballast { addresses: cluster.addresses(), count };
        let (is_over, all_count) = (Arc::<AtomicBool>::default(), cluster.servers.len());
        let (theirs, ends) = (ballast.clone(), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                theirs.store(&ends);
                follow(all_count, FOLLOW_MAX, &ends);
                theirs.delete(&ends);
                follow(RING_COUNT_MIN, FOLLOW_MAX, &ends);
            }
        });
        Self { before, ballast, is_over, thread }
    }

    /// Waits until the ring has grown and shrunk, and has the ECS decide nothing by itself any more; returns how often it grew and
    /// shrank.
    ///
    /// # Errors
    /// If it does not follow the load without faults, or is not whole.
    pub(crate) fn end(self, cluster: &mut Cluster) -> Result<(usize, usize), String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no thread panics");
        let never = AtomicBool::new(false);
        cluster.wait_until_whole()?;
        let has_grown = |cluster: &Cluster| decided(cluster).0 > self.before.0;
        if !has_grown(cluster) {
            // A server that was taken off the ring while it was away comes back onto it by itself: so all may be on it.
            self.ballast.delete(&never);
            if !follow(RING_COUNT_MIN, END_MAX, &never) {
                return Err("the ring did not shrink before it grew".to_owned());
            }
            self.ballast.store(&never);
            if !wait_for(END_MAX, || has_grown(cluster)) {
                return Err("the ring did not grow".to_owned());
            }
            cluster.wait_until_whole()?;
        }
        self.ballast.delete(&never);
        if !follow(RING_COUNT_MIN, END_MAX, &never) {
            return Err("the ring did not shrink".to_owned());
        }
        cluster.wait_until_whole()?;
        let (grown, shrunk) = decided(cluster);
        let on_ring = owners(&cluster.status().ok_or("the ECS does not answer")?);
        cluster.restart_ecs(&[]);
        cluster.is_elastic = false;
        for server in &mut cluster.servers {
            server.more_flags = Vec::new();
            if !on_ring.contains(&server.place.number()) {
                server.kill();
            }
        }
        cluster.on_ring = on_ring;
        cluster.wait_until_whole()?;
        Ok((grown - self.before.0, shrunk - self.before.1))
    }
}

impl Ballast {
    /// Stores all of it, unless it is over before.
    fn store(&self, is_over: &AtomicBool) {
        let value = vec![b'b'; VALUE_LEN];
        self.each(is_over, |client, key| client.put(key, &value).is_done());
    }

    /// Deletes all of it, unless it is over before.
    fn delete(&self, is_over: &AtomicBool) {
        self.each(is_over, |client, key| client.delete(key).is_done());
    }

    fn each(&self, is_over: &AtomicBool, mut is_done: impl FnMut(&mut Client, &[u8]) -> bool) {
        let mut client = Client::new(self.addresses.clone(), Config::default());
        for index in 0..self.count {
            let key = format!("ballast{index}");
            while !is_done(&mut client, key.as_bytes()) && !is_over.load(Ordering::Relaxed) {}
        }
    }
}

/// Waits until so many servers share the slots; returns whether they do.
fn follow(count: usize, limit: Duration, is_over: &AtomicBool) -> bool {
    let is_so = || status().is_some_and(|status| owners(&status).len() == count);
    wait_for(limit, || is_so() || is_over.load(Ordering::Relaxed)) && is_so()
}

/// Returns how often the ECS made the ring grow and shrink so far.
fn decided(cluster: &Cluster) -> (usize, usize) {
    let log = cluster.ecs.log();
    (log.matches("elastic: add ").count(), log.matches("elastic: drain ").count())
}

/// Returns the bytes of one copy of everything.
fn stored_len(status: &Status) -> u64 {
    status.servers.iter().map(|server| server.bytes).sum::<u64>() / status.replica_count as u64
}
