//! Why a server does not start, or does not end well: each with what can be done about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a server failed.
#[derive(Debug)]
pub enum Error {
    /// The store cannot be opened or made ready.
    Store {
        /// The folder of `--dir`.
        dir: PathBuf,
        /// What the engine says.
        cause: bitcask::Error,
    },
    /// The address cannot be listened on, or the accept loop not started.
    Net(net::Error),
    /// The log file cannot be written.
    LogFile {
        /// The file of `--log-file`.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// Something the operating system does for every process failed.
    System {
        /// What was tried.
        what: &'static str,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The store has been started more often than epochs can count.
    NoEpoch,
}

impl fmt::Display for Error {
    /// Writes one line: why, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { cause, dir } => {
                write!(f, "{cause}; {}", store_advice(cause))?;
                let is_named = cause.to_string().contains(&*dir.to_string_lossy());
                if is_named { Ok(()) } else { write!(f, " (folder {})", dir.display()) }
            }
            Self::Net(cause) => write!(f, "{cause}; {}", net_advice(cause)),
            Self::LogFile { path, cause } => {
                write!(f, "cannot write the log file {}: {cause}; choose another with --log-file", path.display())
            }
            Self::System { what, cause } => write!(f, "cannot {what}: {cause}"),
            Self::NoEpoch => f.write_str("this store has been started 16,777,215 times, which is all it can count; copy its entries to a new one"),
        }
    }
}

fn store_advice(cause: &bitcask::Error) -> &'static str {
    use bitcask::Error as E;
    match cause {
        E::Busy { .. } => "stop that process, or choose another folder with --dir",
        E::Full { .. } => "free some space on its disk, or lower --reserve-bytes",
        E::Corrupt { .. } | E::Missing { .. } => "restore the folder from a backup",
        E::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            "give this user the right to write there, or choose another folder with --dir"
        }
        E::Io { .. } => "check the folder and its disk, or choose another folder with --dir",
        E::Poisoned { .. } | E::Closed | E::Limit { .. } | E::NoSlot { .. } => {
            "check the settings and start again"
        }
    }
}

fn net_advice(cause: &net::Error) -> &'static str {
    match cause {
        net::Error::InUse { .. } => "stop it, or choose another port with --port",
        net::Error::Unavailable { .. } => {
            "choose another address with --address, or another port with --port"
        }
        net::Error::Thread { .. } => "raise the limit of threads or memory",
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store { cause, .. } => Some(cause),
            Self::Net(cause) => Some(cause),
            Self::LogFile { cause, .. } | Self::System { cause, .. } => Some(cause),
            Self::NoEpoch => None,
        }
    }
}
