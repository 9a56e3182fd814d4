//! The keys and values of every measurement: what an engine is given, and what it must give back.
//!
//! Key number *n* is 16 bytes that look random, so keys in the order of their numbers come in random order. A value is
//! the key's number, a version, and a piece of one random string that both of them choose: it costs nothing
//! to make again, so every byte read can be checked, and it cannot be compressed.

use std::thread;
use std::time::Duration;

use crate::Result;

/// Length of a key, in bytes.
pub(crate) const KEY_LEN: usize = 16;
/// Length of a value, in bytes.
pub(crate) const VALUE_LEN: usize = 100;
const NUMBERS_LEN: usize = 16;
const FILLER_LEN: usize = VALUE_LEN - NUMBERS_LEN;
/// Length of the random string; a power of two, and small enough to stay in a processor's cache.
const NOISE_LEN: usize = 1 << 13;

/// A key.
pub(crate) type Key = [u8; KEY_LEN];
/// A value.
pub(crate) type Value = [u8; VALUE_LEN];

/// SplitMix64's finaliser: a bijection of 64 bits that looks random (Steele, Lea and Flood, 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns key number `index`.
pub(crate) fn key(index: u64) -> Key {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&mix(index).to_be_bytes());
    key[8..].copy_from_slice(&mix(!index).to_be_bytes());
    key
}

/// Makes values and checks them.
#[derive(Debug)]
pub(crate) struct Values {
    noise: Vec<u8>,
}

impl Values {
    pub(crate) fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let noise = (0..NOISE_LEN + FILLER_LEN).map(|_| random.u8(..)).collect();
        Self { noise }
    }

    /// Returns the value of key number `index` in its version `version`.
    pub(crate) fn value(&self, index: u64, version: u64) -> Value {
        let start = mix(index ^ version << 48) as usize % NOISE_LEN;
        let mut value = [0; VALUE_LEN];
        value[..8].copy_from_slice(&index.to_le_bytes());
        value[8..NUMBERS_LEN].copy_from_slice(&version.to_le_bytes());
        value[NUMBERS_LEN..].copy_from_slice(&self.noise[start..start + FILLER_LEN]);
        value
    }

    /// Fails unless `found` is the value of key number `index` in its version `version`.
    pub(crate) fn check(&self, index: u64, version: u64, found: Option<&[u8]>) -> Result<()> {
        match found {
            Some(found) if found == self.value(index, version) => Ok(()),
            Some(_) => Err(format!("key {index} has a value that was not written").into()),
            None => Err(format!("key {index} is not there").into()),
        }
    }
}

/// Waits for `time`: here a time itself is what is wanted, a pause between two phases or the pace of a load.
pub(crate) fn wait_out(time: Duration) {
    thread::sleep(time);
}

/// Returns the numbers below `count`, each once, in an order that only `seed` decides.
pub(crate) fn shuffled(count: u64, seed: u64) -> Vec<u64> {
    let mut numbers: Vec<_> = (0..count).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut numbers);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_taken_only_for_its_own_key_and_version() {
        let values = Values::new();
        let value = values.value(7, 2);
        assert!(values.check(7, 2, Some(&value)).is_ok());
        assert!(values.check(8, 2, Some(&value)).is_err());
        assert!(values.check(7, 1, Some(&value)).is_err());
        assert!(values.check(7, 2, None).is_err());
    }

    #[test]
    fn a_shuffle_has_every_number_once_and_the_same_order_for_a_seed() {
        let numbers = shuffled(100, 3);
        assert_eq!(numbers, shuffled(100, 3));
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_ne!(numbers, sorted);
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
