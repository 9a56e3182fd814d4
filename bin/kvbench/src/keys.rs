//! Keys: an index rendered as text of a fixed length.
//!
//! ```text
//!   ringcask0000a3f1      16 bytes: a prefix, then the index in 8 hexadecimal digits
//!       └ prefix ┘└ index, as many of its last digits as the length leaves room for
//! ```
//!
//! The prefix is rendered once; a key costs eight bytes written. Nothing in a key needs escaping in any of the
//! three protocols.

/// Digits of an index, and the key length from which every index fits.
pub(crate) const DIGITS: usize = 8;

/// Longest key that memcached takes, in bytes.
pub(crate) const KEY_LEN_MAX_MEMCACHED: usize = 250;

/// Repeated and cut to fill a key up.
const PREFIX: &[u8] = b"ringcask";

/// A key whose digits are overwritten for each request.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    bytes: Box<[u8]>,
}

impl Key {
    /// Returns a key of `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        let prefix_len = len.saturating_sub(DIGITS);
        let prefix = PREFIX.iter().copied().cycle().take(prefix_len);
        Self { bytes: prefix.chain(std::iter::repeat_n(b'0', len - prefix_len)).collect() }
    }

    /// Returns the key of `index`.
    pub(crate) fn render(&mut self, index: u32) -> &[u8] {
        let digits = hex(index);
        let count = DIGITS.min(self.bytes.len());
        let (_, tail) = self.bytes.split_at_mut(self.bytes.len() - count);
        let (_, digits) = digits.split_at(DIGITS - count);
        tail.copy_from_slice(digits);
        &self.bytes
    }
}

/// Returns how many different keys of `len` bytes there are.
pub(crate) fn capacity(len: usize) -> u64 {
    match u32::try_from(len) {
        Ok(len) if len < 8 => 1 << (4 * len),
        _ => 1 << 32,
    }
}

/// Returns `n` in eight lower-case hexadecimal digits, without a loop: nibbles are spread over the bytes of
/// one word, and those above nine are moved up to the letters.
pub(crate) fn hex(n: u32) -> [u8; DIGITS] {
    let mut x = u64::from(n);
    x = ((x << 16) & 0x0000_FFFF_0000_0000) | (x & 0xFFFF);
    x = ((x << 8) & 0x00FF_0000_00FF_0000) | (x & 0x0000_00FF_0000_00FF);
    x = ((x << 4) & 0x0F00_0F00_0F00_0F00) | (x & 0x000F_000F_000F_000F);
    let is_letter = ((x + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + is_letter * 39).to_be_bytes()
}

/// Returns the number that [`hex`] renders as `digits`, or nothing if it renders none so.
pub(crate) fn unhex(digits: [u8; DIGITS]) -> Option<u32> {
    let word = u64::from_be_bytes(digits);
    let is_letter = (word >> 6) & 0x0101_0101_0101_0101;
    let mut x = (word & 0x0F0F_0F0F_0F0F_0F0F).wrapping_add(is_letter * 9) & 0x0F0F_0F0F_0F0F_0F0F;
    x = (x | (x >> 4)) & 0x00FF_00FF_00FF_00FF;
    x = (x | (x >> 8)) & 0x0000_FFFF_0000_FFFF;
    x = (x | (x >> 16)) & 0x0000_0000_FFFF_FFFF;
    u32::try_from(x).ok().filter(|&n| hex(n) == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_those_of_the_standard_library_and_come_back() {
        let mut rng = fastrand::Rng::with_seed(1);
        let edges = [0, 9, 10, 15, 16, 0x9ABC_DEF0, u32::MAX];
        for n in edges.into_iter().chain((0..10_000).map(|_| rng.u32(..))) {
            assert_eq!(hex(n), format!("{n:08x}").as_bytes());
            assert_eq!(unhex(hex(n)), Some(n));
        }
    }

    #[test]
    fn text_that_is_not_eight_lower_case_digits_is_no_number() {
        for text in [
            b"0000000g",
            b"0000000A",
            b" 0000000",
            b"\x000000000",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(unhex(*text), None, "{text:?}");
        }
    }

    #[test]
    fn a_key_has_the_length_asked_for_and_ends_in_its_index() {
        for (len, index, expected) in [
            (16, 0xA3F1, "ringcask0000a3f1"),
            (8, 0xA3F1, "0000a3f1"),
            (4, 0xA3F1, "a3f1"),
            (1, 0xF, "f"),
            (20, 1, "ringcaskring00000001"),
        ] {
            assert_eq!(Key::new(len).render(index), expected.as_bytes());
        }
    }

    #[test]
    fn short_keys_hold_sixteen_to_the_power_of_their_length() {
        assert_eq!([1, 4, 7, 8, 100].map(capacity), [16, 65_536, 1 << 28, 1 << 32, 1 << 32]);
    }
}
