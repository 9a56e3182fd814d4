//! Which request comes next on a connection: its kind and its key.
//!
//! Keys `0..keys` are the key space that `--load` fills. Inserts (YCSB D) take indices above it: connection
//! *w* of *c* inserts `keys + w`, `keys + w + c`, …, so that connections need not agree on anything, and none
//! reads what is not there yet. *Latest* draws an age by Zipf: first the connection's own inserts, youngest
//! first, then the key space from its top downwards. YCSB shares one counter between all its threads instead.

use std::sync::Arc;

use crate::plan::{Choice, Workload};
use crate::proto::Kind;
use crate::zipf::Zipf;

/// A request to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) key: u32,
    /// Once this get is answered, the same key is set: a read-modify-write.
    pub(crate) is_modify: bool,
}

/// The requests of one connection.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Every `stride`th key of the key space, once.
    Load { next: u64, stride: u64, keys: u64 },
    /// A mix without end.
    Mix(Mixer),
}

impl Source {
    /// Returns the next request, or none at the end.
    pub(crate) fn next(&mut self) -> Option<Op> {
        match self {
            Self::Load { next, stride, keys } => {
                let key = u32::try_from(*next).ok().filter(|_| *next < *keys)?;
                *next += *stride;
                Some(Op { kind: Kind::Set, key, is_modify: false })
            }
            Self::Mix(mixer) => Some(mixer.next()),
        }
    }

    /// Returns how many keys were inserted.
    pub(crate) fn inserted(&self) -> u64 {
        match self {
            Self::Load { .. } => 0,
            Self::Mix(mixer) => mixer.inserted,
        }
    }
}

/// Draws requests by the workload's shares and choice of keys.
#[derive(Clone, Debug)]
pub(crate) struct Mixer {
    rng: fastrand::Rng,
    /// Shares of gets, read-modify-writes and inserts, each with those before it, of 100.
    gets_below: u8,
    modifies_below: u8,
    inserts_below: u8,
    choice: Choice,
    zipf: Option<Arc<Zipf>>,
    keys: u32,
    /// This connection's index and the number of all: the first insert and the stride.
    index: u64,
    stride: u64,
    inserted: u64,
}

impl Mixer {
    /// Returns the requests of connection `index`, which has inserted so many keys before.
    pub(crate) fn new(
        load: &Workload,
        zipf: Option<Arc<Zipf>>,
        index: usize,
        inserted: u64,
        seed: u64,
    ) -> Self {
        let mix = load.mix;
        Self {
            rng: fastrand::Rng::with_seed(seed),
            gets_below: mix.gets,
            modifies_below: mix.gets + mix.modifies,
            inserts_below: mix.gets + mix.modifies + mix.inserts,
            choice: load.choice,
            zipf,
            keys: load.keys,
            index: index as u64,
            stride: load.connections as u64,
            inserted,
        }
    }

    fn next(&mut self) -> Op {
        let (kind, is_modify) = match self.gets_below {
            100 => (Kind::Get, false),
            _ => match self.rng.u8(..100) {
                draw if draw < self.gets_below => (Kind::Get, false),
                draw if draw < self.modifies_below => (Kind::Get, true),
                draw if draw < self.inserts_below => return self.insert(),
                _ => (Kind::Set, false),
            },
        };
        Op { kind, key: self.key(), is_modify }
    }

    fn insert(&mut self) -> Op {
        let key = self.insert_key(self.inserted);
        self.inserted += 1;
        Op { kind: Kind::Set, key, is_modify: false }
    }

