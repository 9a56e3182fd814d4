//! `kvbench outage`: how long writes wait while a cluster changes, and whether it keeps what it acknowledged.
//!
//! ```text
//!   writers:  put a new key ─▶ acknowledged at … ─┬─▶ gaps: over all, for each primary of the beginning, for each slot
//!             (each a client)                     └─▶ latencies
//!   readers:  get the key that some writer had acknowledged last ─▶ not there: a stale read
//!   at the end: every key that was acknowledged is read and compared
//! ```
//!
//! What happens to the cluster meanwhile is the business of whoever runs it: kill a server, stop one, let one join, or nothing.
//! Writers and readers are those of the client library with its retries, request ids and deadlines; so a refusal or an unknown outcome is
//! one after the deadline. A *gap* is the time between two acknowledgements one after the other, or between the beginning and the
//! first, or the last and the end. For each primary of the beginning it is that of the slots it had then: the outage
//! that its loss causes. For a single slot it says little unless writers are many.
//!
//! Limits: acknowledgements are kept in memory, 16 bytes each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use client::{Client, Config, Error as ClientError, Outcome};
use hashring::{SLOT_COUNT, SlotId};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::number;

/// Most writers and most readers: each has a thread, and a socket to each server.
const THREADS_MAX: u64 = 1_000;

/// Longest time that is measured: its acknowledgements are kept in memory.
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// Largest value.
const VALUE_LEN_MAX: u64 = 1 << 20;

/// Keys compared at once in the end.
const CHECK_COUNT: u64 = 1_000;

/// How long reading one such batch may take in the end, when the cluster may still be recovering.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// Bounds of latencies, microseconds, and significant digits.
const LATENCY_MAX: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// How long writes wait while a cluster changes, and whether any that was acknowledged is lost.
///
/// Writers put new keys as fast as they are acknowledged, or at --rate. Stop, kill, pause or add servers meanwhile. At the end every
/// acknowledged key is read. Exit code: 0, or 1 if a write was lost, a read was stale, or (with --strict) a
/// request was refused or its outcome stayed unknown.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutageArgs {
    /// Servers of the cluster; any of them leads to all
    #[arg(short, long, value_name = "IP:PORT[,IP:PORT...]", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.1:5153")]
    server: Vec<String>,

    /// Writers, each with a client of its own
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = number::count)]
    writers: u64,

    /// Readers of what was acknowledged last
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = number::count)]
    readers: u64,

    /// Writes a second over all writers [default: as fast as they are acknowledged]
    #[arg(long, value_name = "PER-SECOND", value_parser = number::count)]
    rate: Option<u64>,

    /// Length of a value, bytes
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = number::count)]
    value_bytes: u64,

    /// Time measured
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = number::duration)]
    duration: Duration,

    /// How long a request may take, retries included
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = number::duration)]
    timeout: Duration,

    /// Fail on refused and unknown requests too
    #[arg(long)]
    strict: bool,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What one writer found.
struct Written {
    /// When each acknowledgement came, since the beginning, and its slot.
    acknowledged: Vec<(Duration, SlotId)>,
    latency: Histogram<u64>,
    /// Of writes that met a slot on its way to another server.
    handed: Histogram<u64>,
    /// Numbers of writes, below `count`, that were not acknowledged.
    missing: BTreeSet<u64>,
    count: u64,
    refused: u64,
    unknown: u64,
    first_error: Option<String>,
}

/// What all readers found.
#[derive(Default)]
struct Seen {
    reads: AtomicU64,
    failed: AtomicU64,
    stale: AtomicU64,
}

/// What the threads share.
struct Shared {
    args: OutageArgs,
    /// Tells the keys of this run from those of others.
    run: u64,
    began_at: Instant,
    /// One above the number of each writer's last acknowledged write.
    last: Vec<AtomicU64>,
    is_over: AtomicBool,
    seen: Seen,
}

/// Runs it and writes the report to `out`.
///
/// # Errors
/// If no server can be reached at the beginning, or the cluster did not keep its word.
pub(crate) fn run(args: &OutageArgs, out: &mut dyn Write) -> Result<()> {
    check(args)?;
    let mut client = client_of(args, args.timeout);
    let groups = groups(&mut client)?;
    let writers = usize::try_from(args.writers).unwrap_or_default();
    let shared = Shared {
        args: args.clone(),
        run: fastrand::u64(..),
        began_at: Instant::now(),
        last: (0..writers).map(|_| AtomicU64::new(0)).collect(),
        is_over: AtomicBool::new(false),
        seen: Seen::default(),
    };
    let written = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..args.readers).map(|_| scope.spawn(|| read(&shared))).collect();
        let shared = &shared;
        let threads: Vec<_> =
            (0..writers).map(|writer| scope.spawn(move || write(shared, writer))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Written>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let written: Vec<Written> = threads.into_iter().map(join).collect();
        shared.is_over.store(true, Ordering::Relaxed);
        drop(readers);
        written
    });
    let elapsed = shared.began_at.elapsed();
    let mut client = client_of(args, CHECK_TIMEOUT);
    let lost = lost(&shared, &written, &mut client)?;
    let report = Report::new(&shared, &written, &groups, elapsed, lost);
    let text = if args.json { format!("{}\n", report.json()) } else { report.text() };
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| Error::Report { source })?;
    report.verdict(args.strict)
}

