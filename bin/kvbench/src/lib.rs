//! A load generator for Ringcask, Redis and memcached, alone and as clusters, with one loop for all.
//!
//! A figure means something beside another one, taken on the same machine, in the same minutes, by the
//! same client. So the three protocols differ here only in how a request is rendered and where a reply
//! ends ([`proto`]); keys, values, checks, clocks and counters are shared.
//!
//! ```text
//!   args ─▶ plan ─▶ bench ─┬─▶ load     fills the key space
//!                          └─▶ run      connections × worker threads, one measured window
//!                                │
//!          source (which key) ─▶ worker ─▶ connection ─▶ server
//!          values (what to put)    └─▶ tally (counters, histograms) ─▶ report, json
//! ```
//!
//! One blocking thread per connection: render a batch of `--depth` requests, write it with one call, read
//! until every reply is here, check each, repeat. With `--rate` a request has a time at which it is due,
//! and its latency counts from then, sent or not: a server that stalls cannot stop the clock.
//!
//! Every value names its key and a version and is otherwise computed from them ([`values`]), so a wrong
//! one is noticed when it is read. What is left out: whether a value is the *newest* (that is the work of
//! the linearizability tests), and TLS.
//!
//! In a cluster each request goes to the server of its key ([`routes`]). `kvbench outage` measures something else: how
//! long writes wait when a cluster loses servers, and whether any that was acknowledged is lost ([`outage`]).

mod args;
mod bench;
mod connection;
mod error;
mod json;
mod keys;
mod number;
mod outage;
mod pace;
mod plan;
mod proto;
mod report;
mod routes;
mod run;
mod source;
mod tally;
mod values;
mod worker;
mod zipf;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Mode};
use crate::error::Error;
use crate::plan::Plan;

/// Exit code for wrong usage; 0 is success and 1 a failure.
const EXIT_USAGE: u8 = 2;

/// Runs the program with `args`, the program's name first, and returns its exit code: 0 done, 1 failed or a
/// reply was wrong, 2 wrong usage.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let plan = match Args::try_parse_from(args) {
        Ok(Args { mode: Some(Mode::Outage(outage)), .. }) => {
            return finish(outage::run(&outage, &mut std::io::stdout().lock()));
        }
        Ok(args) => Plan::try_from(args),
        Err(error) => {
            // Standard output or error is gone: the exit code still says what happened.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE));
        }
    };
    finish(plan.and_then(|plan| bench::run(&plan, &mut std::io::stdout().lock())))
}

/// Says what went wrong, if anything did, and returns the exit code.
fn finish(result: error::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "kvbench: {error}").ok();
            match error {
                Error::Usage(_) => ExitCode::from(EXIT_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
