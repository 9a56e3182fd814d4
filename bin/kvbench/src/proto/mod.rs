//! What differs between the three protocols: how a request is rendered, and what a reply says.
//!
//! A [`Wire`] appends requests to a buffer and takes replies from the front of another. It sees the bytes
//! received so far, in whatever chunks they came, and says [`Step::More`] until a reply is whole. The
//! worker's loop is compiled once for each protocol, with its `Wire` inlined.

pub(crate) mod memcached;
pub(crate) mod redis;
pub(crate) mod ringcask;

/// What a request was, and so what its reply may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set,
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// A set was done.
    Stored,
    /// The value that a get found.
    Value(&'a [u8]),
    /// A get found nothing.
    NotFound,
    /// An error; nothing was done. With the server's words.
    Refused(&'a [u8]),
    /// A set that may or may not take effect. With the server's words.
    Unknown(&'a [u8]),
    /// A reply to another key than the one asked for. With the reply's beginning.
    OtherKey(&'a [u8]),
}

/// A look at the front of the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// The reply is not whole yet.
    More,
    /// The reply takes up `len` bytes.
    Reply { len: usize, outcome: Outcome<'a> },
    /// No reply of this protocol begins like this.
    Nonsense,
}

/// A protocol's requests and replies.
pub(crate) trait Wire: Copy + Send {
    /// Appends a get of `key`.
    fn get(self, out: &mut Vec<u8>, key: &[u8]);

    /// Appends a set of `key`, the value of `value_len` bytes being appended by `fill`.
    fn set(self, out: &mut Vec<u8>, key: &[u8], value_len: usize, fill: impl FnOnce(&mut Vec<u8>));

    /// Looks for a reply to a request of this kind and key at the front of `input`. To its first `searched`
    /// bytes an earlier look said `More`, so that a protocol of long lines need not search them twice.
    fn reply<'a>(self, kind: Kind, key: &[u8], input: &'a [u8], searched: usize) -> Step<'a>;
}

/// Returns the first line without its CR LF, and its length with them.
fn line(input: &[u8], searched: usize) -> Option<(&[u8], usize)> {
    let found = memchr::memchr(b'\n', input.get(searched..)?)?;
    let end = searched + found;
    let line = input.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// Reads a decimal number without a sign. No length that is near overflowing is accepted.
fn decimal(digits: &[u8]) -> Option<usize> {
    const DIGITS_MAX: usize = 12;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0_usize, |n, digit| {
        digit.is_ascii_digit().then(|| n * 10 + usize::from(digit - b'0'))
    })
}

/// Appends a decimal number.
fn push_decimal(out: &mut Vec<u8>, n: usize) {
    let mut digits = [0_u8; 20];
    let mut rest = n;
    let mut from = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        from = at;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.split_at(from).1);
}

/// Helpers for the tests of the three parsers.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Returns what a parser says of `input`, after it has said `More` to every shorter beginning, however
    /// much of that had been searched.
    pub(crate) fn in_any_chunks<'a>(
        wire: impl Wire,
        kind: Kind,
        key: &[u8],
        input: &'a [u8],
    ) -> Step<'a> {
        for len in 0..input.len() {
            let front = &input[..len];
            for searched in 0..=len {
                assert_eq!(
                    wire.reply(kind, key, front, searched),
                    Step::More,
                    "{len} bytes, {searched} searched"
                );
            }
        }
        wire.reply(kind, key, input, 0)
    }

    /// Checks the outcome of `reply`, cut anywhere and with more behind it.
    pub(crate) fn check(wire: impl Wire, kind: Kind, reply: &[u8], outcome: Outcome<'_>) {
        let expected = Step::Reply { len: reply.len(), outcome };
        assert_eq!(in_any_chunks(wire, kind, b"key", reply), expected);
        let longer = [reply, b"\r\nEND\r\n$-1\r\nget_error"].concat();
        assert_eq!(wire.reply(kind, b"key", &longer, 0), expected);
    }

    #[test]
    fn decimals_are_written_and_read() {
        for n in [0, 7, 10, 102_400, 999_999_999_999] {
            let mut out = Vec::new();
            push_decimal(&mut out, n);
            assert_eq!(out, n.to_string().as_bytes());
            assert_eq!(decimal(&out), Some(n));
        }
        for text in ["", "-1", "+1", " 1", "1a", "1000000000000"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }
}
