//! The command line of `kvserver`.
//!
//! Servers of this family take two-letter flags with one dash (`-ll INFO`), which no parser of POSIX flags reads;
//! they are rewritten before parsing. Sizes are bytes, or a number with `KiB`, `MiB` or `GiB`. Everything that can
//! be checked without touching a disk or a socket is checked here, so that nonsense is wrong usage (exit 2).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bitcask::SyncPolicy;
use clap::Parser;
use clap::error::ErrorKind;
use log::LevelFilter;
use protocol::Dialect;

/// Two-letter flags of the family and what they are here.
const LONG_FORMS: [(&str, &str); 1] = [("-ll", "--log-level")];

/// A Ringcask server: keeps keys and values on disk and answers requests, one line each.
///
/// Prints `listening <ip:port>` when it is ready, and logs to standard error. SIGTERM or SIGINT ends it cleanly.
/// Exit code: 0 done, 1 failed (one line says why), 2 wrong usage.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kvserver",
    version,
    after_help = "Also: -ll LEVEL for --log-level. Sizes: 4096, 64KiB, 16MiB, 2GiB."
)]
pub struct Args {
    /// Address or name to listen on; 0.0.0.0 for all addresses of the machine
    #[arg(short, long, value_name = "HOST", default_value = "127.0.0.1")]
    pub address: String,

    /// TCP port to listen on; 0 lets the system choose
    #[arg(short, long, value_name = "PORT", default_value_t = 5153)]
    pub port: u16,

    /// Folder that holds the data; created if it is not there
    #[arg(short, long, value_name = "FOLDER", default_value = "ringcask-data")]
    pub dir: PathBuf,

    /// Address of the configuration service (ECS), `ip:port`: the server is one of its cluster [default: a cluster of one]
    #[arg(short, long, value_name = "IP:PORT")]
    pub bootstrap: Option<SocketAddr>,

    /// Wait to be asked onto the ring (`kvclient cluster join`)
    #[arg(long, requires = "bootstrap")]
    pub standby: bool,

    /// End at once on SIGTERM and remain a member, for a restart [default: hand everything over and leave the ring]
    #[arg(long, requires = "bootstrap")]
    pub stay: bool,

    /// Seconds that leaving the ring may take; then the server ends and remains a member
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_some_seconds)]
    pub leave_timeout_s: Duration,

    /// File whose first line is the secret that servers and ECS share, 1 to 256 bytes
    #[arg(long, value_name = "FILE", requires = "bootstrap")]
    pub secret_file: Option<PathBuf>,

    /// Let other machines' servers connect without a secret
    #[arg(long, requires = "bootstrap")]
    pub insecure: bool,

    /// Milliseconds between two signs of life to each other server
    #[arg(long, value_name = "MS", default_value = "100", value_parser = parse_millis)]
    pub beacon_ms: Duration,

    /// Milliseconds that a primary serves reads after a sign of life of each backup
    #[arg(long, value_name = "MS", default_value = "400", value_parser = parse_millis)]
    pub lease_ms: Duration,

    /// Milliseconds that a backup serves reads after its primary's
    #[arg(long, value_name = "MS", default_value = "400", value_parser = parse_millis)]
    pub read_lease_ms: Duration,

    /// Milliseconds of silence after which a backup has its primary replaced: at least both leases and a margin; the
    /// same at all servers and the ECS
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = parse_millis)]
    pub grace_ms: Duration,

    /// Milliseconds of silence after which a primary has a backup removed
    #[arg(long, value_name = "MS", default_value = "600", value_parser = parse_millis)]
    pub silence_ms: Duration,

    /// Bytes a second that this server sends to servers that are being brought up to date
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = parse_rate)]
    pub move_rate: u64,

    /// Address that `keyrange` tells clients, `ip:port` [default: the one they connected to]
    #[arg(long, value_name = "IP:PORT")]
    pub advertise: Option<SocketAddr>,

    /// File to append the log to [default: standard error]
    #[arg(short, long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// Least severe level logged: off, error, warn, info, debug or trace (ALL, FINE, SEVERE … are understood)
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: LevelFilter,

    /// When a write is on disk: `always` before it is answered, `interval=MS` at most MS milliseconds after,
    /// `never` when the system sees fit
    #[arg(long, value_name = "POLICY", default_value = "always", value_parser = parse_sync)]
    pub sync: SyncPolicy,

    /// Folder inside which clients may have backups made [default: anywhere if only this machine can connect, else nowhere]
    #[arg(long, value_name = "FOLDER")]
    pub backup_dir: Option<PathBuf>,

    /// Replies as these clients expect them: native, toronto or tum
    #[arg(long, value_name = "NAME", default_value = "native", value_parser = parse_dialect)]
    pub dialect: Dialect,

    /// Longest key, in bytes (1 to 65535)
    #[arg(long, value_name = "BYTES", default_value = "1024", value_parser = parse_key_len)]
    pub max_key_bytes: usize,

    /// Longest value, in bytes (at most 128MiB)
    #[arg(long, value_name = "BYTES", default_value = "16MiB", value_parser = parse_value_len)]
    pub max_value_bytes: usize,

    /// Connections served at once; one more is refused
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = parse_count)]
    pub max_connections: usize,

    /// Memory for large requests on their way in, beyond 16 KiB a connection, in bytes: one that does not fit waits. As many
    /// bytes of writes may wait for the log, as many of large replies be under way, and as many wait for slow readers
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_size)]
    pub buffer_bytes: u64,

    /// Seconds after which a connection that asks nothing is closed; 0 for never
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = parse_seconds)]
    pub idle_timeout_s: Duration,

    /// Seconds within which a request that was begun must be complete
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_some_seconds)]
    pub request_timeout_s: Duration,

    /// Seconds a client may read nothing of its replies before it is cut off
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_some_seconds)]
    pub write_timeout_s: Duration,

    /// Length at which a data file is sealed and the next begun, in bytes (64KiB to 2GiB)
    #[arg(long, value_name = "BYTES", default_value = "128MiB", value_parser = parse_file_len)]
    pub file_bytes: u64,

    /// Bytes kept free on the disk so that deletes and merges go on when puts are refused
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = parse_size)]
    pub reserve_bytes: u64,

    /// Memory for records read lately, in bytes; 0 keeps none, and every get reads its data file
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_size)]
    pub cache_bytes: u64,

    /// Share of dead bytes in the data files from which merges run, in percent (1 to 95); two thirds more, up to 50, while more than
    /// 1 MiB a second is written
    #[arg(long, value_name = "PERCENT", default_value_t = 30,
          value_parser = clap::value_parser!(u8).range(1..=95))]
    pub merge_dead_percent: u8,

    /// Bytes a second that merges go through; up to 16 times as many when dead bytes pass the trigger by far
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = parse_rate)]
    pub merge_rate: u64,
}

