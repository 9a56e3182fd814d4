//! The small words of the engine's interface: slots, lsns, request ids, writes, positions.

use std::fmt;

use crate::codec::{Reader, put_at};

/// Number of slots a store can hold.
pub const SLOT_COUNT: u16 = 4096;

/// The number of a slot: one of the store's separate key spaces, always below [`SLOT_COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u16);

impl SlotId {
    /// Returns the slot numbered `index`, or `None` at [`SLOT_COUNT`] and above.
    #[must_use]
    pub fn new(index: u16) -> Option<Self> {
        (index < SLOT_COUNT).then_some(Self(index))
    }

    /// Returns the slot's number.
    #[must_use]
    pub fn index(self) -> u16 {
        self.0
    }

    /// Returns every slot, from 0 up.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOT_COUNT).map(Self)
    }
}

/// The place of a record in its slot's order, given by the caller: epoch in the high 24 bits, counter in the
/// low 40. To the engine it is a number of which **the highest wins** (R1), whatever the order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Bits of the counter.
    const COUNTER_BITS: u32 = 40;
    /// The largest epoch: 24 bits.
    pub const EPOCH_MAX: u32 = (1 << (64 - Self::COUNTER_BITS)) - 1;
    /// The largest counter: 40 bits.
    pub const COUNTER_MAX: u64 = (1 << Self::COUNTER_BITS) - 1;

    /// Returns the lsn of `counter` in `epoch`.
    ///
    /// # Panics
    /// When either is beyond its bits: an lsn that wrapped round would order wrongly for ever.
    #[must_use]
    pub fn new(epoch: u32, counter: u64) -> Self {
        assert!(epoch <= Self::EPOCH_MAX && counter <= Self::COUNTER_MAX, "lsn out of range");
        Self((u64::from(epoch) << Self::COUNTER_BITS) | counter)
    }

    /// Returns the epoch.
    #[must_use]
    pub fn epoch(self) -> u32 {
        u32::try_from(self.0 >> Self::COUNTER_BITS).unwrap_or(Self::EPOCH_MAX)
    }

    /// Returns the counter.
    #[must_use]
    pub fn counter(self) -> u64 {
        self.0 & Self::COUNTER_MAX
    }
}

impl fmt::Display for Lsn {
    /// Writes `<epoch>.<counter>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.counter())
    }
}

/// Who asked for a write, kept with its record so that a retry can be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's id.
    pub client: u64,
    /// The client's number for this request.
    pub number: u64,
    /// What the client was told, in the caller's own code.
    pub outcome: u8,
}

impl Request {
    /// Length of the bytes of a request id.
    pub(crate) const LEN: usize = 17;

    /// Returns the request as it stands in files: client 8, number 8, outcome 1.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        put_at(&mut bytes, 0, &self.client.to_le_bytes());
        put_at(&mut bytes, 8, &self.number.to_le_bytes());
        put_at(&mut bytes, 16, &[self.outcome]);
        bytes
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { client: reader.u64()?, number: reader.u64()?, outcome: reader.u8()? })
    }
}

/// What a write does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Stores this value.
    Put(&'a [u8]),
    /// Leaves a tombstone.
    Delete,
    /// Changes no key: only the request id is kept (R24). The write has an empty key, a request, and no expiry.
    Request,
}

/// One write, as handed to [`Store::append`](crate::Store::append).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// The slot, which must exist.
    pub slot: SlotId,
    /// Its place in the slot's order.
    pub lsn: Lsn,
    /// The key, 1 byte or more; empty for a request alone.
    pub key: &'a [u8],
    /// What happens to it.
    pub op: Op<'a>,
    /// When the value ends, in milliseconds since 1970-01-01 UTC; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// Who asked, if that is to be kept.
    pub request: Option<Request>,
}

impl<'a> Write<'a> {
    /// Returns a put without expiry or request id.
    #[must_use]
    pub fn put(slot: SlotId, lsn: Lsn, key: &'a [u8], value: &'a [u8]) -> Self {
        Self { slot, lsn, key, op: Op::Put(value), expires_at_ms: None, request: None }
    }

    /// Returns a delete without request id.
    #[must_use]
    pub fn delete(slot: SlotId, lsn: Lsn, key: &'a [u8]) -> Self {
        Self { slot, lsn, key, op: Op::Delete, expires_at_ms: None, request: None }
    }
}

impl Write<'static> {
    /// Returns a write that leaves a request id and changes no key.
    #[must_use]
    pub fn request(slot: SlotId, lsn: Lsn, request: Request) -> Self {
        let request = Some(request);
        Self { slot, lsn, key: &[], op: Op::Request, expires_at_ms: None, request }
    }
}

/// A point in the stream of appended bytes since the store was opened: everything before it was appended
/// earlier. Positions of different openings cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_orders_by_epoch_first() {
        assert!(Lsn::new(2, 0) > Lsn::new(1, Lsn::COUNTER_MAX));
        let lsn = Lsn::new(Lsn::EPOCH_MAX, Lsn::COUNTER_MAX);
        assert_eq!((lsn.epoch(), lsn.counter()), (Lsn::EPOCH_MAX, Lsn::COUNTER_MAX));
        assert_eq!(lsn.0, u64::MAX);
        assert_eq!(Lsn::new(3, 7).to_string(), "3.7");
    }

    #[test]
    #[should_panic(expected = "lsn out of range")]
    fn an_epoch_past_its_bits_is_a_bug() {
        assert!(Lsn::new(Lsn::EPOCH_MAX + 1, 0) > Lsn(0));
    }
}
