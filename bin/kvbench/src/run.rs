//! One run against one server: connect, start the threads, show progress, add up.
//!
//! In a cluster a connection is one socket to each of its servers. All connections are made before the first request, so that a refusal shows at once and the threads start
//! together. A run opens its own and closes them at its end. The first thread that fails stops the others.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::number::rate;
use crate::pace::Pace;
use crate::plan::{Protocol, Target, Until, Workload};
use crate::proto::Wire;
use crate::proto::memcached::Memcached;
use crate::proto::redis::Redis;
use crate::proto::ringcask::Ringcask;
use crate::routes::{Routes, SERVERS_MAX};
use crate::source::{Mixer, Source};
use crate::tally::Tally;
use crate::values::Values;
use crate::worker::{FRAME_LEN_MAX, Progress, Shared, Window, Worker};
use crate::zipf::Zipf;

/// A worker's stack: its buffers are on the heap.
const STACK_LEN: usize = 128 << 10;

/// Connections and batches that load: enough to keep any server busy.
const LOAD_CONNECTIONS_MAX: usize = 50;
const LOAD_DEPTH_MAX: usize = 64;
const LOAD_BATCH_LEN_MAX: usize = 256 << 10;

/// How often the progress bar moves.
const BAR_PERIOD: Duration = Duration::from_millis(200);

/// What a run found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) tally: Tally,
    /// From the window's beginning to its end or the last reply.
    pub(crate) elapsed: Duration,
}

/// A server or cluster being measured, and what must be remembered of it from run to run.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) target: Target,
    workload: &'a Workload,
    values: &'a Values,
    zipf: Option<Arc<Zipf>>,
    /// Keys inserted by each connection in the runs before.
    inserted: Vec<u64>,
}

/// A thread's source and pace, and the connections it is for.
struct Seat {
    /// One to each server.
    connections: Vec<Connection>,
    source: Source,
    window: Window,
    pace: Option<Pace>,
    seed: u64,
}

impl<'a> Bench<'a> {
    /// Returns a bench; nothing is connected yet.
    pub(crate) fn new(
        target: Target,
        workload: &'a Workload,
        values: &'a Values,
        zipf: Option<Arc<Zipf>>,
    ) -> Self {
        Self { target, workload, values, zipf, inserted: vec![0; workload.connections] }
    }

    /// Puts every key of the key space once.
    ///
    /// # Errors
    /// If the server cannot be reached or goes away.
    pub(crate) fn load(&mut self) -> Result<Found> {
        let connections = self.workload.connections.min(LOAD_CONNECTIONS_MAX);
        let len = FRAME_LEN_MAX + self.workload.key_len + *self.workload.value_len.end();
        let depth = (LOAD_BATCH_LEN_MAX / len).clamp(1, LOAD_DEPTH_MAX);
        let keys = u64::from(self.workload.keys);
        let routes = Routes::learn(&self.target)?;
        let opened = self.connect(&routes, connections, depth)?;
        let now = Instant::now();
        let window = Window { measure_from: now, end: None, ops_max: u64::MAX };
        let stride = connections as u64;
        let seats = (0_u64..).zip(opened).map(|(next, connections)| {
            let source = Source::Load { next, stride, keys };
            Seat { connections, source, window, pace: None, seed: u64::MAX - next }
        });
        let bar = bar("loading", "{pos}/{len} keys", keys);
        self.dispatch(&routes, seats.collect(), depth, &bar, |ops, _| ops)
    }

    /// Measures once; `number` is the run's, from 0.
    ///
    /// # Errors
    /// If the server cannot be reached, goes away or speaks another protocol.
    pub(crate) fn run(&mut self, number: u64) -> Result<Found> {
        let load = self.workload;
        let routes = Routes::learn(&self.target)?;
        let opened = self.connect(&routes, load.connections, load.depth)?;
        let start = Instant::now();
        let seats = opened.into_iter().zip(&self.inserted).enumerate();
        let seats = seats.map(|(index, (connections, &inserted))| {
            let seed = fastrand::Rng::with_seed(number << 32 | index as u64).u64(..);
            let mixer = Mixer::new(load, self.zipf.clone(), index, inserted, seed);
            let pace = load.rate.map(|rate| Pace::new(start, rate, index, load.connections));
            let window = window(load, start, index);
            Seat { connections, source: Source::Mix(mixer), window, pace, seed: !seed }
        });
        let total = match load.until {
            Until::Duration(time) => u64::try_from((load.warmup + time).as_millis()).unwrap_or(0),
            Until::Ops(ops) => ops,
        };
        let bar = bar(self.target.protocol.name(), "run {prefix}", total);
        bar.set_prefix((number + 1).to_string());
        let mut found =
            self.dispatch(&routes, seats.collect(), load.depth, &bar, |ops, elapsed| {
                match load.until {
                    Until::Duration(_) => u64::try_from(elapsed.as_millis()).unwrap_or(0),
                    Until::Ops(_) => ops,
                }
            })?;
        let since =
            found.tally.ended_at.map(|at| at.saturating_duration_since(start + load.warmup));
        found.elapsed = match load.until {
            Until::Duration(time) => since.unwrap_or_default().max(time),
            Until::Ops(_) => since.unwrap_or_default(),
        };
        Ok(found)
    }

