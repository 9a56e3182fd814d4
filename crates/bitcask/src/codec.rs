//! Little-endian numbers in byte strings, read and written without a way to go out of bounds.
//!
//! All of the engine's files are **little-endian**.

/// Reads numbers and byte strings one after the other; `None` from where the bytes end.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Overwrites the bytes at `at`, which must be there.
pub(crate) fn put_at(bytes: &mut [u8], at: usize, new: &[u8]) {
    let place = bytes.get_mut(at..at + new.len());
    assert!(place.is_some(), "writing outside of a buffer");
    if let Some(place) = place {
        place.copy_from_slice(new);
    }
}

/// Returns `value` as a `usize`: files are bounded far below what does not fit.
pub(crate) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Returns `value`, which a limit keeps within 32 bits, as a `u32`.
///
/// # Panics
/// When it does not fit: a limit was not checked.
pub(crate) fn to_u32(value: usize) -> u32 {
    let small = u32::try_from(value);
    assert!(small.is_ok(), "a length beyond its limit");
    small.unwrap_or(u32::MAX)
}
