//! The ring: which server owns each slot, and which servers are its ideal members.
//!
//! The ring is a list of *tokens*, each of which ends an arc and names its owner. An arc is all that lies behind
//! the token before, up to the token itself, `(from, to]`; the first arc begins behind the last token and may
//! wrap. Tokens are snapped to slots: here a token is the **last slot** of its arc.
//!
//! ```text
//! slots     0   1   2   3   4   5   6   7        tokens: 1 -> A, 4 -> B, 6 -> C
//! owner   | A   A | B   B   B | C   C | A |      arcs:   A = 7..1 (wraps), B = 2..4, C = 5..6
//!               ^           ^       ^            ideal members of slot 3, of three: B, C, A
//! ```
//!
//! The *ideal* members of a slot are its owner and the next **distinct** servers clockwise. So when a server
//! goes, its successor, which has the data already, is the natural new owner.
//!
//! Neighbouring arcs of one owner are kept as one, and a ring of one server has its only token at the last
//! slot; so two rings are equal exactly if each slot has the same owner in both. Which servers *are* a slot's
//! members is not the ring's to say: the map holds that, and the coordinator makes it follow the ring.
//!
//! Source: Karger et al., *Consistent Hashing and Random Trees*, STOC 1997; for successors as replicas, DeCandia
//! et al., *Dynamo*, SOSP 2007, sections 4.2 and 4.3. Tokens are not hashes of addresses: see [`crate::placement`].

use std::collections::{BTreeMap, BTreeSet};

use crate::{Arc, Error, SLOT_COUNT, ServerId, SlotId, Token};

/// Bits of a token.
const TOKEN_BIT_COUNT: u32 = 128;

/// The ring: which server owns each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// A power of two from 1 to [`SLOT_COUNT`].
    slot_count: u16,
    /// Rising by slot; neighbours have different owners, and so have the last and the first if there are two.
    tokens: Vec<(SlotId, ServerId)>,
}

impl Ring {
    /// Returns a ring of `slot_count` slots with nobody on it.
    ///
    /// # Panics
    ///
    /// If `slot_count` is not a power of two from 1 to [`SLOT_COUNT`].
    #[must_use]
    pub fn new(slot_count: u16) -> Self {
        assert!(is_slot_count(slot_count), "bad number of slots: {slot_count}");
        Self { slot_count, tokens: Vec::new() }
    }

    /// Returns the ring with these tokens, in any order: each the last slot of an arc, and who owns it.
    ///
    /// # Errors
    ///
    /// [`Error::SlotCount`] if there can be no such ring, [`Error::TokenBeyond`] if a token is not on it, and
    /// [`Error::TokenTwice`] if one is given twice.
    pub fn from_tokens(
        slot_count: u16,
        tokens: impl IntoIterator<Item = (SlotId, ServerId)>,
    ) -> Result<Self, Error> {
        if !is_slot_count(slot_count) {
            return Err(Error::SlotCount { found: slot_count });
        }
        let mut by_slot = BTreeMap::new();
        for (slot, owner) in tokens {
            if slot.index() >= slot_count {
                return Err(Error::TokenBeyond { slot, slot_count });
            }
            if by_slot.insert(slot, owner).is_some() {
                return Err(Error::TokenTwice { slot });
            }
        }
        Ok(Self { slot_count, tokens: without_repeats(slot_count, by_slot.into_iter().collect()) })
    }

    /// Returns the tokens in ring order: the last slot of each arc, and who owns it.
    pub fn tokens(&self) -> impl Iterator<Item = (SlotId, ServerId)> {
        self.tokens.iter().copied()
    }

    /// Returns how many slots the ring is cut into.
    #[must_use]
    pub fn slot_count(&self) -> u16 {
        self.slot_count
    }

    /// Returns every slot of this ring, from 0 up.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        SlotId::all().take(usize::from(self.slot_count))
    }

    /// Returns the slot of this ring that `token` lies in.
    #[must_use]
    pub fn slot_of(&self, token: Token) -> SlotId {
        slot_of(self.slot_count, token)
    }

    /// Returns who owns `slot`, or `None` if nobody is on the ring.
    ///
    /// # Panics
    ///
    /// If the ring has no such slot.
    #[must_use]
    pub fn owner(&self, slot: SlotId) -> Option<ServerId> {
        self.clockwise(slot).next()
    }

    /// Returns the owner of `slot` and the next distinct servers clockwise: `replicas` of them, fewer when
    /// fewer are on the ring.
    ///
    /// # Panics
    ///
    /// If the ring has no such slot.
    #[must_use]
    pub fn ideal(&self, slot: SlotId, replicas: usize) -> Vec<ServerId> {
        let mut members = Vec::with_capacity(replicas.min(self.tokens.len()));
        for server in self.clockwise(slot) {
            if members.len() == replicas {
                break;
            }
            if !members.contains(&server) {
                members.push(server);
            }
        }
        members
    }

    /// Returns who is on the ring.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<ServerId> {
        self.tokens().map(|(_, owner)| owner).collect()
    }

    /// Returns whether `server` owns a slot.
    #[must_use]
    pub fn contains(&self, server: ServerId) -> bool {
        self.tokens().any(|(_, owner)| owner == server)
    }

    /// Returns every arc and its owner, in ring order, beginning with the arc that ends first.
    pub fn arcs(&self) -> impl Iterator<Item = (Arc, ServerId)> {
        let last = self.tokens.last().copied();
        let ends_before = last.into_iter().chain(self.tokens()).map(|(slot, _)| slot);
        ends_before.zip(self.tokens()).map(|(before, (slot, owner))| {
            let first = Token(last_token(self.slot_count, before).0.wrapping_add(1));
            (Arc { first, last: last_token(self.slot_count, slot) }, owner)
        })
    }

    /// Returns the owners met on the way clockwise, from the owner of `slot` once around.
    fn clockwise(&self, slot: SlotId) -> impl Iterator<Item = ServerId> {
        assert!(slot.index() < self.slot_count, "no slot {} here", slot.index());
        let begin = self.tokens.partition_point(|(last, _)| *last < slot);
        let (before, after) = self.tokens.split_at(begin);
        after.iter().chain(before).map(|(_, owner)| *owner)
    }
}

