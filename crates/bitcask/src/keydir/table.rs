//! One slot's table: a byte arena of entries, and an index of their places.
//!
//! ```text
//! arena  | entry | entry | vacant | entry | …          entries are appended; an overwritten one is changed in place
//! entry  0 lsn 8 | 8 file 4 | 12 offset 4 | 16 record length and flags 4 | 20 stale 2 | 22 key length 2 | 24 key
//! index  a raw hash table of 32-bit places in the arena
//! ```
//!
//! A key costs 24 bytes and itself in the arena, and 5.7 to 11.4 bytes in the index (5 bytes a bucket, 7/16 to 7/8 full).
//! The arena grows by an eighth, so at most that is spare. Places of removed keys are won back
//! by copying the arena when a quarter of it is vacant. Entries lie in the order of their first
//! insertion, so a walk needs no order of a hash table.
//!
//! *stale* counts the older records of the key that are still in data files. When it is zero, no file can hold
//! a value that a tombstone still has to hide; that is the exact condition for dropping the tombstone
//! (riak bitcask issues #82, #102, #128 and others tell what a guess does). The counter stops at its top
//! and then means "many", until the next opening counts anew.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::codec::{Reader, put_at, to_u32};
use crate::data_file::FileId;
use crate::types::Lsn;

/// Bytes of an entry before its key.
pub(crate) const ENTRY_LEN: usize = 24;
const STALE_AT: usize = 20;
const STALE_MANY: u16 = u16::MAX;
const TOMBSTONE: u32 = 1 << 31;
const EXPIRY: u32 = 1 << 30;
const VACANT: u32 = 1 << 29;
const RECORD_LEN: u32 = (1 << 28) - 1;
/// An arena smaller than this is never copied for its vacant places.
const COMPACT_LEN_MIN: usize = 1024;
/// An arena of this many bytes takes no more appends: places have 32 bits, and what was appended before the
/// refusal must still find room.
const ARENA_FULL_LEN: usize = 3 << 30;

/// Where a record is, and what must be known of it without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) lsn: Lsn,
    pub(crate) file: FileId,
    pub(crate) offset: u32,
    pub(crate) record_len: u32,
    pub(crate) is_tombstone: bool,
    pub(crate) has_expiry: bool,
}

impl Entry {
    fn encode(&self) -> [u8; STALE_AT] {
        let mut flags = self.record_len & RECORD_LEN;
        flags |= if self.is_tombstone { TOMBSTONE } else { 0 };
        flags |= if self.has_expiry { EXPIRY } else { 0 };
        let mut bytes = [0; STALE_AT];
        put_at(&mut bytes, 0, &self.lsn.0.to_le_bytes());
        put_at(&mut bytes, 8, &self.file.0.to_le_bytes());
        put_at(&mut bytes, 12, &self.offset.to_le_bytes());
        put_at(&mut bytes, 16, &flags.to_le_bytes());
        bytes
    }

    /// Returns the record's length, as `live_len` counts it.
    pub(crate) fn live_len(&self) -> u64 {
        u64::from(self.record_len)
    }
}

/// An entry as it lies in the arena.
#[derive(Clone, Copy)]
struct Placed<'a> {
    entry: Entry,
    stale: u16,
    is_vacant: bool,
    key: &'a [u8],
}

impl Placed<'_> {
    fn len(&self) -> usize {
        ENTRY_LEN + self.key.len()
    }
}

fn read_entry(arena: &[u8], at: usize) -> Option<Placed<'_>> {
    let mut reader = Reader::new(arena.get(at..)?);
    let lsn = Lsn(reader.u64()?);
    let file = FileId(reader.u32()?);
    let offset = reader.u32()?;
    let flags = reader.u32()?;
    let stale = reader.u16()?;
    let key_len = reader.u16()?;
    let key = reader.bytes(usize::from(key_len))?;
    let entry = Entry {
        lsn,
        file,
        offset,
        record_len: flags & RECORD_LEN,
        is_tombstone: flags & TOMBSTONE != 0,
        has_expiry: flags & EXPIRY != 0,
    };
    Some(Placed { entry, stale, is_vacant: flags & VACANT != 0, key })
}