fn check(args: &OutageArgs) -> Result<()> {
    let counts = [
        ("writers", args.writers, 1, THREADS_MAX),
        ("readers", args.readers, 0, THREADS_MAX),
        ("value-bytes", args.value_bytes, 1, VALUE_LEN_MAX),
        ("rate", args.rate.unwrap_or(1), 1, crate::plan::RATE_MAX),
    ];
    for (flag, found, min, max) in counts {
        if !(min..=max).contains(&found) {
            return Err(Error::Usage(format!("--{flag} {found} is not between {min} and {max}")));
        }
    }
    if args.duration.is_zero() || args.duration > DURATION_MAX || args.timeout.is_zero() {
        return Err(Error::Usage("--duration is 0 or above an hour, or --timeout is 0".into()));
    }
    Ok(())
}

fn client_of(args: &OutageArgs, timeout: Duration) -> Client {
    Client::new(args.server.clone(), Config { timeout, ..Config::default() })
}

/// Returns the primary of each slot now.
fn groups(client: &mut Client) -> Result<Vec<String>> {
    let ranges = client.keyrange().map_err(|source| Error::Client { source })?;
    let of = |slot: SlotId| {
        let range = ranges.iter().find(|range| range.arc.contains(slot.first_token()));
        range.map_or_else(|| "nobody".to_owned(), |range| range.server.to_string())
    };
    Ok(SlotId::all().map(of).collect())
}

impl Shared {
    fn key(&self, writer: usize, number: u64) -> Vec<u8> {
        format!("{:08x}-{writer:x}-{number:x}", self.run & 0xFFFF_FFFF).into_bytes()
    }

    /// Returns the value of a key: the key itself, over and over.
    fn value(&self, key: &[u8]) -> Vec<u8> {
        let len = usize::try_from(self.args.value_bytes).unwrap_or_default();
        key.iter().copied().cycle().take(len).collect()
    }

    /// Returns when write number `number` of a writer is due.
    fn due_at(&self, writer: usize, number: u64) -> Option<Instant> {
        let rate = self.args.rate?;
        let place = number * self.args.writers + writer as u64;
        Some(self.began_at + Duration::from_secs_f64(place as f64 / rate as f64))
    }
}

/// Puts new keys until the time is over.
fn write(shared: &Shared, writer: usize) -> Written {
    let mut client = client_of(&shared.args, shared.args.timeout);
    let mut written = Written {
        acknowledged: Vec::new(),
        latency: histogram(),
        handed: histogram(),
        missing: BTreeSet::new(),
        count: 0,
        refused: 0,
        unknown: 0,
        first_error: None,
    };
    loop {
        let due_at = shared.due_at(writer, written.count);
        if let Some(due_at) = due_at {
            std::thread::sleep(due_at.saturating_duration_since(Instant::now()));
        }
        let began_at = due_at.unwrap_or_else(Instant::now);
        if shared.began_at.elapsed() >= shared.args.duration {
            return written;
        }
        let number = written.count;
        let locks_before = client.write_lock_count();
        let key = shared.key(writer, number);
        let outcome = client.put(&key, &shared.value(&key));
        let now = Instant::now();
        written.count += 1;
        match &outcome {
            Outcome::Done(_) => {
                let at = now.saturating_duration_since(shared.began_at);
                written.acknowledged.push((at, SlotId::of_key(&key)));
                if let Some(last) = shared.last.get(writer) {
                    last.store(number + 1, Ordering::Release);
                }
            }
            Outcome::Refused(error) | Outcome::Unknown(error) => {
                let is_unknown = outcome.is_unknown();
                written.refused += u64::from(!is_unknown);
                written.unknown += u64::from(is_unknown);
                written.missing.insert(number);
                written.first_error.get_or_insert_with(|| error.to_string());
            }
        }
        let latency = now.saturating_duration_since(began_at).as_micros();
        let latency = u64::try_from(latency).unwrap_or(LATENCY_MAX);
        written.latency.saturating_record(latency);
        if client.write_lock_count() > locks_before {
            written.handed.saturating_record(latency);
        }
    }
}

