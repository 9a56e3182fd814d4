//! What can go wrong when a listener is made. Trouble on a connection ends that connection and is no error.

use std::{fmt, io};

/// Why there is no listener.
#[derive(Debug)]
pub enum Error {
    /// Another process listens on the address; choose another port or stop that process.
    InUse {
        /// The address asked for, as it was given.
        address: String,
    },
    /// The address cannot be had on this machine: unknown name, not ours, or a port that needs rights.
    Unavailable {
        /// The address asked for, as it was given.
        address: String,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A thread could not be started.
    Thread {
        /// What the operating system said.
        cause: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { address } => {
                write!(f, "address {address} is in use by another process")
            }
            Self::Unavailable { address, cause } => {
                write!(f, "cannot listen on {address}: {cause}")
            }
            Self::Thread { cause } => write!(f, "cannot start a thread: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse { .. } => None,
            Self::Unavailable { cause, .. } | Self::Thread { cause } => Some(cause),
        }
    }
}
