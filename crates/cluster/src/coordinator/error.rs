//! Why a coordinator could not be restored from its snapshot and log. In each case nothing was changed; a human must look.

use std::fmt;

use crate::map::DeltaError;
use crate::types::Version;

/// What is wrong with a snapshot or a log.
#[derive(Debug)]
pub enum Error {
    /// A line is not what it should be.
    Line {
        /// What stands there by its place: a snapshot's head or its map, or a log's entry.
        of: &'static str,
        /// What the parser found.
        cause: serde_json::Error,
    },
    /// The snapshot has not two lines, or is of another format.
    Snapshot,
    /// A setting that is fixed at the cluster's start is another one now.
    Fixed {
        /// Which.
        setting: &'static str,
        /// What the snapshot says.
        kept: usize,
        /// What was asked for.
        asked: usize,
    },
    /// An entry is missing or stands in the wrong place.
    Order {
        /// The version that had to come.
        expected: Version,
        /// The version that came.
        found: Version,
    },
    /// An entry does not fit this cluster's slots.
    Shape {
        /// The entry.
        version: Version,
        /// What the map said.
        cause: DeltaError,
    },
    /// An entry breaks a rule that no coordinator breaks.
    Rule {
        /// The entry.
        version: Version,
        /// The rule.
        rule: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { of, .. } => write!(f, "bad line of {of}"),
            Self::Snapshot => f.write_str("not a snapshot of this format"),
            Self::Fixed { setting, kept, asked } => {
                write!(f, "{setting} is fixed to {kept}, asked for {asked}")
            }
            Self::Order { expected, found } => {
                write!(f, "expected entry {expected}, found entry {found}")
            }
            Self::Shape { version, cause } => {
                write!(f, "entry {version} does not fit this cluster: {cause:?}")
            }
            Self::Rule { version, rule } => write!(f, "entry {version} breaks the rule: {rule}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Line { cause, .. } => Some(cause),
            Self::Snapshot
            | Self::Fixed { .. }
            | Self::Order { .. }
            | Self::Shape { .. }
            | Self::Rule { .. } => None,
        }
    }
}
