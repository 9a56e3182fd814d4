//! One slot's records that were read lately, in memory: a get that finds its record here makes no system call.
//!
//! ```text
//! ring   | record | record | … | oldest …     written round and round: the oldest go first
//! sets   | 4 × (hash, place) | …              where in the ring the record of a key may be
//! place  position 51 bits | length 13 bits    0: free
//! ```
//!
//! It lies beside the slot's table, behind the same lock, and holds nothing that is not the newest published record of its
//! key: a record is kept only while the table still points to it, and forgotten in the step in which the table points to
//! another. So a get that finds its key here need not look into the table at all. A merge moves
//! a record and changes nothing of it: what is here stays right.
//!
//! Positions count all bytes that ever went into the ring; one that lies further back than the ring is long was
//! overwritten. So bytes of a value are never taken for a record. Only reads fill it, with records that proved whole.
//! Memory is taken as it fills. Records longer than [`RECORD_LEN_MAX`] are left out: copying them costs more
//! than the system call. First in, first out: on a hit there is nothing to note.

/// The longest record that is kept, in bytes.
const RECORD_LEN_MAX: usize = 4096;
/// Entries of one set: 64 bytes, which a processor fetches at once.
const SET_COUNT: usize = 4;
/// Bytes of memory for which there is an entry: short records are what it is for.
const ENTRY_SPACING: usize = 96;
/// Bits of a place that are the record's length.
const LEN_BITS: u32 = 13;

/// The hash of a key, and the place of its record.
type Entry = (u64, u64);

/// A bounded cache of one slot's records.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ring: Vec<u8>,
    sets: Vec<[Entry; SET_COUNT]>,
    /// Bytes that ever went into the ring.
    position: u64,
}

impl Recent {
    /// Returns the number of the set for `hash`; `None` when nothing is kept. The low bits choose a bucket of the
    /// table; these are others.
    fn set(&self, hash: u64) -> Option<usize> {
        crate::codec::to_usize(hash >> 24).checked_rem(self.sets.len())
    }

    /// Returns the record kept under `hash`, which may be that of another key.
    pub(crate) fn find(&self, hash: u64) -> Option<&[u8]> {
        let set = self.set(hash).and_then(|set| self.sets.get(set))?;
        let (_, place) = set.iter().find(|(known, place)| *known == hash && *place != 0)?;
        let (position, len) = (place >> LEN_BITS, place & ((1 << LEN_BITS) - 1));
        let ring_len = self.ring.len() as u64;
        if self.position - position > ring_len {
            return None;
        }
        let start = crate::codec::to_usize(position % ring_len);
        self.ring.get(start..start + crate::codec::to_usize(len))
    }

    /// Forgets what is kept under `hash`.
    pub(crate) fn forget(&mut self, hash: u64) {
        let Some(set) = self.set(hash).and_then(|set| self.sets.get_mut(set)) else { return };
        set.iter_mut().filter(|(known, _)| *known == hash).for_each(|entry| *entry = (0, 0));
    }

    /// Keeps a record under `hash`, within about `len_max` bytes of memory.
    pub(crate) fn keep(&mut self, hash: u64, record: &[u8], len_max: usize) {
        if record.len() > RECORD_LEN_MAX || len_max < RECORD_LEN_MAX {
            return;
        }
        if self.sets.is_empty() {
            let set_count = len_max / (ENTRY_SPACING * SET_COUNT);
            self.sets = vec![[(0, 0); SET_COUNT]; set_count];
        }
        let ring_len_max = len_max - size_of_val(self.sets.as_slice());
        let Some(start) = self.make_room(record.len(), ring_len_max) else { return };
        let Some(room) = self.ring.get_mut(start..start + record.len()) else { return };
        room.copy_from_slice(record);
        let place = (self.position << LEN_BITS) | record.len() as u64;
        self.position += record.len() as u64;
        // Its own entry if there is one, else the oldest; a free one is older than all.
        let own_or_oldest = |(known, place): &&mut Entry| (*known != hash, *place);
        let set = self.set(hash).and_then(|set| self.sets.get_mut(set));
        if let Some(entry) = set.and_then(|set| set.iter_mut().min_by_key(own_or_oldest)) {
            *entry = (hash, place);
        }
    }

    /// Moves the position to where `len` bytes lie in one piece, and returns that place in the ring.
    fn make_room(&mut self, len: usize, ring_len_max: usize) -> Option<usize> {
        let end = self.ring.len() + len;
        let was_never_round = self.position == self.ring.len() as u64;
        if was_never_round && end <= ring_len_max {
            if self.ring.capacity() < end {
                let capacity = (2 * self.ring.capacity()).clamp(end, ring_len_max);
                self.ring.reserve_exact(capacity - self.ring.len());
            }
            self.ring.resize(end, 0);
            return Some(end - len);
        }
        let ring_len = self.ring.len() as u64;
        let start = self.position.checked_rem(ring_len)?;
        if start + len as u64 <= ring_len {
            return Some(crate::codec::to_usize(start));
        }
        self.position += ring_len - start;
        Some(0)
    }

    /// Returns the bytes of memory it holds.
    pub(crate) fn memory_len(&self) -> usize {
        self.ring.capacity() + size_of_val(self.sets.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN_MAX: usize = 1 << 16;

    fn hash(index: u64) -> u64 {
        (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Bytes that tell which they are.
    fn record(index: u64, len: usize) -> Vec<u8> {
        index.to_le_bytes().into_iter().cycle().take(len).collect()
    }

    #[test]
    fn what_is_found_is_what_was_kept_however_often_the_ring_went_round() {
        let mut recent = Recent::default();
        let len = |index: u64| 8 + usize::try_from(index % 300).unwrap();
        let mut found_count = 0;
        for index in 0..20_000 {
            recent.keep(hash(index), &record(index, len(index)), LEN_MAX);
            assert_eq!(recent.find(hash(index)), Some(&*record(index, len(index))));
            let earlier = index - index % 150;
            if let Some(found) = recent.find(hash(earlier)) {
                assert_eq!(found, record(earlier, len(earlier)));
                found_count += 1;
            }
            assert!(recent.memory_len() <= LEN_MAX);
        }
        assert!(found_count > 15_000, "{found_count}");
    }

    #[test]
    fn what_is_forgotten_or_kept_anew_is_not_found_as_it_was() {
        let mut recent = Recent::default();
        recent.keep(hash(1), b"one", LEN_MAX);
        recent.keep(hash(2), b"two", LEN_MAX);
        recent.keep(hash(1), b"three", LEN_MAX);
        assert_eq!(recent.find(hash(1)), Some(&b"three"[..]));
        recent.forget(hash(1));
        assert_eq!(recent.find(hash(1)), None);
        assert_eq!(recent.find(hash(2)), Some(&b"two"[..]));
    }

    #[test]
    fn a_record_at_the_limit_is_kept_and_one_byte_more_is_not() {
        for (len, is_kept) in [(RECORD_LEN_MAX, true), (RECORD_LEN_MAX + 1, false)] {
            let mut recent = Recent::default();
            recent.keep(hash(1), &record(1, len), LEN_MAX);
            assert_eq!(recent.find(hash(1)).is_some(), is_kept);
        }
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let mut recent = Recent::default();
        recent.keep(hash(1), b"record", 0);
        assert_eq!((recent.find(hash(1)), recent.memory_len()), (None, 0));
    }
}
