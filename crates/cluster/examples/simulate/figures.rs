//! How long a slot is out after a crash, and whether a pause changes members: figures without random faults.

use crate::measure::{Strike, measure};
use crate::{Outcome, pool, say};

/// Measures each kind of fault in `runs` runs, a thread for each kind.
pub fn run(runs: u64) -> Outcome {
    let strikes = [Strike::Primary, Strike::Backup, Strike::Pause];
    let mut is_whole = true;
    let work = |strike: &Strike| measure(*strike, 1..runs + 1);
    pool::each(&strikes, strikes.len(), work, |_, measured| {
        say(&measured.to_string());
        if let Some(violation) = &measured.violation {
            say(violation);
            is_whole = false;
        }
        true
    });
    Ok(is_whole)
}
