//! Reading the words that name things: slots, epochs, lsns, servers and their lives, versions, times.
//!
//! | word | |
//! |---|---|
//! | slot | 0 to 4,095 |
//! | epoch | 24 bits |
//! | lsn | `<epoch>.<counter>`, the counter of 40 bits |
//! | server | 32 lower-case hexadecimal digits |
//! | incarnation, version, time in nanoseconds | 64 bits |

use super::Words;
use crate::lines::error::{Fault, LineError};
use crate::types::{Epoch, Incarnation, Lsn, ServerId, SlotId, Time, Version};

/// Digits of a server's id.
const ID_LEN: usize = 32;

impl Words<'_> {
    /// Takes a version of the map.
    pub(in crate::lines) fn version(&mut self) -> Result<Version, LineError> {
        self.number("version of the map").map(Version)
    }

    /// Takes a time in nanoseconds, without the space behind it.
    pub(in crate::lines) fn time(&mut self, part: &'static str) -> Result<Time, LineError> {
        self.digits(part, u64::MAX).map(Time)
    }

    /// Takes an incarnation, without the space behind it.
    pub(in crate::lines) fn incarnation(&mut self) -> Result<Incarnation, LineError> {
        self.digits("incarnation", u64::MAX).map(Incarnation)
    }

    /// Takes a slot's number, without the space behind it.
    #[inline]
    pub(in crate::lines) fn slot(&mut self) -> Result<SlotId, LineError> {
        const PART: &str = "slot";
        let before = *self;
        let max = u64::from(hashring::SLOT_COUNT - 1);
        let index = self.digits(PART, max)?;
        let slot = u16::try_from(index).ok().and_then(SlotId::new);
        slot.ok_or_else(|| before.error(Fault::TooLarge { max }, PART))
    }

    /// Takes an epoch, without the space behind it.
    #[inline]
    pub(in crate::lines) fn epoch(&mut self) -> Result<Epoch, LineError> {
        self.epoch_of("epoch").map(Epoch)
    }

    #[inline]
    fn epoch_of(&mut self, part: &'static str) -> Result<u32, LineError> {
        let epoch = self.digits(part, u64::from(Lsn::EPOCH_MAX))?;
        Ok(u32::try_from(epoch).unwrap_or(Lsn::EPOCH_MAX))
    }

    /// Takes an lsn as a word.
    #[inline]
    pub(in crate::lines) fn lsn(&mut self, part: &'static str) -> Result<Lsn, LineError> {
        let epoch = self.epoch_of(part)?;
        self.mark(b'.', part)?;
        let counter = self.digits(part, Lsn::COUNTER_MAX)?;
        self.close(part)?;
        Ok(Lsn::new(epoch, counter))
    }

    /// Takes the digits of a server's id, without the space behind them.
    pub(in crate::lines) fn id(&mut self, part: &'static str) -> Result<ServerId, LineError> {
        let left = self.left();
        if matches!(left.first(), None | Some(b' ')) {
            return Err(self.error(Fault::Missing, part));
        }
        let digits = left.get(..ID_LEN).and_then(|digits| std::str::from_utf8(digits).ok());
        let id = digits.and_then(|digits| digits.parse().ok());
        let id = id.ok_or_else(|| self.error(Fault::NotAnId, part))?;
        self.at += ID_LEN;
        Ok(id)
    }

    /// Takes a server's id as a word.
    pub(in crate::lines) fn server(&mut self, part: &'static str) -> Result<ServerId, LineError> {
        let id = self.id(part)?;
        self.close(part)?;
        Ok(id)
    }
}
