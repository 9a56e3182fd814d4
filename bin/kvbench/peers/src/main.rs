//! Puts load on an etcd cluster over gRPC and measures it, as kvbench does on servers that speak lines of text.
//!
//! ```text
//! cargo run --release -- --etcd IP:PORT,IP:PORT,IP:PORT -c 50 --duration 4
//! {"address":…,"connections":50,"latency_us":{"p50":…,"p99":…},"ops_per_second":…,"sets":…,"version":"3.4.23"}
//! ```
//!
//! `scripts/bench-etcd.sh` starts the servers, runs this and kvbench in turn, and makes a table of what both print.
//! It is a package of its own, so that a gRPC client is built only by who wants the comparison.
//!
//! How the numbers are kept honest:
//!
//! * The load is that of `kvbench --mix set`: connections with one request in flight each, as fast as replies come,
//!   on keys of the same form and length, chosen evenly from the same number. A latency counts from before the
//!   request is made to when its reply was read.
//! * Every connection goes to the leader, as kvbench goes to a key's primary: a put need not be passed on, which is
//!   the best etcd can do. With `--spread` they go to all members in turn.
//! * At the end the cluster's revision, which counts its puts, must have grown by at least what was answered.
//!
//! | module | what |
//! |---|---|
//! | `etcd` | the requests, and the cluster's leader |
//! | `load` | the loop of each connection, and what it found |
//!
//! Left out: gets, depth (gRPC has streams instead) and TLS. Nothing is compared with another server here.

mod etcd;
mod load;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use crate::load::{Found, Load};

/// What every fallible function here returns: a person reads the message, nobody matches on it.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Puts load on an etcd cluster and prints what it found as one JSON object
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The members' addresses for clients
    #[arg(long, value_name = "IP:PORT[,IP:PORT...]", value_delimiter = ',', required = true)]
    etcd: Vec<SocketAddr>,
    /// Connections, each with one request in flight
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Keys in the key space
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Length of a value, bytes
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Seconds before anything is measured
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Seconds measured
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    duration: Duration,
    /// Connect to all members in turn, not only to the leader
    #[arg(long)]
    spread: bool,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

async fn measure(args: &Args) -> Result<Value> {
    let before = etcd::find_leader(&args.etcd).await?;
    let targets = if args.spread { args.etcd.clone() } else { vec![before.address] };
    let load = Load {
        connections: args.connections,
        keys: args.keys,
        value_len: args.value_bytes,
        warmup: args.warmup,
        duration: args.duration,
    };
    let found = load::run(&load, &targets).await?;
    let after = etcd::find_leader(&args.etcd).await?;
    let grown = after.revision.saturating_sub(before.revision);
    if grown < found.answered() {
        return Err(format!("{} puts were answered, {grown} were done", found.answered()).into());
    }
    Ok(report(args, &before, &found))
}

/// Returns the report, in the terms of kvbench's.
fn report(args: &Args, leader: &etcd::Leader, found: &Found) -> Value {
    let micros = |quantile| found.latency.value_at_quantile(quantile) as f64 / 1000.0;
    json!({
        "address": leader.address.to_string(),
        "version": leader.version,
        "connections": args.connections,
        "spread": args.spread,
        "sets": found.latency.len(),
        "ops_per_second": found.latency.len() as f64 / found.elapsed.as_secs_f64(),
        "latency_us": { "p50": micros(0.5), "p99": micros(0.99), "max": micros(1.0) },
    })
}

fn run(args: &Args) -> Result<()> {
    // As many threads as processors: one of the runtime's is never what the servers wait for.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(args))?;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if even this cannot be said.
            drop(writeln!(std::io::stderr(), "kvbench-etcd: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction_but_not_be_negative() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err());
    }
}
