//! Every planted defect is found by a seed that passes without it: proof that the simulator can fail. One that seeds find too
//! rarely is found by hand, in `tests/machine`.
//!
//! The table is what `simulate mutants` prints. A change of what the simulator draws makes other seeds find them; then that
//! command gives the new table, here and in docs/TESTING.md.

use cluster::{MUTANTS, Planted};

use crate::plan::Plan;
use crate::run;

/// Each defect, with the first seed from 1 on that finds it; one too rare for that, with one from further on.
const FOUND_BY: &[(&str, u64)] = &[
    ("reads without a lease", 4),
    ("lease counted from receipt", 23),
    ("lease longer than the grace", 5),
    ("grace shorter than the leases", 15),
    ("a read checked only before its value is read", 555),
    ("dirty read at the primary", 2),
    ("dirty read at a backup", 3),
    ("read lease granted without own lease", 78),
    ("a pair's grant used for a slot that changed since", 26),
    ("a grant of a newer map used", 30),
    ("epoch unchecked in prepares", 215),
    ("epoch unchecked in acknowledgements", 2),
    ("requests to the ECS unnumbered", 358),
    ("settled before the map is in force", 5),
    ("acknowledgement before a backup's", 1),
    ("commit without a member not yet removed", 1),
    ("acknowledgement before fsync", 1),
    ("two sessions alive", 289),
    ("resend not idempotent: it cuts the log", 67),
    ("what is unacknowledged is not sent again", 1),
    ("grants while its removal is asked", 197),
    ("beacon sent although the data path stands still", 263),
    ("no grace after a restart", 259),
    ("an unreadable record left out", 12),
    ("promotion of a learner", 2),
    ("no reconciliation", 4),
    ("tail dropped instead of kept", 10),
    ("adopted records not awaited", 1),
    ("serves before it is reconciled", 22),
    ("lsn reused after a restart", 1),
    ("orphans not repaired", 2),
    ("a learner's orphan adopted", 2),
    ("the committed instead of the newest value proposed again", 215),
    ("level before what was noted is there", 20),
    ("a learner's commit point that moves early", 2),
    ("removal asked before the reader has stopped", 3),
    ("removal without waiting for readers", 735),
    ("joiner not counted while asked for, for writes", 12),
    ("joiner not counted while asked for, for reads", 139),
    ("\"level\" by highest lsn", 5),
    ("a learner's stream of committed records only", 2),
    ("level before the walk ends", 1),
    ("asked for before it knows that it is level", 8),
    ("hand-over that keeps serving", 8),
    ("a condition answered from pending state", 2),
    ("request ids ignored", 2),
    ("request table not moved", 1),
    ("tombstone floor ignored", 2),
    ("tombstone floor not moved", 2),
];

/// Those that `tests/machine` finds, in `accusing.rs` and `bounds.rs`, and `deaf.rs` here.
const FOUND_BY_HAND: &[&str] = &[
    "grants of the primary before forgotten",
    "a pending state told without a lease",
    "an accuser believed whom everybody doubts",
    "who hears nobody accuses at once",
    "a deaf backup kept",
];

#[test]
fn every_planted_defect_is_found_by_its_seed_which_passes_without_it() {
    for (name, rule) in MUTANTS.iter().filter(|(name, _)| !FOUND_BY_HAND.contains(name)) {
        let seed = FOUND_BY.iter().find(|(found, _)| found == name).map(|(_, seed)| *seed);
        let seed = seed.unwrap_or_else(|| panic!("no seed finds {name:?}"));
        assert!(run::run(&Plan::new(seed)).violation.is_none(), "seed {seed} without {name:?}");
        let _planted = Planted::new(name);
        let violation = run::run(&Plan::new(seed)).violation;
        assert!(violation.is_some(), "{name:?}, against {rule}, passes seed {seed}");
    }
}
