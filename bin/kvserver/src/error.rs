//! Why a server does not start, or does not end well: each with what can be done about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::KeptError;

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
    /// What the server keeps of its cluster cannot be used.
    Kept(KeptError),
    /// The folder belongs to a server of a cluster.
    OfCluster {
        /// The folder of `--dir`.
        dir: PathBuf,
    },
    /// The folder belongs to a cluster of one.
    Alone {
        /// The folder of `--dir`.
        dir: PathBuf,
    },
    /// The secret cannot be read.
    Secret {
        /// The file of `--secret-file`.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Other machines could connect, and nothing says who may.
    Open,
    /// All addresses are listened on, and none is told to others.
    NoAddress,
    /// Another process of the same server runs.
    Superseded,
    /// The disk failed.
    Failed,
    /// The ECS is that of another cluster.
    OtherCluster {
        /// Where it is.
        ecs: SocketAddr,
    },
    /// A signal came before the server could begin.
    Interrupted,
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
            Self::Kept(cause) => write!(f, "{cause}; check the folder and its disk, or take another folder: the others then bring this server up to date"),
            Self::OfCluster { dir } => write!(f, "the folder {} belongs to a server of a cluster; start it with -b and the address of its ECS, or choose another with --dir", dir.display()),
            Self::Alone { dir } => write!(f, "the folder {} belongs to a cluster of one; export its entries and import them into the cluster, and choose another with --dir", dir.display()),
            Self::Secret { path, what } => write!(f, "cannot use the secret in {}: {what}", path.display()),
            Self::Open => f.write_str("servers of other machines could connect without a secret; give one with --secret-file, or say --insecure"),
            Self::NoAddress => f.write_str("other servers cannot be told 0.0.0.0; say with --advertise where this one is reached"),
            Self::Superseded => f.write_str("another process of this server has registered with the ECS; stop one of them"),
            Self::Failed => f.write_str("the disk failed; see the log, replace the disk and start with an empty folder"),
            Self::OtherCluster { ecs } => write!(f, "the ECS at {ecs} is that of another cluster; give the address of this server's own with -b, or choose another folder with --dir"),
            Self::Interrupted => f.write_str("ended by a signal while it waited for the ECS"),
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
            Self::Kept(cause) => Some(cause),
            Self::NoEpoch
            | Self::OfCluster { .. }
            | Self::Alone { .. }
            | Self::Secret { .. }
            | Self::Open
            | Self::NoAddress
            | Self::Superseded
            | Self::Failed
            | Self::OtherCluster { .. }
            | Self::Interrupted => None,
        }
    }
}
