//! The whole of a call: load, runs in turn over all targets, report, verdict.
//!
//! With several targets the runs go A B C A B C …, so that whatever the machine does meanwhile (heat,
//! neighbours, clock rates) falls on all of them, and each ratio is taken within one round.

use std::io::Write;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::json;
use crate::plan::{Choice, Format, Plan, Target, Until};
use crate::report::{self, Series, Summary};
use crate::run::{Bench, Found};
use crate::tally::Counts;
use crate::values::Values;
use crate::zipf::Zipf;

/// Carries out `plan` and writes the report to `out`.
///
/// # Errors
/// If a server fails, or a reply was wrong, refused or unknown; in the latter case after the report.
pub(crate) fn run(plan: &Plan, out: &mut dyn Write) -> Result<()> {
    let values = Values::new();
    let workload = &plan.workload;
    let zipf = (workload.choice != Choice::Uniform).then(|| Arc::new(Zipf::new(workload.keys)));
    let bench = |target: &Target| Bench::new(target.clone(), workload, &values, zipf.clone());
    let mut benches: Vec<Bench<'_>> = plan.targets.iter().map(bench).collect();
    let mut verdict = Verdict::default();
    if plan.load {
        for bench in &mut benches {
            let found = bench.load()?;
            verdict.add(&found);
            if plan.format == Format::Table {
                write(out, &report::loaded(&bench.target, &found))?;
            }
        }
    }
    if workload.until == Until::Ops(0) {
        return verdict.result();
    }
    let mut all: Vec<Series> =
        plan.targets.iter().map(|target| Series::new(target.clone())).collect();
    for number in 0..plan.runs {
        for (bench, series) in benches.iter_mut().zip(&mut all) {
            let found = bench.run(number)?;
            verdict.add(&found);
            series.runs.push(Summary::new(&found));
        }
    }
    let text = match &plan.format {
        Format::Table => report::tables(workload, &all),
        Format::Json => json::render(workload, &all),
        Format::Row(title) => {
            note_hints(plan, &all);
            report::row(title, &all)
        }
    };
    write(out, &text)?;
    verdict.result()
}

/// A row has no place for hints, but they must not get lost.
fn note_hints(plan: &Plan, all: &[Series]) {
    for series in all {
        for hint in report::hints(&plan.workload, series) {
            // If standard error is gone, nobody reads it.
            writeln!(std::io::stderr(), "kvbench: {}: {hint}", series.target.protocol).ok();
        }
    }
}

fn write(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| Error::Report { source })
}

/// Whether all replies were as they should be.
#[derive(Default)]
struct Verdict {
    wrong: u64,
    refused: u64,
    unknown: u64,
    first: Option<String>,
}

impl Verdict {
    fn add(&mut self, found: &Found) {
        let Counts { wrong, refused, unknown, .. } = found.tally.counts;
        self.wrong += wrong;
        self.refused += refused;
        self.unknown += unknown;
        if self.first.is_none() {
            self.first.clone_from(&found.tally.first_bad);
        }
    }

    fn result(self) -> Result<()> {
        let Self { wrong, refused, unknown, first } = self;
        match first {
            None => Ok(()),
            Some(first) => Err(Error::Replies { wrong, refused, unknown, first }),
        }
    }
}
