//! Growing and shrinking: what should become of the ring, judged by what is stored where. A pure function, and a pace.
//!
//! [`judge`] says what would be right at this moment, or why nothing is; [`Pace`] says when that has been right for long
//! enough, and when enough time has passed since the ring changed last.
//!
//! ```text
//! bytes that the fullest server stores
//!   ──────────────── up ──── above it: a standby server joins, or the shares are levelled if that is enough
//!        dead band           nothing happens for a server's bytes
//!   ─────────────── down ─── if all would fit below it on one server fewer: the emptiest goes back to standby
//! ```
//!
//! | nothing is decided | because |
//! |---|---|
//! | while fewer than half of the servers are seen, or one on the ring is silent | it comes back, or is taken off the ring |
//! | while copies are being made or moved | what is stored where is about to change |
//! | until every slot's primary has told its load, after a start too | an unknown load is not an empty one |
//! | for a cool-down after the ring changed, whoever changed it, and after the coordinator's start | one thing at a time |
//! | with as many servers as there shall be copies: nobody is drained | a copy would be lost |
//!
//! **Noise.** Growing must have been right for an eighth of a cool-down; levelling and draining for a whole one, without
//! a break. So a load that swings by day and night is followed up at its height, and down only if its height of a whole
//! cool-down would fit: what one decision did the next one does not undo, unless the load leaves the dead band for good.
//!
//! **Levelling.** When the busiest server owns more than 1.10 of the mean and moving whole slots helps, the shares
//! are levelled, in as few bytes as will do. They are shares of what is stored, or of what is asked for ([`By`]): then an arc that
//! is asked for much is split, but not so that a server would store too much. A slot that alone is more than a mean share is told
//! ([`hot_slot`], [`hot_key`]), not chased. How many servers there are is decided by bytes alone.
//!
//! **Disks.** A server whose disk takes no more puts is the fullest, whatever it stores: one more joins, and nobody is drained.
//!
//! Left out: growing by operations, forecasts, and servers of several sizes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hashring::{Ring, placement};
use serde::{Deserialize, Serialize};

use crate::types::{ServerId, SlotId, Time};

/// Growing must have been right for this part of a cool-down: a server that fills up cannot wait long.
const GROW_PART: u32 = 8;

/// The busiest owner's share above which shares are levelled, in hundredths of the mean.
const LEVEL_ABOVE_PERCENT: u64 = 110;

/// What levelling must gain at least, in hundredths of the mean: less is not worth a copy.
const LEVEL_GAIN_PERCENT: u64 = 2;

/// What is left of the upper limit after levelling, in hundredths, so that it is done instead of growing.
const LEVEL_ENOUGH_PERCENT: u64 = 90;

/// The lower limit is at most so much of the upper one, in hundredths: the dead band.
const DOWN_PERCENT_MAX: u64 = 80;

/// What an operation a minute weighs, beside what placement counts for each slot: one operation a second is as much as that.
/// So a ring that nobody asks for anything is level by slots, whoever asks a few times.
const RATE_WEIGHT: u64 = 64 * 1024 / 60;

/// Operations a minute below which a slot is not told to be hot: 100 a second.
const HOT_RATE_MIN: u64 = 6000;

/// What shares are of, when they are levelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Stored bytes.
    #[default]
    Bytes,
    /// Operations that primaries answer.
    Operations,
}

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Operators, and nothing is said.
    Off,
    /// Operators; what would be right is said.
    #[default]
    Suggest,
    /// The coordinator.
    On,
}

/// Bytes between which a server is neither too full nor too empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A server joins when the fullest stores more.
    pub up_bytes: u64,
    /// A server is drained when none would store more without it.
    pub down_bytes: u64,
}

impl Limits {
    /// Returns limits with a dead band between them; `None` if there is too little room for it.
    #[must_use]
    pub fn new(up_bytes: u64, down_bytes: u64) -> Option<Self> {
        let is_apart = down_bytes <= percent(up_bytes, DOWN_PERCENT_MAX);
        (is_apart && down_bytes > 0).then_some(Self { up_bytes, down_bytes })
    }
}

