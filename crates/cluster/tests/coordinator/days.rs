//! A thousand days of noisy daily load: the ring follows what grows and declines, and never turns a decision back.
//!
//! Virtual time in quarters of an hour. The load is a slow wandering, times the hour of the day, times noise; slots weigh
//! unevenly. Moves are done at once, so that nothing but the policy keeps it from the next step.

use std::time::Duration;

use cluster::Time;
use cluster::coordinator::elastic::{By, Known, Limits, Pace, Seated, Step, judge};
use fastrand::Rng;
use hashring::{Ring, ServerId, placement};

const SLOT_COUNT: u16 = 32;
const GB: u64 = 1 << 30;
const LIMITS: Limits = Limits { up_bytes: 40 * GB, down_bytes: 20 * GB };
const COOL_DOWN: Duration = Duration::from_secs(24 * 3600);
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);
const LOOKS_PER_DAY: u64 = 96;
const SERVER_COUNT: u128 = 12;
const SETTINGS: placement::Settings = placement::Settings { tokens: 4 };

/// What came of some days.
#[derive(Debug, Default)]
pub struct Days {
    grown: usize,
    shrunk: usize,
    levelled: usize,
    /// A server came and another went, or the other way round, within a cool-down.
    turned_back: usize,
    /// The same within three cool-downs.
    turned_back_soon: usize,
    /// The worst busiest share right after a step that levels, in hundredths of the mean.
    worst_percent: u64,
}

struct Load {
    rng: Rng,
    slots: Vec<f64>,
    /// Bytes of one copy of all, at noon on a day without noise.
    base: f64,
    trend: f64,
}

impl Load {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let slots: Vec<f64> = (0..SLOT_COUNT).map(|_| 0.7 + 0.6 * rng.f64()).collect();
        let all: f64 = slots.iter().sum();
        Self {
            rng,
            slots: slots.into_iter().map(|weight| weight / all).collect(),
            base: 40e9,
            trend: 0.01,
        }
    }

    /// Returns the bytes of each slot at one look.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of a modelled load are above zero and far below the limit"
    )]
    fn at(&mut self, look: u64) -> Vec<u64> {
        if look.is_multiple_of(LOOKS_PER_DAY) {
            // Every tenth day or so the load begins to grow or to decline, by up to 3 % a day.
            if self.rng.u8(0..10) == 0 {
                self.trend = (self.rng.f64() - 0.5) * 0.06;
            }
            self.base = (self.base * (1.0 + self.trend)).clamp(20e9, 160e9);
        }
        let hour = (look % LOOKS_PER_DAY) as f64 / LOOKS_PER_DAY as f64;
        let daily = 1.0 + 0.3 * (hour * std::f64::consts::TAU).sin();
        let noise = 0.9 + 0.2 * self.rng.f64();
        let all = self.base * daily * noise;
        self.slots.iter().map(|weight| (all * weight) as u64).collect()
    }
}

/// Lives so many days.
pub fn live(days: u64, seed: u64) -> Days {
    let mut load = Load::new(seed);
    let mut out = Days::default();
    let mut ring = Ring::new(SLOT_COUNT);
    for name in 1..=4 {
        ring = placement::join(&ring, ServerId(name), &load.at(0), SETTINGS);
    }
    let mut pace = Pace::new(Time(0), COOL_DOWN);
    let mut last: Option<(bool, Time)> = None;
    for look in 0..days * LOOKS_PER_DAY {
        let now = Time(u64::try_from(LOOK_EVERY.as_nanos()).unwrap() * look);
        let loads = load.at(look);
        let seated = ring.servers();
        let known = Known {
            ring: &ring,
            loads: &loads,
            rates: &[0; 32],
            level_by: By::Bytes,
            unknown_count: 0,
            replica_count: 3,
            token_count: SETTINGS.tokens,
            seated: seated
                .iter()
                .map(|id| Seated { id: *id, is_seen: true, is_full: false, is_spawned: false })
                .collect(),
            standbys: (1..=SERVER_COUNT).map(ServerId).filter(|id| !seated.contains(id)).collect(),
            is_half_seen: true,
            move_count: 0,
        };
        let Ok(step) = judge(Some(LIMITS), &known) else {
            pace.rest();
            continue;
        };
        if !pace.wait(now, &step).is_zero() {
            continue;
        }
        let is_growth = match step {
            Step::Add { .. } => Some(true),
            Step::Drain { .. } => Some(false),
            Step::Level { after_percent, .. } => {
                out.levelled += 1;
                out.worst_percent = out.worst_percent.max(after_percent);
                None
            }
            Step::Lack { .. } => continue,
        };
        let next = known.ring_after(&step);
        ring = next;
        pace.ring_changed(now);
        let Some(is_growth) = is_growth else { continue };
        out.grown += usize::from(is_growth);
        out.shrunk += usize::from(!is_growth);
        if let Some((was_growth, at)) = last.replace((is_growth, now))
            && was_growth != is_growth
        {
            out.turned_back += usize::from(now.since(at) < COOL_DOWN);
            out.turned_back_soon += usize::from(now.since(at) < 3 * COOL_DOWN);
        }
    }
    out
}

/// Lives days of one seed, in which nothing may be turned back.
pub fn assert_calm(days: u64) {
    let lived = live(days, 7);
    assert_eq!((lived.turned_back, lived.turned_back_soon), (0, 0), "{lived:?}");
}

#[test]
fn a_thousand_days_of_noisy_daily_load_turn_no_decision_back() {
    let lived = live(1000, 1);
    println!("{lived:?}");
    assert_eq!((lived.turned_back, lived.turned_back_soon), (0, 0), "{lived:?}");
    assert!(lived.grown >= 5 && lived.shrunk >= 5, "the load did not ask for much: {lived:?}");
}