impl Default for Ring {
    /// Returns a ring of [`SLOT_COUNT`] slots with nobody on it.
    fn default() -> Self {
        Self::new(SLOT_COUNT)
    }
}

/// Returns the runs of neighbouring slots of which `value` says the same, as arcs, in ring order.
///
/// This is what lists of ranges are made of: of owners for those who write, of all members for those who read.
/// The arc that wraps comes first. Where `value` is the same everywhere the only arc is [`Arc::WHOLE`].
///
/// # Panics
///
/// If `slot_count` is not a power of two from 1 to [`SLOT_COUNT`].
pub fn arcs_by<T: PartialEq>(slot_count: u16, value: impl Fn(SlotId) -> T) -> Vec<(Arc, T)> {
    assert!(is_slot_count(slot_count), "bad number of slots: {slot_count}");
    let mut arcs: Vec<(Arc, T)> = Vec::new();
    for slot in SlotId::all().take(usize::from(slot_count)) {
        let (first, last) = (first_token(slot_count, slot), last_token(slot_count, slot));
        let value = value(slot);
        match arcs.last_mut() {
            Some((arc, before)) if *before == value => arc.last = last,
            Some(_) | None => arcs.push((Arc { first, last }, value)),
        }
    }
    join_ends(&mut arcs);
    arcs
}

/// Makes one arc of the last and the first if they say the same: it wraps.
fn join_ends<T: PartialEq>(arcs: &mut Vec<(Arc, T)>) {
    let [(first, of_first), .., (last, of_last)] = arcs.as_mut_slice() else { return };
    if of_first == of_last {
        first.first = last.first;
        arcs.pop();
    }
}

fn is_slot_count(slot_count: u16) -> bool {
    slot_count.is_power_of_two() && slot_count <= SLOT_COUNT
}

/// Leaves of each run of one owner the last token, and of an only owner a token at the last slot.
fn without_repeats(
    slot_count: u16,
    mut tokens: Vec<(SlotId, ServerId)>,
) -> Vec<(SlotId, ServerId)> {
    // A run's last token is the one that stays, so they are gone through from the end, and the last of all is
    // compared with the first: the arc that follows it.
    let mut after = tokens.first().map(|(_, owner)| *owner);
    tokens.reverse();
    let only = tokens.iter().all(|(_, owner)| Some(*owner) == after);
    if only {
        let last = SlotId::new(slot_count - 1);
        return last.zip(after).into_iter().collect();
    }
    tokens.retain(|(_, owner)| after.replace(*owner) != Some(*owner));
    tokens.reverse();
    tokens
}

/// Returns how many low bits of a token say where in its slot it lies: 128 if there is only one slot.
fn bits_inside(slot_count: u16) -> u32 {
    TOKEN_BIT_COUNT - slot_count.trailing_zeros()
}

fn slot_of(slot_count: u16, token: Token) -> SlotId {
    let narrow = token.slot().index();
    SlotId::new(narrow / (SLOT_COUNT / slot_count)).unwrap_or(SlotId::FIRST)
}

fn first_token(slot_count: u16, slot: SlotId) -> Token {
    Token(u128::from(slot.index()).checked_shl(bits_inside(slot_count)).unwrap_or(0))
}

