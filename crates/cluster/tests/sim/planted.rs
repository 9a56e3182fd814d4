//! Every planted defect is found by a seed that passes without it: proof that the simulator can fail.
//!
//! The table is what `simulate mutants` prints. A change of what the simulator draws makes other seeds find them; then that
//! command gives the new table, here and in docs/TESTING.md.

use cluster::{MUTANTS, Planted};

use crate::plan::Plan;
use crate::run;

/// Each defect, with the first seed from 1 on that finds it; one too rare for that, with one from further on.
const FOUND_BY: &[(&str, u64)] = &[
    ("reads without a lease", 2),
    ("lease counted from receipt", 20),
    ("lease longer than the grace", 5),
    ("grace shorter than the leases", 9),
    ("a read checked only before its value is read", 241),
    ("dirty read at the primary", 2),
    ("dirty read at a backup", 3),
    ("read lease granted without own lease", 20),
    ("a pair's grant used for a slot that changed since", 26),
    ("a grant of a newer map used", 2),
    ("epoch unchecked in prepares", 973),
    ("epoch unchecked in acknowledgements", 2),
    ("requests to the ECS unnumbered", 157),
    ("settled before the map is in force", 3),
    ("acknowledgement before a backup's", 1),
    ("commit without a member not yet removed", 1),
    ("acknowledgement before fsync", 1),
    ("two sessions alive", 266),
    ("resend not idempotent: it cuts the log", 44),
    ("what is unacknowledged is not sent again", 1),
    ("grants while its removal is asked", 1028),
    ("beacon sent although the data path stands still", 41),
    ("no grace after a restart", 67),
    ("an unreadable record left out", 2),
    ("promotion of a learner", 2),
    ("no reconciliation", 1),
    ("tail dropped instead of kept", 2),
    ("adopted records not awaited", 2),
    ("serves before it is reconciled", 31),
    ("lsn reused after a restart", 1),
    ("orphans not repaired", 2),
    ("a learner's orphan adopted", 2),
    ("the committed instead of the newest value proposed again", 40),
    ("level before what was noted is there", 40),
    ("a learner's commit point that moves early", 2),
    ("removal asked before the reader has stopped", 5),
    ("removal without waiting for readers", 7888),
    ("grants of the primary before forgotten", 1606),
    ("joiner not counted while asked for, for writes", 5),
    ("joiner not counted while asked for, for reads", 17),
    ("\"level\" by highest lsn", 2),
    ("a learner's stream of committed records only", 3),
    ("level before the walk ends", 1),
    ("asked for before it knows that it is level", 25),
    ("hand-over that keeps serving", 2),
    ("a condition answered from pending state", 3),
    ("a pending state told without a lease", 20567),
    ("request ids ignored", 2),
    ("request table not moved", 2),
    ("tombstone floor ignored", 2),
    ("tombstone floor not moved", 2),
];

#[test]
fn every_planted_defect_is_found_by_its_seed_which_passes_without_it() {
    for (name, rule) in MUTANTS {
        let seed = FOUND_BY.iter().find(|(found, _)| found == name).map(|(_, seed)| *seed);
        let seed = seed.unwrap_or_else(|| panic!("no seed finds {name:?}"));
        assert!(run::run(&Plan::new(seed)).violation.is_none(), "seed {seed} without {name:?}");
        let _planted = Planted::new(name);
        let violation = run::run(&Plan::new(seed)).violation;
        assert!(violation.is_some(), "{name:?}, against {rule}, passes seed {seed}");
    }
}