/// Settings of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elastic {
    /// Who decides.
    pub mode: Mode,
    /// Without them the number of servers stays as it is, and only shares are levelled.
    pub limits: Option<Limits>,
    /// What shares are of.
    pub level_by: By,
    /// How long the ring stays as it is after each change.
    pub cool_down: Duration,
    /// Bytes that each server sends in a second at most, to tell how long a move takes.
    pub move_rate: u64,
}

impl Default for Elastic {
    fn default() -> Self {
        let cool_down = Duration::from_secs(600);
        Self {
            mode: Mode::Suggest,
            limits: None,
            level_by: By::Bytes,
            cool_down,
            move_rate: 64 << 20,
        }
    }
}

/// A server on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seated {
    /// Its id.
    pub id: ServerId,
    /// Whether it spoke lately.
    pub is_seen: bool,
    /// Whether it takes no more puts because its disk is full.
    pub is_full: bool,
    /// Whether its process was started because it was wanted: it goes before those that were there anyway.
    pub is_spawned: bool,
}

/// All that is known.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The ring.
    pub ring: &'a Ring,
    /// Bytes by slot.
    pub loads: &'a [u64],
    /// Operations in a minute, by slot.
    pub rates: &'a [u64],
    /// What shares are of.
    pub level_by: By,
    /// Slots whose bytes nobody has told yet.
    pub unknown_count: usize,
    /// Copies that each slot shall have.
    pub replica_count: usize,
    /// Arcs in which a server joins, at most.
    pub token_count: usize,
    /// Who is on the ring, by id.
    pub seated: Vec<Seated>,
    /// Who could join, by id.
    pub standbys: Vec<ServerId>,
    /// Whether half of the servers are seen.
    pub is_half_seen: bool,
    /// Slots that are not as they shall be.
    pub move_count: usize,
}

/// What would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A server on standby joins, to relieve the fullest.
    Add {
        /// Who joins.
        server: ServerId,
        /// The fullest.
        fullest: ServerId,
        /// What it stores.
        bytes: u64,
    },
    /// A server would have to join, and none is on standby.
    Lack {
        /// The fullest.
        fullest: ServerId,
        /// What it stores.
        bytes: u64,
    },
    /// The shares are levelled.
    Level {
        /// What shares are of.
        by: By,
        /// Who owns most.
        busiest: ServerId,
        /// What it owns, in hundredths of the mean.
        before_percent: u64,
        /// What the busiest would own then.
        after_percent: u64,
    },
    /// The emptiest server goes back to standby.
    Drain {
        /// The emptiest.
        server: ServerId,
        /// What it stores.
        bytes: u64,
        /// What the fullest of the others would store then.
        then_bytes: u64,
    },
}

/// Why nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nobody is on the ring.
    Nobody,
    /// Fewer than half of the servers are seen.
    Unseen,
    /// A server on the ring is not seen.
    Silent(ServerId),
    /// So many slots are not as they shall be.
    Moving(usize),
    /// The loads of so many slots are not known.
    Unknown(usize),
    /// All is as it should be.
    Fits,
}

/// A slot that alone is more than a mean share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotSlot {
    /// The slot.
    pub slot: SlotId,
    /// What it stores.
    pub bytes: u64,
    /// A mean share of all.
    pub mean_bytes: u64,
}

