//! The members, as this server sees them, in the order in which they are probed.
//!
//! Each is probed once in a round; a round's order is drawn anew, and who is new takes a place drawn among those still to
//! come. So a death is found within two rounds for certain, and by somebody within two periods as a rule
//! (SWIM, section 4.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::Seen;
use super::message::{Life, Load};
use super::random::Random;
use crate::types::{ServerId, Time, Version};

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Where it listens.
    pub(super) address: Arc<str>,
    /// The newest life that was heard of.
    pub(super) life: Life,
    /// How it is seen in that life.
    pub(super) seen: Seen,
    /// Whether the map in force here lists it.
    pub(super) is_listed: bool,
    /// A version of the map that lists it: once ours is as new and does not, it is forgotten.
    pub(super) listed_by: Version,
    /// The version of its own map, as it said last.
    pub(super) version: Version,
    /// Its newest report.
    pub(super) beat: u64,
    /// What it reported, and when that was heard.
    pub(super) load: Option<(Load, Time)>,
    /// While it is a suspect.
    pub(super) suspicion: Option<Suspicion>,
}

/// Who suspects a member, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    /// Who found out by itself.
    pub(super) by: BTreeSet<ServerId>,
    pub(super) since: Time,
    pub(super) ends_at: Time,
    /// Whether it was asked for its last word.
    pub(super) is_asked: bool,
}

impl Member {
    pub(super) fn new(address: Arc<str>, life: Life, listed_by: Version) -> Self {
        Self {
            address,
            life,
            seen: Seen::Alive,
            is_listed: false,
            listed_by,
            version: Version(0),
            beat: 0,
            load: None,
            suspicion: None,
        }
    }

    fn is_probed(&self) -> bool {
        match self.seen {
            Seen::Alive | Seen::Suspect => true,
            Seen::Dead | Seen::Left => false,
        }
    }
}

/// All members but this server.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    all: BTreeMap<ServerId, Member>,
    /// The round: those before `at` have been probed.
    order: Vec<ServerId>,
    at: usize,
    live_count: usize,
    suspects: BTreeSet<ServerId>,
    dead: BTreeSet<ServerId>,
}

impl Members {
    pub(super) fn get(&self, server: ServerId) -> Option<&Member> {
        self.all.get(&server)
    }

    /// Returns a member to be changed in anything but how it is seen.
    pub(super) fn get_mut(&mut self, server: ServerId) -> Option<&mut Member> {
        self.all.get_mut(&server)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ServerId, &Member)> {
        self.all.iter().map(|(id, member)| (*id, member))
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns how many are alive or suspects.
    pub(super) fn live_count(&self) -> usize {
        self.live_count
    }

    pub(super) fn suspects(&self) -> &BTreeSet<ServerId> {
        &self.suspects
    }

    /// Returns the dead member after `last`, around the circle of ids.
    pub(super) fn next_dead(&self, last: ServerId) -> Option<ServerId> {
        let after = self.dead.range(ServerId(last.0.saturating_add(1))..).next();
        after.or_else(|| self.dead.first()).copied()
    }

    /// Puts a member in that was not there.
    pub(super) fn insert(&mut self, server: ServerId, member: Member, random: &mut Random) {
        let to_come = self.order.len().saturating_sub(self.at);
        self.order.insert(self.order.len().min(self.at + random.below(to_come + 1)), server);
        self.count(server, &member);
        self.all.insert(server, member);
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, server: ServerId) -> Option<Member> {
        let member = self.all.remove(&server)?;
        self.discount(server, &member);
        if let Some(index) = self.order.iter().position(|other| *other == server) {
            self.order.remove(index);
            self.at -= usize::from(index < self.at);
        }
        Some(member)
    }

    /// Sees a member in another way, in this life. Returns how it was seen before.
    pub(super) fn see(
        &mut self,
        server: ServerId,
        life: Life,
        seen: Seen,
        suspicion: Option<Suspicion>,
    ) -> Option<Seen> {
        assert_eq!(seen == Seen::Suspect, suspicion.is_some(), "a suspect has a suspicion");
        let mut member = self.all.remove(&server)?;
        self.discount(server, &member);
        let before = member.seen;
        if life.incarnation > member.life.incarnation {
            member.beat = 0;
        }
        (member.life, member.seen, member.suspicion) = (life, seen, suspicion);
        self.count(server, &member);
        self.all.insert(server, member);
        Some(before)
    }

    fn count(&mut self, server: ServerId, member: &Member) {
        self.live_count += usize::from(member.is_probed());
        match member.seen {
            Seen::Suspect => drop(self.suspects.insert(server)),
            Seen::Dead => drop(self.dead.insert(server)),
            Seen::Alive | Seen::Left => {}
        }
    }

    fn discount(&mut self, server: ServerId, member: &Member) {
        self.live_count -= usize::from(member.is_probed());
        self.suspects.remove(&server);
        self.dead.remove(&server);
    }

    pub(super) fn is_probed(&self, server: ServerId) -> bool {
        self.get(server).is_some_and(Member::is_probed)
    }

    /// Returns whose turn it is to be probed.
    pub(super) fn next(&mut self, random: &mut Random) -> Option<ServerId> {
        // Twice around at most: the rest of this round, and the next one.
        for _ in 0..=2 * self.order.len() {
            if self.at >= self.order.len() {
                random.shuffle(&mut self.order);
                self.at = 0;
            }
            let server = self.order.get(self.at).copied()?;
            self.at += 1;
            if self.is_probed(server) {
                return Some(server);
            }
        }
        None
    }

    /// Returns up to `count` different members that nobody doubts, without `except`, drawn at random.
    pub(super) fn some_alive(
        &self,
        count: usize,
        except: Option<ServerId>,
        random: &mut Random,
    ) -> Vec<ServerId> {
        /// Draws for each that is wanted: enough to find three of four when half of all are dead.
        const DRAW_COUNT: usize = 8;
        let mut drawn = Vec::with_capacity(count);
        for _ in 0..count * DRAW_COUNT {
            if drawn.len() == count {
                break;
            }
            let Some(server) = self.order.get(random.below(self.order.len())).copied() else {
                break;
            };
            let is_alive = self.get(server).is_some_and(|member| member.seen == Seen::Alive);
            if is_alive && Some(server) != except && !drawn.contains(&server) {
                drawn.push(server);
            }
        }
        drawn
    }
}
