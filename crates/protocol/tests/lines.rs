//! The framer: line ends, limits, and that chunks make no difference.

use proptest::prelude::*;
use protocol::{Error, Framer};

/// What came of a line; `None` for one that was too long.
type Outcome = Option<Vec<u8>>;

/// Frames `chunks` as a connection does, and returns what came and what is left unconsumed.
fn frame<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    len_max: usize,
) -> (Vec<Outcome>, Vec<u8>) {
    let mut framer = Framer::new(len_max);
    let mut buffer = Vec::new();
    let mut outcomes = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        let mut lines = framer.lines(&buffer);
        outcomes.extend(lines.by_ref().map(|line| line.ok().map(<[u8]>::to_vec)));
        let consumed_len = lines.consumed_len();
        buffer.drain(..consumed_len);
    }
    (outcomes, buffer)
}

/// The rule itself, on all bytes at once: split at LF, drop a CR at either end.
fn model(bytes: &[u8], len_max: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let is_finished = index < bytes.iter().filter(|&&byte| byte == b'\n').count();
        let line = line.strip_prefix(b"\r").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > len_max {
            outcomes.push(None);
            break;
        }
        if is_finished {
            outcomes.push(Some(line.to_vec()));
        }
    }
    outcomes
}

fn lines(expected: &[&str]) -> Vec<Outcome> {
    expected.iter().map(|line| Some(line.as_bytes().to_vec())).collect()
}

#[test]
fn a_line_ends_in_lf_or_cr_lf_or_lf_cr() {
    for end in ["\n", "\r\n", "\n\r"] {
        let bytes = format!("get a{end}get b{end}{end}get c{end}");
        let (outcomes, rest) = frame([bytes.as_bytes()], 100);
        assert_eq!(outcomes, lines(&["get a", "get b", "", "get c"]), "{end:?}");
        assert_eq!(rest, b"", "nothing is left of {end:?}");
    }
}

#[test]
fn only_one_cr_is_dropped_at_either_end() {
    let (outcomes, rest) = frame([&b"\r\ra\r\r\n\r\r\n\rb\rc"[..]], 100);
    assert_eq!(outcomes, lines(&["\ra\r", ""]));
    assert_eq!(rest, b"b\rc");
}

#[test]
fn the_cr_of_an_lf_cr_is_consumed_whenever_it_arrives() {
    let chunks = [&b"get a\n"[..], b"\r", b"", b"get b\n", b"\rget c", b"\n\r"];
    for (count, left) in [(1, ""), (2, ""), (3, ""), (4, ""), (5, "get c"), (6, "")] {
        let (_, rest) = frame(chunks.into_iter().take(count), 100);
        assert_eq!(rest, left.as_bytes(), "after {count} chunks");
    }
    assert_eq!(frame(chunks, 100).0, lines(&["get a", "get b", "get c"]));
}

#[test]
fn a_line_is_taken_at_the_limit_and_refused_one_past_it_before_it_ends() {
    for taken in ["12345678\n", "12345678\r\n", "\r12345678\r\n", "\r12345678\r"] {
        assert!(frame([taken.as_bytes()], 8).0.iter().all(Option::is_some), "{taken:?}");
    }
    for refused in ["123456789", "12345678\r1", "\r123456789", "12345678\r\r", "123456789\n"] {
        assert_eq!(frame([refused.as_bytes()], 8).0, [None], "{refused:?}");
    }
    let too_long = Framer::new(8).lines(b"123456789").next();
    assert_eq!(too_long, Some(Err(Error::LineTooLong { len_max: 8 })));
}

#[test]
fn nothing_comes_after_a_line_that_is_too_long() {
    let (outcomes, rest) = frame([&b"a\n123456789\nb\n"[..], b"c\n"], 8);
    assert_eq!(outcomes, [Some(b"a".to_vec()), None]);
    assert_eq!(rest, b"", "and nothing is kept");
}

#[test]
fn lines_outlive_the_pass_that_found_them() {
    let buffer = b"a\nb\nc".to_vec();
    let mut framer = Framer::new(8);
    let batch: Vec<&[u8]> = framer.lines(&buffer).filter_map(Result::ok).collect();
    assert_eq!(framer.lines(&buffer[4..]).consumed_len(), 0);
    assert_eq!(batch, [b"a", b"b"]);
}

proptest! {
    #[test]
    fn the_same_bytes_in_any_chunks_give_the_same_lines(
        bytes in prop::collection::vec(prop::sample::select(&b"\n\n\r\rab "[..]), 0..64),
        cuts in prop::collection::vec(0_usize..64, 0..8),
        len_max in 0_usize..12,
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        let (outcomes, rest) = frame(chunks, len_max);
        prop_assert_eq!(&outcomes, &model(&bytes, len_max));
        prop_assert_eq!(&frame(bytes.chunks(1), len_max).0, &outcomes);
        prop_assert!(rest.len() <= len_max + 1, "{} bytes are kept", rest.len());
    }
}
