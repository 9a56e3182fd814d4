//! How long the parts of a line may be.
//!
//! Key and value are measured as what they stand for, not as they are spelled: `\x41` is one byte.
//! The limit on the whole line follows from the two, and is what bounds the memory of a connection.

/// Longest key, in bytes, unless set otherwise: keys live in memory.
pub const KEY_LEN_MAX: usize = 1024;

/// Longest value, in bytes, unless set otherwise: a value is read and written in one piece.
pub const VALUE_LEN_MAX: usize = 16 << 20;

/// Longest path of a backup, in bytes: the longest that Linux takes.
pub const PATH_LEN_MAX: usize = 4096;

/// Most entries one `scan` answers with, however many were asked for: a reply stays small enough to
/// be written in one piece.
pub const SCAN_COUNT_MAX: u32 = 10_000;

/// Longest spelling of one byte, `\xHH`.
const ESCAPE_LEN_MAX: usize = 4;

/// Bytes of a line besides its key and value: the longest verb with all its options and the spaces, rounded up.
const VERB_ROOM_LEN: usize = 128;

/// What a server takes: settable, and checked before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key in bytes; a key has at least one.
    pub key_len_max: usize,
    /// Longest value in bytes; a value may be empty.
    pub value_len_max: usize,
}

impl Limits {
    /// Returns how many bytes a line may have, its end not counted: enough for the longest key with
    /// the longest value (or the longest path), every byte of them spelled `\xHH`.
    #[must_use]
    pub const fn line_len_max(&self) -> usize {
        let put_len = self.key_len_max.saturating_add(self.value_len_max);
        let content_len = if put_len > PATH_LEN_MAX { put_len } else { PATH_LEN_MAX };
        content_len.saturating_mul(ESCAPE_LEN_MAX).saturating_add(VERB_ROOM_LEN)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { key_len_max: KEY_LEN_MAX, value_len_max: VALUE_LEN_MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_room_for_the_longest_spelling() {
        let limits = Limits { key_len_max: 1024, value_len_max: 1 << 20 };
        let longest = "put ".len() + 4 * 1024 + " ".len() + (4 << 20);
        assert!(limits.line_len_max() >= longest);
        let number = u64::MAX;
        let options = format!("with id={number}:{number} if={number} ttl={number} ");
        assert!(limits.line_len_max() >= options.len() + longest);
        let tiny = Limits { key_len_max: 1, value_len_max: 0 };
        assert!(tiny.line_len_max() >= "backup ".len() + 4 * PATH_LEN_MAX);
        let huge = Limits { key_len_max: usize::MAX, value_len_max: usize::MAX };
        assert_eq!(huge.line_len_max(), usize::MAX);
    }
}