/// Returns what would be right now, or why nothing is.
///
/// # Errors
/// Why nothing is to be done.
///
/// # Panics
/// If there is not one load for each slot of the ring.
pub fn judge(limits: Option<Limits>, known: &Known<'_>) -> Result<Step, Rest> {
    if !known.is_half_seen && !mutant!("decides while servers are unseen") {
        return Err(Rest::Unseen);
    }
    let silent = known.seated.iter().find(|server| !server.is_seen);
    if let Some(silent) = silent
        && !mutant!("decides while servers are unseen")
    {
        return Err(Rest::Silent(silent.id));
    }
    if known.move_count > 0 && !mutant!("decides while copies are made") {
        return Err(Rest::Moving(known.move_count));
    }
    if known.unknown_count > 0 && !mutant!("decides by loads that are not known") {
        return Err(Rest::Unknown(known.unknown_count));
    }
    let stored = known.stored(known.ring);
    let bytes_of = |server: &Seated| stored.get(&server.id).copied().unwrap_or_default();
    let weigh = |server: &&Seated| {
        (server.is_full && !mutant!("a full disk weighs nothing"), bytes_of(server))
    };
    let fullest = known.seated.iter().max_by_key(weigh).ok_or(Rest::Nobody)?;
    let (is_full, bytes) = weigh(&fullest);
    let level = known.levelled(limits, &stored);
    if let Some(limits) = limits
        && (is_full || bytes > limits.up_bytes)
    {
        if let Some((ring, step)) = level
            && !is_full
            && known.level_by == By::Bytes
            && most(&known.stored(&ring)) <= percent(limits.up_bytes, LEVEL_ENOUGH_PERCENT)
        {
            return Ok(step);
        }
        let fullest = fullest.id;
        return Ok(match known.standbys.first() {
            Some(server) => Step::Add { server: *server, fullest, bytes },
            None => Step::Lack { fullest, bytes },
        });
    }
    // What would be levelled before a server goes would be moved twice.
    let drained = limits.and_then(|limits| known.drained(limits, &stored));
    drained.or(level.map(|(_, step)| step)).ok_or(Rest::Fits)
}

/// Returns the ring with level shares of stored bytes or of operations; `loads` are both of each slot.
#[must_use]
pub fn levelled(
    ring: &Ring,
    by: By,
    (loads, rates): (&[u64], &[u64]),
    settings: placement::Settings,
) -> Ring {
    match by {
        By::Bytes => placement::rebalance(ring, loads, settings),
        By::Operations => placement::rebalance_at(ring, &weights(rates), loads, settings),
    }
}

/// Returns what operations weigh in the place of bytes.
fn weights(rates: &[u64]) -> Vec<u64> {
    rates.iter().map(|rate| rate.saturating_mul(RATE_WEIGHT)).collect()
}

/// Returns the slot that is asked for so often that no levelling helps, if there is one: its operations in a minute, and a mean
/// share of all.
#[must_use]
pub fn hot_key(ring: &Ring, rates: &[u64]) -> Option<(SlotId, u64, u64)> {
    let hot = hot_slot(ring, &weights(rates))?;
    let (rate, mean) = (hot.bytes / RATE_WEIGHT, hot.mean_bytes / RATE_WEIGHT);
    (rate >= HOT_RATE_MIN).then_some((hot.slot, rate, mean))
}

/// Returns the slot that stores so much that no levelling helps, if there is one.
#[must_use]
pub fn hot_slot(ring: &Ring, loads: &[u64]) -> Option<HotSlot> {
    let count = u64::try_from(ring.servers().len()).unwrap_or(u64::MAX);
    let all: u64 = placement::shares(ring, loads).values().sum();
    let mean_bytes = all.checked_div(count)?;
    let (slot, bytes) = ring.slots().zip(loads.iter().copied()).max_by_key(|(_, load)| *load)?;
    (count > 1 && bytes > mean_bytes).then_some(HotSlot { slot, bytes, mean_bytes })
}

