//! A machine on the bridge that passes on what it is sent, late, and not in the order in which it came.
//!
//! ```text
//! s1 ──frame to 02:00:00:00:02:05──▶ relay: holds it for a drawn time ──frame to 02:00:00:00:00:05──▶ s5
//! ```
//!
//! Who is to reach another one late only is told an address of the relay for it ([`Network::delay`](crate::network::Network::delay)).
//! The last byte says for whom a frame is; the sender's last byte says from whom it comes. Each frame is held for a time of its
//! own between the two bounds of its direction, so a later one overtakes it: TCP sees reordering, acknowledgements
//! that come twice, and time-outs of its own. The relay itself loses nothing as long as fewer than [`HELD_COUNT_MAX`] frames wait.
//!
//! The bridge must not learn from the frames that leave here, which bear the address of who sent them first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use tun_tap::{Iface, Mode};

/// The name of its network device.
pub(crate) const DEVICE: &str = "relay";
/// Longer than any frame.
const FRAME_LEN_MAX: usize = 2048;
/// Frames that wait, at most: some 60 MB, seconds of all that a run sends. More are lost, as in a full switch.
const HELD_COUNT_MAX: usize = 1 << 15;
/// First bytes of the addresses that belong to it; a machine's number follows.
pub(crate) const ADDRESSES: [u8; 5] = [2, 0, 0, 0, 2];
/// First bytes of the machines' own addresses.
pub(crate) const MACHINES: [u8; 5] = [2, 0, 0, 0, 0];

/// How long frames of one direction are held: any time between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    /// The shortest.
    pub(crate) least: Duration,
    /// The longest.
    pub(crate) most: Duration,
}

/// From whom to whom, by the numbers of the machines.
type Direction = (u8, u8);

/// A frame that waits: those due first, and of these the one that came first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due_at: Instant,
    number: u64,
    frame: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inside {
    delays: BTreeMap<Direction, Delay>,
    /// Frames of each direction that were held so far.
    held_counts: BTreeMap<Direction, u64>,
    held: BinaryHeap<Reverse<Held>>,
    /// The number of the newest that was passed on, and how many were passed on after a newer one.
    newest: u64,
    overtaken_count: u64,
    number: u64,
}

#[derive(Debug, Default)]
struct Shared {
    inside: Mutex<Inside>,
    has_come: Condvar,
}

/// The relay. Its threads end with the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relay(Arc<Shared>);

/// Makes its device, which somebody must connect with the bridge and switch on.
pub(crate) fn device() -> Iface {
    Iface::without_packet_info(DEVICE, Mode::Tap).expect("a network device can be made")
}

impl Relay {
    /// Sets to work with a device that is on.
    pub(crate) fn start(tap: Iface) -> Self {
        let tap = Arc::new(tap);
        let relay = Self::default();
        let (taking, giving) = (relay.clone(), relay.clone());
        let device = Arc::clone(&tap);
        thread::spawn(move || taking.take(&device));
        thread::spawn(move || giving.give(&tap));
        relay
    }

    /// Sets how late frames of a direction are from now on; `None`: no longer than it takes.
    pub(crate) fn set(&self, direction: Direction, delay: Option<Delay>) {
        let delays = &mut self.inside().delays;
        match delay {
            Some(delay) => _ = delays.insert(direction, delay),
            None => _ = delays.remove(&direction),
        }
    }

    /// Returns how many frames of a direction were held so far.
    pub(crate) fn held_count(&self, direction: Direction) -> u64 {
        self.inside().held_counts.get(&direction).copied().unwrap_or_default()
    }

    /// Returns how many frames were held so far, and how many were passed on after one that came later.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inside = self.inside();
        (inside.held_counts.values().sum(), inside.overtaken_count)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().expect("nobody panics while it is locked")
    }

    /// Takes frames until the program ends.
    fn take(&self, tap: &Iface) {
        let (mut buffer, mut rng) = ([0; FRAME_LEN_MAX], fastrand::Rng::new());
        loop {
            let len = tap.recv(&mut buffer).expect("a device that is on can be read");
            self.hold(&buffer[..len], &mut rng);
        }
    }

    /// Keeps a frame until its time, if it is one to pass on.
    fn hold(&self, frame: &[u8], rng: &mut fastrand::Rng) {
        let Some((direction, frame)) = readdressed(frame) else { return };
        let mut inside = self.inside();
        if inside.held.len() >= HELD_COUNT_MAX {
            return;
        }
        let delay = inside.delays.get(&direction).copied();
        let time = delay.map_or(Duration::ZERO, |delay| {
            delay.least + (delay.most - delay.least).mul_f64(rng.f64())
        });
        inside.number += 1;
        *inside.held_counts.entry(direction).or_default() += u64::from(delay.is_some());
        let held = Held { due_at: Instant::now() + time, number: inside.number, frame };
        inside.held.push(Reverse(held));
        self.0.has_come.notify_one();
    }

    /// Passes on what is due, and waits for what comes next.
    fn give(&self, tap: &Iface) {
        let mut inside = self.inside();
        loop {
            let due_at = inside.held.peek().map(|held| held.0.due_at);
            let left = due_at.map(|due_at| due_at.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => {
                    let Reverse(held) = inside.held.pop().expect("it was seen");
                    inside.overtaken_count += u64::from(held.number < inside.newest);
                    inside.newest = inside.newest.max(held.number);
                    drop(inside);
                    // Who does not want it loses it.
                    tap.send(&held.frame).unwrap_or_default();
                    inside = self.inside();
                }
                left => {
                    let left = left.unwrap_or(Duration::from_secs(3600));
                    let waited = self.0.has_come.wait_timeout(inside, left);
                    inside = waited.expect("nobody panics while it is locked").0;
                }
            }
        }
    }
}

/// Returns a frame as its receiver shall see it, with its direction; `None` if it is not for the relay: bridges send
/// what they know no receiver for to everybody.
fn readdressed(frame: &[u8]) -> Option<(Direction, Vec<u8>)> {
    let to = *frame.get(..6)?.strip_prefix(&ADDRESSES)?.first()?;
    let from = *frame.get(6..12)?.strip_prefix(&MACHINES)?.first()?;
    Some(((from, to), [&MACHINES, &frame[5..]].concat()))
}
