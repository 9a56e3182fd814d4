//! What a client asks for: kinds of operations, keys and values, drawn from a mix.
//!
//! | keys | |
//! |---|---|
//! | `h<i>-<g>` | a few hot ones that all clients share, replaced by new ones after a while: their histories are dense, and short enough to be checked |
//! | `c<i>` | counters, one up at a time by conditional puts, never deleted |
//! | `u<client>-<n>` | unique ones, each put once by its client and never again, some deleted once |
//! | `m<client>-<n>` | mortal ones, each put once by its client with an end |
//!
//! Every value is of one operation only: `<client>.<count>`, on counters `<client>.<count>=<n>`.

use std::collections::BTreeMap;

use cluster::{Ask, Bytes, Condition, Lsn, ServerId};
use fastrand::Rng;

/// A millisecond in nanoseconds.
const MS: u64 = 1_000_000;

/// How long a mortal key lives, in milliseconds.
const MORTAL_MS: std::ops::Range<u64> = 100..8_000;

/// What clients ask for, drawn for each run.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Servers that clients know from the start.
    pub servers: Vec<ServerId>,
    /// Clients are numbered from zero to this.
    pub client_count: u32,
    /// Keys that all clients share at a time.
    pub hot_count: u32,
    /// How long a hot key is used, in nanoseconds.
    pub hot_for: u64,
    /// Counters that all clients share.
    pub counter_count: u32,
    /// Mean pause between two operations, in nanoseconds.
    pub think: u64,
    /// In a hundred: clients whose writes carry request ids.
    pub id_percent: u32,
    /// In a hundred: writes that are not sent again after a definite refusal.
    pub impatient_percent: u32,
    /// In a hundred: reads that may go to any member.
    pub spread_percent: u32,
    /// How often each kind is asked.
    pub weights: [(Choice, u32); 9],
}

/// A kind of operation on a kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Get,
    Put,
    Delete,
    PutIfAbsent,
    PutIfVersion,
    CountUp,
    PutUnique,
    DeleteUnique,
    PutMortal,
}

impl Mix {
    /// Asks for nothing that ends: where the clock is not the simulator's.
    pub fn without_ends(mut self) -> Self {
        let mortal = self.weights.iter_mut().filter(|(choice, _)| *choice == Choice::PutMortal);
        mortal.for_each(|(_, weight)| *weight = 0);
        self
    }

    /// Draws a mix.
    pub fn draw(rng: &mut Rng, servers: Vec<ServerId>, client_count: u32) -> Self {
        let mut weights = [
            (Choice::Get, 40),
            (Choice::Put, 20),
            (Choice::Delete, 6),
            (Choice::PutIfAbsent, 6),
            (Choice::PutIfVersion, 8),
            (Choice::CountUp, 8),
            (Choice::PutUnique, 14),
            (Choice::DeleteUnique, 5),
            (Choice::PutMortal, 4),
        ];
        for (_, weight) in &mut weights {
            *weight *= rng.u32(1..=3);
        }
        Self {
            servers,
            client_count,
            hot_count: rng.u32(3..=8),
            hot_for: rng.u64(3_000..=12_000) * MS,
            counter_count: rng.u32(1..=2),
            think: [20, 50, 100, 150][rng.usize(0..4)] * MS,
            id_percent: 80,
            impatient_percent: 10,
            spread_percent: [0, 50, 50, 100][rng.usize(0..4)],
            weights,
        }
    }
}

/// What the client read or wrote last under a key.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// `None`: there was no value.
    version: Option<Lsn>,
    /// A counter's number.
    count: u64,
}

/// One client's wishes.
#[derive(Debug)]
pub struct Wishes {
    id: u32,
    mix: Mix,
    has_ids: bool,
    request_last: u64,
    value_last: u64,
    known: BTreeMap<Bytes, Known>,
    unique_count: u32,
    undeleted: Vec<u32>,
    mortal_count: u32,
}

impl Wishes {
    pub fn new(id: u32, mix: &Mix, rng: &mut Rng) -> Self {
        Self {
            id,
            mix: mix.clone(),
            has_ids: rng.u32(0..100) < mix.id_percent,
            request_last: 0,
            value_last: 0,
            known: BTreeMap::new(),
            unique_count: 0,
            undeleted: Vec::new(),
            mortal_count: 0,
        }
    }

    /// Notes what is now surely there: its version and value, or that there is none.
    pub fn learn(&mut self, key: Bytes, version: Option<Lsn>, value: Option<&[u8]>) {
        let count = value.map_or(0, count_of);
        self.known.insert(key, Known { version, count });
    }

    /// Forgets what was there.
    pub fn forget(&mut self, key: &Bytes) {
        self.known.remove(key);
    }

