//! What is to be measured: the arguments, checked against each other and against limits.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use protocol::{KEY_LEN_MAX, VALUE_LEN_MAX};

use crate::args::{Args, Dist};
use crate::error::Error;
use crate::keys::{self, KEY_LEN_MAX_MEMCACHED};
use crate::number::grouped;

/// Most connections: each costs a thread and a descriptor here and in the server.
pub(crate) const CONNECTIONS_MAX: u64 = 20_000;

/// Most requests in a batch; replies to it are remembered one by one.
pub(crate) const DEPTH_MAX: u64 = 10_000;

/// Largest key space; indices above it are for inserts.
pub(crate) const KEYS_MAX: u64 = 1 << 31;

/// Most runs: their results are kept until the end.
pub(crate) const RUNS_MAX: u64 = 10_000;

/// Most requests a second that can be asked for.
pub(crate) const RATE_MAX: u64 = 1_000_000_000;

/// Longest warm-up and measurement: a day.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// A protocol that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Protocol {
    /// Ours, native dialect
    Ringcask,
    /// Redis, RESP2
    Redis,
    /// memcached, text protocol
    Memcached,
}

impl Protocol {
    /// Returns the name, as on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ringcask => "ringcask",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A server to measure, or a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    /// At least one; several are of one cluster, and lead to all its servers.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Target {
    /// Returns the first address.
    pub(crate) fn address(&self) -> SocketAddr {
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(none)
    }

    /// Returns whether requests go to several servers, by their keys.
    pub(crate) fn is_cluster(&self) -> bool {
        self.addresses.len() > 1
    }

    /// Returns all addresses, with commas between them.
    pub(crate) fn addresses(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        addresses.join(",")
    }
}

/// Shares of the kinds of requests, in percent; what is missing to 100 is sets of present keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// As on the command line.
    pub(crate) name: MixName,
    pub(crate) gets: u8,
    pub(crate) inserts: u8,
    pub(crate) modifies: u8,
}

/// How a mix was named, for reports and for what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MixName {
    Get,
    Set,
    Mixed(u8),
    /// One of YCSB's, a lower-case letter.
    Ycsb(char),
}

impl fmt::Display for MixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => f.write_str("get"),
            Self::Set => f.write_str("set"),
            Self::Mixed(percent) => write!(f, "mixed={percent}"),
            Self::Ycsb(letter) => write!(f, "ycsb {letter}"),
        }
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mix = |name, gets, inserts, modifies| Ok(Self { name, gets, inserts, modifies });
        match text.to_ascii_lowercase().as_str() {
            "get" => mix(MixName::Get, 100, 0, 0),
            "set" => mix(MixName::Set, 0, 0, 0),
            "a" => mix(MixName::Ycsb('a'), 50, 0, 0),
            "b" => mix(MixName::Ycsb('b'), 95, 0, 0),
            "c" => mix(MixName::Ycsb('c'), 100, 0, 0),
            "d" => mix(MixName::Ycsb('d'), 95, 5, 0),
            "e" => {
                Err("YCSB E scans keys in their order, which none of the three servers keeps"
                    .into())
            }
            "f" => mix(MixName::Ycsb('f'), 50, 0, 50),
            other => match other.strip_prefix("mixed=").and_then(|p| p.parse().ok()) {
                Some(percent @ 0..=100) => mix(MixName::Mixed(percent), percent, 0, 0),
                _ => Err("expected get, set, mixed=0 to mixed=100, or a, b, c, d, f".into()),
            },
        }
    }
}

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Uniform,
    Zipf,
    /// Zipf by age, the youngest first.
    Latest,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Latest => "latest",
        })
    }
}

/// When a run's measurement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Duration(Duration),
    /// So many requests over all connections.
    Ops(u64),
}

/// The load, the same for every target.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) mix: Mix,
    pub(crate) choice: Choice,
    pub(crate) keys: u32,
    pub(crate) key_len: usize,
    pub(crate) value_len: RangeInclusive<usize>,
    /// Whether gets go to all copies of a key in turn.
    pub(crate) spreads_reads: bool,
    /// Copies that must have each Redis batch with sets before it counts as answered.
    pub(crate) redis_wait: u32,
    /// Requests a second over all connections.
    pub(crate) rate: Option<u64>,
    pub(crate) warmup: Duration,
    pub(crate) until: Until,
}

/// How the results are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    /// One row of a Markdown table, with its title.
    Row(String),
}

/// Everything that a call of the program is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// At least one; ratios are the first one's to each other.
    pub(crate) targets: Vec<Target>,
    pub(crate) workload: Workload,
    pub(crate) load: bool,
    pub(crate) runs: u64,
    pub(crate) format: Format,
}

impl TryFrom<Args> for Plan {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self, Error> {
        let first = Target { protocol: args.proto, addresses: args.server.clone() };
        let targets: Vec<Target> =
            std::iter::once(first).chain(args.compare.iter().cloned()).collect();
        check_limits(&args)?;
        check_keys(&args, &targets)?;
        let choice = match (args.dist, args.mix.name) {
            (None, MixName::Ycsb('d')) => Choice::Latest,
            (Some(Dist::Zipf), _) | (None, MixName::Ycsb(_)) => Choice::Zipf,
            (Some(Dist::Uniform), _) | (None, _) => Choice::Uniform,
        };
        let workload = Workload {
            connections: fit("connections", args.connections)?,
            depth: fit("depth", args.depth)?,
            mix: args.mix,
            choice,
            keys: fit("keys", args.keys)?,
            key_len: fit("key-bytes", args.key_bytes)?,
            value_len: args.value_bytes,
            spreads_reads: args.spread_reads,
            redis_wait: args.redis_wait,
            rate: args.rate,
            warmup: args.warmup,
            until: args.ops.map_or(Until::Duration(args.duration), Until::Ops),
        };
        let format = match (args.json, args.row) {
            (true, _) => Format::Json,
            (false, Some(title)) => Format::Row(title),
            (false, None) => Format::Table,
        };
        Ok(Self { targets, workload, load: args.load, runs: args.runs, format })
    }
}

