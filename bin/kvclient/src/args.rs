//! The command line.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::cluster::ClusterArgs;

/// The port a server listens on unless told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 5153;

/// The longest time an operation can be given: a day, beyond which a wait is a mistake.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A prompt and one-shot commands for Ringcask servers.
///
/// Without a command it is a prompt; when its standard input is no terminal, it reads one command a line
/// and answers each with one line.
#[derive(Debug, Parser)]
#[command(name = "kvclient", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Servers of the cluster; any of them leads to all [default: 127.0.0.1:5153].
    #[arg(
        short = 's',
        long = "servers",
        value_name = "IP:PORT[,IP:PORT...]",
        value_delimiter = ','
    )]
    #[arg(value_parser = parse_server, conflicts_with_all = ["address", "port"])]
    servers: Vec<String>,

    /// The address of the one server to use [default: 127.0.0.1].
    #[arg(short, long, value_name = "ADDRESS")]
    address: Option<String>,

    /// The port of the one server to use [default: 5153].
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// How long an operation may take, retries included, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_timeout, default_value = "10")]
    pub(crate) timeout: Duration,

    /// The command to run; none for the prompt.
    #[command(subcommand)]
    pub(crate) command: Option<OneShot>,
}

/// What follows the options in `--help`.
const AFTER_HELP: &str = "\
Keys and values on the command line are taken byte for byte; escapes are for the prompt (see `help put` there).
Exit codes: 0 done; 1 refused, failed or not found; 2 wrong usage; 3 a write may or may not have taken effect.

Examples:
  kvclient                            the prompt, with the server on this machine
  kvclient put greeting hello world   store
  kvclient get greeting               fetch; byte for byte when not to a terminal
  echo 'get greeting' | kvclient      one command a line
  kvclient export all.txt             every record as a `put` line
  kvclient cluster status             servers, shares, moves, and whether all copies are there
";

/// A command given on the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum OneShot {
    /// Store a value; several words are joined by a space.
    Put {
        /// Take the value from standard input, byte for byte.
        #[arg(long, conflicts_with = "value")]
        stdin: bool,
        /// The key.
        key: OsString,
        /// The value.
        #[arg(
            required_unless_present = "stdin",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        value: Vec<OsString>,
    },
    /// Write a key's value to standard output: byte for byte, or readable if that is a terminal.
    Get {
        /// The key.
        key: OsString,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: OsString,
    },
    /// Show which server answers for which arc of the ring.
    Keyrange,
    /// Show which servers may serve the reads of which arc.
    #[command(name = "keyrange_read")]
    KeyrangeRead,
    /// Show the server's figures.
    Info,
    /// See how the cluster stands, and grow or shrink it.
    Cluster(ClusterArgs),
    /// Have the server copy its data to a new folder on its own machine, while it serves.
    Backup {
        /// The folder to make; a full path, as the server sees it.
        folder: String,
    },
    /// Make a server's folder of a backup, after checking all of it. Needs no server.
    Restore {
        /// The backup.
        backup: PathBuf,
        /// The folder to make; must be empty or not be there.
        folder: PathBuf,
    },
    /// Check every checksum of a server's folder or a backup. Needs no server; none may be using it.
    Verify {
        /// The folder.
        folder: PathBuf,
    },
    /// Store every record of a file of `put` lines, as `export` writes it.
    Import {
        /// Go on after lines that are bad or were refused; they are reported, and the exit code is 1.
        #[arg(long)]
        keep_going: bool,
        /// The file; - for standard input.
        file: PathBuf,
    },
    /// Write every record as a `put` line.
    Export {
        /// The file, replaced when all is written; - for standard output.
        file: PathBuf,
    },
}

impl Args {
    /// Returns the servers to try, in order.
    pub(crate) fn servers(&self) -> Vec<String> {
        if !self.servers.is_empty() {
            return self.servers.clone();
        }
        let address = self.address.clone().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string());
        vec![join(&address, self.port.unwrap_or(DEFAULT_PORT))]
    }
}

/// Joins an address and a port; an IPv6 address gets its brackets.
fn join(address: &str, port: u16) -> String {
    if address.contains(':') && !address.starts_with('[') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// Reads `<address>:<port>`.
pub(crate) fn parse_server(text: &str) -> Result<String, String> {
    let (address, port) =
        text.rsplit_once(':').ok_or_else(|| "expected <address>:<port>".to_owned())?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 && !address.is_empty() => Ok(join(address, port)),
        _ => Err("expected <address>:<port>, the port from 1 to 65535".to_owned()),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() && timeout <= TIMEOUT_MAX => Ok(timeout),
        _ => Err(format!("expected more than 0 and at most {} seconds", TIMEOUT_MAX.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once(&"kvclient").chain(line))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn servers_come_from_either_form() {
        for (line, servers) in [
            (&[][..], &["127.0.0.1:5153"][..]),
            (&["-p", "7"], &["127.0.0.1:7"]),
            (&["-a", "10.0.0.1"], &["10.0.0.1:5153"]),
            (&["--address", "::1", "--port", "7"], &["[::1]:7"]),
            (&["-s", "a:1,b:2"], &["a:1", "b:2"]),
        ] {
            assert_eq!(parse(line).unwrap().servers(), servers);
        }
        for line in [
            &["-s", "a:1", "-p", "2"][..],
            &["-s", "a"],
            &["-s", "a:0"],
            &["-s", "a:65536"],
            &["-s", ":1"],
            &["-p", "0"],
            &["--timeout", "0"],
            &["--timeout", "-1"],
            &["--timeout", "inf"],
            &["--timeout", "86401"],
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_value_may_begin_with_a_hyphen_and_have_spaces() {
        let args = parse(&["put", "k", "-5", "-s", "x"]).unwrap();
        let Some(OneShot::Put { key, value, .. }) = args.command else { panic!("{args:?}") };
        assert_eq!((key, value), ("k".into(), vec!["-5".into(), "-s".into(), "x".into()]));
        assert!(parse(&["put", "k"]).is_err());
        assert!(parse(&["put", "--stdin", "k"]).is_ok());
        assert!(parse(&["put", "--stdin", "k", "v"]).is_err());
    }
}
