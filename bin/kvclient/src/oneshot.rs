//! One command, given on the command line.
//!
//! Results go to standard output, what went wrong to standard error. Keys and values are the arguments byte for byte;
//! `get` gives the value back byte for byte too, unless it writes to a terminal.
//!
//! Ctrl-C gives up a request that waits; what became of it is told, and the program ends by the signal. `import`, `export`,
//! and what works on folders end at once.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;

use client::{Config, Interrupt};

use crate::answer::Answer;
use crate::args::OneShot;
use crate::ask::Ask;
use crate::cluster::{self, Verb};
use crate::session::Session;
use crate::signals::{self, Signals};
use crate::status::{Status, complain};
use crate::{export, import, offline, show};

/// Runs one command.
pub(crate) fn run(
    command: OneShot,
    mut session: Session,
    config: &Config,
    interrupt: Interrupt,
) -> io::Result<Status> {
    let mut out = io::stdout().lock();
    let ask = match command {
        OneShot::Put { key, value, stdin } => {
            let value = if stdin { read_value(config)? } else { joined(value) };
            Ask::Put { key: bytes(key), value: value.into() }
        }
        OneShot::Get { key } => {
            drop(out);
            return patiently(interrupt, || get(&key.into_vec(), &mut session));
        }
        OneShot::Delete { key } => Ask::Delete(bytes(key)),
        OneShot::Keyrange => Ask::Keyrange,
        OneShot::KeyrangeRead => Ask::KeyrangeRead,
        OneShot::Info => Ask::Info,
        OneShot::Cluster(args) => {
            drop(out);
            return match args.verb {
                Verb::Watch => cluster::watch(&args, &mut session),
                _ => patiently(interrupt, || write(&cluster::answer(&args, &mut session))),
            };
        }
        OneShot::Backup { folder } => Ask::Backup(folder),
        OneShot::Verify { folder } => return offline::verify(&folder, &mut out),
        OneShot::Restore { backup, folder } => return offline::restore(&backup, &folder, &mut out),
        OneShot::Import { file, keep_going } => {
            drop(out);
            return match session.client() {
                Ok(client) => import::run(client, &file, keep_going),
                Err(answer) => write(&answer),
            };
        }
        OneShot::Export { file } => {
            drop(out);
            return match session.client() {
                Ok(client) => export::run(client, &file),
                Err(answer) => write(&answer),
            };
        }
    };
    drop(out);
    patiently(interrupt, || {
        let answer = match session.client() {
            Ok(client) => ask.answer(client),
            Err(answer) => answer,
        };
        write(&answer)
    })
}

/// Does what may wait for a server. Where Ctrl-C ends the waiting, what became of it is told before the program ends.
fn patiently(
    interrupt: Interrupt,
    work: impl FnOnce() -> io::Result<Status>,
) -> io::Result<Status> {
    let (outcome, was_interrupted) = Signals::take(interrupt)?.during(work);
    if was_interrupted {
        signals::end_by_interrupt()?;
    }
    outcome
}

fn get(key: &[u8], session: &mut Session) -> io::Result<Status> {
    let result = match session.client() {
        Ok(client) => client.get(key),
        Err(answer) => return write(&answer),
    };
    match result {
        Ok(Some(value)) => {
            let mut out = io::stdout().lock();
            if out.is_terminal() {
                writeln!(out, "{}", show::value(&value))?;
            } else {
                out.write_all(&value)?;
            }
            out.flush()?;
            Ok(Status::Done)
        }
        Ok(None) => write(&Answer::not_found(key)),
        Err(error) => write(&Answer::refused(&error)),
    }
}

/// Writes an answer where it belongs.
fn write(answer: &Answer) -> io::Result<Status> {
    let text = answer.lines.join("\n");
    if answer.status == Status::Done {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
    } else {
        complain(&text);
    }
    Ok(answer.status)
}

/// Reads a value from standard input, at most one byte more than is allowed.
fn read_value(config: &Config) -> io::Result<Vec<u8>> {
    let len_max = u64::try_from(config.limits.value_len_max).unwrap_or(u64::MAX);
    let mut value = Vec::new();
    io::stdin().lock().take(len_max.saturating_add(1)).read_to_end(&mut value)?;
    Ok(value)
}

fn bytes(argument: OsString) -> Cow<'static, [u8]> {
    Cow::Owned(argument.into_vec())
}

fn joined(words: Vec<OsString>) -> Vec<u8> {
    words.into_iter().map(OsString::into_vec).collect::<Vec<_>>().join(&b' ')
}