fn last_token(slot_count: u16, slot: SlotId) -> Token {
    let inside = u128::MAX.checked_shr(slot_count.trailing_zeros()).unwrap_or(u128::MAX);
    Token(first_token(slot_count, slot).0 | inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServerId = ServerId(1);
    const B: ServerId = ServerId(2);
    const C: ServerId = ServerId(3);

    fn slot(index: u16) -> SlotId {
        SlotId::new(index).unwrap()
    }

    fn ring(slot_count: u16, tokens: &[(u16, ServerId)]) -> Ring {
        let tokens = tokens.iter().map(|(index, owner)| (slot(*index), *owner));
        Ring::from_tokens(slot_count, tokens).unwrap()
    }

    /// The ring in this file's header.
    fn pictured() -> Ring {
        ring(8, &[(1, A), (4, B), (6, C)])
    }

    fn owners(ring: &Ring) -> Vec<ServerId> {
        ring.slots().map(|slot| ring.owner(slot).unwrap()).collect()
    }

    #[test]
    fn an_arc_ends_at_its_token_and_begins_behind_the_one_before() {
        assert_eq!(owners(&pictured()), [A, A, B, B, B, C, C, A]);
    }

    #[test]
    fn ideal_members_are_the_owner_and_the_next_distinct_servers_clockwise() {
        let ring = ring(8, &[(0, A), (1, B), (3, A), (5, B), (6, C)]);
        for (index, members) in [(0, [A, B, C]), (1, [B, A, C]), (4, [B, C, A]), (7, [A, B, C])] {
            assert_eq!(ring.ideal(slot(index), 3), members, "{index}");
        }
        assert_eq!(ring.ideal(slot(2), 0), []);
        assert_eq!(ring.ideal(slot(2), 1), [A]);
        assert_eq!(ring.ideal(slot(2), 9), [A, B, C], "no more than there are");
    }

    #[test]
    fn a_ring_with_nobody_on_it_has_no_owners() {
        let ring = Ring::default();
        assert_eq!(ring.slot_count(), SLOT_COUNT);
        assert_eq!(ring.owner(slot(0)), None);
        assert_eq!(ring.ideal(slot(0), 3), []);
        assert_eq!(ring.arcs().count() + ring.servers().len(), 0);
        assert_eq!(Ring::from_tokens(SLOT_COUNT, []), Ok(ring));
    }

    #[test]
    fn rings_are_equal_if_each_slot_has_the_same_owner() {
        let tokens = [(0, A), (1, A), (2, B), (4, B), (6, C), (7, A)];
        assert_eq!(ring(8, &tokens), pictured());
        let whole = ring(8, &[(3, A)]);
        assert_eq!(whole, ring(8, &[(0, A), (5, A)]));
        assert_eq!(whole.tokens().collect::<Vec<_>>(), [(slot(7), A)]);
        assert_eq!(whole.arcs().collect::<Vec<_>>(), [(Arc::WHOLE, A)]);
    }

    #[test]
    fn a_ring_is_read_as_it_was_written() {
        let ring = pictured();
        assert_eq!(Ring::from_tokens(8, ring.tokens()), Ok(ring.clone()));
        assert!(ring.contains(A) && !ring.contains(ServerId(9)));
        assert_eq!(ring.servers(), BTreeSet::from([A, B, C]));
    }

    #[test]
    fn nonsense_is_refused_and_said_exactly() {
        for found in [0, 3, 4095, 8192] {
            assert_eq!(Ring::from_tokens(found, []), Err(Error::SlotCount { found }));
        }
        let beyond = Error::TokenBeyond { slot: slot(8), slot_count: 8 };
        assert_eq!(Ring::from_tokens(8, [(slot(7), A), (slot(8), B)]), Err(beyond));
        let twice = Error::TokenTwice { slot: slot(7) };
        assert_eq!(Ring::from_tokens(8, [(slot(7), A), (slot(7), A)]), Err(twice));
    }

    #[test]
    fn arcs_cover_every_token_once_and_the_one_that_wraps_is_one() {
        let arcs: Vec<_> = pictured().arcs().collect();
        assert_eq!(arcs.iter().map(|(_, owner)| *owner).collect::<Vec<_>>(), [A, B, C]);
        assert!(arcs[0].0.first > arcs[0].0.last, "A's wraps");
        for ((arc, _), (next, _)) in arcs.iter().zip(arcs.iter().cycle().skip(1)) {
            assert_eq!(arc.last.0.wrapping_add(1), next.first.0);
        }
        for slot in pictured().slots() {
            let token = first_token(8, slot);
            let owner = arcs.iter().find(|(arc, _)| arc.contains(token)).unwrap().1;
            assert_eq!(Some(owner), pictured().owner(slot));
        }
    }

    #[test]
    fn slots_of_a_ring_of_any_size_tile_the_tokens() {
        for bits in 0..=12 {
            let ring = Ring::new(1 << bits);
            let mut next = 0_u128;
            for slot in ring.slots() {
                let (first, last) =
                    (first_token(ring.slot_count, slot), last_token(ring.slot_count, slot));
                assert_eq!(first.0, next);
                assert_eq!((ring.slot_of(first), ring.slot_of(last)), (slot, slot));
                next = last.0.wrapping_add(1);
            }
            assert_eq!(next, 0, "the last slot ends at the largest token");
        }
    }

    #[test]
    fn arcs_by_what_slots_have_in_common_are_those_of_the_ring() {
        let ring = pictured();
        let by_owner = arcs_by(8, |slot| ring.owner(slot).unwrap());
        assert_eq!(by_owner, ring.arcs().collect::<Vec<_>>());
        assert_eq!(arcs_by(8, |_| ()), [(Arc::WHOLE, ())]);
        assert_eq!(arcs_by(1, |_| ()), [(Arc::WHOLE, ())]);
        assert_eq!(arcs_by(2, |slot| slot.index()).len(), 2);
    }
}
