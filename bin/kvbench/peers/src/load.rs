//! The load: connections that put one value after the other, each as fast as it is answered.
//!
//! ```text
//!   connect all │ warm-up: puts, not counted │ measured: puts that begin here are counted │ the last replies
//! ```
//!
//! A connection is a task of the runtime. It keeps its own histogram, so that nothing is shared while it measures.
//! Latencies are in nanoseconds, with three digits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;
use crate::etcd::Connection;

/// Digits of a latency that are kept, as kvbench keeps.
const LATENCY_DIGITS: u8 = 3;

/// What is asked of the servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: u16,
    pub(crate) keys: u32,
    pub(crate) value_len: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Of the puts measured, nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// From the end of the warm-up to the last reply.
    pub(crate) elapsed: Duration,
    /// Puts answered in the warm-up.
    warmed: u64,
}

impl Found {
    /// Returns how many puts were answered all told.
    pub(crate) fn answered(&self) -> u64 {
        self.latency.len() + self.warmed
    }

    fn new() -> Result<Self> {
        let latency = Histogram::new(LATENCY_DIGITS)?;
        Ok(Self { latency, elapsed: Duration::ZERO, warmed: 0 })
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.latency.add(&other.latency)?;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.warmed += other.warmed;
        Ok(())
    }
}

/// Connects to the members in turn, puts, and returns what all connections found.
pub(crate) async fn run(load: &Load, members: &[SocketAddr]) -> Result<Found> {
    let mut connections = Vec::new();
    for (address, _) in members.iter().cycle().zip(0..load.connections) {
        connections.push(Connection::new(*address).await?);
    }

    let measured_at = Instant::now() + load.warmup;
    let tasks: Vec<_> = (connections.into_iter())
        .map(|connection| tokio::spawn(put_on(connection, *load, measured_at)))
        .collect();
    let mut all = Found::new()?;
    for task in tasks {
        all.add(&task.await??)?;
    }
    Ok(all)
}

async fn put_on(mut connection: Connection, load: Load, measured_at: Instant) -> Result<Found> {
    let mut rng = fastrand::Rng::new();
    let mut found = Found::new()?;
    let mut begun_at = Instant::now();
    while begun_at < measured_at + load.duration {
        let key = key(rng.u32(..load.keys));
        let value = std::iter::repeat_with(|| rng.alphanumeric() as u8).take(load.value_len);
        connection.put(key, value.collect()).await?;
        let answered_at = Instant::now();
        if begun_at < measured_at {
            found.warmed += 1;
        } else {
            let nanos = answered_at.duration_since(begun_at).as_nanos();
            found.latency.record(u64::try_from(nanos)?)?;
        }
        begun_at = answered_at;
    }
    found.elapsed = begun_at.saturating_duration_since(measured_at);
    Ok(found)
}

/// Returns the key of `index`, 16 bytes, as kvbench renders it.
fn key(index: u32) -> Vec<u8> {
    format!("ringcask{index:08x}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_kvbench() {
        assert_eq!(key(0xA3F1), b"ringcask0000a3f1");
    }

    #[test]
    fn what_connections_found_adds_up_and_the_slowest_says_how_long_it_took() {
        let mut all = Found::new().unwrap();
        for (seconds, warmed) in [(3, 1), (2, 10)] {
            let mut one = Found::new().unwrap();
            one.latency.record(1000).unwrap();
            (one.elapsed, one.warmed) = (Duration::from_secs(seconds), warmed);
            all.add(&one).unwrap();
        }
        assert_eq!((all.latency.len(), all.answered()), (2, 13));
        assert_eq!(all.elapsed, Duration::from_secs(3));
    }
}
