//! What is still to be done until every slot has its ideal members: for status and progress, and to know when all is done.

use super::Coordinator;
use crate::map::Map;
use crate::types::SlotId;

/// The slots that are not as the ring wants them, by what comes next for each. A slot is in one list only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// No member is provably complete: an operator must choose.
    pub refused: Vec<SlotId>,
    /// A learner is being brought up to date.
    pub learning: Vec<SlotId>,
    /// Fewer members than there shall be, and no learner yet.
    pub lacking: Vec<SlotId>,
    /// Enough members, but not the ideal ones, and no learner yet.
    pub waiting: Vec<SlotId>,
    /// All ideal members are there; the ideal primary is not yet primary.
    pub handing_over: Vec<SlotId>,
    /// All ideal members are there, and others too.
    pub surplus: Vec<SlotId>,
}

impl Moves {
    /// Returns how many slots are not as they shall be.
    #[must_use]
    pub fn count(&self) -> usize {
        let lists = [
            &self.refused,
            &self.learning,
            &self.lacking,
            &self.waiting,
            &self.handing_over,
            &self.surplus,
        ];
        lists.iter().map(|list| list.len()).sum()
    }

    fn of(map: &Map) -> Self {
        let mut moves = Self::default();
        for (id, slot) in map.slots().filter(|(id, _)| !map.is_ideal(*id)) {
            let ideal = map.ideal(id);
            let list = if slot.primary.is_none() {
                &mut moves.refused
            } else if slot.learner.is_some() {
                &mut moves.learning
            } else if slot.members().count() < ideal.len() {
                &mut moves.lacking
            } else if !ideal.iter().all(|server| slot.is_member(*server)) {
                &mut moves.waiting
            } else if slot.primary_id() != ideal.first().copied() {
                &mut moves.handing_over
            } else {
                &mut moves.surplus
            };
            list.push(id);
        }
        moves
    }
}

impl Coordinator {
    /// Returns what is still to be done.
    #[must_use]
    pub fn moves(&self) -> Moves {
        Moves::of(&self.map)
    }
}
