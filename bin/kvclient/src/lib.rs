//! The Ringcask client for people and scripts: a prompt, commands from a pipe, and one-shot commands.
//!
//! ```text
//!   kvclient put k v        args ──▶ oneshot ──▶ ask ──┐
//!   kvclient (terminal)     prompt ─┐                  ├──▶ client ──▶ server
//!   echo … | kvclient       pipe ───┴─▶ command ──▶ session ─▶ ask
//!   kvclient import, export                import, export ──▶ client
//!   kvclient cluster …                     cluster ──▶ client ──▶ ECS
//!   kvclient verify, restore               offline ──▶ bitcask
//! ```
//!
//! `words` reads what is typed and `show` writes what was stored, each the inverse of the other; `answer` puts
//! results and errors into words; `status` is the exit code, `signals` is Ctrl-C.
//!
//! Nothing here panics on any input. Writing to a closed pipe (`kvclient export - | head`) ends quietly.

mod answer;
mod args;
mod ask;
mod cluster;
mod command;
mod export;
mod help;
mod import;
mod lines;
mod new_file;
mod offline;
mod oneshot;
mod pipe;
mod progress;
mod prompt;
mod session;
mod show;
mod signals;
mod status;
mod words;

use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use client::{Config, Interrupt};
use log::LevelFilter;

use args::Args;
use session::Session;
use signals::Signals;
use status::{Status, complain};

/// Runs the client with the process's arguments and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help that is piped into a pager which was closed has been seen.
            drop(error.print());
            return if error.use_stderr() { Status::Usage } else { Status::Done }.into();
        }
    };
    start_log();
    let status = run(args).unwrap_or_else(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Status::Done;
        }
        complain(&format!("cannot read or write: {error}"));
        Status::Refused
    });
    status.into()
}

fn run(args: Args) -> io::Result<Status> {
    let interrupt = Interrupt::default();
    let config =
        Config { timeout: args.timeout, interrupt: Some(interrupt.clone()), ..Config::default() };
    let session = Session::new(args.servers(), config.clone());
    if let Some(command) = args.command {
        return oneshot::run(command, session, &config, interrupt);
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return prompt::run(session, &Signals::take(interrupt)?);
    }
    let mut output = io::BufWriter::new(io::stdout().lock());
    pipe::run(session, &mut BufReader::new(io::stdin().lock()), &mut output)
}

/// Sends what this program and the library say of themselves to standard error, at first only warnings.
fn start_log() {
    let mut builder = env_logger::Builder::new();
    for name in ["client", "kvclient"] {
        builder.filter_module(name, LevelFilter::Trace);
    }
    builder.format(|out, record| {
        writeln!(out, "{}: {}", record.level().as_str().to_ascii_lowercase(), record.args())
    });
    builder.init();
    log::set_max_level(LevelFilter::Warn);
}
