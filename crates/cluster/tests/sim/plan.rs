//! What one run is to be: everything is drawn from its seed.

use std::time::Duration;

use cluster::Config;
use cluster::coordinator::Settings;
use cluster::coordinator::elastic::{Elastic, Limits, Mode};
use fastrand::Rng;

use crate::queue::{MS, Nanos, SECOND};

/// When appended records are told durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// When they are.
    Always,
    /// At once; they really are after a while.
    Interval,
    /// At once; they really are when the system likes.
    Never,
}

/// What lies under the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// A model of the engine's contract.
    Model,
    /// The engine itself on a simulated disk.
    Engine,
}

/// A kind of fault or of change from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A server's process is killed.
    Kill,
    /// A server's machine loses power.
    Power,
    /// Every machine loses power.
    PowerAll,
    /// A server or the coordinator stands still.
    Pause,
    /// Two nodes cannot hear each other, one way or both.
    Partition,
    /// A node is cut off from all others, one way or both.
    Isolate,
    /// The servers fall into two groups, one of them with the coordinator, that cannot hear each other.
    Split,
    /// Connections of a node break.
    Break,
    /// Messages are slow.
    SlowNet,
    /// A disk is slow.
    SlowDisk,
    /// A disk is full.
    FullDisk,
    /// A sync fails.
    FailDisk,
    /// The coordinator's process is killed.
    EcsCrash,
    /// A server is asked to leave, by the operator or by a signal.
    Leave,
    /// The operator levels the shares.
    Rebalance,
    /// A server never comes back.
    Lose,
    /// A disk answers no sync for a while, though the process goes on (R16).
    Hang,
    /// A record on a disk can be read no more (R4).
    Damage,
}

/// The kinds, each with its usual weight.
pub const KINDS: [(Kind, u32); 18] = [
    (Kind::Kill, 20),
    (Kind::Power, 12),
    (Kind::PowerAll, 2),
    (Kind::Pause, 16),
    (Kind::Partition, 20),
    (Kind::Isolate, 8),
    (Kind::Split, 8),
    (Kind::Break, 16),
    (Kind::SlowNet, 6),
    (Kind::SlowDisk, 6),
    (Kind::FullDisk, 4),
    (Kind::FailDisk, 4),
    (Kind::EcsCrash, 8),
    (Kind::Leave, 5),
    (Kind::Rebalance, 3),
    (Kind::Lose, 1),
    (Kind::Hang, 4),
    (Kind::Damage, 4),
];

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// Servers that begin on the ring.
    pub servers: usize,
    /// Servers that begin in standby.
    pub standbys: usize,
    /// Slots of the ring.
    pub slots: u16,
    /// When records are told durable.
    pub policy: Policy,
    /// What lies under the servers.
    pub storage: Under,
    /// Clients.
    pub clients: usize,
    /// Kinds of faults, each with its weight; none: no faults.
    pub kinds: Vec<(Kind, u32)>,
    /// Of a hundred changes of a slot's members, how many have somebody cut off at that very moment.
    pub cut_percent: u8,
    /// Of a hundred hand-overs, how many have the new primary cut off at its worst moment.
    pub ambush_percent: u8,
    /// Of a hundred changes of the map, how many a server takes long to keep.
    pub late_map_percent: u8,
    /// Mean time between two faults.
    pub fault_every: Nanos,
    /// How long faults come.
    pub faulty_for: Nanos,
    /// How long the cluster may take to be whole again after the faults.
    pub heal_max: Nanos,
    /// The servers' settings.
    pub config: Config,
    /// The coordinator's settings.
    pub settings: Settings,
    /// How long a tide of loads takes from ebb to ebb, where the coordinator grows and shrinks by itself.
    pub tide: Option<Nanos>,
    /// Whether the story is told in full.
    pub is_traced: bool,
    /// How often everything is looked at, in steps; 0: never.
    pub look_every: u64,
}

/// When the first fault may come: the cluster has formed.
pub const FAULTS_FROM: Nanos = 2 * SECOND;
/// Most slots of a run.
const SLOT_COUNT_MAX: u16 = 64;
/// Bytes of one copy of all slots at flood.
const TIDE_MAX: u64 = 1 << 30;
/// How long the cluster may take to be whole again after the faults.
const HEAL_MAX: Nanos = 60 * SECOND;