impl Known<'_> {
    /// Returns the ring that a step leads to.
    #[must_use]
    pub fn ring_after(&self, step: &Step) -> Ring {
        match step {
            Step::Add { server, .. } => {
                placement::join(self.ring, *server, self.loads, self.settings())
            }
            Step::Lack { .. } => self.ring.clone(),
            Step::Level { by, .. } => {
                levelled(self.ring, *by, (self.loads, self.rates), self.settings())
            }
            Step::Drain { server, .. } => {
                placement::leave(self.ring, *server, self.loads, self.settings())
            }
        }
    }

    fn settings(&self) -> placement::Settings {
        placement::Settings { tokens: self.token_count }
    }

    /// Returns what each server stores, with all copies, once its slots are where `ring` wants them.
    fn stored(&self, ring: &Ring) -> BTreeMap<ServerId, u64> {
        let copies = if mutant!("copies not counted") { 1 } else { self.replica_count };
        let mut stored: BTreeMap<ServerId, u64> = BTreeMap::new();
        for (slot, load) in ring.slots().zip(self.loads) {
            for server in ring.ideal(slot, copies) {
                let bytes = stored.entry(server).or_default();
                *bytes = bytes.saturating_add(*load);
            }
        }
        stored
    }

    /// Returns the ring with level shares, if they are not level and it helps.
    fn levelled(
        &self,
        limits: Option<Limits>,
        stored: &BTreeMap<ServerId, u64>,
    ) -> Option<(Ring, Step)> {
        let by = self.level_by;
        let shares = |ring: &Ring| match by {
            By::Bytes => placement::shares(ring, self.loads),
            By::Operations => placement::shares(ring, &weights(self.rates)),
        };
        let (busiest, before_percent) = busiest_percent(&shares(self.ring))?;
        if before_percent <= LEVEL_ABOVE_PERCENT {
            return None;
        }
        let ring = levelled(self.ring, by, (self.loads, self.rates), self.settings());
        let (_, after_percent) = busiest_percent(&shares(&ring))?;
        // Bytes that are not looked at must not make a server too full: growing, and levelling again, would follow.
        let is_too_much = by == By::Operations && !mutant!("levels operations whatever is stored");
        let most_bytes = limits.map_or(u64::MAX, |limits| limits.up_bytes).max(most(stored));
        if is_too_much && most(&self.stored(&ring)) > most_bytes {
            return None;
        }
        let is_better = after_percent + LEVEL_GAIN_PERCENT <= before_percent
            || mutant!("chases a slot that alone is too much");
        let step = Step::Level { by, busiest, before_percent, after_percent };
        (is_better && before_percent > LEVEL_ABOVE_PERCENT).then_some((ring, step))
    }

    /// Returns the step that drains the emptiest server, if all fits on the others.
    fn drained(&self, limits: Limits, stored: &BTreeMap<ServerId, u64>) -> Option<Step> {
        let is_floor = self.seated.len() <= self.replica_count.max(1);
        if (is_floor && !mutant!("drains below the copies")) || self.seated.len() < 2 {
            return None;
        }
        let bytes_of = |server: &Seated| stored.get(&server.id).copied().unwrap_or_default();
        // Of several equal ones the last: the first are those that were there first, as often as not.
        let emptiest = self.seated.iter().rev().min_by_key(|server| bytes_of(server))?;
        let is_any_full = self.seated.iter().any(|server| server.is_full);
        let all: u64 = stored.values().fold(0, |sum, bytes| sum.saturating_add(*bytes));
        let others = u64::try_from(self.seated.len() - 1).unwrap_or(u64::MAX);
        if is_any_full || all.checked_div(others)? > limits.down_bytes {
            return None;
        }
        let spawned = self.seated.iter().rev().filter(|server| server.is_spawned);
        let spawned = spawned.min_by_key(|server| bytes_of(server));
        let without = |server: &Seated| {
            let left = placement::leave(self.ring, server.id, self.loads, self.settings());
            let then_bytes = most(&self.stored(&left));
            let step = Step::Drain { server: server.id, bytes: bytes_of(server), then_bytes };
            (then_bytes <= limits.down_bytes).then_some(step)
        };
        spawned.and_then(without).or_else(|| without(emptiest))
    }
}

fn most(stored: &BTreeMap<ServerId, u64>) -> u64 {
    stored.values().copied().max().unwrap_or_default()
}

/// Returns who has most, in hundredths of the mean.
fn busiest_percent(shares: &BTreeMap<ServerId, u64>) -> Option<(ServerId, u64)> {
    let (busiest, most) = shares.iter().max_by_key(|(_, bytes)| **bytes)?;
    let all: u128 = shares.values().map(|bytes| u128::from(*bytes)).sum();
    let of_mean = u128::from(*most) * 100 * u128::try_from(shares.len()).ok()?;
    Some((*busiest, u64::try_from(of_mean.checked_div(all)?).unwrap_or(u64::MAX)))
}

/// Returns so many hundredths of a number of bytes.
fn percent(bytes: u64, percent: u64) -> u64 {
    (u128::from(bytes) * u128::from(percent) / 100).try_into().unwrap_or(u64::MAX)
}