fn fit<T: TryFrom<u64>>(flag: &str, n: u64) -> Result<T, Error> {
    T::try_from(n).ok().ok_or_else(|| Error::Usage(format!("--{flag} {n} is too large")))
}

fn check_limits(args: &Args) -> Result<(), Error> {
    let counts = [
        ("connections", args.connections, CONNECTIONS_MAX),
        ("depth", args.depth, DEPTH_MAX),
        ("keys", args.keys, KEYS_MAX),
        ("runs", args.runs, RUNS_MAX),
        ("rate", args.rate.unwrap_or(1), RATE_MAX),
    ];
    for (flag, found, max) in counts {
        if found == 0 || found > max {
            let max = grouped(max);
            return Err(Error::Usage(format!("--{flag} {found} is not between 1 and {max}")));
        }
    }
    let longest = *args.value_bytes.end();
    if longest > VALUE_LEN_MAX {
        let max = grouped(VALUE_LEN_MAX as u64);
        return Err(Error::Usage(format!("--value-bytes {longest} is more than {max}")));
    }
    for (flag, found) in [("warmup", args.warmup), ("duration", args.duration)] {
        if found > DURATION_MAX {
            return Err(Error::Usage(format!("--{flag} is longer than a day")));
        }
    }
    if args.duration.is_zero() {
        return Err(Error::Usage("--duration 0 measures nothing".into()));
    }
    Ok(())
}

fn check_keys(args: &Args, targets: &[Target]) -> Result<(), Error> {
    let has_memcached = targets.iter().any(|target| target.protocol == Protocol::Memcached);
    let max = if has_memcached { KEY_LEN_MAX_MEMCACHED } else { KEY_LEN_MAX };
    let len: usize = fit("key-bytes", args.key_bytes)?;
    if len == 0 || len > max {
        return Err(Error::Usage(format!("--key-bytes {len} is not between 1 and {max}")));
    }
    let capacity = keys::capacity(len);
    if args.keys > capacity {
        let (keys, capacity) = (grouped(args.keys), grouped(capacity));
        return Err(Error::Usage(format!(
            "{keys} keys do not fit in {len} bytes, only {capacity}"
        )));
    }
    if args.mix.inserts > 0 && len < keys::DIGITS {
        return Err(Error::Usage(format!(
            "mix d inserts keys: --key-bytes {} at least",
            keys::DIGITS
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan(flags: &str) -> Result<Plan, Error> {
        let args = format!("kvbench -s 127.0.0.1:1 {flags}");
        Plan::try_from(Args::try_parse_from(args.split_whitespace()).unwrap())
    }

    #[test]
    fn every_limit_holds_and_one_past_is_refused() {
        for (flag, max) in [
            ("connections", CONNECTIONS_MAX),
            ("depth", DEPTH_MAX),
            ("keys", KEYS_MAX),
            ("runs", RUNS_MAX),
            ("rate", RATE_MAX),
            ("value-bytes", VALUE_LEN_MAX as u64),
            ("key-bytes", KEY_LEN_MAX as u64),
            ("duration", DURATION_MAX.as_secs()),
            ("warmup", DURATION_MAX.as_secs()),
        ] {
            assert!(plan(&format!("--{flag} {max}")).is_ok(), "{flag}");
            let error = plan(&format!("--{flag} {}", max + 1)).unwrap_err().to_string();
            assert!(error.contains(flag), "{error}");
        }
        for flag in ["connections", "depth", "keys", "runs", "rate", "key-bytes", "duration"] {
            assert!(plan(&format!("--{flag} 0")).is_err(), "{flag}");
        }
    }

    #[test]
    fn keys_must_fit_their_length_and_the_protocols_limit() {
        assert!(plan("--key-bytes 4 --keys 65536").is_ok());
        assert!(plan("--key-bytes 4 --keys 65537").is_err());
        assert!(plan("--proto memcached --key-bytes 250").is_ok());
        assert!(plan("--proto memcached --key-bytes 251").is_err());
        assert!(plan("--compare memcached@127.0.0.1:2 --key-bytes 251").is_err());
        assert!(plan("--mix d --key-bytes 7 --keys 10").is_err());
    }

    #[test]
    fn ycsb_mixes_bring_their_own_choice_of_keys() {
        for (flags, choice) in [
            ("--mix get", Choice::Uniform),
            ("--mix get --dist zipf", Choice::Zipf),
            ("--mix a", Choice::Zipf),
            ("--mix a --dist uniform", Choice::Uniform),
            ("--mix d", Choice::Latest),
            ("--mix d --dist zipf", Choice::Zipf),
        ] {
            assert_eq!(plan(flags).unwrap().workload.choice, choice, "{flags}");
        }
    }

    #[test]
    fn mixes_are_read_and_nonsense_is_refused() {
        let mix: Mix = "mixed=80".parse().unwrap();
        assert_eq!((mix.gets, mix.inserts, mix.modifies), (80, 0, 0));
        for text in ["", "mixed", "mixed=", "mixed=101", "mixed=-1", "g", "e"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
