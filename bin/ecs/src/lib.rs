//! `ecs`: the configuration service. It hosts the deciding machine of `crates/cluster`, and decides nothing itself.
//!
//! ```text
//!   net (sockets, threads) ──lines──▶ service ─┬─ servers ────▶ host (machine) ──▶ journal (log, synced) ──▶ lines
//!                                              └─ operators ──▶ verbs ─┘
//! ```
//!
//! | module | |
//! |---|---|
//! | `args` | the command line |
//! | `running` | start and end, without the process around them |
//! | `folder`, `checked` | the folder: what is in it, and how it is read |
//! | `journal` | making decisions durable |
//! | `host` | the machine, and who carries out what it says |
//! | `service`, `verbs` | connections; what operators ask |
//! | `spawn` | servers that the ECS starts itself, and ends |
//! | `rebuild` | a new folder from what the servers kept |
//!
//! Left out: more than one ECS at a time (the journal is where they would agree), and any limit on who may give orders
//! besides who can reach the port.

mod args;
mod checked;
mod clock;
mod error;
mod folder;
mod host;
mod journal;
mod rebuild;
mod running;
mod service;
mod spawn;
#[cfg(test)]
mod testing;
mod verbs;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{bounded, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use args::{Args, Rebuild, Serve, Task};
pub use error::Error;
pub use running::Running;
pub use spawn::Template;

/// Exit code of an ECS that failed.
const FAILED: u8 = 1;

/// Exit code of a command line that makes no sense.
const WRONG_USAGE: u8 = 2;

/// Runs the program with the command line `argv`, its name first, until a signal ends it.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::parse_from_argv(argv) {
        Ok(args) => args,
        Err(error) => {
            // Where help cannot be shown, the exit code still says what it was.
            error.print().unwrap_or_default();
            return if error.use_stderr() { WRONG_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let done = match &args.command {
        None => serve(&args.serve),
        Some(Task::Rebuild(settings)) => rebuild::rebuild(settings, &mut io::stdout().lock()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads standard error, the exit code still says that it failed.
            writeln!(io::stderr(), "ecs: {error}").unwrap_or_default();
            FAILED.into()
        }
    }
}

fn serve(args: &Serve) -> Result<(), Error> {
    start_log(args)?;
    let system = |what| move |cause| Error::System { what, cause };
    // From here on a signal waits to be taken; a second one, while the first is being obeyed, ends the process.
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        let is_ending = Arc::clone(&is_ending);
        signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), is_ending)
            .map_err(system("handle signals"))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(system("handle signals"))?;
    if let Err(error) = net::raise_descriptor_limit() {
        log::warn!("the limit of open files stays as it is: {error}");
    }
    let (signalled, signal) = bounded(1);
    let wait = move || signals.forever().take(1).try_for_each(|signal| signalled.send(signal));
    let waiting = thread::Builder::new().name("signals".into()).spawn(wait);
    waiting.map_err(system("start a thread"))?;
    let running = Running::start(args)?;
    announce(&running).map_err(system("write to standard output"))?;
    let failed = running.failed();
    let outcome = select! {
        recv(signal) -> signal => {
            log::info!("ending on signal {}", signal.unwrap_or_default());
            Ok(())
        }
        recv(failed) -> error => error.map_or(Ok(()), Err),
    };
    is_ending.store(true, Ordering::SeqCst);
    running.stop();
    log::info!("stopped");
    outcome
}

/// Says that the ECS is ready, in the one line that goes to standard output.
fn announce(running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening {}", running.address())?;
    out.flush()
}

fn start_log(args: &Serve) -> Result<(), Error> {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(args.log_level).format_timestamp_millis();
    if let Some(path) = &args.log_file {
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|cause| Error::LogFile { path: path.clone(), cause })?;
        builder.target(env_logger::Target::Pipe(Box::new(file)));
    }
    // Only a second start in one process finds a logger there already, and then that one is as good.
    builder.try_init().unwrap_or_default();
    Ok(())
}
