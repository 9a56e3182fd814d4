//! Every planted defect is found by a seed that passes without it: proof that the simulator can fail.
//!
//! The table is what `simulate mutants` prints. A change of what the simulator draws makes other seeds find them; then that
//! command gives the new table, here and in docs/TESTING.md.

use cluster::{MUTANTS, Planted};

use crate::plan::Plan;
use crate::run;

/// Each defect, with the first seed from 1 on that finds it.
const FOUND_BY: &[(&str, u64)] = &[
    ("reads without a lease", 1),
    ("lease counted from receipt", 4),
    ("lease longer than the grace", 1),
    ("grace shorter than the leases", 11),
    ("a read checked only before its value is read", 140),
    ("dirty read at the primary", 1),
    ("dirty read at a backup", 1),
    ("read lease granted without own lease", 156),
    ("a pair's grant used for a slot that changed since", 149),
    ("a grant of a newer map used", 112),
    ("epoch unchecked in prepares", 39),
    ("epoch unchecked in acknowledgements", 8),
    ("requests to the ECS unnumbered", 96),
    ("settled before the map is in force", 45),
    ("acknowledgement before a backup's", 1),
    ("commit without a member not yet removed", 1),
    ("acknowledgement before fsync", 1),
    ("two sessions alive", 1651),
    ("resend not idempotent: it cuts the log", 10),
    ("what is unacknowledged is not sent again", 1),
    ("grants while its removal is asked", 2737),
    ("no grace after a restart", 125),
    ("promotion of a learner", 22),
    ("no reconciliation", 1),
    ("tail dropped instead of kept", 2),
    ("adopted records not awaited", 10),
    ("serves before it is reconciled", 163),
    ("lsn reused after a restart", 1),
    ("orphans not repaired", 1),
    ("a learner's orphan adopted", 1),
    ("the committed instead of the newest value proposed again", 56),
    ("level before what was noted is there", 2),
    ("a learner's commit point that moves early", 7),
    ("removal asked before the reader has stopped", 107),
    ("removal without waiting for readers", 3555),
    ("joiner not counted while asked for, for writes", 20),
    ("joiner not counted while asked for, for reads", 19),
    ("\"level\" by highest lsn", 4),
    ("a learner's stream of committed records only", 2),
    ("level before the walk ends", 1),
    ("asked for before it knows that it is level", 658),
    ("hand-over that keeps serving", 9),
    ("a condition answered from pending state", 17),
    ("request ids ignored", 1),
    ("request table not moved", 1),
    ("tombstone floor ignored", 2),
    ("tombstone floor not moved", 22),
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