    /// Makes `count` connections, each of a socket to every server.
    fn connect(&self, routes: &Routes, count: usize, depth: usize) -> Result<Vec<Vec<Connection>>> {
        if routes.servers.len() > SERVERS_MAX {
            let found = routes.servers.len();
            return Err(Error::Usage(format!("{found} servers are more than {SERVERS_MAX}")));
        }
        let value_len = *self.workload.value_len.end();
        let reply_len = FRAME_LEN_MAX + self.workload.key_len + value_len;
        let reply_len_max = 2 * reply_len + (1 << 20);
        let open = |&server| Connection::open(server, depth * reply_len, reply_len_max);
        (0..count).map(|_| routes.servers.iter().map(open).collect()).collect()
    }

    /// Starts the threads with the loop for the server's protocol.
    fn dispatch(
        &mut self,
        routes: &Routes,
        seats: Vec<Seat>,
        depth: usize,
        bar: &ProgressBar,
        position: impl Fn(u64, Duration) -> u64,
    ) -> Result<Found> {
        let load = (routes, seats, depth);
        match self.target.protocol {
            Protocol::Ringcask => self.go(Ringcask, load, bar, position),
            Protocol::Redis => self.go(Redis, load, bar, position),
            Protocol::Memcached => self.go(Memcached, load, bar, position),
        }
    }

    fn go<W: Wire>(
        &mut self,
        wire: W,
        (routes, seats, depth): (&Routes, Vec<Seat>, usize),
        bar: &ProgressBar,
        position: impl Fn(u64, Duration) -> u64,
    ) -> Result<Found> {
        let stop = AtomicBool::new(false);
        let shared = Shared {
            values: self.values,
            value_len: self.workload.value_len.clone(),
            key_len: self.workload.key_len,
            depth,
            protocol: self.target.protocol,
            routes,
            spreads_reads: self.workload.spreads_reads,
            redis_wait: match self.target.protocol {
                Protocol::Redis => self.workload.redis_wait,
                Protocol::Ringcask | Protocol::Memcached => 0,
            },
            stop: &stop,
        };
        let progress: Vec<Progress> = seats.iter().map(|_| Progress::default()).collect();
        let start = Instant::now();
        let results = thread::scope(|scope| {
            let started = seats.into_iter().zip(&progress).map(|(seat, progress)| {
                spawn(
                    scope,
                    Worker::new(
                        wire,
                        &shared,
                        progress,
                        seat.connections,
                        seat.source,
                        (seat.window, seat.pace),
                        seat.seed,
                    ),
                )
                .inspect_err(|_| stop.store(true, std::sync::atomic::Ordering::Relaxed))
            });
            let threads: Vec<_> = started.collect();
            show(bar, &progress, start, &position, || {
                threads.iter().flatten().all(|thread| thread.is_finished())
            });
            threads.into_iter().map(|thread| thread.and_then(join)).collect::<Vec<_>>()
        });
        bar.finish_and_clear();
        self.add_up(results, start)
    }

    fn add_up(&mut self, results: Vec<Result<(Tally, u64)>>, start: Instant) -> Result<Found> {
        let mut total = Tally::new();
        for (index, result) in results.into_iter().enumerate() {
            let (tally, inserted) = result?;
            total.merge(&tally);
            if let Some(before) = self.inserted.get_mut(index) {
                *before = inserted.max(*before);
            }
        }
        let elapsed =
            total.ended_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(start));
        Ok(Found { tally: total, elapsed })
    }
}

/// Returns the window of connection `index`, with its share of the requests if they are counted.
fn window(load: &Workload, start: Instant, index: usize) -> Window {
    let measure_from = start + load.warmup;
    match load.until {
        Until::Duration(time) => {
            Window { measure_from, end: Some(measure_from + time), ops_max: u64::MAX }
        }
        Until::Ops(ops) => {
            let (count, index) = (load.connections as u64, index as u64);
            let ops_max = ops / count + u64::from(index < ops % count);
            Window { measure_from, end: None, ops_max }
        }
    }
}

type Handle<'scope> = ScopedJoinHandle<'scope, Result<(Tally, u64)>>;

fn spawn<'scope, 'env, W: Wire + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    worker: Worker<'scope, W>,
) -> Result<Handle<'scope>> {
    thread::Builder::new()
        .stack_size(STACK_LEN)
        .spawn_scoped(scope, move || worker.run())
        .map_err(|source| Error::Thread { source })
}

fn join(thread: Handle<'_>) -> Result<(Tally, u64)> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn bar(message: &'static str, position: &str, len: u64) -> ProgressBar {
    let template = format!("{{msg}} [{{wide_bar}}] {position} {{elapsed}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_message(message)
}

/// Moves the bar until the threads are done; a hidden bar costs nothing.
fn show(
    bar: &ProgressBar,
    progress: &[Progress],
    start: Instant,
    position: &impl Fn(u64, Duration) -> u64,
    is_done: impl Fn() -> bool,
) {
    if bar.is_hidden() {
        return;
    }
    let name = bar.message();
    let mut last = (0, start);
    while !is_done() {
        thread::sleep(BAR_PERIOD);
        let now = Instant::now();
        let ops = progress.iter().map(Progress::ops).sum();
        let seconds = now.saturating_duration_since(last.1).as_secs_f64();
        let per_second = rate(u64::saturating_sub(ops, last.0) as f64 / seconds);
        bar.set_message(format!("{name}: {per_second}/s"));
        bar.set_position(position(ops, now.saturating_duration_since(start)));
        last = (ops, now);
    }
}
