//! A server that hears no other one, though the coordinator hears it: it accuses everybody, and is not believed (R15).
//!
//! Without a third view it takes every slot that it is a member of for itself alone: the first accusation wins, and the one who
//! hears nobody has no reason to wait.

use cluster::Planted;

use crate::plan::Plan;
use crate::queue::{Nanos, SECOND};
use crate::world::World;

/// When the cluster has formed.
const DEAF_FROM: Nanos = 5 * SECOND;
/// How long it goes on.
const DEAF_FOR: Nanos = 10 * SECOND;
/// Seeds that are lived through.
const SEED_COUNT: u64 = 10;

impl World {
    fn live_until(&mut self, until: Nanos) {
        while let Some((at, what)) = self.queue.pop() {
            self.now = at;
            self.happen(what);
            if at >= until {
                return;
            }
        }
    }
}

/// What a server can do no more; the coordinator hears it, and it hears the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ill {
    /// It hears no other server.
    Deaf,
    /// No other server hears it.
    Mute,
    /// Both.
    CutOff,
}

/// What became of the slots of a server that was ill for a while.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Memberships of the others in slots that are meant for the ill one too.
    all: usize,
    /// Those that they lost.
    lost: usize,
    /// Slots of others in which the ill one is a member still: they wait for it.
    held: usize,
}

fn live_with(seed: u64, ill: Ill) -> Found {
    let mut world = World::new(&Plan::calm(seed));
    world.begin();
    world.live_until(DEAF_FROM);
    let deaf = (seed % world.servers.len() as u64) as usize;
    for other in (0..world.servers.len()).filter(|other| *other != deaf) {
        if ill != Ill::Mute {
            world.net.block(other, deaf);
        }
        if ill != Ill::Deaf {
            world.net.block(deaf, other);
        }
    }
    world.live_until(DEAF_FROM + DEAF_FOR);
    assert_eq!(world.violation.map(|violation| violation.to_string()), None, "seed {seed}");
    let (deaf, map) = (world.servers[deaf].id, &world.ecs.map);
    let mut found = Found::default();
    for (id, slot) in map.slots() {
        let others = || map.ideal(id).iter().filter(|id| **id != deaf);
        if map.ideal(id).contains(&deaf) {
            found.all += others().count();
            found.lost += others().filter(|id| !slot.is_member(**id)).count();
        }
        found.held += usize::from(slot.primary_id() != Some(deaf) && slot.is_member(deaf));
    }
    found
}

impl Found {
    /// Returns what became of all seeds.
    fn of_all_seeds(ill: Ill) -> Self {
        (1..=SEED_COUNT).map(|seed| live_with(seed, ill)).fold(Self::default(), |sum, found| Self {
            all: sum.all + found.all,
            lost: sum.lost + found.lost,
            held: sum.held + found.held,
        })
    }

    /// Returns whether the others kept nearly all that is theirs, and wait for nobody.
    fn is_well(self) -> bool {
        self.lost * 20 <= self.all && self.held == 0
    }
}

#[test]
fn who_hears_nobody_or_is_heard_by_nobody_takes_hardly_anything_and_holds_up_nobody_r15() {
    for ill in [Ill::Deaf, Ill::Mute, Ill::CutOff] {
        let found = Found::of_all_seeds(ill);
        assert!(found.is_well(), "{ill:?}: {found:?}");
    }
    for name in [
        "an accuser believed whom everybody doubts",
        "who hears nobody accuses at once",
        "a deaf backup kept",
    ] {
        let _planted = Planted::new(name);
        let found = Found::of_all_seeds(Ill::Deaf);
        assert!(!found.is_well(), "{name}: {found:?}");
    }
}