    /// Returns the key of this connection's insert number `number`. Past the last index the last is
    /// overwritten: 2³¹ inserts are out of reach.
    fn insert_key(&self, number: u64) -> u32 {
        let index = u64::from(self.keys) + self.index + number * self.stride;
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn key(&mut self) -> u32 {
        let Some(zipf) = &self.zipf else { return self.rng.u32(..self.keys) };
        let rank = zipf.rank(&mut self.rng);
        match self.choice {
            Choice::Latest if rank < self.inserted => self.insert_key(self.inserted - 1 - rank),
            Choice::Latest => {
                let older = u32::try_from(rank - self.inserted).unwrap_or(u32::MAX);
                self.keys.saturating_sub(1).saturating_sub(older)
            }
            Choice::Uniform | Choice::Zipf => u32::try_from(zipf.scramble(rank)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Until;
    use std::time::Duration;

    fn mixer(mix: &str, choice: Choice, keys: u32) -> Mixer {
        let load = Workload {
            connections: 3,
            depth: 1,
            mix: mix.parse().unwrap(),
            choice,
            keys,
            key_len: 16,
            value_len: 100..=100,
            spreads_reads: false,
            redis_wait: 0,
            rate: None,
            warmup: Duration::ZERO,
            until: Until::Ops(1),
        };
        let zipf = (choice != Choice::Uniform).then(|| Arc::new(Zipf::new(keys)));
        Mixer::new(&load, zipf, 1, 0, 42)
    }

    #[test]
    fn loading_connections_cover_every_key_once() {
        let mut keys: Vec<u32> = (0..7)
            .flat_map(|index| {
                let mut source = Source::Load { next: index, stride: 7, keys: 100 };
                std::iter::from_fn(move || source.next().map(|op| op.key)).collect::<Vec<_>>()
            })
            .collect();
        keys.sort_unstable();
        assert!(keys.into_iter().eq(0..100));
    }

    #[test]
    fn kinds_come_in_the_shares_asked_for() {
        for (mix, gets, modifies, sets) in [
            ("get", 100, 0, 0),
            ("set", 0, 0, 100),
            ("mixed=80", 80, 0, 20),
            ("b", 95, 0, 5),
            ("d", 95, 0, 5),
            ("f", 50, 50, 0),
        ] {
            let mut mixer = mixer(mix, Choice::Uniform, 1000);
            let ops: Vec<Op> = (0..100_000).map(|_| mixer.next()).collect();
            let share =
                |is: &dyn Fn(&Op) -> bool| (ops.iter().filter(|op| is(op)).count() + 500) / 1000;
            assert_eq!(share(&|op| op.kind == Kind::Get && !op.is_modify), gets, "{mix}");
            assert_eq!(share(&|op| op.is_modify), modifies, "{mix}");
            assert_eq!(share(&|op| op.kind == Kind::Set), sets, "{mix}");
        }
    }

    #[test]
    fn uniform_keys_are_all_alike() {
        let mut mixer = mixer("get", Choice::Uniform, 100);
        let mut hits = [0_u32; 100];
        (0..100_000).for_each(|_| hits[mixer.next().key as usize] += 1);
        assert!(hits.into_iter().all(|count| (850..1150).contains(&count)), "{hits:?}");
    }

    #[test]
    fn latest_reads_what_is_there_and_prefers_what_was_inserted_last() {
        let mut mixer = mixer("d", Choice::Latest, 1000);
        let mut newest = None;
        let (mut gets, mut newest_hits) = (0_u32, 0_u32);
        for _ in 0..50_000 {
            let op = mixer.next();
            if op.kind == Kind::Set {
                assert_eq!(u64::from(op.key), 1000 + 1 + 3 * (mixer.inserted - 1));
                newest = Some(op.key);
                continue;
            }
            let is_inserted =
                op.key > 1000 && (op.key - 1001).is_multiple_of(3) && Some(op.key) <= newest;
            assert!(op.key < 1000 || is_inserted, "{op:?}");
            gets += 1;
            newest_hits += u32::from(Some(op.key) == newest);
        }
        let share = f64::from(newest_hits) / f64::from(gets);
        assert!((0.10..0.16).contains(&share), "rank 0 of 1,000 should take 13 %: {share}");
    }
}
