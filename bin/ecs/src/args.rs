//! The command line of `ecs`.
//!
//! Programs of this family take two-letter flags with one dash (`-ll INFO`), which no parser of POSIX flags reads; they
//! are rewritten before parsing. What can be checked without touching a disk or a socket is checked here, so
//! that nonsense is wrong usage (exit 2).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args as ClapArgs, CommandFactory as _, Parser, Subcommand};
use cluster::coordinator::elastic::{By, Elastic, Limits, Mode};
use cluster::coordinator::spawn::{self, SPAWN_COUNT_MAX};
use cluster::lines::REPLICA_COUNT_MAX;
use log::LevelFilter;

use crate::spawn::Template;

/// Two-letter flags of the family and what they are here.
const LONG_FORMS: [(&str, &str); 1] = [("-ll", "--log-level")];

/// Copies of each slot, where nothing else is said.
pub(crate) const REPLICAS: usize = 3;

/// The configuration service of a Ringcask cluster: decides who is on the ring and who holds each slot.
///
/// Servers register here (`kvserver -b ADDRESS`) and are told the map. Reads and writes do not pass through it and go on while
/// it is down. Prints `listening <ip:port>` when it is ready, and logs to standard error. SIGTERM or SIGINT ends it
/// cleanly. Exit code: 0 done, 1 failed (one line says why), 2 wrong usage.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "ecs",
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    after_help = "Also: -ll LEVEL for --log-level. Of a flag that is given twice the last one counts."
)]
pub struct Args {
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Task>,

    /// The settings of the service
    #[command(flatten)]
    pub serve: Serve,
}

/// What `ecs` can do besides serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Makes a new folder of the newest map that the servers kept, when the old folder is lost
    ///
    /// The old ECS must have ended for good. Each server is asked for its map; the newest one counts. All servers of that
    /// map must have been asked, because one that is left out may know a decision that nobody else knows.
    Rebuild(Rebuild),
}

/// The settings of the service.
#[derive(Clone, Debug, ClapArgs)]
pub struct Serve {
    /// Address or name to listen on; 0.0.0.0 for all addresses of the machine
    #[arg(short, long, value_name = "HOST", default_value = "127.0.0.1")]
    pub address: String,

    /// TCP port to listen on; 0 lets the system choose
    #[arg(short, long, value_name = "PORT", default_value_t = 5152)]
    pub port: u16,

    /// Folder that holds the decisions; created if it is not there
    #[arg(short, long, value_name = "FOLDER", default_value = "ringcask-ecs")]
    pub dir: PathBuf,

    /// File to append the log to [default: standard error]
    #[arg(short, long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// Least severe level logged: off, error, warn, info, debug or trace (ALL, FINE, SEVERE … are understood)
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: LevelFilter,

    /// Copies of each slot, fixed when the folder is made (1 to 16) [default: 3]
    #[arg(long, value_name = "COUNT", value_parser = parse_replicas)]
    pub replicas: Option<usize>,

    /// Slots that the ring is cut into, fixed when the folder is made: a power of two up to 4096 [default: 4096]
    #[arg(long, value_name = "COUNT", value_parser = parse_slots, hide = true)]
    pub slots: Option<u16>,

    /// Arcs in which a joining server takes its share, at most (1 to 256)
    #[arg(long, value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub tokens: u16,

    /// Milliseconds a server may stay away before its share is given to the others
    #[arg(long, value_name = "MS", default_value = "10000", value_parser = parse_millis)]
    pub rejoin_grace_ms: Duration,

