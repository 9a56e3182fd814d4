//! One record of a data file: how it looks and how its damage is told.
//!
//! ```text
//!  0        4        8         16          20         24       26    27     28
//!  | header | value  |  lsn    | generation| value    | key    |kind |flags | extensions | key | value |
//!  |   crc  |  crc   |         |           |   len    |  len   |     |      |            |     |       |
//! ```
//!
//! Extensions, each there when its flag is set, in this order: expiry (8: milliseconds since 1970), request
//! (17: client 8, number 8, outcome 1).
//!
//! * The **header crc** covers everything after itself up to the end of the key. It is seeded with the
//!   store's id, the file's id and the record's offset, so that a record that turns up in another place
//!   is not taken for one that belongs there.
//! * The **value crc** covers the value alone. It stands in the header and is so bound to the place too; it is
//!   computed once, outside of the lock that fixes the place, and carried along by merges unchanged: what
//!   fails its checksum never gets a fresh one.
//!
//! A damaged value therefore leaves key and lsn trustworthy: the engine answers *damaged* for this key and
//! never with an older value. A damaged header is searched past to the next valid one.
//!
//! | kind | |
//! |---|---|
//! | put | a value |
//! | delete | a tombstone; no value. A type of its own: no value can be mistaken for it |
//! | mark | no key; its lsn field is an offset: the file was durable up to there when this was written |
//! | lost | the newest record of this key was damaged; its value says in which file and where |
//! | request | a request id alone, without key and value: a write that changes no key |
//! | remembered | the same, left by a merge in place of a published record that was dropped (R24) |
//!
//! A mark precedes the first record appended after a sync. It tells recovery whether damage is corruption
//! (before a marked offset) or a torn tail (after all of them): Alagappan et al., *Protocol-Aware Recovery*,
//! FAST 2018.

use crate::codec::{Reader, put_at, to_u32};
use crate::keydir::Generation;
use crate::types::{Lsn, Op, Request, Write};

/// Length of the fixed header, in bytes.
pub(crate) const HEADER_LEN: usize = 28;
const EXPIRY_FLAG: u8 = 1;
const REQUEST_FLAG: u8 = 2;
const FLAGS: u8 = EXPIRY_FLAG | REQUEST_FLAG;
const EXPIRY_LEN: usize = 8;
/// Length of a record that is a request id alone, in bytes.
pub(crate) const REQUEST_RECORD_LEN: usize = HEADER_LEN + Request::LEN;
/// The longest head (fixed header, extensions, key), in bytes: what is read before a length can be trusted.
pub(crate) const HEAD_LEN_MAX: usize = HEADER_LEN + EXPIRY_LEN + Request::LEN + u16::MAX as usize;
/// The longest value a header may claim, in bytes; above [`Config::VALUE_LEN_CEILING`](crate::Config).
const VALUE_LEN_CEILING: u32 = 1 << 27;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put = 1,
    Delete = 2,
    Mark = 3,
    Lost = 4,
    Request = 5,
    Remembered = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::Mark),
            4 => Some(Self::Lost),
            5 => Some(Self::Request),
            6 => Some(Self::Remembered),
            _ => None,
        }
    }

    /// Returns whether a record of this kind is a request id and nothing else.
    pub(crate) fn is_alone(self) -> bool {
        match self {
            Self::Request | Self::Remembered => true,
            Self::Put | Self::Delete | Self::Mark | Self::Lost => false,
        }
    }
}

/// The identity of a data file, mixed into every header crc in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(store: u128, file: u32) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&store.to_le_bytes());
        hasher.update(&file.to_le_bytes());
        Self(hasher.finalize())
    }

    /// Returns the checksum of `bytes` standing at `offset`.
    pub(crate) fn crc(self, offset: u64, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        let offset = if mutant!("checksum without place") { 0 } else { offset };
        hasher.update(&offset.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// A record's head: everything but the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) kind: Kind,
    pub(crate) generation: Generation,
    pub(crate) lsn: Lsn,
    pub(crate) key: &'a [u8],
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) request: Option<Request>,
    pub(crate) value_len: u32,
    pub(crate) value_crc: u32,
}

impl<'a> Head<'a> {
    /// Reads the head at the start of `bytes`, which stand at `offset`; `None` when it is damaged or cut off.
    pub(crate) fn parse(bytes: &'a [u8], seed: Seed, offset: u64) -> Option<Self> {
        let (crc, covered) = bytes.split_first_chunk::<4>()?;
        let head = Self::decode(bytes)?;
        let covered = covered.get(..head.len() - crc.len())?;
        (u32::from_le_bytes(*crc) == seed.crc(offset, covered)).then_some(head)
    }

