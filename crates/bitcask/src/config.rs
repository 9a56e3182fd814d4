//! The settings of a store, with their defaults.

use std::time::Duration;

use crate::error::{Error, Result};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// When an acknowledged write is durable (R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before it is acknowledged. Survives power loss.
    Always,
    /// At most this long after it is acknowledged. Power loss takes at most the last interval's writes;
    /// a crash of the process takes none.
    Interval(Duration),
    /// When the operating system sees fit. A crash of the process takes no acknowledged write.
    Never,
}

/// How dead bytes are won back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeConfig {
    /// The share of dead bytes in all data files, in percent, from which merges run. While more than a mebibyte a second is
    /// written it is two thirds more, up to 50: a merge then copies one living record for each dead one instead of two or three.
    pub dead_percent: u8,
    /// Bytes of data files that merges go through a second, while dead bytes are at the trigger; four times as many when they
    /// have passed it by half, and sixteen times when they are twice as many, because a full disk is worse than a busy one.
    pub rate: u64,
    /// Sealed files smaller than an eighth of a full one that are merged although little in them is dead:
    /// so many restarts do not leave so many files.
    pub small_file_count: usize,
}

/// Where waiting for more dead bytes no longer pays.
const BUSY_DEAD_PERCENT_MAX: u8 = 50;

impl MergeConfig {
    /// Returns the share of dead bytes, in percent, from which merges run now.
    pub(crate) fn trigger(&self, is_busy: bool) -> u8 {
        let patient = self.dead_percent.saturating_add(self.dead_percent / 3 * 2);
        match is_busy {
            true => patient.min(BUSY_DEAD_PERCENT_MAX).max(self.dead_percent),
            false => self.dead_percent,
        }
    }
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self { dead_percent: 30, rate: 64 * MIB, small_file_count: 8 }
    }
}

/// The settings of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// When writes become durable.
    pub sync: SyncPolicy,
    /// Length at which a data file is sealed and the next one begun, in bytes.
    pub file_len_max: u64,
    /// The longest key, in bytes.
    pub key_len_max: usize,
    /// The longest value, in bytes.
    pub value_len_max: usize,
    /// The most memory for records read lately, in bytes, an even share for each of all slots; 0: none are kept. It is
    /// taken as it fills.
    pub cache_len: usize,
    /// Bytes kept free on the disk for deletes and merges: puts are refused below.
    pub reserve_len: u64,
    /// How dead bytes are won back.
    pub merge: MergeConfig,
    /// Whether the store runs its own threads for syncs by interval, hint files and merges. Without, the
    /// caller runs [`Store::maintain`](crate::Store::maintain): so tests are deterministic.
    pub has_background: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::Always,
            file_len_max: 128 * MIB,
            key_len_max: 1024,
            value_len_max: 16 << 20,
            cache_len: 256 << 20,
            reserve_len: 64 * MIB,
            merge: MergeConfig::default(),
            has_background: true,
        }
    }
}

impl Config {
    /// The largest `file_len_max`: with one batch behind it, offsets stay within 32 bits.
    pub const FILE_LEN_CEILING: u64 = 2048 * MIB;
    /// The largest `key_len_max`: the record header has 16 bits for it.
    pub const KEY_LEN_CEILING: usize = u16::MAX as usize;
    /// The largest `value_len_max`: a record's length has 28 bits in the keydir.
    pub const VALUE_LEN_CEILING: usize = 128 << 20;

    /// Checks that the settings fit the format.
    pub(crate) fn check(&self) -> Result<()> {
        let rows = [
            ("file_len_max", self.file_len_max, Self::FILE_LEN_CEILING),
            ("key_len_max", self.key_len_max as u64, Self::KEY_LEN_CEILING as u64),
            ("value_len_max", self.value_len_max as u64, Self::VALUE_LEN_CEILING as u64),
        ];
        for (what, len, max) in rows {
            if len > max {
                return Err(Error::Limit { what, len, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_much_is_written_merges_wait_for_more_dead_bytes_but_not_for_more_than_half() {
        for (dead_percent, busy) in [(30, 50), (1, 1), (12, 20), (40, 50), (50, 50), (95, 95)] {
            let config = MergeConfig { dead_percent, ..MergeConfig::default() };
            assert_eq!((config.trigger(false), config.trigger(true)), (dead_percent, busy));
        }
    }
}