/// Reads what was acknowledged last until the writers are done.
fn read(shared: &Shared) {
    let mut client = client_of(&shared.args, shared.args.timeout);
    while !shared.is_over.load(Ordering::Relaxed) {
        let writer = fastrand::usize(..shared.last.len());
        let next = shared.last.get(writer).map_or(0, |last| last.load(Ordering::Acquire));
        let Some(number) = next.checked_sub(1) else {
            std::thread::yield_now();
            continue;
        };
        let key = shared.key(writer, number);
        let counter = match client.get(&key) {
            Ok(Some(value)) if value == shared.value(&key) => &shared.seen.reads,
            Ok(_) => &shared.seen.stale,
            Err(_) => &shared.seen.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads every acknowledged key, and returns those that are not there or have another value.
fn lost(shared: &Shared, written: &[Written], client: &mut Client) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    for (writer, written) in written.iter().enumerate() {
        let numbers: Vec<u64> =
            (0..written.count).filter(|number| !written.missing.contains(number)).collect();
        for part in numbers.chunks(usize::try_from(CHECK_COUNT).unwrap_or(1)) {
            let keys: Vec<Vec<u8>> =
                part.iter().map(|number| shared.key(writer, *number)).collect();
            for (key, found) in keys.iter().zip(client.mget(&keys)) {
                let found = found.map_err(|source: ClientError| Error::Client { source })?;
                if found.is_none_or(|value| value != shared.value(key)) {
                    lost.push(String::from_utf8_lossy(key).into_owned());
                }
            }
        }
    }
    Ok(lost)
}

/// A time without an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gap {
    from: Duration,
    len: Duration,
}

/// Returns the longest gap between the beginning, moments in their order, and the end.
fn longest_gap(moments: impl Iterator<Item = Duration>, end: Duration) -> Gap {
    let mut before = Duration::ZERO;
    let mut longest = Gap::default();
    // Behind the end only those answers come that were awaited then: too few to measure gaps by.
    for moment in moments.take_while(|moment| *moment < end).chain([end]) {
        let len = moment.saturating_sub(before);
        if len > longest.len {
            longest = Gap { from: before, len };
        }
        before = moment;
    }
    longest
}

/// What was found.
struct Report {
    acknowledged: usize,
    refused: u64,
    unknown: u64,
    first_error: Option<String>,
    elapsed: Duration,
    gap: Gap,
    /// By primary of the beginning, with the number of its slots.
    by_primary: BTreeMap<String, (usize, Gap)>,
    /// The longest of any slot that was written at least once.
    by_slot: Option<(SlotId, Gap)>,
    latency: Histogram<u64>,
    handed: Histogram<u64>,
    lost: Vec<String>,
    reads: u64,
    reads_failed: u64,
    reads_stale: u64,
}

impl Report {
    fn new(
        shared: &Shared,
        written: &[Written],
        groups: &[String],
        elapsed: Duration,
        lost: Vec<String>,
    ) -> Self {
        let end = shared.args.duration;
        let mut all: Vec<(Duration, SlotId)> =
            written.iter().flat_map(|written| written.acknowledged.iter().copied()).collect();
        all.sort_unstable();
        let group = |slot: SlotId| groups.get(usize::from(slot.index()));
        let mut by_primary: BTreeMap<String, (usize, Gap)> = BTreeMap::new();
        for primary in groups {
            by_primary.entry(primary.clone()).or_default().0 += 1;
        }
        for (primary, (_, gap)) in &mut by_primary {
            let own = all.iter().filter(|(_, slot)| group(*slot) == Some(primary));
            *gap = longest_gap(own.map(|(at, _)| *at), end);
        }
        let mut slots: Vec<Vec<Duration>> = vec![Vec::new(); usize::from(SLOT_COUNT)];
        for (at, slot) in &all {
            if let Some(moments) = slots.get_mut(usize::from(slot.index())) {
                moments.push(*at);
            }
        }
        let gaps = SlotId::all().zip(&slots).filter(|(_, moments)| !moments.is_empty());
        let gaps = gaps.map(|(slot, moments)| (slot, longest_gap(moments.iter().copied(), end)));
        let by_slot = gaps.max_by_key(|(_, gap)| gap.len);
        let [mut latency, mut handed] = [histogram(), histogram()];
        for written in written {
            // All were made by `histogram`, so that the others' values fit.
            latency.add(&written.latency).ok();
            handed.add(&written.handed).ok();
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            acknowledged: all.len(),
            refused: written.iter().map(|written| written.refused).sum(),
            unknown: written.iter().map(|written| written.unknown).sum(),
            first_error: written.iter().find_map(|written| written.first_error.clone()),
            elapsed,
            gap: longest_gap(all.iter().map(|(at, _)| *at), end),
            by_primary,
            by_slot,
            latency,
            handed,
            lost,
            reads: load(&shared.seen.reads),
            reads_failed: load(&shared.seen.failed),
            reads_stale: load(&shared.seen.stale),
        }
    }

    /// Returns the longest outage of the slots of any primary of the beginning.
    fn outage(&self) -> Gap {
        self.by_primary.values().map(|(_, gap)| *gap).max_by_key(|gap| gap.len).unwrap_or_default()
    }

    fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn quantile_ms(&self, quantile: f64) -> f64 {
        quantile_ms(&self.latency, quantile)
    }

    fn json(&self) -> Value {
        let gap = |gap: Gap| json!({ "ms": millis(gap.len), "from_ms": millis(gap.from) });
        let primaries = self.by_primary.iter().map(|(primary, (slots, found))| {
            json!({ "primary": primary, "slots": slots, "gap": gap(*found) })
        });
        json!({
            "kvbench": env!("CARGO_PKG_VERSION"),
            "acknowledged": self.acknowledged,
            "per_second": self.per_second(),
            "refused": self.refused,
            "unknown": self.unknown,
            "first_error": self.first_error,
            "lost": self.lost.len(),
            "outage_ms": millis(self.outage().len),
            "gap": gap(self.gap),
            "by_primary": primaries.collect::<Vec<_>>(),
            "longest_of_a_slot": self.by_slot.map(|(slot, found)| json!({ "slot": slot.index(), "gap": gap(found) })),
            "latency_ms": {
                "p50": self.quantile_ms(0.5),
                "p99": self.quantile_ms(0.99),
                "p999": self.quantile_ms(0.999),
                "max": self.latency.max() as f64 / 1e3,
            },
            "handed_over": {
                "writes": self.handed.len(),
                "p50_ms": quantile_ms(&self.handed, 0.5),
                "p99_ms": quantile_ms(&self.handed, 0.99),
            },
            "reads": self.reads,
            "reads_failed": self.reads_failed,
            "reads_stale": self.reads_stale,
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "{} writes acknowledged, {} a second; {} refused, {} unknown",
                number::grouped(self.acknowledged as u64),
                number::rate(self.per_second()),
                self.refused,
                self.unknown
            ),
            format!(
                "latency ms: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
                self.quantile_ms(0.5),
                self.quantile_ms(0.99),
                self.quantile_ms(0.999),
                self.latency.max() as f64 / 1e3
            ),
            format!(
                "{} writes met a slot on its way to another server: p50 {:.1} ms, p99 {:.1} ms",
                number::grouped(self.handed.len()),
                quantile_ms(&self.handed, 0.5),
                quantile_ms(&self.handed, 0.99)
            ),
            format!("longest time without any acknowledged write: {}", in_words(self.gap)),
        ];
        for (primary, (slots, gap)) in &self.by_primary {
            let gap = in_words(*gap);
            lines
                .push(format!("  in the {slots} slots that {primary} had at the beginning: {gap}"));
        }
        if let Some((slot, gap)) = self.by_slot {
            lines.push(format!("  in any one slot ({}): {}", slot.index(), in_words(gap)));
        }
        if self.reads + self.reads_failed + self.reads_stale > 0 {
            lines.push(format!(
                "{} reads of what was acknowledged last: {} stale, {} failed",
                number::grouped(self.reads),
                self.reads_stale,
                self.reads_failed
            ));
        }
        if let Some(error) = &self.first_error {
            lines.push(format!("the first error: {error}"));
        }
        lines.push(match self.lost.first() {
            None => "every acknowledged write is there".to_owned(),
            Some(first) => {
                format!("{} acknowledged writes are LOST, {first} first", self.lost.len())
            }
        });
        lines.join("\n") + "\n"
    }

    fn verdict(&self, is_strict: bool) -> Result<()> {
        let lost = self.lost.len() as u64;
        let failed = self.refused + self.unknown + self.reads_failed;
        if lost == 0 && self.reads_stale == 0 && (failed == 0 || !is_strict) {
            return Ok(());
        }
        Err(Error::Outage { lost, stale: self.reads_stale, failed })
    }
}

fn quantile_ms(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}

fn in_words(gap: Gap) -> String {
    format!("{:.0} ms, from {:.3} s on", millis(gap.len), gap.from.as_secs_f64())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("constant bounds: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_may_be_at_either_end() {
        let ms = Duration::from_millis;
        let gap = |moments: &[u64], end| {
            let gap = longest_gap(moments.iter().map(|at| ms(*at)), ms(end));
            (gap.from.as_millis(), gap.len.as_millis())
        };
        assert_eq!(gap(&[], 100), (0, 100));
        assert_eq!(gap(&[50, 60, 90], 100), (0, 50));
        assert_eq!(gap(&[10, 20, 70, 90], 100), (20, 50));
        assert_eq!(gap(&[10, 20], 100), (20, 80));
        assert_eq!(gap(&[10, 120], 100), (10, 90), "what comes after the end does not count");
    }
}
