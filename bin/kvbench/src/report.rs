//! Figures for people: tables, medians and ratios.
//!
//! The median of each column is taken by itself. A ratio is the median of the ratios of each round, not the ratio
//! of the medians: what disturbed one round disturbed both sides of it.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::number::{grouped, rate, size};
use crate::plan::{Protocol, Target, Workload};
use crate::run::Found;
use crate::tally::Counts;

/// Latencies, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

impl Latency {
    fn new(histogram: &Histogram<u32>) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Self {
            p50: micros(histogram.value_at_quantile(0.5)),
            p90: micros(histogram.value_at_quantile(0.9)),
            p99: micros(histogram.value_at_quantile(0.99)),
            p999: micros(histogram.value_at_quantile(0.999)),
            max: micros(histogram.max()),
            mean: histogram.mean() / 1000.0,
        }
    }
}

/// One run's figures.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) seconds: f64,
    pub(crate) ops_per_second: f64,
    /// Of values only, 10⁶ bytes a second.
    pub(crate) mb_per_second: f64,
    pub(crate) latency: Latency,
    pub(crate) get: Latency,
    pub(crate) set: Latency,
    pub(crate) counts: Counts,
}

impl Summary {
    /// Returns the figures of what a run found.
    pub(crate) fn new(found: &Found) -> Self {
        let seconds = found.elapsed.as_secs_f64();
        let per_second = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        Self {
            seconds,
            ops_per_second: per_second(found.tally.counts.ops()),
            mb_per_second: per_second(found.tally.counts.value_bytes) / 1e6,
            latency: Latency::new(&found.tally.latency()),
            get: Latency::new(&found.tally.get_latency),
            set: Latency::new(&found.tally.set_latency),
            counts: found.tally.counts,
        }
    }
}

/// All runs against one server.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) target: Target,
    pub(crate) runs: Vec<Summary>,
}

impl Series {
    /// Returns a series without runs.
    pub(crate) fn new(target: Target) -> Self {
        Self { target, runs: Vec::new() }
    }

    /// Returns the median of one figure over the runs.
    pub(crate) fn median(&self, figure: impl Fn(&Summary) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }

    /// Returns the medians of one kind of latency.
    pub(crate) fn latency(&self, kind: impl Fn(&Summary) -> Latency) -> Latency {
        Latency {
            p50: self.median(|run| kind(run).p50),
            p90: self.median(|run| kind(run).p90),
            p99: self.median(|run| kind(run).p99),
            p999: self.median(|run| kind(run).p999),
            max: self.median(|run| kind(run).max),
            mean: self.median(|run| kind(run).mean),
        }
    }

    /// Returns each round's ratio of operations a second to another server's.
    pub(crate) fn ratios(&self, other: &Self) -> Vec<f64> {
        let pairs = self.runs.iter().zip(&other.runs);
        pairs.map(|(ours, theirs)| ours.ops_per_second / theirs.ops_per_second).collect()
    }

    fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        self.runs.iter().map(|run| count(&run.counts)).sum()
    }
}

/// Returns the middle one, or the mean of the middle two; 0 of nothing.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (lower, upper) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    match (figures.get(lower), figures.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => 0.0,
    }
}

/// Returns a line about a load.
pub(crate) fn loaded(target: &Target, found: &Found) -> String {
    let summary = Summary::new(found);
    format!(
        "{} {}: loaded {} keys in {:.1} s, {}/s\n",
        target.protocol,
        target.addresses(),
        grouped(found.tally.counts.ops()),
        summary.seconds,
        rate(summary.ops_per_second),
    )
}

/// Returns a table for each server, and ratios if there are several.
pub(crate) fn tables(workload: &Workload, all: &[Series]) -> String {
    let mut out = String::new();
    for series in all {
        table(&mut out, workload, series);
    }
    if let Some((first, others)) = all.split_first() {
        for other in others {
            line(&mut out, &ratio_text(first, other));
        }
    }
    out
}