    /// Reads the head at the start of `bytes` without a look at its checksum: of a record that proved whole before.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.u32()?;
        let value_crc = reader.u32()?;
        let lsn = Lsn(reader.u64()?);
        let generation = Generation(reader.u32()?);
        let value_len = reader.u32().filter(|len| *len <= VALUE_LEN_CEILING)?;
        let key_len = usize::from(reader.u16()?);
        let kind = Kind::from_byte(reader.u8()?)?;
        let flags = reader.u8().filter(|flags| flags & !FLAGS == 0)?;
        let expires_at_ms = if flags & EXPIRY_FLAG == 0 { None } else { Some(reader.u64()?) };
        let has_request = flags & REQUEST_FLAG != 0;
        let request = if has_request { Some(Request::read(&mut reader)?) } else { None };
        let key = reader.bytes(key_len)?;
        let is_request_only = flags == REQUEST_FLAG && key_len == 0 && value_len == 0;
        (is_request_only || !kind.is_alone()).then_some(Self {
            kind,
            generation,
            lsn,
            key,
            expires_at_ms,
            request,
            value_len,
            value_crc,
        })
    }

    fn flags(&self) -> u8 {
        let expiry = if self.expires_at_ms.is_some() { EXPIRY_FLAG } else { 0 };
        expiry | if self.request.is_some() { REQUEST_FLAG } else { 0 }
    }

    /// Returns the length of the head, in bytes.
    pub(crate) fn len(&self) -> usize {
        head_len(self.flags(), self.key.len())
    }

    /// Returns the length of the whole record, in bytes.
    pub(crate) fn record_len(&self) -> usize {
        self.len() + self.value_len as usize
    }

    /// Returns whether `value` is the one that was written.
    pub(crate) fn is_value_whole(&self, value: &[u8]) -> bool {
        crc32fast::hash(value) == self.value_crc
    }

    /// Appends the record to `out`, its header crc left open until [`stamp`] knows the place.
    pub(crate) fn encode(&self, value: &[u8], out: &mut Vec<u8>) {
        out.reserve(self.record_len());
        let mut fixed = [0; HEADER_LEN];
        put_at(&mut fixed, 4, &self.value_crc.to_le_bytes());
        put_at(&mut fixed, 8, &self.lsn.0.to_le_bytes());
        put_at(&mut fixed, 16, &self.generation.0.to_le_bytes());
        put_at(&mut fixed, 20, &self.value_len.to_le_bytes());
        let key_len = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        put_at(&mut fixed, 24, &key_len.to_le_bytes());
        put_at(&mut fixed, 26, &[self.kind as u8, self.flags()]);
        out.extend_from_slice(&fixed);
        if let Some(end_ms) = self.expires_at_ms {
            out.extend_from_slice(&end_ms.to_le_bytes());
        }
        if let Some(request) = self.request {
            out.extend_from_slice(&request.encode());
        }
        out.extend_from_slice(self.key);
        out.extend_from_slice(value);
    }

    /// Returns the head of `write` in its slot's `generation`, and the value.
    ///
    /// # Panics
    /// When a write of a request id alone has none, or has a key or an end in time.
    pub(crate) fn of_write(write: &Write<'a>, generation: Generation) -> (Self, &'a [u8]) {
        let (kind, value) = match write.op {
            Op::Put(value) => (Kind::Put, value),
            Op::Delete => (Kind::Delete, &[][..]),
            Op::Request => (Kind::Request, &[][..]),
        };
        let is_request_only =
            write.request.is_some() && write.key.is_empty() && write.expires_at_ms.is_none();
        assert!(is_request_only || !kind.is_alone(), "a request id alone is all that it has");
        let head = Self {
            kind,
            generation,
            lsn: write.lsn,
            key: write.key,
            expires_at_ms: write.expires_at_ms,
            request: write.request,
            value_len: to_u32(value.len()),
            value_crc: crc32fast::hash(value),
        };
        (head, value)
    }

    /// Returns the mark that says the file was durable up to the offset `upto`.
    pub(crate) fn mark(upto: u64) -> Self {
        Self::bare(Kind::Mark, Generation(0), Lsn(upto))
    }

    /// Returns the head of what is left of a dropped record that carried a client's newest request.
    pub(crate) fn remembered(request: Request, generation: Generation, lsn: Lsn) -> Self {
        Self { request: Some(request), ..Self::bare(Kind::Remembered, generation, lsn) }
    }

    /// Returns the head of the tombstone that takes the place of this record, whose value has ended: of the same key
    /// and lsn.
    pub(crate) fn ended(&self) -> Self {
        let value_crc = crc32fast::hash(&[]);
        Self { kind: Kind::Delete, expires_at_ms: None, value_len: 0, value_crc, ..*self }
    }

    /// Returns a head without key, value and extensions.
    fn bare(kind: Kind, generation: Generation, lsn: Lsn) -> Self {
        let value_crc = crc32fast::hash(&[]);
        Self {
            kind,
            generation,
            lsn,
            key: &[],
            expires_at_ms: None,
            request: None,
            value_len: 0,
            value_crc,
        }
    }
}

