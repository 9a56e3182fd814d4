//! `kvserver`: one server, of a cluster or alone.
//!
//! ```text
//!   net (sockets, threads) ──lines──▶ service ─┬─ writes ─▶ slots (order) ─▶ commit ─▶ bitcask ─▶ replies
//!                                              └─ reads, scan, info ───────▶ bitcask
//! ```
//!
//! | module | |
//! |---|---|
//! | `args` | the command line |
//! | `running` | start and end, without the process around them |
//! | `service` | a connection's requests, in order |
//! | `slots` | lsns, and what is written but not visible yet |
//! | `writes`, `commit` | batches; one thread leads the log for all who wait |
//! | `own_writes` | so that a connection sees what it wrote |
//! | `reads`, `scan`, `info`, `counts` | the rest |
//! | `floors` | tells the engine which tombstones nobody needs |
//!
//! | `node` | instead of `slots` to `own_writes`, for a server that is one of a cluster |

mod args;
mod commit;
mod common;
mod counts;
mod error;
mod floors;
mod info;
mod merges;
mod node;
mod own_writes;
mod reads;
mod running;
mod scan;
mod service;
mod slots;
mod writes;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Instant;

use cluster::StopReason;
use crossbeam_channel::{Receiver, after, never, select, unbounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use args::Args;
pub use error::Error;
use node::End;
pub use node::KeptError;
pub use running::Running;

/// Exit code of a server that failed.
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
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads standard error, the exit code still says that it failed.
            writeln!(io::stderr(), "kvserver: {error}").unwrap_or_default();
            FAILED.into()
        }
    }
}

fn serve(args: &Args) -> Result<(), Error> {
    start_log(args)?;
    let system = |what| move |cause| Error::System { what, cause };
    // A second signal, while the first is being obeyed, ends the process.
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        let is_ending = Arc::clone(&is_ending);
        signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), is_ending)
            .map_err(system("handle signals"))?;
    }
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let signals = take_signals(&is_interrupted).map_err(system("handle signals"))?;
    if let Err(error) = net::raise_descriptor_limit() {
        log::warn!("the limit of open files stays as it is: {error}");
    }
    let (ends, ended) = unbounded();
    let running = Running::start_and_say(args, &is_interrupted, ends.clone())?;
    announce(&running).map_err(system("write to standard output"))?;
    let outcome = attend(args, &running, &signals, &ended);
    is_ending.store(true, SeqCst);
    let stopped = running.stop();
    drop(ends);
    outcome.and(stopped)
}

/// Returns where signals arrive from now on; `is_interrupted` comes true with the first.
fn take_signals(is_interrupted: &Arc<AtomicBool>) -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let is_interrupted = Arc::clone(is_interrupted);
    let (sender, receiver) = unbounded();
    let pass_on = move || {
        for signal in signals.forever() {
            is_interrupted.store(true, SeqCst);
            if sender.send(signal).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(pass_on)?;
    Ok(receiver)
}

/// Waits for what ends the server: a signal, obeyed by handing over first where that can be, or the end of its part in
/// the cluster.
fn attend(
    args: &Args,
    running: &Running,
    signals: &Receiver<i32>,
    ends: &Receiver<End>,
) -> Result<(), Error> {
    let mut give_up: Option<Receiver<Instant>> = None;
    loop {
        let too_late = give_up.clone().unwrap_or_else(never);
        select! {
            recv(signals) -> signal => {
                log::info!("ending on signal {}", signal.unwrap_or_default());
                if give_up.is_some() || args.stay || args.bootstrap.is_none() {
                    return Ok(());
                }
                if let Err(why) = running.leave() {
                    log::warn!("it stays a member, since {why}");
                    return Ok(());
                }
                log::info!("handing over to the others; another signal ends it at once");
                give_up = Some(after(args.leave_timeout_s));
            }
            recv(ends) -> end => match end {
                Ok(End::Machine(StopReason::Left)) => return Ok(()),
                Ok(End::Machine(StopReason::Superseded)) => return Err(Error::Superseded),
                Ok(End::Machine(StopReason::Failed)) | Err(_) => return Err(Error::Failed),
                Ok(End::OtherCluster) => {
                    let ecs = args.bootstrap.unwrap_or_else(|| running.address());
                    return Err(Error::OtherCluster { ecs });
                }
            },
            recv(too_late) -> _ => {
                log::warn!("not all could be handed over in time: it ends and stays a member");
                return Ok(());
            }
        }
    }
}

/// Says that the server is ready, in the one line that goes to standard output.
fn announce(running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening {}", running.address())?;
    out.flush()
}

fn start_log(args: &Args) -> Result<(), Error> {
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
