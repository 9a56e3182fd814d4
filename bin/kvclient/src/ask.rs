//! What can be asked of a server, and its answers in words.

use std::borrow::Cow;
use std::time::Duration;

use client::{Client, Error, Outcome, Range, Stored};
use indicatif::HumanBytes;

use crate::answer::Answer;
use crate::progress::Progress;
use crate::show;

/// A request of the prompt, of a pipe or of the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask<'l> {
    /// Store a value.
    Put {
        /// Where.
        key: Cow<'l, [u8]>,
        /// What.
        value: Cow<'l, [u8]>,
    },
    /// Fetch a key's value.
    Get(Cow<'l, [u8]>),
    /// Delete a key.
    Delete(Cow<'l, [u8]>),
    /// Show which server answers for which arc.
    Keyrange,
    /// Show which servers may serve the reads of which arc.
    KeyrangeRead,
    /// Show the server's figures.
    Info,
    /// Have the server copy its data to a folder on its own machine.
    Backup(String),
}

/// How long a server may take for a backup: it links files, which is quick, but it may wait for a merge to end.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How to find out what became of a write.
const LOOK: &str = "`get` shows whether it did";

impl Ask<'_> {
    /// Asks the server, and puts its answer in words.
    pub(crate) fn answer(&self, client: &mut Client) -> Answer {
        match self {
            Self::Put { key, value } => match client.put(key, value) {
                Outcome::Done(Stored::New) => Answer::done(format!("stored {}", show::key(key))),
                Outcome::Done(Stored::Replaced) => {
                    Answer::done(format!("replaced {}", show::key(key)))
                }
                Outcome::Refused(error) => Answer::refused(&error),
                Outcome::Unknown(error) => Answer::unknown(&error, LOOK),
            },
            Self::Delete(key) => match client.delete(key) {
                Outcome::Done(true) => Answer::done(format!("deleted {}", show::key(key))),
                Outcome::Done(false) => Answer::not_found(key),
                Outcome::Refused(error) => Answer::refused(&error),
                Outcome::Unknown(error) => Answer::unknown(&error, LOOK),
            },
            Self::Get(key) => match client.get(key) {
                Ok(Some(value)) => Answer::done(show::value(&value)),
                Ok(None) => Answer::not_found(key),
                Err(error) => Answer::refused(&error),
            },
            Self::Keyrange => ranges(client.keyrange()),
            Self::KeyrangeRead => ranges(client.keyrange_read()),
            Self::Info => info(client.info()),
            Self::Backup(folder) => backup(client, folder),
        }
    }
}

fn ranges(ranges: Result<Vec<Range>, Error>) -> Answer {
    match ranges {
        Ok(ranges) if ranges.is_empty() => Answer::done("no server answers for any key"),
        Ok(ranges) => {
            let line =
                |range: &Range| format!("{}-{} {}", range.arc.first, range.arc.last, range.server);
            let lines = ranges.iter().map(line).collect();
            Answer::table(lines, Some(protocol::write_ranges(&ranges)))
        }
        Err(error) => Answer::refused(&error),
    }
}

fn info(pairs: Result<Vec<(String, String)>, Error>) -> Answer {
    match pairs {
        Ok(pairs) => {
            let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
            let line = |(name, value): &(String, String)| {
                // What a server sends goes to a terminal only without control characters.
                format!(
                    "{:<width$}  {}",
                    show::value(name.as_bytes()),
                    show::value(value.as_bytes())
                )
            };
            let lines = pairs.iter().map(line).collect();
            let words = pairs.iter().map(|(name, value)| format!("{name} {value}"));
            Answer::table(lines, Some(words.collect::<Vec<_>>().join(" ")))
        }
        Err(error) => Answer::refused(&error),
    }
}

fn backup(client: &mut Client, folder: &str) -> Answer {
    let progress = Progress::wait("the server is copying its data");
    let outcome = client.backup(folder.as_bytes(), BACKUP_TIMEOUT);
    drop(progress);
    match outcome {
        Outcome::Done(backup) => Answer::done(format!(
            "copied to {folder} on the server's machine: {}, {}",
            show::count(backup.file_count, "file"),
            HumanBytes(backup.len)
        )),
        Outcome::Refused(error) => Answer::refused(&error),
        Outcome::Unknown(error) => {
            Answer::unknown(&error, "`kvclient verify` on the server's machine tells")
        }
    }
}