impl Args {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// What the parser has to say, which may be the help asked for; it knows its stream and exit code.
    pub fn parse_from_argv(argv: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args = Self::try_parse_from(argv.into_iter().map(long_form))?;
        let wrong = |text: String| clap::Error::raw(ErrorKind::ValueValidation, text + "\n");
        args.cluster_config().check().map_err(|error| wrong(error.to_string()))?;
        Ok(args)
    }

    /// Returns the settings of a server that is one of a cluster.
    #[must_use]
    pub fn cluster_config(&self) -> cluster::Config {
        cluster::Config {
            beacon_every: self.beacon_ms,
            lease: self.lease_ms,
            read_lease: self.read_lease_ms,
            grace: self.grace_ms,
            silence_max: self.silence_ms,
            move_rate: self.move_rate,
            ..cluster::Config::default()
        }
    }
}

/// Returns `argument` as the parser knows it.
fn long_form(argument: OsString) -> OsString {
    for (short, long) in LONG_FORMS {
        if argument == short {
            return long.into();
        }
    }
    argument
}

fn parse_level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::Off),
        "error" | "severe" | "fatal" => Ok(LevelFilter::Error),
        "warn" | "warning" => Ok(LevelFilter::Warn),
        "info" | "config" => Ok(LevelFilter::Info),
        "debug" | "fine" => Ok(LevelFilter::Debug),
        "trace" | "finer" | "finest" | "all" => Ok(LevelFilter::Trace),
        _ => Err("expected off, error, warn, info, debug or trace".into()),
    }
}

fn parse_sync(text: &str) -> Result<SyncPolicy, String> {
    match (text, text.strip_prefix("interval=").map(u64::from_str)) {
        ("always", _) => Ok(SyncPolicy::Always),
        ("never", _) => Ok(SyncPolicy::Never),
        (_, Some(Ok(millis @ 1..))) => Ok(SyncPolicy::Interval(Duration::from_millis(millis))),
        _ => Err("expected always, never or interval=MS (a number of milliseconds from 1)".into()),
    }
}

fn parse_dialect(text: &str) -> Result<Dialect, String> {
    text.parse().or(Err("expected native, toronto or tum".into()))
}

