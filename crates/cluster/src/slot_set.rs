//! A set of slots, taken out in their order: one bit for each, so that noting a slot costs next to nothing.
//!
//! ```text
//! words:  [ …0010 ][ …0000 ][ …1001 ] …        64 slots each
//!             ▲ nothing below `first` is set
//! ```

use crate::types::SlotId;

/// Words of a set: a bit for each slot there can be.
const WORD_COUNT: usize = hashring::SLOT_COUNT as usize / WORD_LEN;

/// Slots of a word.
const WORD_LEN: usize = u64::BITS as usize;

/// Some of the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotSet {
    words: Box<[u64; WORD_COUNT]>,
    /// No word below this one has anything.
    first: usize,
}

impl Default for SlotSet {
    fn default() -> Self {
        Self { words: Box::new([0; WORD_COUNT]), first: WORD_COUNT }
    }
}

impl SlotSet {
    /// Adds a slot, if it is not here.
    pub(crate) fn insert(&mut self, slot: SlotId) {
        let index = usize::from(slot.index());
        if let Some(word) = self.words.get_mut(index / WORD_LEN) {
            *word |= 1 << (index % WORD_LEN);
            self.first = self.first.min(index / WORD_LEN);
        }
    }

    /// Takes the lowest slot out.
    pub(crate) fn pop_first(&mut self) -> Option<SlotId> {
        while let Some(word) = self.words.get_mut(self.first) {
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                let index = self.first * WORD_LEN + bit as usize;
                return SlotId::new(u16::try_from(index).ok()?);
            }
            self.first += 1;
        }
        None
    }
}

impl Extend<SlotId> for SlotSet {
    fn extend<I: IntoIterator<Item = SlotId>>(&mut self, slots: I) {
        slots.into_iter().for_each(|slot| self.insert(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_out_once_and_in_order_whenever_they_came() {
        let slot = |index| SlotId::new(index).unwrap();
        let mut set = SlotSet::default();
        assert_eq!(set.pop_first(), None);
        let last = hashring::SLOT_COUNT - 1;
        set.extend([last, 64, 0, 63, 64, 1000].map(slot));
        assert_eq!(set.pop_first(), Some(slot(0)));
        assert_eq!(set.pop_first(), Some(slot(63)));
        set.insert(slot(5));
        let rest: Vec<u16> = std::iter::from_fn(|| set.pop_first()).map(SlotId::index).collect();
        assert_eq!(rest, [5, 64, 1000, last]);
        assert_eq!(set.pop_first(), None);
        set.insert(slot(7));
        assert_eq!((set.pop_first(), set.pop_first()), (Some(slot(7)), None));
    }
}
