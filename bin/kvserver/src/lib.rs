//! `kvserver`: one server that owns the whole ring.
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
//! Left out until there are clusters: any other server.

mod args;
mod commit;
mod counts;
mod error;
mod floors;
mod info;
mod merges;
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

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use args::Args;
pub use error::Error;
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
    let running = Running::start(args)?;
    announce(&running).map_err(system("write to standard output"))?;
    if let Some(signal) = signals.forever().next() {
        log::info!("ending on signal {signal}");
    }
    is_ending.store(true, std::sync::atomic::Ordering::SeqCst);
    running.stop()
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