impl Step {
    /// Returns the step in a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Lack { .. } => "start",
            Self::Level { .. } => "rebalance",
            Self::Drain { .. } => "drain",
        }
    }

    /// Returns the server that comes or goes.
    #[must_use]
    pub fn server(&self) -> Option<ServerId> {
        match self {
            Self::Add { server, .. } | Self::Drain { server, .. } => Some(*server),
            Self::Lack { .. } | Self::Level { .. } => None,
        }
    }

    /// Returns which steps wait together: it does not matter for how long something is right whom it would be done with.
    fn kind(&self) -> Kind {
        match self {
            Self::Add { .. } | Self::Lack { .. } => Kind::Grow,
            Self::Level { .. } => Kind::Level,
            Self::Drain { .. } => Kind::Drain,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { server, fullest, bytes } => {
                write!(f, "add {server} to relieve {fullest}, which stores {bytes} bytes")
            }
            Self::Lack { fullest, bytes } => {
                write!(
                    f,
                    "start one more server to relieve {fullest}, which stores {bytes} bytes; none is on standby"
                )
            }
            Self::Level { by, busiest, before_percent, after_percent } => {
                let (how, what) = match by {
                    By::Bytes => ("rebalance", "owns"),
                    By::Operations => ("rebalance by operations", "answers"),
                };
                write!(
                    f,
                    "{how}, since {busiest} {what} {before_percent} % of a mean share; then the busiest {what} {after_percent} %"
                )
            }
            Self::Drain { server, bytes, then_bytes } => {
                write!(
                    f,
                    "drain {server}, which stores {bytes} bytes; then the fullest stores {then_bytes} bytes"
                )
            }
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody is on the ring"),
            Self::Unseen => f.write_str("fewer than half of the servers are seen"),
            Self::Silent(server) => write!(f, "{server} is not seen"),
            Self::Moving(count) => write!(f, "{count} slots are not yet where they shall be"),
            Self::Unknown(count) => write!(f, "the loads of {count} slots are not known yet"),
            Self::Fits => f.write_str("all is as it should be"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Grow,
    Level,
    Drain,
}

impl Kind {
    /// Returns how long a step must have been right.
    fn hold(self, cool_down: Duration) -> Duration {
        match self {
            Self::Grow => cool_down / GROW_PART,
            Self::Drain if mutant!("drains at the first dip") => Duration::ZERO,
            Self::Level | Self::Drain => cool_down,
        }
    }
}

/// When a step is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    cool_down: Duration,
    /// When the ring changed last, or the coordinator started.
    rested_from: Time,
    /// What has been right since when.
    wish: Option<(Kind, Time)>,
}

impl Pace {
    /// Returns the pace of a coordinator that starts now: what was decided before is not known, so a cool-down begins.
    #[must_use]
    pub fn new(now: Time, cool_down: Duration) -> Self {
        Self { cool_down, rested_from: now, wish: None }
    }

    /// Notes that the ring changed.
    pub fn ring_changed(&mut self, now: Time) {
        self.wish = None;
        if !mutant!("no cool-down") {
            self.rested_from = now;
        }
    }

    /// Notes what is right now, and returns how long it is until it shall be done: nothing, if it is time.
    pub fn wait(&mut self, now: Time, step: &Step) -> Duration {
        let kind = step.kind();
        let since = match self.wish {
            Some((wished, since)) if wished == kind => since,
            _ => now,
        };
        self.wish = Some((kind, since));
        self.wait_of(now, step)
    }

    /// Returns how long it is until a step shall be done, if it stays right.
    #[must_use]
    pub fn wait_of(&self, now: Time, step: &Step) -> Duration {
        let kind = step.kind();
        let since = self.wish.filter(|(wished, _)| *wished == kind).map_or(now, |(_, since)| since);
        let until = (since + kind.hold(self.cool_down)).max(self.rested_from + self.cool_down);
        until.since(now)
    }

    /// Notes that nothing is right.
    pub fn rest(&mut self) {
        self.wish = None;
    }
}
