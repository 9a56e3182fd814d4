//! The race: every engine puts fresh keys, overwrites them, and gets them, in one process each and one loop for all.
//!
//! ```text
//! round 1   ours  fjall  lmdb …   a process each, 1 thread, then 2
//! round 2   fjall  lmdb …  ours
//! process   open → put every key → overwrite every key, in another order → pause → get every key
//!           → get as many, at random
//! ```
//!
//! Threads share the keys evenly. A phase's time is from the moment when all threads are ready until the last is done,
//! so work that an engine puts off to its background threads counts only as far as it gets in the way. The
//! pause lets such work end, and the first gets, which do not count, fill the caches of those that have one.
//!
//! Each figure is given twice: by the clock on the wall, and by the time that the slowest thread spent on a processor. The
//! second bears a machine that is not quiet, and hides all waiting: for locks, for the disk, for an engine that
//! holds writers back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::child;
use crate::engines::{self, Engine, OURS, Session};
use crate::load::{self, Values};
use crate::report::{Figure, Report, median};

/// Time between the last overwrite and the first get.
const PAUSE: Duration = Duration::from_secs(1);
const THREAD_COUNTS: [usize; 2] = [1, 2];
const PHASES: [Phase; 3] = [Phase::Put, Phase::Overwrite, Phase::Get];

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Keys
    #[arg(long, default_value_t = 500_000)]
    keys: u64,
    /// Rounds: runs of each engine
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Engines, of those that were built in [default: all]
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct OnceArgs {
    #[arg(long)]
    engine: String,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    keys: u64,
}

/// What a phase's time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Time on the wall.
    Wall,
    /// Time on a processor of the slowest thread.
    Processor,
}

/// Returns the time that the calling thread has spent on a processor.
fn thread_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split_ascii_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// What is done in one part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Put,
    Overwrite,
    Get,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Overwrite => "overwrite",
            Self::Get => "get",
        }
    }

    /// Returns the numbers of the keys, in the order in which they are used.
    fn order(self, key_count: u64) -> Vec<u64> {
        match self {
            Self::Put => (0..key_count).collect(),
            Self::Overwrite => load::shuffled(key_count, 1),
            Self::Get => {
                let mut random = fastrand::Rng::with_seed(2);
                (0..key_count).map(|_| random.u64(..key_count)).collect()
            }
        }
    }

    /// Does the phase's operation on key number `index`.
    fn step(self, session: &mut dyn Session, values: &Values, index: u64) -> Result<()> {
        let key = load::key(index);
        match self {
            Self::Put => session.put(&key, &values.value(index, 1)),
            Self::Overwrite => session.put(&key, &values.value(index, 2)),
            Self::Get => session.get(&key, &mut |found| values.check(index, 2, found)),
        }
    }
}

/// Operations a second in each of the phases.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rates {
    wall: [f64; 3],
    processor: [f64; 3],
}

impl Rates {
    fn of(&self, clock: Clock, phase: Phase) -> f64 {
        match clock {
            Clock::Wall => self.wall[phase as usize],
            Clock::Processor => self.processor[phase as usize],
        }
    }
}

/// Runs one engine, in this process.
pub(crate) fn run_once(args: &OnceArgs, folder: &Path) -> Result<Rates> {
    let folder = tempfile::tempdir_in(folder)?;
    let engine = engines::open(&args.engine, folder.path())?;
    let values = Values::new();
    let mut rates = Rates { wall: [0.0; 3], processor: [0.0; 3] };
    for phase in PHASES {
        if phase == Phase::Get {
            load::wait_out(PAUSE);
            let every_key: Vec<_> = (0..args.keys).collect();
            run_phase(phase, &*engine, &values, &every_key, args.threads)?;
        }
        let order = phase.order(args.keys);
        let (wall, processor) = run_phase(phase, &*engine, &values, &order, args.threads)?;
        rates.wall[phase as usize] = order.len() as f64 / wall.as_secs_f64();
        rates.processor[phase as usize] = order.len() as f64 / processor.as_secs_f64();
    }
    Ok(rates)
}