/// Returns one row of a Markdown table: title, operations a second and p99 of each protocol in a fixed order,
/// and the first target's ratios to redis and memcached; `–` where there is nothing to show.
pub(crate) fn row(title: &str, all: &[Series]) -> String {
    let of = |protocol| all.iter().find(|series| series.target.protocol == protocol);
    let mut out = format!("| {title} |");
    for protocol in [Protocol::Ringcask, Protocol::Redis, Protocol::Memcached] {
        let cell = of(protocol).map_or("–".into(), |series| {
            let p99 = series.median(|run| run.latency.p99);
            format!("{} ({} µs)", rate(series.median(|run| run.ops_per_second)), rate(p99))
        });
        out.push_str(&format!(" {cell} |"));
    }
    for protocol in [Protocol::Redis, Protocol::Memcached] {
        let cell = match (all.first(), of(protocol)) {
            (Some(first), Some(other)) if first.target != other.target => {
                format!("{:.2} ×", median(first.ratios(other)))
            }
            _ => "–".into(),
        };
        out.push_str(&format!(" {cell} |"));
    }
    out.push('\n');
    out
}

fn table(out: &mut String, load: &Workload, series: &Series) {
    line(out, &title(load, &series.target));
    line(
        out,
        "   run        ops/s      MB/s    p50 µs    p99 µs  p99.9 µs    max µs  not found  refused  unknown  wrong",
    );
    for (number, run) in (1..).zip(&series.runs) {
        let c = &run.counts;
        let counts = [c.not_found, c.refused, c.unknown, c.wrong];
        figures(
            out,
            &format!("{number}"),
            run.ops_per_second,
            run.mb_per_second,
            run.latency,
            counts,
        );
    }
    if series.runs.len() > 1 {
        let sums = [
            series.sum(|c| c.not_found),
            series.sum(|c| c.refused),
            series.sum(|c| c.unknown),
            series.sum(|c| c.wrong),
        ];
        let ops = series.median(|run| run.ops_per_second);
        let mb = series.median(|run| run.mb_per_second);
        figures(out, "median", ops, mb, series.latency(|run| run.latency), sums);
    }
    if series.sum(|c| c.gets) > 0 && series.sum(|c| c.sets) > 0 {
        latencies(out, "gets", series.latency(|run| run.get));
        latencies(out, "sets", series.latency(|run| run.set));
    }
    for hint in hints(load, series) {
        line(out, &format!("  {hint}"));
    }
    line(out, "");
}

fn title(load: &Workload, target: &Target) -> String {
    let (from, to) = (*load.value_len.start(), *load.value_len.end());
    let values = if from == to { size(to) } else { format!("{} to {}", size(from), size(to)) };
    let pace =
        load.rate.map_or("closed loop".into(), |rate| format!("{}/s asked for", grouped(rate)));
    format!(
        "{} {}: {}, {} over {} keys of {} B, values of {values}, {} connections × depth {}, {pace}",
        target.protocol,
        target.addresses(),
        load.mix.name,
        load.choice,
        grouped(u64::from(load.keys)),
        load.key_len,
        load.connections,
        load.depth,
    )
}

/// Returns what a reader would otherwise have to guess.
pub(crate) fn hints(load: &Workload, series: &Series) -> Vec<String> {
    let mut hints = Vec::new();
    let (not_found, gets) = (series.sum(|c| c.not_found), series.sum(|c| c.gets));
    if not_found > 0 {
        let percent = not_found as f64 * 100.0 / gets as f64;
        hints.push(format!(
            "{percent:.1} % of the gets found nothing: --load fills the key space first"
        ));
    }
    let reached = series.median(|run| run.ops_per_second);
    if let Some(asked) = load.rate.filter(|&asked| reached < asked as f64 * 0.99) {
        let (reached, asked) = (rate(reached), grouped(asked));
        hints.push(format!(
            "reached {reached}/s of the {asked}/s asked for: latencies grow with the backlog"
        ));
    }
    hints
}

fn figures(out: &mut String, name: &str, ops: f64, mb: f64, l: Latency, counts: [u64; 4]) {
    let [not_found, refused, unknown, wrong] = counts.map(grouped);
    let [p50, p99, p999, max] = [l.p50, l.p99, l.p999, l.max].map(micros);
    let ops = rate(ops);
    line(
        out,
        &format!(
            "{name:>6} {ops:>12} {mb:>9.1} {p50:>9} {p99:>9} {p999:>9} {max:>9} {not_found:>10} {refused:>8} {unknown:>8} {wrong:>6}"
        ),
    );
}

fn latencies(out: &mut String, name: &str, l: Latency) {
    let [p50, p99, p999, max] = [l.p50, l.p99, l.p999, l.max].map(micros);
    line(out, &format!("{name:>6} {:>12} {:>9} {p50:>9} {p99:>9} {p999:>9} {max:>9}", "", ""));
}

