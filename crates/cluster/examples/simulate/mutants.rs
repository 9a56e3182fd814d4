//! Plants each defect in turn, and counts the seeds until one fails: the proof that the simulator can find it.
//!
//! Each defect is tried on one thread, from the first seed on, so what is printed does not depend on the threads. The
//! seed that found it must pass without it, else it proves nothing.

use std::time::Duration;

use cluster::{MUTANTS, Planted};

use crate::args::Args;
use crate::seeds::{bar, kind_of, plan, timed};
use crate::{Outcome, pool, run, say};

/// What became of a planted defect.
struct Found {
    name: &'static str,
    rule: &'static str,
    tried_count: u64,
    real: Duration,
    end: End,
}

enum End {
    /// The seed, and what went against a promise.
    Caught(u64, String),
    /// The seed fails without the defect too.
    Void(u64, String),
    Missed,
}

/// Tries all defects, or those whose names contain one of the words, and prints a table in markdown.
pub fn run(args: &Args, words: &[String], seeds_max: u64) -> Outcome {
    let is_asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(&**word));
    let jobs: Vec<_> = MUTANTS.iter().filter(|(name, _)| is_asked(name)).collect();
    if jobs.is_empty() {
        return Err("no such mutant".to_owned());
    }
    let bar = bar(jobs.len() as u64);
    let mut all = Vec::new();
    let work = |(name, rule): &&(&'static str, &'static str)| find(name, rule, args, seeds_max);
    pool::each(&jobs, args.thread_count(), work, |_, found: Found| {
        bar.inc(1);
        bar.set_message(found.name);
        all.push(found);
        true
    });
    bar.finish_and_clear();
    all.sort_by_key(|found| MUTANTS.iter().position(|(name, _)| *name == found.name));
    say("| planted | rule | seed | seeds tried | s | seen as |\n|---|---|---|---|---|---|");
    all.iter().for_each(|found| say(&line(found)));
    let caught = all.iter().filter(|found| matches!(found.end, End::Caught(..))).count();
    let real: Duration = all.iter().map(|found| found.real).sum();
    say(&format!("\n{caught} of {} caught, {:.0} s of one core", all.len(), real.as_secs_f64()));
    Ok(caught == all.len())
}

fn find(name: &'static str, rule: &'static str, args: &Args, seeds_max: u64) -> Found {
    let first = args.seeds.0;
    let (found, real) = timed(|| {
        let _planted = Planted::new(name);
        (first..first + seeds_max).find_map(|seed| {
            let violation = run::run(&plan(seed, args)).violation?;
            Some((seed, violation.what))
        })
    });
    let (tried_count, end) = match found {
        None => (seeds_max, End::Missed),
        Some((seed, what)) => {
            let is_void = run::run(&plan(seed, args)).violation.is_some();
            let end = if is_void { End::Void(seed, what) } else { End::Caught(seed, what) };
            (seed - first + 1, end)
        }
    };
    Found { name, rule, tried_count, real, end }
}

fn line(found: &Found) -> String {
    let (seed, seen) = match &found.end {
        End::Caught(seed, what) => (seed.to_string(), kind_of(what)),
        End::Void(seed, what) => {
            (seed.to_string(), format!("**fails without it too**: {}", kind_of(what)))
        }
        End::Missed => ("–".to_owned(), "**not found**".to_owned()),
    };
    let seen = seen.replace('|', "\\|");
    let (name, rule, tried) = (found.name, found.rule, found.tried_count);
    let seconds = found.real.as_secs_f64();
    format!("| {name} | {rule} | {seed} | {tried} | {seconds:.1} | {seen} |")
}
