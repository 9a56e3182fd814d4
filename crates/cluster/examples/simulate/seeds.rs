//! Lives through seeds, tells of each that fails, and sums up.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use cluster::{MUTANTS, Planted};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Args, Storage};
use crate::plan::{Plan, Under};
use crate::report::Report;
use crate::{Outcome, pool, run, say};

/// Lines of a failing run's story that are shown; `--trace` shows all.
const TOLD_COUNT_MAX: usize = 40;

/// Runs what the arguments ask for.
pub fn run(args: &Args) -> Outcome {
    let mutant = args.mutant.as_deref().map(known_mutant).transpose()?;
    let seeds = seeds(args)?;
    let thread_count = args.thread_count().min(seeds.len());
    let bar = bar(seeds.len() as u64);
    let begun_at = now();
    let mut sum = Sum::default();
    let mut failure_left = args.failures;
    let live = |seed: &u64| timed(|| live(*seed, args, mutant));
    pool::each(&seeds, thread_count, live, |seed, (report, real)| {
        bar.inc(1);
        sum.add(&report, real);
        bar.suspend(|| tell(*seed, &report, args));
        if let Some(path) = &args.history {
            sum.error =
                fs::write(path, &report.history).err().map(|e| format!("{}: {e}", path.display()));
        }
        failure_left -= u64::from(report.violation.is_some());
        failure_left > 0
    });
    bar.finish_and_clear();
    sum.tell(begun_at.elapsed());
    match sum.error {
        Some(error) => Err(error),
        None => Ok(sum.violations == 0),
    }
}

/// Returns the present moment: how long runs really take is a figure of the simulator.
#[expect(clippy::disallowed_methods, reason = "what it measures is real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Does something, and returns how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun_at = now();
    let done = work();
    (done, begun_at.elapsed())
}

/// Returns the plan of a seed, as it is asked for.
pub fn plan(seed: u64, args: &Args) -> Plan {
    let storage = match args.storage {
        Storage::Model => Under::Model,
        Storage::Bitcask => Under::Engine,
    };
    let plan = if args.is_elastic { Plan::elastic(seed) } else { Plan::new(seed) };
    Plan { storage, ..plan }
}

/// Returns the name as the crate knows it.
fn known_mutant(name: &str) -> Result<&'static str, String> {
    let known = MUTANTS.iter().map(|(known, _)| *known);
    known.clone().find(|known| *known == name).ok_or_else(|| {
        let names: Vec<_> = known.collect();
        format!("no mutant {name:?}; there are:\n  {}", names.join("\n  "))
    })
}

fn seeds(args: &Args) -> Result<Vec<u64>, String> {
    let mut seeds: Vec<u64> = match (args.seed, args.fresh) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => {
            // Far from the small numbers that everybody tries.
            let first = fastrand::u64(1 << 32..1 << 62);
            (first..first + count).collect()
        }
        (None, None) => (args.seeds.0..args.seeds.1).collect(),
    };
    if let Some(path) = &args.file {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let words = text.lines().filter_map(|line| line.split('#').next()).map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            seeds.push(word.parse().map_err(|e| format!("{}: {word:?}: {e}", path.display()))?);
        }
    }
    Ok(seeds)
}

fn live(seed: u64, args: &Args, mutant: Option<&'static str>) -> Report {
    let _planted = mutant.map(Planted::new);
    let is_traced = args.is_traced || args.history.is_some();
    run::run_told(&Plan { is_traced, ..plan(seed, args) })
}

/// Returns a bar that shows itself on a terminal only.
pub fn bar(count: u64) -> ProgressBar {
    let style = "{elapsed_precise} {wide_bar} {pos}/{len} {per_sec} {msg}";
    let bar = ProgressBar::new(count);
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Tells a run that failed, or that shall be told.
fn tell(seed: u64, report: &Report, args: &Args) {
    let skipped = match (&report.violation, args.is_traced) {
        (None, false) => return,
        (_, true) => 0,
        (Some(_), false) => report.trace.len().saturating_sub(TOLD_COUNT_MAX),
    };
    if skipped > 0 {
        say(&format!("… {skipped} lines before this"));
    }
    report.trace.iter().skip(skipped).for_each(|line| say(line));
    report.faults.iter().for_each(|fault| say(&format!("  fault: {fault}")));
    let Some(violation) = &report.violation else { return };
    let mutant = args.mutant.as_ref().map(|name| format!(" --mutant {name:?}")).unwrap_or_default();
    let storage = match args.storage {
        Storage::Model => String::new(),
        Storage::Bitcask => format!(" --storage {}", args.storage.word()),
    };
    say(&format!("seed {seed} FAILED: {violation}"));
    say(&format!(
        "again: cargo run --release -p cluster --example simulate -- --seed {seed}{mutant}{storage} --trace\n"
    ));
}

/// What all runs came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    violations: u64,
    all: Report,
    /// Real and virtual time of the runs that passed; one that failed is lived through twice.
    real: Duration,
    lived: u64,
    /// Violations by their words without their numbers, each with the seeds.
    kinds: BTreeMap<String, Vec<u64>>,
    error: Option<String>,
}

impl Sum {
    fn add(&mut self, report: &Report, real: Duration) {
        self.runs += 1;
        self.all.add(report);
        if report.violation.is_none() {
            self.real += real;
            self.lived += report.lived;
        }
        if let Some(violation) = &report.violation {
            self.violations += 1;
            self.kinds.entry(kind_of(&violation.what)).or_default().push(report.seed);
        }
    }

    fn tell(&self, elapsed: Duration) {
        let all = &self.all;
        let lived = all.lived as f64 / 1e9;
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        let runs = self.runs.max(1) as f64;
        let (begun, done) = all.during;
        let lines = [
            ("seeds", format!("{} in {:.1} s", self.runs, elapsed.as_secs_f64())),
            ("virtual time", format!("{lived:.0} s")),
            (
                "a core's real time",
                format!("1 / {:.0}", self.lived as f64 / 1e9 / self.real.as_secs_f64()),
            ),
            ("operations begun during faults", begun.to_string()),
            ("… completed during faults", format!("{:.2} %", share(done, begun))),
            ("… outcome unknown", format!("{:.2} %", share(all.info, begun))),
            ("reads by permits", all.permitted.to_string()),
            ("changes of members a run", format!("{:.1}", all.changes as f64 / runs)),
            (
                "decisions to grow, shrink or level a run",
                format!("{:.1}", all.elastic as f64 / runs),
            ),
            ("healed after the faults in", format!("{:.2} s", all.healed_in as f64 / 1e9 / runs)),
            ("slots that lost their last copy", all.excused.to_string()),
            ("violations", self.violations.to_string()),
        ];
        say("| | |\n|---|---|");
        lines.iter().for_each(|(name, value)| say(&format!("| {name} | {value} |")));
        for (kind, seeds) in &self.kinds {
            say(&format!("{:6} × {kind}  seeds {:?}", seeds.len(), &seeds[..seeds.len().min(5)]));
        }
    }
}

/// Returns the first words of a violation, without those that have numbers and so differ from seed to seed.
pub fn kind_of(what: &str) -> String {
    /// Enough to tell kinds apart.
    const LEN_MAX: usize = 90;
    let words = what.lines().next().unwrap_or_default().split_whitespace();
    let is_rule = |word: &str| word.starts_with('R') && word.ends_with(':');
    let bare = |word| match word {
        word if is_rule(word) || !word.contains(|c: char| c.is_ascii_digit()) => word,
        _ => "_",
    };
    words.map(bare).collect::<Vec<_>>().join(" ").chars().take(LEN_MAX).collect()
}