/// Runs one phase; returns the time on the wall and the slowest thread's on a processor.
fn run_phase(
    phase: Phase,
    engine: &dyn Engine,
    values: &Values,
    order: &[u64],
    thread_count: usize,
) -> Result<(Duration, Duration)> {
    let barrier = Barrier::new(thread_count + 1);
    thread::scope(|scope| {
        let share = order.len().div_ceil(thread_count);
        let work = |indexes: &[u64]| -> Result<Duration> {
            let session = engine.session();
            barrier.wait();
            let (mut session, before) = (session?, thread_time()?);
            indexes.iter().try_for_each(|index| phase.step(&mut *session, values, *index))?;
            Ok(thread_time()? - before)
        };
        let threads: Vec<_> =
            order.chunks(share).map(|indexes| scope.spawn(move || work(indexes))).collect();
        barrier.wait();
        let began_at = Instant::now();
        let mut slowest = Duration::ZERO;
        for thread in threads {
            slowest = slowest.max(thread.join().map_err(|_| "a thread of the run panicked")??);
        }
        Ok((began_at.elapsed(), slowest))
    })
}

/// The rates of each round, by thread count, engine and phase.
type Rounds = BTreeMap<(usize, String), Vec<Rates>>;

/// Runs all engines, in processes of their own.
pub(crate) fn run(args: &Args, folder: &Path) -> Result<Report> {
    let mut names: Vec<_> = engines::names().map(str::to_owned).collect();
    names.retain(|name| {
        args.engines.is_empty() || args.engines.contains(name) || name.as_str() == OURS
    });
    let mut rounds = Rounds::new();
    for round in 0..args.rounds {
        for threads in THREAD_COUNTS {
            for turn in 0..names.len() {
                let name = &names[(round + turn) % names.len()];
                let rates = ask(name, threads, args, folder)?;
                rounds.entry((threads, name.clone())).or_default().push(rates);
            }
        }
    }
    Ok(report(args, &names, &rounds))
}

fn ask(name: &str, threads: usize, args: &Args, folder: &Path) -> Result<Rates> {
    let folder = folder.display();
    child::ask(&[
        format!("--folder={folder}"),
        "race-once".to_owned(),
        format!("--engine={name}"),
        format!("--threads={threads}"),
        format!("--keys={}", args.keys),
    ])
}

fn report(args: &Args, names: &[String], rounds: &Rounds) -> Report {
    let mut report = Report::new(format!(
        "Thousands of operations a second; {} keys of {} B, values of {} B, medians of {} rounds",
        args.keys,
        load::KEY_LEN,
        load::VALUE_LEN,
        args.rounds,
    ));
    for (clock, suffix) in [(Clock::Wall, ""), (Clock::Processor, ", processor time")] {
        for phase in PHASES {
            for threads in THREAD_COUNTS {
                let figures = row(names, rounds, clock, phase, threads);
                report.add(format!("{}, {threads} threads{suffix}", phase.name()), figures);
            }
        }
    }
    report
}

/// Returns one row: every engine's median, and ours in proportion.
fn row(
    names: &[String],
    rounds: &Rounds,
    clock: Clock,
    phase: Phase,
    threads: usize,
) -> Vec<Figure> {
    let of = |name: &str, threads: usize| -> Vec<f64> {
        let rates = rounds.get(&(threads, name.to_owned()));
        rates.into_iter().flatten().map(|rates| rates.of(clock, phase)).collect()
    };
    let ours = of(OURS, threads);
    let figure = |name: &String| Figure::new(name, median(of(name, threads)) / 1e3, 0, "");
    let mut figures: Vec<_> = names.iter().map(figure).collect();
    let rivals = names.iter().filter(|name| name.as_str() != OURS).map(|name| of(name, threads));
    let best =
        rivals.max_by(|a, b| median(a.iter().copied()).total_cmp(&median(b.iter().copied())));
    let gain = best.map_or(f64::NAN, |best| ratio(&ours, &best));
    figures.push(Figure::new("ours / best rival", gain, 2, ""));
    figures.push(Figure::new("ours / ours on 1 thread", ratio(&ours, &of(OURS, 1)), 2, ""));
    figures
}

/// Returns the median of the ratios of the same rounds.
fn ratio(a: &[f64], b: &[f64]) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| a / b))
}
