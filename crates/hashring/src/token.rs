//! Tokens (ring positions) and slots (equal pieces of the ring).

use std::fmt;

use md5::{Digest, Md5};

/// Number of equal pieces the ring is cut into.
pub const SLOT_COUNT: u16 = 4096;

/// Bits of a token below its slot number.
const SLOT_SHIFT: u32 = 128 - SLOT_COUNT.trailing_zeros();

/// A position on the ring: 128 bits, the MD5 of a key read as a big-endian number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u128);

impl Token {
    /// Returns the position of `key`.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        Self(u128::from_be_bytes(Md5::digest(key).into()))
    }

    /// Returns the slot this position lies in.
    #[must_use]
    pub fn slot(self) -> SlotId {
        let top_bits = self.0 >> SLOT_SHIFT;
        SlotId(u16::try_from(top_bits).unwrap_or_default())
    }
}

impl fmt::Display for Token {
    /// Writes 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The number of a slot, always below [`SLOT_COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u16);

impl SlotId {
    /// The slot that begins at the smallest position.
    pub const FIRST: Self = Self(0);

    /// Returns the slot numbered `index`, or `None` at [`SLOT_COUNT`] and above.
    #[must_use]
    pub fn new(index: u16) -> Option<Self> {
        (index < SLOT_COUNT).then_some(Self(index))
    }

    /// Returns the slot of `key`.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        Token::of_key(key).slot()
    }

    /// Returns the slot's number.
    #[must_use]
    pub fn index(self) -> u16 {
        self.0
    }

    /// Returns the smallest position in this slot.
    #[must_use]
    pub fn first_token(self) -> Token {
        Token(u128::from(self.0) << SLOT_SHIFT)
    }

    /// Returns the largest position in this slot.
    #[must_use]
    pub fn last_token(self) -> Token {
        Token(self.first_token().0 | ((1 << SLOT_SHIFT) - 1))
    }

    /// Returns every slot, from 0 up.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOT_COUNT).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_md5_of_the_key_read_big_endian() {
        // RFC 1321, appendix A.5.
        for (key, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ] {
            assert_eq!(Token::of_key(key.as_bytes()).to_string(), digest);
        }
    }

    #[test]
    fn a_slot_is_the_top_twelve_bits() {
        assert_eq!(SlotId::of_key(b"abc").index(), 0x900);
        assert_eq!(Token(0).slot().index(), 0);
        assert_eq!(Token(u128::MAX).slot().index(), SLOT_COUNT - 1);
    }

    #[test]
    fn the_slots_tile_the_ring_without_gap_or_overlap() {
        let mut next = 0_u128;
        for slot in SlotId::all() {
            assert_eq!(slot.first_token().0, next);
            assert_eq!(slot.first_token().slot(), slot);
            assert_eq!(slot.last_token().slot(), slot);
            next = slot.last_token().0.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last slot ends at the largest token");
        assert_eq!(SlotId::new(SLOT_COUNT), None);
    }
}