    /// The servers' grace, in milliseconds: in the first of it after the start nobody is judged absent
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = parse_millis)]
    pub grace_ms: Duration,

    /// What happens when servers grow too full or too empty, or unevenly so: nothing (off), it is said what would be done
    /// (suggest), or servers on standby join, others go back to standby, and shares are levelled (on)
    #[arg(long, value_name = "MODE", default_value = "suggest", value_parser = parse_mode)]
    pub elastic: Mode,

    /// Stored bytes of the fullest server above which one more joins [default: none: the number of servers stays]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub scale_up_bytes: Option<u64>,

    /// The emptiest server goes back to standby when no other would store more than this many bytes without it; at most
    /// 80 % of --scale-up-bytes [default: half of --scale-up-bytes]
    #[arg(long, value_name = "BYTES", requires = "scale_up_bytes", value_parser = parse_bytes)]
    pub scale_down_bytes: Option<u64>,

    /// What is levelled when shares are uneven: stored bytes, or the operations that primaries answer (ops): then an arc
    /// that is asked for much is split, in the fewest bytes
    #[arg(long, value_name = "WHAT", default_value = "bytes", value_parser = parse_by)]
    pub level_by: By,

    /// Seconds that the ring stays as it is after each change of it and after the start, before it changes by itself
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_seconds)]
    pub cool_down_s: Duration,

    /// Bytes that each server sends in a second to those that get copies, at most: what the servers were given as their
    /// --move-rate, to tell how long a move will take
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = parse_bytes)]
    pub move_rate: u64,

    /// Command that starts one more server with --standby, when one is wanted and none waits; needs --elastic on and
    /// --scale-up-bytes. Run without a shell: blanks part its words, '…' and "…" keep them together. {ecs} becomes the
    /// ECS's address, {n} a number from 1, {dir} a folder of that number. Its standard output is where the server says
    /// `listening <ip:port>`. What was started is told to end (SIGTERM) when it was not wanted for a cool-down
    #[arg(long, value_name = "COMMAND", value_parser = Template::parse)]
    pub spawn_command: Option<Template>,

    /// Servers that --spawn-command may start, at the same time (1 to 256)
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "spawn_command",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(SPAWN_COUNT_MAX)))]
    pub spawn_max: u16,

    /// Seconds that a started server may take to register, before it is told to end
    #[arg(long, value_name = "SECONDS", default_value = "60", requires = "spawn_command", value_parser = parse_seconds)]
    pub spawn_timeout_s: Duration,

    /// File whose first line is the secret that servers and ECS share, 1 to 256 bytes
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// Listen on addresses that others can reach, without a secret
    #[arg(long)]
    pub insecure: bool,

    /// Connections of operators and clients served at once; 1,024 more are kept for servers
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = parse_count)]
    pub max_connections: usize,
}

/// The settings of a rebuild.
#[derive(Clone, Debug, ClapArgs)]
pub struct Rebuild {
    /// Servers to ask for the map they kept
    #[arg(long, value_name = "IP:PORT[,…]", value_delimiter = ',', required = true)]
    pub from: Vec<String>,

    /// The new folder; it must hold no cluster
    #[arg(short, long, value_name = "FOLDER")]
    pub dir: PathBuf,

    /// Go on without the servers that cannot be asked: what only they know is lost
    #[arg(long)]
    pub accept_loss: bool,
}

impl Args {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// What the parser has to say, which may be the help asked for; it knows its stream and exit code.
    pub fn parse_from_argv(argv: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args = Self::try_parse_from(argv.into_iter().map(long_form))?;
        match args.serve.elastic().and_then(|_| args.serve.spawning()) {
            Ok(_) => Ok(args),
            Err(why) => Err(Self::command().error(ErrorKind::ValueValidation, why)),
        }
    }
}

impl Serve {
    /// Returns the settings of growing and shrinking.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn elastic(&self) -> Result<Elastic, &'static str> {
        let limits = match self.scale_up_bytes {
            None => None,
            Some(up) => {
                let limits = Limits::new(up, self.scale_down_bytes.unwrap_or(up / 2));
                Some(limits.ok_or(
                    "--scale-down-bytes must be at most 80 % of --scale-up-bytes: what joins in the morning would leave at night",
                )?)
            }
        };
        let (mode, level_by) = (self.elastic, self.level_by);
        let (cool_down, move_rate) = (self.cool_down_s, self.move_rate);
        Ok(Elastic { mode, limits, level_by, cool_down, move_rate })
    }

    /// Returns the command that starts servers, if there is one, and how many and how long.
    ///
    /// # Errors
    /// What it lacks.
    pub fn spawning(&self) -> Result<Option<(Template, spawn::Settings)>, &'static str> {
        let Some(template) = self.spawn_command.clone() else { return Ok(None) };
        if self.elastic != Mode::On || self.scale_up_bytes.is_none() {
            return Err(
                "--spawn-command needs --elastic on and --scale-up-bytes: else no server is ever wanted",
            );
        }
        let settings = spawn::Settings {
            count_max: self.spawn_max,
            register_max: self.spawn_timeout_s,
            idle_max: self.cool_down_s,
        };
        Ok(Some((template, settings)))
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

fn parse_replicas(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=REPLICA_COUNT_MAX) => {
            usize::try_from(count).map_err(|error| error.to_string())
        }
        _ => Err(format!("expected a number from 1 to {REPLICA_COUNT_MAX}")),
    }
}

fn parse_slots(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(count) if count.is_power_of_two() && count <= hashring::SLOT_COUNT => Ok(count),
        _ => Err("expected a power of two up to 4096".into()),
    }
}

/// Longest time, in milliseconds: a week; longer ones are never meant.
const MILLIS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// Longest time, in seconds: a week.
const SECONDS_MAX: u64 = MILLIS_MAX / 1000;

