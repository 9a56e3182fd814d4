//! Values that say what they are, so that a wrong one is noticed when it is read.
//!
//! ```text
//!   0000a3f1 5c09e2d4 Qm7x…
//!   │        │        └ filler: the bytes of a fixed pseudo-random text from a place computed from key,
//!   │        │          version and length
//!   │        └ version: a random number for each put, 8 hexadecimal digits
//!   └ index of the key, 8 hexadecimal digits
//! ```
//!
//! To check a value means: its key is the one asked for, and the filler is the one that belongs to key,
//! version and length. So another key's value, a mix of two values, a cut, a shift and a flipped byte are all
//! found, for the price of one comparison of memory. The text is the same in every run, so that one run can
//! read what another has put, whatever their `--value-bytes`.
//!
//! Values shorter than the header are filler only, at version 0; those of one or two bytes prove little.
//! Nothing in a value needs escaping in any of the three protocols. Not checked: that a value is the newest.

use crate::keys::{DIGITS, hex, unhex};

/// Length of the header, in bytes.
const HEADER_LEN: usize = 2 * DIGITS;

/// Length of the text, in bytes: a prime, so that a value's blocks that changed places do not match again.
const TEXT_LEN: usize = 65_521;

/// Bits of the place in the text: small values then touch 4 KiB of it, which stay in the processor's cache.
const PLACE_BITS: u32 = 12;

/// Any odd number with well-mixed bits does: 2⁶⁴ / golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Renders and checks values.
#[derive(Debug)]
pub(crate) struct Values {
    text: Box<[u8]>,
}

impl Values {
    /// Returns the one set of values there is.
    pub(crate) fn new() -> Self {
        let mut rng = fastrand::Rng::with_seed(MULTIPLIER);
        let text = std::iter::repeat_with(|| rng.alphanumeric()).take(TEXT_LEN);
        Self { text: text.map(|c| u8::try_from(c).unwrap_or(b'?')).collect() }
    }

    /// Appends the value of `len` bytes that belongs to `key` and `version`.
    pub(crate) fn render(&self, out: &mut Vec<u8>, key: u32, version: u32, len: usize) {
        if len < HEADER_LEN {
            return self.fill(out, place(key, 0, len), len);
        }
        out.extend_from_slice(&hex(key));
        out.extend_from_slice(&hex(version));
        self.fill(out, place(key, version, len), len - HEADER_LEN);
    }

    /// Returns whether `value` is one that [`Values::render`] makes for `key`.
    pub(crate) fn is_right(&self, key: u32, value: &[u8]) -> bool {
        let Some((digits, rest)) = value.split_first_chunk::<DIGITS>() else {
            return self.is_filler(place(key, 0, value.len()), value);
        };
        let Some((version, filler)) = rest.split_first_chunk::<DIGITS>() else {
            return self.is_filler(place(key, 0, value.len()), value);
        };
        let Some(version) = unhex(*version) else { return false };
        *digits == hex(key) && self.is_filler(place(key, version, value.len()), filler)
    }

    fn fill(&self, out: &mut Vec<u8>, place: usize, len: usize) {
        let mut left = len;
        for piece in self.pieces(place, len) {
            out.extend_from_slice(piece);
            left -= piece.len();
        }
        debug_assert_eq!(left, 0);
    }

    fn is_filler(&self, place: usize, found: &[u8]) -> bool {
        let mut rest = found;
        self.pieces(place, found.len()).all(|piece| {
            let (head, tail) = rest.split_at(piece.len());
            rest = tail;
            head == piece
        })
    }

    /// Returns the pieces of the text, taken round and round from `place`, that make up `len` bytes.
    fn pieces(&self, place: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let mut from = place;
        let mut left = len;
        std::iter::from_fn(move || {
            let piece = self.text.get(from..)?;
            let piece = piece.get(..left).unwrap_or(piece);
            from = 0;
            left -= piece.len();
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// Returns where in the text the filler begins.
fn place(key: u32, version: u32, len: usize) -> usize {
    let word = (u64::from(key) << 32 | u64::from(version)) ^ (len as u64).rotate_left(17);
    let place = word.wrapping_mul(MULTIPLIER) >> (64 - PLACE_BITS);
    usize::try_from(place).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: &Values, key: u32, version: u32, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        values.render(&mut out, key, version, len);
        out
    }

    #[test]
    fn a_value_of_any_length_is_right_for_its_key() {
        let values = Values::new();
        for len in [0, 1, 7, 8, 15, 16, 17, 100, 4096, 65_520, 65_521, 65_522, 300_000] {
            let value = value(&values, 77, 123, len);
            assert_eq!(value.len(), len);
            assert!(values.is_right(77, &value), "{len}");
        }
    }

    #[test]
    fn a_value_is_wrong_for_another_key() {
        let values = Values::new();
        for len in [8, 16, 100, 100_000] {
            assert!(!values.is_right(78, &value(&values, 77, 123, len)), "{len}");
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let values = Values::new();
        let right = value(&values, 77, 123, 200);
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            assert!(!values.is_right(77, &wrong), "{at}");
        }
    }

    #[test]
    fn any_cut_is_noticed() {
        let values = Values::new();
        let right = value(&values, 77, 123, 200);
        for len in 17..right.len() {
            assert!(!values.is_right(77, &right[..len]), "{len}");
        }
    }

    #[test]
    fn a_mix_of_two_versions_is_noticed() {
        let values = Values::new();
        let mut mixed = value(&values, 77, 123, 4096);
        mixed[2048..].copy_from_slice(&value(&values, 77, 124, 4096)[2048..]);
        assert!(!values.is_right(77, &mixed));
    }

    #[test]
    fn values_need_no_escapes() {
        let values = Values::new();
        assert!(value(&values, 1, 2, 70_000).iter().all(u8::is_ascii_alphanumeric));
    }
}