    /// Returns what is asked next.
    pub fn draw(&mut self, now: u64, rng: &mut Rng) -> (Bytes, Ask) {
        let total = self.mix.weights.iter().map(|(_, weight)| weight).sum();
        let mut drawn = rng.u32(0..total);
        let choice = self.mix.weights.iter().find(|(_, weight)| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it
        });
        match choice.unwrap().0 {
            Choice::Get => (self.any_key(now, rng), Ask::Get),
            Choice::Put => (self.hot_key(now, rng), self.put(None, None)),
            Choice::Delete => (self.hot_key(now, rng), self.delete()),
            Choice::PutIfAbsent => {
                (self.hot_key(now, rng), self.put(Some(Condition::Absent), None))
            }
            Choice::PutIfVersion => {
                let key = self.hot_key(now, rng);
                let version = self.known.get(&key).and_then(|known| known.version);
                let ask = version
                    .map(|version| self.put(Some(Condition::Version(version)), None))
                    .unwrap_or(Ask::Get);
                (key, ask)
            }
            Choice::CountUp => self.count_up(rng),
            Choice::PutUnique => {
                let index = self.unique_count;
                self.unique_count += 1;
                self.undeleted.push(index);
                (key_of('u', self.id, index), self.put(None, None))
            }
            Choice::DeleteUnique if !self.undeleted.is_empty() => {
                let index = self.undeleted.swap_remove(rng.usize(0..self.undeleted.len()));
                (key_of('u', self.id, index), self.delete())
            }
            Choice::DeleteUnique => (self.any_key(now, rng), Ask::Get),
            Choice::PutMortal => {
                let index = self.mortal_count;
                self.mortal_count += 1;
                let end_ms = now / MS + rng.u64(MORTAL_MS);
                (key_of('m', self.id, index), self.put_until(end_ms))
            }
        }
    }

    fn hot_key(&self, now: u64, rng: &mut Rng) -> Bytes {
        let index = rng.u32(0..self.mix.hot_count);
        // They do not all change at the same time.
        let offset = self.mix.hot_for / u64::from(self.mix.hot_count) * u64::from(index);
        let generation = (now + offset) / self.mix.hot_for;
        // Now and then one of those before, that nobody writes any more.
        let generation = generation.saturating_sub(u64::from(rng.u8(0..16) == 0));
        text(format!("h{index}-{generation}"))
    }

    /// Returns a key to read: a hot one or one that was written once.
    fn any_key(&self, now: u64, rng: &mut Rng) -> Bytes {
        if rng.u8(0..4) > 0 {
            return self.hot_key(now, rng);
        }
        let client = rng.u32(0..self.mix.client_count.max(1));
        match rng.u8(0..3) {
            0 => key_of('m', client, rng.u32(0..=self.mortal_count)),
            _ => key_of('u', client, rng.u32(0..=self.unique_count)),
        }
    }

    fn count_up(&mut self, rng: &mut Rng) -> (Bytes, Ask) {
        let key = text(format!("c{}", rng.u32(0..self.mix.counter_count)));
        let ask = match self.known.get(&key).copied() {
            Some(Known { version: Some(version), count }) => {
                self.put(Some(Condition::Version(version)), Some(count + 1))
            }
            Some(Known { version: None, .. }) => self.put(Some(Condition::Absent), Some(1)),
            None => Ask::Get,
        };
        (key, ask)
    }

    fn put(&mut self, condition: Option<Condition>, count: Option<u64>) -> Ask {
        self.value_last += 1;
        let value = format!("{}.{}", self.id, self.value_last);
        let value = text(count.map_or(value.clone(), |count| format!("{value}={count}")));
        Ask::Put { value, expires_at_ms: None, condition, request: self.request() }
    }

    fn put_until(&mut self, end_ms: u64) -> Ask {
        let ask = self.put(None, None);
        match ask {
            Ask::Put { value, condition, request, .. } => {
                Ask::Put { value, expires_at_ms: Some(end_ms), condition, request }
            }
            Ask::Get | Ask::Delete { .. } => ask,
        }
    }

    fn delete(&mut self) -> Ask {
        Ask::Delete { request: self.request() }
    }

    fn request(&mut self) -> Option<(u64, u64)> {
        self.request_last += 1;
        self.has_ids.then_some((u64::from(self.id), self.request_last))
    }
}

fn text(text: String) -> Bytes {
    text.into_bytes().into()
}

/// Returns a key of one client's.
fn key_of(kind: char, client: u32, index: u32) -> Bytes {
    text(format!("{kind}{client}-{index}"))
}

/// Returns the number that a counter's value ends with.
pub fn count_of(value: &[u8]) -> u64 {
    let value = String::from_utf8_lossy(value);
    value.split_once('=').and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}
