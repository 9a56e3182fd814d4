//! The report for programs: one JSON object on one line.
//!
//! ```text
//!   { "kvbench": version, "workload": {…},
//!     "targets": [ { "protocol", "address", "runs": [ run, … ], "median": {…} }, … ],
//!     "ratios":  [ { "to", "address", "rounds": [1.2, …], "median": 1.2 }, … ] }
//! ```
//!
//! `ratios` are the first target's to each other one, in operations a second. Latencies are in microseconds,
//! `mb_per_second` counts 10⁶ bytes of values.

use serde_json::{Value, json};

use crate::plan::{Until, Workload};
use crate::report::{Latency, Series, Summary, median};

/// Returns the object, with a line end.
pub(crate) fn render(load: &Workload, all: &[Series]) -> String {
    let ratios: Vec<Value> = match all.split_first() {
        Some((first, others)) => others.iter().map(|other| ratio(first, other)).collect(),
        None => Vec::new(),
    };
    let object = json!({
        "kvbench": env!("CARGO_PKG_VERSION"),
        "workload": workload(load),
        "targets": all.iter().map(series).collect::<Vec<_>>(),
        "ratios": ratios,
    });
    format!("{object}\n")
}

fn workload(load: &Workload) -> Value {
    let (seconds, ops) = match load.until {
        Until::Duration(time) => (Some(time.as_secs_f64()), None),
        Until::Ops(ops) => (None, Some(ops)),
    };
    json!({
        "mix": load.mix.name.to_string(),
        "keys_chosen": load.choice.to_string(),
        "connections": load.connections,
        "depth": load.depth,
        "keys": load.keys,
        "key_bytes": load.key_len,
        "value_bytes": [load.value_len.start(), load.value_len.end()],
        "spread_reads": load.spreads_reads,
        "redis_wait": load.redis_wait,
        "rate": load.rate,
        "warmup_seconds": load.warmup.as_secs_f64(),
        "seconds": seconds,
        "ops": ops,
    })
}

fn series(series: &Series) -> Value {
    let latency = series.latency(|run| run.latency);
    json!({
        "protocol": series.target.protocol.name(),
        "address": series.target.addresses(),
        "runs": series.runs.iter().map(run).collect::<Vec<_>>(),
        "median": {
            "ops_per_second": series.median(|run| run.ops_per_second),
            "mb_per_second": series.median(|run| run.mb_per_second),
            "latency_us": latency,
        },
    })
}

fn run(run: &Summary) -> Value {
    let only = |count: u64, latency: Latency| (count > 0).then_some(latency);
    json!({
        "seconds": run.seconds,
        "ops_per_second": run.ops_per_second,
        "mb_per_second": run.mb_per_second,
        "latency_us": run.latency,
        "get_latency_us": only(run.counts.gets, run.get),
        "set_latency_us": only(run.counts.sets, run.set),
        "gets": run.counts.gets,
        "sets": run.counts.sets,
        "not_found": run.counts.not_found,
        "refused": run.counts.refused,
        "unknown": run.counts.unknown,
        "wrong": run.counts.wrong,
    })
}

fn ratio(first: &Series, other: &Series) -> Value {
    let rounds = first.ratios(other);
    json!({
        "to": other.target.protocol.name(),
        "address": other.target.addresses(),
        "rounds": rounds,
        "median": median(rounds.clone()),
    })
}
