//! The command line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::number;
use crate::outage::OutageArgs;
use crate::plan::{Mix, Protocol, Target};

const EXAMPLES: &str = "\
Mixes:
  get, set    only reads, only updates
  mixed=P     P % gets, the rest sets
  a           YCSB A: 50 % gets, 50 % sets
  b           YCSB B: 95 % gets, 5 % sets
  c           YCSB C: gets
  d           YCSB D: 95 % gets of what was inserted last, 5 % inserts
  f           YCSB F: 50 % gets, 50 % read-modify-writes (a get, then a set; counted as two)
  e           YCSB E (short scans in key order) is refused: no server here keeps keys in order
  a to f choose keys by Zipf unless --dist says otherwise; get, set and mixed uniformly.

Counts take k, m, g (thousands) and ki, mi, gi (1,024s); durations are seconds, or 500ms, 2m.
A latency counts from the moment a request's batch is written; with --rate from the moment the
request was due, so that a stalled server cannot hide what it keeps waiting.

Examples:
  kvbench --load --mix get
  kvbench -s 127.0.0.1:6379 --proto redis --mix a --depth 16 --json
  kvbench -s 127.0.0.1:7001,127.0.0.1:7002 --mix set --compare redis@127.0.0.1:6379 --redis-wait 2
  kvbench outage -s 127.0.0.1:7001,127.0.0.1:7002 --duration 30
  kvbench --mix set --compare redis@127.0.0.1:6379 --compare memcached@127.0.0.1:11211

Exit code: 0 done, 1 failed or a reply was wrong, refused or unknown, 2 wrong usage.";

/// Puts load on a key-value server and measures it; checks every value it reads.
#[derive(Debug, Parser)]
#[command(name = "kvbench", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Measure something else than load
    #[command(subcommand)]
    pub(crate) mode: Option<Mode>,

    /// Server to measure; several of a cluster, and each request goes to the server of its key
    #[arg(short, long, value_name = "IP:PORT[,IP:PORT...]", default_value = "127.0.0.1:5153")]
    #[arg(value_delimiter = ',')]
    pub(crate) server: Vec<SocketAddr>,

    /// Protocol it speaks
    #[arg(long, value_enum, default_value_t = Protocol::Ringcask)]
    pub(crate) proto: Protocol,

    /// Measure this server or cluster too, runs taken in turn (A B A B …), and show ratios; may be repeated
    #[arg(long, value_name = "PROTO@IP:PORT[,IP:PORT...]", value_parser = target)]
    pub(crate) compare: Vec<Target>,

    /// Connections, each with a thread of its own
    #[arg(short, long, value_name = "COUNT", default_value = "50", value_parser = number::count)]
    pub(crate) connections: u64,

    /// Requests sent at once on a connection before their replies are awaited
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = number::count)]
    pub(crate) depth: u64,

    /// What to ask for: get, set, mixed=PERCENT, or YCSB a, b, c, d, f (see below)
    #[arg(long, value_name = "MIX", default_value = "get")]
    pub(crate) mix: Mix,

    /// How keys are chosen [default: by the mix]
    #[arg(long, value_enum)]
    pub(crate) dist: Option<Dist>,

    /// Keys in the key space
    #[arg(long, value_name = "COUNT", default_value = "1m", value_parser = number::count)]
    pub(crate) keys: u64,

    /// Length of a key, bytes
    #[arg(long, value_name = "BYTES", default_value = "16", value_parser = number::count)]
    pub(crate) key_bytes: u64,

    /// Length of a value, bytes: one number, or FROM-TO to choose from evenly
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = number::range)]
    pub(crate) value_bytes: RangeInclusive<usize>,

    /// In a Ringcask cluster, send gets to all copies of a key in turn, not only to its primary
    #[arg(long)]
    pub(crate) spread_reads: bool,

    /// To Redis, send WAIT with this number of copies after each batch with sets; they are answered when it is
    #[arg(long, value_name = "COPIES", default_value_t = 0)]
    pub(crate) redis_wait: u32,

    /// Put every key once before anything is measured
    #[arg(long)]
    pub(crate) load: bool,

    /// Send so many requests a second over all connections, however long replies take [default: as fast as replies come]
    #[arg(long, value_name = "PER-SECOND", value_parser = number::count)]
    pub(crate) rate: Option<u64>,

    /// Time before anything is measured
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = number::duration)]
    pub(crate) warmup: Duration,

    /// Time measured, for each run
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = number::duration)]
    pub(crate) duration: Duration,

    /// Measure so many requests instead, for each run; 0 measures none (with --load: only loads)
    #[arg(long, value_name = "COUNT", conflicts_with = "duration", value_parser = number::count)]
    pub(crate) ops: Option<u64>,

    /// Repeat so often; medians are shown besides
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = number::count)]
    pub(crate) runs: u64,

    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// One row of a Markdown table with this title instead: medians of ops/s and ratios to each --compare
    #[arg(long, value_name = "TITLE", conflicts_with = "json")]
    pub(crate) row: Option<String>,
}

/// What else can be measured.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Mode {
    /// How long writes wait while a cluster changes, and whether any that was acknowledged is lost
    Outage(OutageArgs),
}

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dist {
    /// All alike
    Uniform,
    /// YCSB's scrambled Zipf distribution, constant 0.99
    Zipf,
}

fn target(text: &str) -> Result<Target, String> {
    let (proto, address) = text.split_once('@').ok_or("expected PROTO@IP:PORT")?;
    Ok(Target {
        protocol: Protocol::from_str(proto, true)?,
        addresses: address
            .split(',')
            .map(|one| one.parse().map_err(|error| format!("{error}")))
            .collect::<Result<_, _>>()?,
    })
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
    fn a_target_is_a_protocol_at_an_address() {
        let found = target("redis@127.0.0.1:6379").unwrap();
        assert_eq!((found.protocol, found.address().port()), (Protocol::Redis, 6379));
        let found = target("ringcask@127.0.0.1:1,127.0.0.1:2").unwrap();
        assert!(found.is_cluster() && found.addresses() == "127.0.0.1:1,127.0.0.1:2");
        for text in ["", "redis", "redis@", "mysql@127.0.0.1:1", "redis@localhost", "@127.0.0.1:1"]
        {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