/// Returns the length of a head with these flags and a key of this length, in bytes.
pub(crate) fn head_len(flags: u8, key_len: usize) -> usize {
    let expiry_len = if flags & EXPIRY_FLAG == 0 { 0 } else { EXPIRY_LEN };
    let request_len = if flags & REQUEST_FLAG == 0 { 0 } else { Request::LEN };
    HEADER_LEN + expiry_len + request_len + key_len
}

/// Returns whether `bytes` can begin a record at all: a cheap sieve before the checksum, for searches.
pub(crate) fn is_plausible(bytes: &[u8]) -> bool {
    let kind_and_flags = bytes.get(HEADER_LEN - 2..HEADER_LEN);
    matches!(kind_and_flags, Some(&[kind @ 1..=6, flags]) if kind > 0 && flags & !FLAGS == 0)
}

/// Closes the header crc of the record at the start of `bytes`, whose head has `head_len` bytes, for `offset`.
pub(crate) fn stamp(bytes: &mut [u8], head_len: usize, seed: Seed, offset: u64) {
    let crc = bytes.get(4..head_len).map_or(0, |covered| seed.crc(offset, covered));
    put_at(bytes, 0, &crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Head<'static> {
        Head {
            kind: Kind::Put,
            generation: Generation(0x0070_0003),
            lsn: Lsn::new(2, 5),
            key: b"key",
            expires_at_ms: Some(99),
            request: Some(Request { client: 7, number: 8, outcome: 1 }),
            value_len: 5,
            value_crc: crc32fast::hash(b"value"),
        }
    }

    fn encoded(head: &Head<'_>, value: &[u8], seed: Seed, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        head.encode(value, &mut bytes);
        stamp(&mut bytes, head.len(), seed, offset);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let seed = Seed::new(1, 2);
        let head = full();
        let bytes = encoded(&head, b"value", seed, 32);
        assert_eq!(bytes.len(), head.record_len());
        assert_eq!(Head::parse(&bytes, seed, 32), Some(head));
        assert!(head.is_value_whole(&bytes[head.len()..]));
        assert!(is_plausible(&bytes));
    }

    #[test]
    fn the_bytes_of_a_record_are_fixed() {
        let write = Write::put(crate::SlotId::new(1).unwrap(), Lsn::new(1, 1), b"k", b"v");
        let (head, value) = Head::of_write(&write, Generation(0x0010_0001));
        let bytes = encoded(&head, value, Seed::new(1, 1), 32);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&text[16..], "0100000000010000010010000100000001000100".to_owned() + "6b76");
    }

    #[test]
    fn the_bytes_of_a_request_alone_are_fixed_and_it_has_neither_key_nor_value() {
        let request = Request { client: 7, number: 8, outcome: 1 };
        let head = Head::remembered(request, Generation(0x0010_0001), Lsn::new(1, 1));
        let bytes = encoded(&head, b"", Seed::new(1, 1), 32);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let rest = "0700000000000000080000000000000001";
        assert_eq!(&text[16..], "0100000000010000010010000000000000000602".to_owned() + rest);
        assert_eq!(bytes.len(), REQUEST_RECORD_LEN);
        assert!(is_plausible(&bytes));
        let seed = Seed::new(1, 1);
        for kind in [Kind::Request, Kind::Remembered] {
            let good = Head { kind, ..head };
            assert_eq!(Head::parse(&encoded(&good, b"", seed, 32), seed, 32), Some(good));
            for bad in [
                Head { key: b"k", ..good },
                Head { value_len: 1, ..good },
                Head { expires_at_ms: Some(1), ..good },
                Head { request: None, ..good },
            ] {
                assert_eq!(Head::parse(&encoded(&bad, b"v", seed, 32), seed, 32), None);
            }
        }
    }

    #[test]
    fn a_record_in_another_place_is_not_taken() {
        let seed = Seed::new(1, 2);
        let bytes = encoded(&full(), b"value", seed, 32);
        for (seed, offset) in [(seed, 33), (Seed::new(1, 3), 32), (Seed::new(2, 2), 32)] {
            assert_eq!(Head::parse(&bytes, seed, offset), None);
        }
    }

    #[test]
    fn any_flipped_bit_of_the_head_and_any_cut_is_noticed() {
        let seed = Seed::new(1, 2);
        let head = full();
        let whole = encoded(&head, b"value", seed, 32);
        for at in 0..head.len() * 8 {
            let mut bytes = whole.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(Head::parse(&bytes, seed, 32), None, "bit {at}");
        }
        for len in 0..head.len() {
            assert_eq!(Head::parse(&whole[..len], seed, 32), None, "cut at {len}");
        }
    }
}
