//! Planted defects: each that was seen in another engine, or in this one, can be switched on to prove that a test fails.
//!
//! `mutant!("name")` stands where the defect would be and is false in every ordinary build: the compiler takes it
//! out. With the feature `mutants`, which only tests use, it is true in a thread that has planted that name.
//! A switch for each thread lets tests run side by side; engines under such a test have no threads of their own.

#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::is_planted($name)
    };
}

#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    /// Every defect that can be planted.
    pub const MUTANTS: [&str; 41] = [
        "append behind a partial record",
        "checksum without place",
        "commit point before its records",
        "commit point falls",
        "commit point owed for ever",
        "copy of a pending record uncounted",
        "corruption taken for a tear",
        "ended value dropped before older records",
        "fresh checksum for damage",
        "hint taken unchecked",
        "inputs removed before the log is durable",
        "last record wins",
        "lock file blocks",
        "lower request lsn wins",
        "merge drops what a pending record will replace",
        "merge drops what is pending",
        "merge drops what it cannot read",
        "merge stops writes",
        "merge without gain",
        "name never synced",
        "name of a merged file never synced",
        "no sync at rotation",
        "overwrite in two records",
        "pending record not relocated",
        "pending record published at opening",
        "recovered in place",
        "request below the floor",
        "request dropped with its record",
        "request noted before it is published",
        "request of an overwritten record lost",
        "scan ends at damage",
        "sync tried again",
        "tombstone dropped above the commit point",
        "tombstone dropped above the floor",
        "tombstone dropped before older records",
        "tombstone dropped over a pending record",
        "tombstone told by its value",
        "twenty errors a file",
        "unreadable is not found",
        "value counted as ended before its end",
        "zeros taken for corruption",
    ];

    thread_local! {
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// A defect that is planted in this thread until this is dropped.
    #[derive(Debug)]
    pub struct Planted(());

    impl Planted {
        /// Plants one of [`MUTANTS`].
        ///
        /// # Panics
        /// When there is no such defect.
        #[must_use]
        pub fn new(name: &'static str) -> Self {
            assert!(MUTANTS.contains(&name), "no mutant {name:?}");
            PLANTED.set(Some(name));
            Self(())
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    pub(crate) fn is_planted(name: &'static str) -> bool {
        debug_assert!(MUTANTS.contains(&name), "no mutant {name:?}");
        PLANTED.get() == Some(name)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use planted::is_planted;
#[cfg(feature = "mutants")]
pub use planted::{MUTANTS, Planted};