fn key_at(arena: &[u8], place: u32) -> &[u8] {
    read_entry(arena, place as usize).map_or(&[], |placed| placed.key)
}

/// What became of a record that was offered to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// The key is new.
    Inserted,
    /// The record is newer than this one, which is dead now.
    Replaced(Entry),
    /// The table has a newer record, or this very one: the offered bytes are dead.
    Outdated,
}

/// One slot's keys.
#[derive(Debug, Default)]
pub(crate) struct Table {
    arena: Vec<u8>,
    index: HashTable<u32>,
    tombstone_count: usize,
    live_len: u64,
    vacant_len: usize,
    /// Walks in progress: while there are any, entries keep their places.
    walk_count: usize,
    highest: Lsn,
}

impl Table {
    fn place(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let arena = &self.arena;
        self.index.find(hash, |place| key_at(arena, *place) == key).map(|place| *place as usize)
    }

    /// Returns the newest record of `key`, a tombstone among them.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Entry> {
        let at = self.place(hash, key)?;
        read_entry(&self.arena, at).map(|placed| placed.entry)
    }

    /// Makes room for `count` keys whose entries have `len` bytes in all.
    pub(crate) fn reserve(&mut self, count: usize, len: usize, hasher: &RandomState) {
        self.arena.reserve_exact(len);
        let arena = &self.arena;
        self.index.reserve(count, |place| hasher.hash_one(key_at(arena, *place)));
    }

    /// Gives back the room that is not needed, where it is more than growing leaves spare.
    pub(crate) fn shrink(&mut self, hasher: &RandomState) {
        let (arena_len, count) = (self.arena.len(), self.index.len());
        if self.arena.capacity() > arena_len + arena_len / 4 {
            self.arena.shrink_to(arena_len + arena_len / 8);
        }
        if self.index.capacity() > 2 * count {
            let arena = &self.arena;
            self.index.shrink_to(count, |place| hasher.hash_one(key_at(arena, *place)));
        }
    }

    /// Notes the lsn of a record that has no key.
    pub(crate) fn note_lsn(&mut self, lsn: Lsn) {
        self.highest = self.highest.max(lsn);
    }

    /// Offers a record; the highest lsn wins (R1).
    pub(crate) fn publish(
        &mut self,
        hash: u64,
        key: &[u8],
        new: &Entry,
        hasher: &RandomState,
    ) -> Published {
        self.highest = self.highest.max(new.lsn);
        let Some(at) = self.place(hash, key) else {
            return self.insert(hash, key, new, hasher);
        };
        let Some(placed) = read_entry(&self.arena, at) else {
            unreachable!("the index names entries only")
        };
        let (old, stale) = (placed.entry, placed.stale);
        put_at(&mut self.arena, at + STALE_AT, &stale.saturating_add(1).to_le_bytes());
        if new.lsn <= old.lsn && !mutant!("last record wins") {
            return Published::Outdated;
        }
        put_at(&mut self.arena, at, &new.encode());
        self.uncount(&old);
        self.count(new);
        Published::Replaced(old)
    }

    fn insert(&mut self, hash: u64, key: &[u8], new: &Entry, hasher: &RandomState) -> Published {
        let (at, len) = (self.arena.len(), ENTRY_LEN + key.len());
        if self.arena.capacity() < at + len {
            self.arena.reserve_exact(len + at / 8);
        }
        self.arena.extend_from_slice(&new.encode());
        self.arena.extend_from_slice(&0_u16.to_le_bytes());
        let key_len = u16::try_from(key.len()).unwrap_or(u16::MAX);
        self.arena.extend_from_slice(&key_len.to_le_bytes());
        self.arena.extend_from_slice(key);
        let arena = &self.arena;
        self.index.insert_unique(hash, to_u32(at), |place| hasher.hash_one(key_at(arena, *place)));
        self.count(new);
        Published::Inserted
    }

    fn count(&mut self, entry: &Entry) {
        self.live_len += entry.live_len();
        self.tombstone_count += usize::from(entry.is_tombstone);
    }

    fn uncount(&mut self, entry: &Entry) {
        self.live_len -= entry.live_len();
        self.tombstone_count -= usize::from(entry.is_tombstone);
    }

    /// Points `key` from its record in one of the files `from` to the copy at `new`, and returns where it pointed;
    /// `None` when the key has moved on meanwhile.
    pub(crate) fn relocate(
        &mut self,
        hash: u64,
        key: &[u8],
        from: &[FileId],
        new: &Entry,
    ) -> Option<Entry> {
        let at = self.place(hash, key)?;
        let old = read_entry(&self.arena, at)
            .map(|placed| placed.entry)
            .filter(|old| old.lsn == new.lsn && from.contains(&old.file))?;
        put_at(&mut self.arena, at, &new.encode());
        self.uncount(&old);
        self.count(new);
        Some(old)
    }

    /// Notes that `count` more records of `key`, which are not its newest, are in data files.
    pub(crate) fn add_stale(&mut self, hash: u64, key: &[u8], count: u32) {
        let Some(at) = self.place(hash, key).filter(|_| count > 0) else { return };
        let stale = read_entry(&self.arena, at).map_or(STALE_MANY, |placed| placed.stale);
        let count = u16::try_from(count).unwrap_or(STALE_MANY);
        put_at(&mut self.arena, at + STALE_AT, &stale.saturating_add(count).to_le_bytes());
    }

    /// Notes that one older record of `key` is no longer in any data file.
    pub(crate) fn forget_stale(&mut self, hash: u64, key: &[u8]) {
        let Some(at) = self.place(hash, key) else { return };
        let stale = read_entry(&self.arena, at).map_or(STALE_MANY, |placed| placed.stale);
        if stale != STALE_MANY {
            put_at(&mut self.arena, at + STALE_AT, &stale.saturating_sub(1).to_le_bytes());
        }
    }

    /// Returns whether the record of `key`, a tombstone or a value that has ended, is `expected`, below `floor`, and no older
    /// record of the key is left in any data file (R5): then nobody misses it.
    pub(crate) fn is_free(&self, hash: u64, key: &[u8], expected: &Entry, floor: Lsn) -> bool {
        let placed = self.place(hash, key).and_then(|at| read_entry(&self.arena, at));
        placed.is_some_and(|placed| {
            placed.entry == *expected
                && (placed.entry.lsn < floor || mutant!("tombstone dropped above the floor"))
                && (placed.stale == 0 || mutant!("tombstone dropped before older records"))
        })
    }

    /// Removes the free record of `key`, which is in no data file any more. If the key was written meanwhile, the
    /// record was counted as an older one, and that is taken back.
    pub(crate) fn remove_free(
        &mut self,
        hash: u64,
        key: &[u8],
        gone: &Entry,
        hasher: &RandomState,
    ) {
        match self.place(hash, key) {
            Some(at) if self.find(hash, key) == Some(*gone) => self.remove(hash, at, gone, hasher),
            Some(_) => self.forget_stale(hash, key),
            None => {}
        }
    }

    fn remove(&mut self, hash: u64, at: usize, entry: &Entry, hasher: &RandomState) {
        if let Ok(found) = self.index.find_entry(hash, |place| *place as usize == at) {
            found.remove();
        }
        self.uncount(entry);
        put_at(&mut self.arena, at + 16, &VACANT.to_le_bytes());
        self.vacant_len += read_entry(&self.arena, at).map_or(0, |placed| placed.len());
        let is_worth =
            self.arena.len() >= COMPACT_LEN_MIN && self.vacant_len > self.arena.len() / 4;
        if is_worth && self.walk_count == 0 {
            self.compact(hasher);
        }
    }

    /// Copies the arena without its vacant places.
    fn compact(&mut self, hasher: &RandomState) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.vacant_len);
        let mut index = HashTable::with_capacity(self.index.len());
        let mut at = 0;
        while let Some(placed) = read_entry(&self.arena, at) {
            let end = at + placed.len();
            if !placed.is_vacant {
                let place = to_u32(arena.len());
                arena.extend_from_slice(self.arena.get(at..end).unwrap_or_default());
                index.insert_unique(hasher.hash_one(placed.key), place, |place| {
                    hasher.hash_one(key_at(&arena, *place))
                });
            }
            at = end;
        }
        (self.arena, self.index, self.vacant_len) = (arena, index, 0);
    }

    /// Begins a walk: until [`end_walk`](Self::end_walk), entries keep their places.
    pub(crate) fn begin_walk(&mut self) {
        self.walk_count += 1;
    }

    /// Ends a walk.
    pub(crate) fn end_walk(&mut self) {
        self.walk_count = self.walk_count.saturating_sub(1);
    }

    /// Shows `visit` at most `count_max` entries from the place `at` on; returns the place to go on from, or `None` at the end.
    pub(crate) fn walk(
        &self,
        mut at: usize,
        count_max: usize,
        mut visit: impl FnMut(&[u8], &Entry),
    ) -> Option<usize> {
        for _ in 0..count_max {
            let placed = read_entry(&self.arena, at)?;
            if !placed.is_vacant {
                visit(placed.key, &placed.entry);
            }
            at += placed.len();
        }
        Some(at)
    }

    /// Returns whether the slot has as many keys as it can hold.
    pub(crate) fn is_full(&self) -> bool {
        self.arena.len() >= ARENA_FULL_LEN
    }

    /// Returns how many keys have a value.
    pub(crate) fn key_count(&self) -> usize {
        self.index.len() - self.tombstone_count
    }

    pub(crate) fn tombstone_count(&self) -> usize {
        self.tombstone_count
    }

    /// Returns the bytes of the records that the table points to.
    pub(crate) fn live_len(&self) -> u64 {
        self.live_len
    }

    /// Returns the highest lsn ever offered.
    pub(crate) fn highest(&self) -> Lsn {
        self.highest
    }

    /// Returns the bytes of memory the table holds.
    pub(crate) fn memory_len(&self) -> usize {
        self.arena.capacity() + self.index.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn entry(lsn: u64, is_tombstone: bool) -> Entry {
        Entry {
            lsn: Lsn(lsn),
            file: FileId(1),
            offset: 32,
            record_len: 100,
            is_tombstone,
            has_expiry: false,
        }
    }

    fn publish(table: &mut Table, hasher: &RandomState, key: &[u8], new: &Entry) -> Published {
        table.publish(hasher.hash_one(key), key, new, hasher)
    }

    #[test]
    fn room_made_in_advance_is_used_and_given_back_where_it_was_too_much() {
        let hasher = RandomState::default();
        let mut table = Table::default();
        table.reserve(1_000, 1_000 * (ENTRY_LEN + 4), &hasher);
        let reserved_len = table.memory_len();
        for index in 0..1_000_u32 {
            publish(&mut table, &hasher, &index.to_le_bytes(), &entry(1, false));
        }
        assert_eq!(table.memory_len(), reserved_len);
        table.shrink(&hasher);
        assert_eq!(table.memory_len(), reserved_len);
        table.reserve(10_000, 10_000 * ENTRY_LEN, &hasher);
        table.shrink(&hasher);
        assert!(table.memory_len() <= reserved_len + reserved_len / 8);
        for index in 0..1_000_u32 {
            let key = index.to_le_bytes();
            assert_eq!(table.find(hasher.hash_one(key.as_slice()), &key), Some(entry(1, false)));
        }
    }

    #[test]
    fn the_highest_lsn_wins_in_any_order_r1() {
        let hasher = RandomState::default();
        for lsns in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 3]] {
            let mut table = Table::default();
            for lsn in lsns {
                publish(&mut table, &hasher, b"k", &entry(lsn, false));
            }
            assert_eq!(table.find(hasher.hash_one(&b"k"[..]), b"k"), Some(entry(3, false)));
            assert_eq!((table.key_count(), table.live_len()), (1, 100));
        }
    }

    #[test]
    fn a_tombstone_goes_only_below_the_floor_and_with_no_older_record_left_r5() {
        let hasher = RandomState::default();
        let hash = hasher.hash_one(&b"k"[..]);
        let mut table = Table::default();
        publish(&mut table, &hasher, b"k", &entry(1, false));
        let tombstone = entry(2, true);
        publish(&mut table, &hasher, b"k", &tombstone);
        assert!(!table.is_free(hash, b"k", &tombstone, Lsn(9)), "one is stale");
        table.forget_stale(hash, b"k");
        assert!(!table.is_free(hash, b"k", &tombstone, Lsn(2)), "at the floor");
        assert!(table.is_free(hash, b"k", &tombstone, Lsn(3)));
        table.remove_free(hash, b"k", &tombstone, &hasher);
        assert_eq!((table.find(hash, b"k"), table.tombstone_count()), (None, 0));
    }

    #[test]
    fn a_key_written_while_its_tombstone_goes_keeps_its_record_and_an_exact_count() {
        let hasher = RandomState::default();
        let hash = hasher.hash_one(&b"k"[..]);
        let mut table = Table::default();
        let gone = entry(1, true);
        publish(&mut table, &hasher, b"k", &gone);
        publish(&mut table, &hasher, b"k", &entry(2, false));
        table.remove_free(hash, b"k", &gone, &hasher);
        assert_eq!(table.find(hash, b"k"), Some(entry(2, false)));
        let next = entry(3, true);
        publish(&mut table, &hasher, b"k", &next);
        table.forget_stale(hash, b"k");
        assert!(table.is_free(hash, b"k", &next, Lsn(9)));
    }

    #[test]
    fn a_count_of_stale_records_that_reached_its_top_stays_there() {
        let hasher = RandomState::default();
        let hash = hasher.hash_one(&b"k"[..]);
        let mut table = Table::default();
        for lsn in 1..=u64::from(STALE_MANY) + 1 {
            publish(&mut table, &hasher, b"k", &entry(lsn, false));
        }
        let tombstone = entry(1 << 30, true);
        publish(&mut table, &hasher, b"k", &tombstone);
        for _ in 0..=STALE_MANY {
            table.forget_stale(hash, b"k");
        }
        assert!(!table.is_free(hash, b"k", &tombstone, Lsn(u64::MAX)));
    }

    #[test]
    fn a_table_agrees_with_a_map_through_inserts_removals_and_compactions() {
        let hasher = RandomState::default();
        let mut random = fastrand::Rng::with_seed(7);
        let (mut table, mut model) = (Table::default(), BTreeMap::new());
        for lsn in 1..20_000 {
            let key = format!("key{}", random.u32(..500)).into_bytes();
            let hash = hasher.hash_one(&key[..]);
            let new = entry(lsn, random.bool());
            publish(&mut table, &hasher, &key, &new);
            table.forget_stale(hash, &key);
            if table.is_free(hash, &key, &new, Lsn(u64::MAX)) {
                table.remove_free(hash, &key, &new, &hasher);
                model.remove(&key);
            } else {
                model.insert(key, new);
            }
            assert!(table.vacant_len <= table.arena.len() / 4 || table.arena.len() < 1024 + 40);
        }
        let (mut walked, mut at) = (BTreeMap::new(), Some(0));
        while let Some(from) = at {
            at = table.walk(from, 7, |key, entry| {
                walked.insert(key.to_vec(), *entry);
            });
        }
        assert_eq!(walked, model);
        assert_eq!(table.key_count() + table.tombstone_count(), model.len());
    }
}
