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
    ("reads without a lease", 1),
    ("lease counted from receipt", 1),
    ("a read by a permit not confirmed", 418),
    ("a permit kept in a new epoch", 1),
    ("a permit kept with a record pending", 1),
    ("a permit withdrawn behind the record", 1),
    ("a permit kept though reads are to stop", 29),
    ("a permit kept though a joiner counts", 5),
    ("a permit kept while a slot is handed over", 5),
    ("lease longer than the grace", 1),
    ("grace shorter than the leases", 2),
    ("a read checked only before its value is read", 31),
    ("dirty read at the primary", 2),
    ("dirty read at a backup", 2),
    ("read lease granted without own lease", 187),
    ("a pair's grant used for a slot that changed since", 91),
    ("a grant of a newer map used", 29),
    ("epoch unchecked in prepares", 206),
    ("epoch unchecked in acknowledgements", 1),
    ("requests to the ECS unnumbered", 573),
    ("settled before the map is in force", 15),
    ("acknowledgement before a backup's", 1),
    ("commit without a member not yet removed", 1),
    ("acknowledgement before fsync", 1),
    ("two sessions alive", 345),
    ("resend not idempotent: it cuts the log", 4),
    ("what is unacknowledged is not sent again", 2),
    ("grants while its removal is asked", 147),
    ("beacon sent although the data path stands still", 54),
    ("no grace after a restart", 29),
    ("an unreadable record left out", 14),
    ("promotion of a learner", 2),
    ("no reconciliation", 1),
    ("tail dropped instead of kept", 1),
    ("adopted records not awaited", 2),
    ("serves before it is reconciled", 17),
    ("lsn reused after a restart", 1),
    ("orphans not repaired", 5),
    ("a learner's orphan adopted", 5),
    ("the committed instead of the newest value proposed again", 36),
    ("level before what was noted is there", 26),
    ("a learner's commit point that moves early", 2),
    ("removal asked before the reader has stopped", 14),
    ("removal without waiting for readers", 137),
    ("joiner not counted while asked for, for writes", 17),
    ("joiner not counted while asked for, for reads", 38),
    ("\"level\" by highest lsn", 1),
    ("a learner's stream of committed records only", 1),
    ("level before the walk ends", 1),
    ("asked for before it knows that it is level", 25),
    ("hand-over that keeps serving", 10),
    ("a condition answered from pending state", 5),
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
