//! Lines of a file or a pipe, of any bytes and of bounded length.

use std::io::{self, BufRead, Read as _};

/// Bytes in a line, its end not counted: the longest key and value with every byte written as an escape of four.
pub(crate) const LINE_LEN_MAX: usize = 4 * 16 * 1024 * 1024 + 8 * 1024;

/// A line that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The buffer has all of it.
    Whole,
    /// It was longer than [`LINE_LEN_MAX`], and was skipped.
    TooLong,
}

/// Reads the next line into `line`, without its LF or CR LF; none at the end of the input.
///
/// Adds the bytes taken from the input to `taken_len`.
pub(crate) fn read(
    input: &mut impl BufRead,
    line: &mut Vec<u8>,
    taken_len: &mut u64,
) -> io::Result<Option<Line>> {
    line.clear();
    // One more for the LF.
    let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut taken = input.by_ref().take(limit).read_until(b'\n', line)?;
    let mut found = Line::Whole;
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if line.len() > LINE_LEN_MAX {
        taken = taken.saturating_add(input.skip_until(b'\n')?);
        line.clear();
        found = Line::TooLong;
    }
    *taken_len = taken_len.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
    Ok((taken > 0).then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_lf_or_cr_lf_or_the_end_of_the_input() {
        let text = &b"a\r\n\nb\rc\nlast"[..];
        let (mut input, mut line, mut taken_len) = (text, Vec::new(), 0);
        for expected in [&b"a"[..], b"", b"b\rc", b"last"] {
            assert_eq!(read(&mut input, &mut line, &mut taken_len).unwrap(), Some(Line::Whole));
            assert_eq!(line, expected);
        }
        assert_eq!(read(&mut input, &mut line, &mut taken_len).unwrap(), None);
        assert_eq!(taken_len, 12);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_past_is_dropped_whole() {
        let mut text = vec![b'a'; LINE_LEN_MAX];
        text.extend_from_slice(b"\n");
        text.extend(std::iter::repeat_n(b'b', LINE_LEN_MAX + 1));
        text.extend_from_slice(b"\nnext\n");
        let (mut input, mut line, mut taken_len) = (&text[..], Vec::new(), 0);
        assert_eq!(read(&mut input, &mut line, &mut taken_len).unwrap(), Some(Line::Whole));
        assert_eq!(line.len(), LINE_LEN_MAX);
        assert_eq!(read(&mut input, &mut line, &mut taken_len).unwrap(), Some(Line::TooLong));
        assert_eq!(read(&mut input, &mut line, &mut taken_len).unwrap(), Some(Line::Whole));
        assert_eq!(line, b"next");
        assert_eq!(taken_len, u64::try_from(text.len()).unwrap());
    }
}
