//! Latency of gets while a merge runs and without, in the same process.
//!
//! ```text
//! round   fill anew a share of the keys → merge until nothing is left to merge: gets "while merging"
//!         → as many seconds without:     gets "quiet"
//! ```
//!
//! Readers get random keys as fast as they can; each get's time goes into the histogram of the window in which it
//! began. What is compared is each round's percentile with the other of the same round.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bitcask::Store;
use clap::Args as ClapArgs;
use hdrhistogram::Histogram;

use crate::Result;
use crate::load::{self, Values};
use crate::ours::{self, Writer};
use crate::report::{Figure, Report, median};

/// The longest latency told apart, in nanoseconds.
const LATENCY_MAX_NS: u64 = 10_000_000_000;
/// The share of the keys that is written anew before each merge.
const REWRITTEN_SHARE: f64 = 0.7;

const IDLE: u8 = 0;
const MERGING: u8 = 1;
const QUIET: u8 = 2;
const OVER: u8 = 3;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Rounds for each number of readers
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// The two latencies that are reported, in microseconds, and the gets a second.
struct Window {
    p50: f64,
    p99: f64,
    rate: f64,
}

impl Window {
    fn new(histogram: &Histogram<u64>, lasted: Duration) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let rate = histogram.len() as f64 / lasted.as_secs_f64();
        Self { p50: at(0.5), p99: at(0.99), rate }
    }
}

/// Measures gets of 1 and of 2 readers.
pub(crate) fn run(args: &Args, folder: &Path) -> Result<Report> {
    let mut report = Report::new(format!("Gets while a merge runs; {} keys", args.keys));
    for reader_count in [1, 2] {
        let folder = tempfile::tempdir_in(folder)?;
        let store = ours::open(folder.path(), ours::config())?;
        let values = Values::new();
        Writer::new(&store).fill(0..args.keys, 1, &values)?;
        let mut rounds = Vec::new();
        for round in 0..args.rounds {
            rounds.push(run_round(&store, &values, args.keys, reader_count, round as u64)?);
        }
        let column = |of: fn(&Window) -> f64, is_merging: bool| {
            let pick =
                |(merging, quiet): &(Window, Window)| of(if is_merging { merging } else { quiet });
            median(rounds.iter().map(pick))
        };
        let p99_ratio = median(rounds.iter().map(|(merging, quiet)| merging.p99 / quiet.p99));
        report.add(
            format!("{reader_count} readers"),
            vec![
                Figure::new("p50, quiet", column(|w| w.p50, false), 2, " µs"),
                Figure::new("p50, merging", column(|w| w.p50, true), 2, " µs"),
                Figure::new("p99, quiet", column(|w| w.p99, false), 2, " µs"),
                Figure::new("p99, merging", column(|w| w.p99, true), 2, " µs"),
                Figure::new("p99, ratio", p99_ratio, 2, ""),
                Figure::new("K gets/s, quiet", column(|w| w.rate, false) / 1e3, 0, ""),
                Figure::new("K gets/s, merging", column(|w| w.rate, true) / 1e3, 0, ""),
            ],
        );
    }
    Ok(report)
}

/// Makes bytes dead, merges them away under the eyes of the readers, and lets these go on for as long without.
fn run_round(
    store: &Store,
    values: &Values,
    keys: u64,
    reader_count: usize,
    round: u64,
) -> Result<(Window, Window)> {
    let mut random = fastrand::Rng::with_seed(round);
    let rewritten = (keys as f64 * REWRITTEN_SHARE) as u64;
    let window = AtomicU8::new(IDLE);
    let rewrite = (0..rewritten).map(|_| random.u64(..keys));
    Writer::new(store).fill(rewrite, 1, values)?;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..reader_count)
            .map(|reader| {
                let (window, seed) = (&window, round << 8 | reader as u64);
                scope.spawn(move || read(store, values, keys, window, seed))
            })
            .collect();
        let merged = merge_all(store, &window);
        if let Ok(lasted) = &merged {
            window.store(QUIET, Ordering::Release);
            load::wait_out(*lasted);
        }
        window.store(OVER, Ordering::Release);
        let mut totals = [new_histogram()?, new_histogram()?];
        for reader in readers {
            let found = reader.join().map_err(|_| "a reader panicked")??;
            for (total, part) in totals.iter_mut().zip(&found) {
                total.add(part)?;
            }
        }
        let lasted = merged?;
        let [merging, quiet] = totals.each_ref().map(|total| Window::new(total, lasted));
        Ok((merging, quiet))
    })
}

fn new_histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LATENCY_MAX_NS, 3)?)
}

/// Merges until there is nothing left to merge, and returns how long that took.
fn merge_all(store: &Store, window: &AtomicU8) -> Result<Duration> {
    let began_at = Instant::now();
    window.store(MERGING, Ordering::Release);
    let mut merge_count = store.stats().merge_count;
    while store.merge()?.is_some() {}
    merge_count = store.stats().merge_count - merge_count;
    if merge_count == 0 {
        return Err("there was nothing to merge".into());
    }
    Ok(began_at.elapsed())
}

/// Gets random keys until all is over; returns the latencies while merging and while not.
fn read(
    store: &Store,
    values: &Values,
    keys: u64,
    window: &AtomicU8,
    seed: u64,
) -> Result<[Histogram<u64>; 2]> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut buf = Vec::new();
    let mut histograms = [new_histogram()?, new_histogram()?];
    loop {
        let state = window.load(Ordering::Acquire);
        if state == OVER {
            return Ok(histograms);
        }
        let index = random.u64(..keys);
        let key = load::key(index);
        let began_at = Instant::now();
        let found = store.get(ours::slot(&key), &key, &mut buf)?;
        let took = began_at.elapsed();
        values.check(index, 1, found.map(|found| found.value))?;
        let place = match state {
            MERGING => 0,
            QUIET => 1,
            _ => continue,
        };
        histograms[place].record(took.as_nanos() as u64)?;
    }
}