fn parse_millis(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(millis @ 1..=MILLIS_MAX) => Ok(Duration::from_millis(millis)),
        _ => Err("expected a number of milliseconds from 1, at most a week".into()),
    }
}

fn parse_mode(text: &str) -> Result<Mode, &'static str> {
    match text {
        "off" => Ok(Mode::Off),
        "suggest" => Ok(Mode::Suggest),
        "on" => Ok(Mode::On),
        _ => Err("expected off, suggest or on"),
    }
}

fn parse_by(text: &str) -> Result<By, &'static str> {
    match text {
        "bytes" => Ok(By::Bytes),
        "ops" => Ok(By::Operations),
        _ => Err("expected bytes or ops"),
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(bytes @ 1..) => Ok(bytes),
        _ => Err("expected a number of bytes from 1".into()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=SECONDS_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a number of seconds from 1, at most a week".into()),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("expected a number from 1".into()),
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
            "ecs -a ::1 -p 0 -d data -l log.txt -ll FINE",
            "ecs --address ::1 --port 0 --dir data --log-file log.txt --log-level debug",
        ] {
            let args = parse(line).unwrap().serve;
            assert_eq!((args.address.as_str(), args.port), ("::1", 0));
            assert_eq!(args.dir, PathBuf::from("data"));
            assert_eq!(args.log_file, Some(PathBuf::from("log.txt")));
            assert_eq!(args.log_level, LevelFilter::Debug);
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_machine() {
        let (args, machine) =
            (parse("ecs").unwrap().serve, cluster::coordinator::Settings::default());
        assert_eq!(usize::from(args.tokens), machine.token_count);
        assert_eq!((args.grace_ms, args.rejoin_grace_ms), (machine.grace, machine.rejoin_grace));
        assert_eq!(REPLICAS, machine.replica_count);
        assert_eq!((args.replicas, args.slots), (None, None));
        assert_eq!(args.elastic(), Ok(machine.elastic));
    }

    #[test]
    fn values_at_their_limits_are_read_and_one_past_is_wrong_usage() {
        for (good, bad) in [
            ("--replicas 16", "--replicas 17"),
            ("--replicas 1", "--replicas 0"),
            ("--slots 4096", "--slots 8192"),
            ("--slots 1", "--slots 3"),
            ("--tokens 256", "--tokens 257"),
            ("--tokens 1", "--tokens 0"),
            ("--grace-ms 1", "--grace-ms 0"),
            ("--rejoin-grace-ms 604800000", "--rejoin-grace-ms 604800001"),
            ("--max-connections 1", "--max-connections 0"),
            ("--elastic on", "--elastic yes"),
            ("--level-by ops", "--level-by keys"),
            ("--cool-down-s 1", "--cool-down-s 0"),
            ("--cool-down-s 604800", "--cool-down-s 604801"),
            ("--scale-up-bytes 2", "--scale-up-bytes 1"),
            (
                "--scale-up-bytes 10 --scale-down-bytes 8",
                "--scale-up-bytes 10 --scale-down-bytes 9",
            ),
            ("--scale-up-bytes 10 --scale-down-bytes 1", "--scale-down-bytes 8"),
            ("--move-rate 1", "--move-rate 0"),
            (
                "--elastic on --scale-up-bytes 10 --spawn-command x",
                "--elastic suggest --scale-up-bytes 10 --spawn-command x",
            ),
            (
                "--elastic on --scale-up-bytes 10 --spawn-command {n}",
                "--elastic on --scale-up-bytes 10 --spawn-command {m}",
            ),
            (
                "--elastic on --scale-up-bytes 10 --spawn-command x --spawn-max 256",
                "--elastic on --scale-up-bytes 10 --spawn-command x --spawn-max 257",
            ),
            (
                "--elastic on --scale-up-bytes 10 --spawn-command x --spawn-timeout-s 1",
                "--elastic on --scale-up-bytes 10 --spawn-command x --spawn-timeout-s 0",
            ),
            (
                "--elastic on --scale-up-bytes 10 --spawn-command x --spawn-max 1",
                "--elastic on --scale-up-bytes 10 --spawn-max 1",
            ),
            ("-ll OFF", "-ll LOUD"),
            ("-p 65535", "-p 65536"),
            ("rebuild --from a:1,b:2 --dir x", "rebuild --dir x"),
            ("rebuild --from a:1 -d x --accept-loss", "rebuild --from a:1"),
        ] {
            assert!(parse(&format!("ecs {good}")).is_ok(), "{good}");
            let error = parse(&format!("ecs {bad}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }
}