impl Plan {
    /// Returns the plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5eed_0001);
        let servers = [1, 2, 3, 3, 3, 4, 4, 5, 5, 6][rng.usize(0..10)];
        let standbys = rng.usize(0..=2).min(7 - servers);
        let replica_count = [3, 3, 3, 3, 3, 3, 3, 2, 2, 1][rng.usize(0..10)];
        let policy = match rng.u8(0..10) {
            0 => Policy::Interval,
            1 => Policy::Never,
            _ => Policy::Always,
        };
        let mut kinds = Vec::new();
        for (kind, weight) in KINDS {
            if rng.u8(0..4) > 0 {
                kinds.push((kind, weight * rng.u32(1..=4)));
            }
        }
        if kinds.is_empty() {
            kinds.push((Kind::Kill, 1));
        }
        let slots = [4, 8, 8, 16][rng.usize(0..4)];
        let kind = rng.u8(0..32);
        let is_slow = (2..6).contains(&kind);
        let slots = if kind < 2 { SLOT_COUNT_MAX } else { slots };
        let config = if is_slow { slow_moves(&mut rng) } else { config(&mut rng) };
        let rejoin = [1_500, 3_000, 3_000, 10_000][rng.usize(0..4)];
        let told_count_max = [None, Some(1), Some(3), Some(3)][stream(seed, 8).usize(0..4)];
        Self {
            seed,
            servers,
            standbys,
            slots,
            policy,
            storage: Under::Model,
            clients: rng.usize(2..=6),
            kinds,
            cut_percent: [0, 0, 2, 10, 30][rng.usize(0..5)],
            ambush_percent: [0, 0, 30, 90][rng.usize(0..4)],
            late_map_percent: [0, 0, 2, 20][rng.usize(0..4)],
            fault_every: rng.u64(250..=900) * MS,
            faulty_for: rng.u64(10..=30) * SECOND,
            heal_max: if is_slow || slots == SLOT_COUNT_MAX { 4 * HEAL_MAX } else { HEAL_MAX },
            config,
            settings: Settings {
                slot_count: slots,
                replica_count,
                token_count: rng.usize(1..=4),
                rejoin_grace: Duration::from_millis(rejoin),
                learner_count_max: rng.usize(1..=8),
                learner_max: Duration::from_secs(rng.u64(2..=30).max(if is_slow { 60 } else { 0 })),
                told_count_max,
                ..Settings::default()
            },
            tide: None,
            is_traced: false,
            look_every: 64,
        }
    }

    /// Returns the plan of a seed in which the coordinator grows and shrinks by itself, with loads that rise and fall as no
    /// client could make them. All that the seed draws otherwise is the same.
    pub fn elastic(seed: u64) -> Self {
        let plan = Self::new(seed);
        let mut rng = plan.rng(6);
        let cool_down = Duration::from_millis(rng.u64(200..=2_000));
        let limits = Limits::new(TIDE_MAX / 4, TIDE_MAX / [8, 5][rng.usize(0..2)]);
        let elastic = Elastic { mode: Mode::On, limits, cool_down, ..Elastic::default() };
        Self {
            standbys: rng.usize(1..=3).min(7 - plan.servers),
            tide: Some(rng.u64(4..=20) * SECOND),
            settings: Settings { elastic, ..plan.settings },
            ..plan
        }
    }

    /// Returns how much a slot is said to store: nothing at ebb, at flood more than all servers may hold.
    pub fn load(&self, slot: u16, now: Nanos) -> u64 {
        let Some(tide) = self.tide else { return 0 };
        // Afterwards it stays as it was when the faults ended, so that the moves have an end.
        let now = now.min(FAULTS_FROM + self.faulty_for);
        let height = (now % tide).min(tide - now % tide) * 2;
        let of_all = TIDE_MAX as u128 * u128::from(height) / u128::from(tide);
        let uneven = 90 + u128::from(slot) * 7 % 21;
        (of_all * uneven / 100 / u128::from(self.slots)) as u64
    }

    /// Returns a plan without faults: what is measured stands by itself.
    pub fn calm(seed: u64) -> Self {
        let plan = Self::new(seed);
        Self {
            servers: 5,
            standbys: 0,
            slots: 16,
            policy: Policy::Always,
            clients: 2,
            kinds: Vec::new(),
            cut_percent: 0,
            ambush_percent: 0,
            late_map_percent: 0,
            faulty_for: 0,
            config: Config::default(),
            settings: Settings { slot_count: 16, ..Settings::default() },
            ..plan
        }
    }

    /// Returns a generator of its own for one purpose, so that a draw more for one does not shift the others.
    pub fn rng(&self, stream: u64) -> Rng {
        self::stream(self.seed, stream)
    }
}

fn stream(seed: u64, stream: u64) -> Rng {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (stream << 32));
    Rng::with_seed(rng.u64(..))
}

/// Default times; small limits now and then, so that they are met.
fn config(rng: &mut Rng) -> Config {
    let default = Config::default();
    Config {
        chunk_len: [200, 1_000, 64 << 10][rng.usize(0..3)],
        move_rate: [20_000, 1 << 20, 64 << 20][rng.usize(0..3)],
        transfer_count_max: rng.usize(1..=8),
        pending_count_max: [4, 64, 16_384][rng.usize(0..3)],
        tombstone_age: Duration::from_millis([100, 1_000, 5_000, 600_000][rng.usize(0..4)]),
        ..default
    }
}

/// Moves so slow that tombstones grow old while they go on.
fn slow_moves(rng: &mut Rng) -> Config {
    Config {
        chunk_len: 60,
        move_rate: [5_000, 20_000][rng.usize(0..2)],
        transfer_count_max: 8,
        tombstone_age: Duration::from_millis([500, 1_000, 3_000][rng.usize(0..3)]),
        ..Config::default()
    }
}
