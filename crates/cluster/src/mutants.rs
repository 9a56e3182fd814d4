//! Planted defects: each breaks one rule of the design, and switches on to prove that the simulator finds it.
//!
//! `mutant!("name")` stands where the defect would be and is false in every ordinary build: the compiler takes it
//! out. With the feature `mutants`, which only tests use, it is true in a thread that has planted that name.
//! A switch for each thread lets runs go side by side; the machines have no threads of their own.

#[cfg(feature = "mutants")]
#[allow(unused_macros, reason = "a crate without a planted defect is complete")]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::is_planted($name)
    };
}

#[cfg(not(feature = "mutants"))]
#[allow(unused_macros, reason = "a crate without a planted defect is complete")]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::off()
    };
}

/// Returns that no defect is planted. A call, so that no lint takes the expressions around it for nonsense.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn off() -> bool {
    false
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    /// Every defect that can be planted, by name, with the rule that it breaks.
    pub const MUTANTS: &[(&str, &str)] = &[
        ("reads without a lease", "R13"),
        ("lease counted from receipt", "R13"),
        ("a read by a permit not confirmed", "R13"),
        ("a permit kept in a new epoch", "R9"),
        ("a permit kept with a record pending", "R14"),
        ("a permit withdrawn behind the record", "R14"),
        ("a permit kept though reads are to stop", "R21"),
        ("a permit kept though a joiner counts", "R22"),
        ("a permit kept while a slot is handed over", "R23"),
        ("lease longer than the grace", "R13"),
        ("grace shorter than the leases", "R15"),
        ("a read checked only before its value is read", "R13"),
        ("dirty read at the primary", "R13"),
        ("dirty read at a backup", "R14"),
        ("read lease granted without own lease", "R14"),
        ("a pair's grant used for a slot that changed since", "R9"),
        ("a grant of a newer map used", "R9"),
        ("epoch unchecked in prepares", "R9"),
        ("epoch unchecked in acknowledgements", "R9"),
        ("requests to the ECS unnumbered", "R9"),
        ("settled before the map is in force", "R9"),
        ("acknowledgement before a backup's", "R10"),
        ("commit without a member not yet removed", "R10"),
        ("acknowledgement before fsync", "R3"),
        ("two sessions alive", "R12"),
        ("resend not idempotent: it cuts the log", "R12"),
        ("what is unacknowledged is not sent again", "R12"),
        ("grants while its removal is asked", "R15"),
        ("beacon sent although the data path stands still", "R16"),
        ("no grace after a restart", "R15"),
        ("an accuser believed whom everybody doubts", "R15"),
        ("who hears nobody accuses at once", "R15"),
        ("a deaf backup kept", "R15"),
        ("an unreadable record left out", "R4"),
        ("promotion of a learner", "R17"),
        ("no reconciliation", "R18"),
        ("tail dropped instead of kept", "R18"),
        ("adopted records not awaited", "R18"),
        ("serves before it is reconciled", "R18"),
        ("lsn reused after a restart", "R19"),
        ("orphans not repaired", "R20"),
        ("a learner's orphan adopted", "R20"),
        ("the committed instead of the newest value proposed again", "R20"),
        ("level before what was noted is there", "R20"),
        ("a learner's commit point that moves early", "commit point"),
        ("removal asked before the reader has stopped", "R21"),
        ("removal without waiting for readers", "R21"),
        ("grants of the primary before forgotten", "R21"),
        ("joiner not counted while asked for, for writes", "R22"),
        ("joiner not counted while asked for, for reads", "R22"),
        ("\"level\" by highest lsn", "R22"),
        ("a learner's stream of committed records only", "section 8"),
        ("level before the walk ends", "section 8"),
        ("asked for before it knows that it is level", "R20"),
        ("hand-over that keeps serving", "R23"),
        ("a condition answered from pending state", "R11"),
        ("a pending state told without a lease", "R13"),
        ("request ids ignored", "R24"),
        ("request table not moved", "R24"),
        ("tombstone floor ignored", "R5"),
        ("tombstone floor not moved", "R5"),
    ];

    /// Every defect of the gossip that can be planted, with what it breaks. Its own simulation finds them.
    pub const GOSSIP_MUTANTS: &[(&str, &str)] = &[
        ("no refutation", "SWIM: a suspect that lives says so"),
        ("a suspect not told so", "Lifeguard: a suspect hears of it first"),
        ("alive of the same life ends a suspicion", "SWIM: only a refutation does"),
        ("a suspicion without an end", "SWIM: whoever stays silent is dead"),
        ("a suspicion as short as if all shared it", "Lifeguard: one accuser waits longer"),
        ("no last word", "who would tell a death asks the suspect first"),
        ("own health ignored", "Lifeguard: an ill server waits longer"),
        ("own lateness held against others", "a server that stood still accuses nobody"),
        ("rumours told for ever", "what is old is told no more"),
        ("an older report taken for a newer", "the higher beat counts"),
        ("gone for good and remembered", "what the map says has gone is forgotten"),
        ("a pull that fails not tried elsewhere", "who is behind finds somebody who answers"),
        ("a newer map kept to oneself", "a map change is told at once"),
    ];

    /// Every defect of growing and shrinking that can be planted, with what it breaks. Tables and simulated days find them.
    pub const ELASTIC_MUTANTS: &[(&str, &str)] = &[
        ("decides while servers are unseen", "who is silent comes back or goes"),
        ("decides while copies are made", "one thing at a time"),
        ("decides by loads that are not known", "an unknown load is not an empty one"),
        ("a full disk weighs nothing", "who takes no more puts is the fullest"),
        ("copies not counted", "each slot is stored several times"),
        ("drains below the copies", "each slot has its copies"),
        ("chases a slot that alone is too much", "moves are worth their bytes"),
        ("no cool-down", "one thing at a time"),
        ("no cool-down after a start", "what was decided before is not known"),
        ("drains at the first dip", "a night is not a decline"),
        ("levels operations whatever is stored", "levelling one thing must not unmake another"),
        ("starts several for one that is wanted", "one thing at a time"),
        ("starts again without a pause", "what fails at once fails again"),
        ("ends a process that holds slots", "each slot has its copies"),
    ];

    thread_local! {
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// A defect that is planted in this thread until this is dropped.
    #[derive(Debug)]
    pub struct Planted(());

    impl Planted {
        /// Plants one of [`MUTANTS`], [`GOSSIP_MUTANTS`] or [`ELASTIC_MUTANTS`].
        ///
        /// # Panics
        /// When there is no such defect.
        #[must_use]
        pub fn new(name: &'static str) -> Self {
            assert!(is_known(name), "no mutant {name:?}");
            PLANTED.set(Some(name));
            Self(())
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    fn is_known(name: &str) -> bool {
        MUTANTS.iter().chain(GOSSIP_MUTANTS).chain(ELASTIC_MUTANTS).any(|(known, _)| *known == name)
    }

    #[allow(dead_code, reason = "a crate without a planted defect is complete")]
    pub(crate) fn is_planted(name: &'static str) -> bool {
        debug_assert!(is_known(name), "no mutant {name:?}");
        PLANTED.get() == Some(name)
    }
}

#[cfg(feature = "mutants")]
#[allow(unused_imports, reason = "a crate without a planted defect is complete")]
pub(crate) use planted::is_planted;
#[cfg(feature = "mutants")]
pub use planted::{ELASTIC_MUTANTS, GOSSIP_MUTANTS, MUTANTS, Planted};