/// Returns microseconds, with a decimal while that says something.
fn micros(micros: f64) -> String {
    if micros < 100.0 { format!("{micros:.1}") } else { rate(micros) }
}

fn ratio_text(first: &Series, other: &Series) -> String {
    let ratios = first.ratios(other);
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let (count, median) = (ratios.len(), median(ratios));
    format!(
        "{} / {} {}: {median:.2} × (median of {count}, {least:.2} to {most:.2})",
        first.target.protocol,
        other.target.protocol,
        other.target.addresses()
    )
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::plan::{Choice, Until};
    use crate::proto::Kind;
    use crate::tally::Tally;

    fn series(protocol: Protocol, gets_per_second: &[u32]) -> Series {
        let address = "127.0.0.1:4000".parse().unwrap();
        let runs = gets_per_second.iter().map(|&count| {
            let mut tally = Tally::new();
            tally.record(Kind::Get, Duration::from_micros(500), count);
            tally.counts.value_bytes = u64::from(count) * 100;
            Summary::new(&Found { tally, elapsed: Duration::from_secs(1) })
        });
        Series { target: Target { protocol, addresses: vec![address] }, runs: runs.collect() }
    }

    fn workload() -> Workload {
        Workload {
            connections: 50,
            depth: 1,
            mix: "get".parse().unwrap(),
            choice: Choice::Uniform,
            keys: 1_000_000,
            key_len: 16,
            value_len: 100..=100,
            spreads_reads: false,
            redis_wait: 0,
            rate: None,
            warmup: Duration::ZERO,
            until: Until::Duration(Duration::from_secs(1)),
        }
    }

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let ours = series(Protocol::Ringcask, &[1000, 2000, 4000]);
        let theirs = series(Protocol::Redis, &[500, 2000, 1000]);
        assert_eq!(ours.ratios(&theirs), [2.0, 1.0, 4.0]);
        assert_eq!(
            ratio_text(&ours, &theirs),
            "ringcask / redis 127.0.0.1:4000: 2.00 × (median of 3, 1.00 to 4.00)"
        );
    }

    #[test]
    fn a_table_has_a_line_for_each_run_and_the_medians() {
        let text = tables(&workload(), &[series(Protocol::Redis, &[100_000, 300_000, 150_000])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "redis 127.0.0.1:4000: get, uniform over 1,000,000 keys of 16 B, values of 100 B, \
             50 connections × depth 1, closed loop"
        );
        assert_eq!(lines.len(), 7);
        let median: Vec<&str> = lines[5].split_whitespace().collect();
        assert_eq!(
            median,
            ["median", "150,000", "15.0", "500", "500", "500", "500", "0", "0", "0", "0"]
        );
    }

    #[test]
    fn a_row_keeps_its_columns_whoever_is_missing() {
        let ours = series(Protocol::Ringcask, &[200_000]);
        let redis = series(Protocol::Redis, &[100_000]);
        let memcached = series(Protocol::Memcached, &[50_000]);
        let (a, b, c) = ("200,000 (500 µs)", "100,000 (500 µs)", "50,000 (500 µs)");
        for (all, expected) in [
            (
                vec![ours.clone(), redis.clone(), memcached.clone()],
                format!("| x | {a} | {b} | {c} | 2.00 × | 4.00 × |\n"),
            ),
            (
                vec![ours.clone(), memcached.clone()],
                format!("| x | {a} | – | {c} | – | 4.00 × |\n"),
            ),
            (vec![redis.clone(), memcached], format!("| x | – | {b} | {c} | – | 2.00 × |\n")),
            (vec![ours], format!("| x | {a} | – | – | – | – |\n")),
        ] {
            assert_eq!(row("x", &all), expected);
        }
    }

    #[test]
    fn the_json_report_can_be_read_back() {
        let all = [series(Protocol::Ringcask, &[200, 300]), series(Protocol::Redis, &[100, 100])];
        let text = crate::json::render(&workload(), &all);
        assert_eq!(text.lines().count(), 1);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["targets"][0]["runs"][1]["gets"], 300);
        assert_eq!(report["targets"][0]["median"]["ops_per_second"], 250.0);
        assert_eq!(report["targets"][0]["runs"][0]["set_latency_us"], serde_json::Value::Null);
        assert_eq!(report["ratios"][0]["median"], 2.5);
        assert_eq!(report["workload"]["connections"], 50);
    }
}
