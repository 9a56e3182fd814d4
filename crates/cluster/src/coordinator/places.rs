//! Learners' places: each primary has a number of them, so that what it can send is spent on slots that get done.

use std::collections::BTreeMap;

use crate::types::ServerId;

/// How many places are taken: by primary, and by primary and learner.
#[derive(Default)]
pub(super) struct Places {
    by_primary: BTreeMap<ServerId, usize>,
    by_pair: BTreeMap<(ServerId, ServerId), usize>,
}

impl Places {
    pub(super) fn take(&mut self, primary: ServerId, learner: ServerId) {
        *self.by_primary.entry(primary).or_default() += 1;
        *self.by_pair.entry((primary, learner)).or_default() += 1;
    }

    pub(super) fn taken_by(&self, primary: ServerId) -> usize {
        self.by_primary.get(&primary).copied().unwrap_or_default()
    }

    pub(super) fn taken_by_pair(&self, primary: ServerId, learner: ServerId) -> usize {
        self.by_pair.get(&(primary, learner)).copied().unwrap_or_default()
    }
}
