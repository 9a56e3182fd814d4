//! Why the ECS does not start, or ends: each with what can be done about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the ECS failed.
#[derive(Debug)]
pub enum Error {
    /// Another process has the folder.
    Busy {
        /// The folder of `--dir`.
        dir: PathBuf,
    },
    /// A file or folder cannot be read or written.
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the operating system says.
        cause: io::Error,
    },
    /// What stands in the folder is not what was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A setting that was fixed when the folder was made is asked for anew, and differently.
    Fixed {
        /// The folder.
        dir: PathBuf,
        /// The flag.
        flag: &'static str,
        /// What the folder says.
        kept: usize,
        /// What was asked for.
        asked: usize,
    },
    /// The folder that was to be made has a cluster's decisions in it.
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// The address cannot be listened on, or the accept loop not started.
    Net(net::Error),
    /// Others could reach the port, and there is no secret.
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// The secret is none.
    Secret {
        /// The file of `--secret-file`.
        path: PathBuf,
    },
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
    /// The folder cannot be made anew from what the servers say.
    Rebuild {
        /// Why, and what to do.
        why: String,
    },
}

impl fmt::Display for Error {
    /// Writes one line: why, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { dir } => {
                write!(
                    f,
                    "folder {} is in use by another ecs; stop it, or choose another folder with --dir",
                    dir.display()
                )
            }
            Self::Io { path, what, cause } => {
                write!(
                    f,
                    "cannot {what} {}: {cause}; check the folder and its disk, and start again",
                    path.display()
                )
            }
            Self::Damaged { path, line, what } => {
                write!(
                    f,
                    "{} is damaged in line {line}: {what}; restore the folder from a backup, or make a new one from the servers with `ecs rebuild`",
                    path.display()
                )
            }
            Self::Fixed { dir, flag, kept, asked } => {
                write!(
                    f,
                    "folder {} is of a cluster with {flag} {kept}, which stays so, and {asked} was asked for; leave the flag away, or choose another folder",
                    dir.display()
                )
            }
            Self::Exists { dir } => {
                write!(
                    f,
                    "folder {} has a cluster in it already; name a folder that is not there yet",
                    dir.display()
                )
            }
            Self::Net(cause) => write!(f, "{cause}; {}", net_advice(cause)),
            Self::Open { address } => {
                write!(
                    f,
                    "everybody could give orders at {address}: name a --secret-file, listen on a loopback address, or say --insecure"
                )
            }
            Self::Secret { path } => {
                write!(
                    f,
                    "{} holds no secret: its first line must have 1 to 256 bytes",
                    path.display()
                )
            }
            Self::LogFile { path, cause } => {
                write!(
                    f,
                    "cannot write the log file {}: {cause}; choose another with --log-file",
                    path.display()
                )
            }
            Self::System { what, cause } => write!(f, "cannot {what}: {cause}"),
            Self::Rebuild { why } => f.write_str(why),
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
            Self::Io { cause, .. } | Self::LogFile { cause, .. } | Self::System { cause, .. } => {
                Some(cause)
            }
            Self::Net(cause) => Some(cause),
            Self::Busy { .. }
            | Self::Damaged { .. }
            | Self::Fixed { .. }
            | Self::Exists { .. }
            | Self::Open { .. }
            | Self::Secret { .. }
            | Self::Rebuild { .. } => None,
        }
    }
}