/// Returns the bytes that `text` says: a number and perhaps a unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("expected a number of bytes, or one with KiB, MiB or GiB".into()),
    };
    let number = digits.parse::<u64>().or(Err("expected a number of bytes"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too many bytes".into())
}

fn parse_size_within(text: &str, min: u64, max: u64) -> Result<u64, String> {
    match parse_size(text)? {
        size if (min..=max).contains(&size) => Ok(size),
        _ => Err(format!("expected {min} to {max} bytes")),
    }
}

fn parse_key_len(text: &str) -> Result<usize, String> {
    let len = parse_size_within(text, 1, bitcask::Config::KEY_LEN_CEILING as u64)?;
    usize::try_from(len).map_err(|error| error.to_string())
}

fn parse_value_len(text: &str) -> Result<usize, String> {
    let len = parse_size_within(text, 0, bitcask::Config::VALUE_LEN_CEILING as u64)?;
    usize::try_from(len).map_err(|error| error.to_string())
}

fn parse_file_len(text: &str) -> Result<u64, String> {
    parse_size_within(text, 64 << 10, bitcask::Config::FILE_LEN_CEILING)
}

fn parse_rate(text: &str) -> Result<u64, String> {
    parse_size_within(text, 64 << 10, u64::MAX)
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("expected a number from 1".into()),
    }
}

/// Longest time-out, in seconds: a year; longer ones are never meant and could overflow clocks.
const SECONDS_MAX: f64 = 366.0 * 24.0 * 3600.0;

/// Longest time of a lease or grace, in milliseconds: ten minutes without writes is more than anybody wants.
const MILLIS_MAX: u64 = 600_000;

fn parse_millis(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(millis @ 1..=MILLIS_MAX) => Ok(Duration::from_millis(millis)),
        _ => Err(format!("expected 1 to {MILLIS_MAX} milliseconds")),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("expected a number of seconds, at most a year".into()),
    }
}

fn parse_some_seconds(text: &str) -> Result<Duration, String> {
    match parse_seconds(text)? {
        Duration::ZERO => Err("expected more than 0 seconds".into()),
        seconds => Ok(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::parse_from_argv(line.split(' ').map(OsString::from))
    }

    #[test]
    fn both_forms_of_the_familys_flags_are_read() {
        for line in [
            "kvserver -a ::1 -p 0 -d data -l log.txt -ll FINE",
            "kvserver --address ::1 --port 0 --dir data --log-file log.txt --log-level debug",
        ] {
            let args = parse(line).unwrap();
            assert_eq!((args.address.as_str(), args.port), ("::1", 0));
            assert_eq!(args.dir, PathBuf::from("data"));
            assert_eq!(args.log_file, Some(PathBuf::from("log.txt")));
            assert_eq!(args.log_level, LevelFilter::Debug);
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_engine_and_of_the_protocol() {
        let (args, engine) = (parse("kvserver").unwrap(), bitcask::Config::default());
        assert_eq!(args.sync, SyncPolicy::Always);
        assert_eq!(args.max_key_bytes, protocol::KEY_LEN_MAX);
        assert_eq!(args.max_value_bytes, protocol::VALUE_LEN_MAX);
        assert_eq!(args.file_bytes, engine.file_len_max);
        assert_eq!(args.reserve_bytes, engine.reserve_len);
        assert_eq!(args.cache_bytes, engine.cache_len as u64);
        assert_eq!(args.merge_dead_percent, engine.merge.dead_percent);
        assert_eq!(args.merge_rate, engine.merge.rate);
    }

    #[test]
    fn values_at_their_limits_are_read_and_one_past_is_wrong_usage() {
        for (good, bad) in [
            ("--max-key-bytes 65535", "--max-key-bytes 65536"),
            ("--max-key-bytes 1", "--max-key-bytes 0"),
            ("--max-value-bytes 128MiB", "--max-value-bytes 134217729"),
            ("--max-value-bytes 0", "--max-value-bytes -1"),
            ("--file-bytes 2GiB", "--file-bytes 2147483649"),
            ("--file-bytes 64KiB", "--file-bytes 65535"),
            ("--sync interval=1", "--sync interval=0"),
            ("--sync never", "--sync sometimes"),
            ("--max-connections 1", "--max-connections 0"),
            ("--idle-timeout-s 0", "--idle-timeout-s -1"),
            ("--request-timeout-s 0.5", "--request-timeout-s 0"),
            ("--merge-dead-percent 95", "--merge-dead-percent 96"),
            ("--dialect tum", "--dialect latin"),
            ("-ll OFF", "-ll LOUD"),
            ("-p 65535", "-p 65536"),
        ] {
            assert!(parse(&format!("kvserver {good}")).is_ok(), "{good}");
            let error = parse(&format!("kvserver {bad}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn times_that_are_not_safe_together_are_wrong_usage() {
        assert!(parse("kvserver -b 127.0.0.1:5100 --standby --grace-ms 850").is_ok());
        for bad in ["--grace-ms 849", "--beacon-ms 201", "--silence-ms 449", "--lease-ms 0"] {
            let error = parse(&format!("kvserver -b 127.0.0.1:5100 {bad}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn the_defaults_of_a_cluster_are_those_of_its_machine() {
        let args = parse("kvserver -b 127.0.0.1:5100").unwrap();
        assert_eq!(args.cluster_config(), cluster::Config::default());
        assert!(parse("kvserver --standby").is_err(), "of no cluster");
    }
}
