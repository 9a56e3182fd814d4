//! What becomes of a member when something is said of it.
//!
//! | said | of a later life | of the same | of an earlier one |
//! |---|---|---|---|
//! | alive | alive | nothing new | nothing |
//! | suspect | suspect | was alive: suspect; was suspect: more accusers | nothing |
//! | dead | dead | was alive or suspect: dead | nothing |
//! | left | left | left | nothing |
//!
//! Whatever is new goes into the queue to be told on. What is said of this server itself it refutes, with the next
//! refutation of its life, unless it is leaving.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Gossip;
use super::event::{Action, Seen};
use super::members::{Member, Suspicion};
use super::message::{Kind, Life, Rumor, Status};
use super::settings::{
    ACCUSER_COUNT_MAX, CONFIRMATION_COUNT_MAX, MEMBER_COUNT_MAX, URGENT_COUNT_MAX,
};
use crate::types::{ServerId, Time, Version};

/// Members that probe a suspect out of turn when they hear of it, on the average.
const CONFIRMER_COUNT: usize = CONFIRMATION_COUNT_MAX + 1;

impl Gossip {
    pub(super) fn take_rumor(&mut self, now: Time, rumor: &Rumor, actions: &mut Vec<Action>) {
        if rumor.server == self.me {
            return self.refute(rumor);
        }
        let Some(member) = self.members.get(rumor.server) else {
            return self.learn(rumor, actions);
        };
        let (server, life) = (rumor.server, rumor.life);
        if life < member.life {
            return;
        }
        let (is_later, seen) = (life > member.life, member.seen);
        match &rumor.status {
            Status::Alive { version, address } => {
                if is_later || mutant!("alive of the same life ends a suspicion") {
                    self.learn_address(server, *version, address);
                    self.see_alive(server, life, actions);
                }
            }
            Status::Suspect { by } => {
                if is_later || matches!(seen, Seen::Alive | Seen::Suspect) {
                    self.suspect(now, (server, life), by, actions);
                }
            }
            Status::Dead => {
                if is_later || matches!(seen, Seen::Alive | Seen::Suspect) {
                    self.see(server, life, Seen::Dead, None, actions);
                }
            }
            Status::Left => {
                if is_later || seen != Seen::Left {
                    self.see(server, life, Seen::Left, None, actions);
                }
            }
        }
    }

    /// Answers what is said of this server.
    fn refute(&mut self, rumor: &Rumor) {
        let is_mine = rumor.life.incarnation == self.life.incarnation && rumor.life >= self.life;
        if !is_mine || self.is_leaving || mutant!("no refutation") {
            return;
        }
        match rumor.status {
            Status::Alive { .. } => self.life = rumor.life,
            Status::Suspect { .. } | Status::Dead | Status::Left => {
                self.life = rumor.life.refuted();
                self.worse(1);
                self.rumors.add(self.me);
            }
        }
    }

    /// Takes in a member that our map does not list, if that may be because our map is old.
    fn learn(&mut self, rumor: &Rumor, actions: &mut Vec<Action>) {
        let Status::Alive { version, address } = &rumor.status else { return };
        if *version <= self.version() || self.members.len() >= MEMBER_COUNT_MAX {
            return;
        }
        self.insert(rumor.server, Member::new(address.clone(), rumor.life, *version), actions);
        self.rumors.add(rumor.server);
    }

    pub(super) fn insert(&mut self, server: ServerId, member: Member, actions: &mut Vec<Action>) {
        let after = Some(member.seen);
        self.members.insert(server, member, &mut self.random);
        actions.push(Action::Changed { server, before: None, after });
    }

    fn learn_address(&mut self, server: ServerId, version: Version, address: &Arc<str>) {
        let Some(member) = self.members.get_mut(server) else { return };
        // What the map says of a server's address is newer than what a rumour of an older map says.
        if !member.is_listed || version > member.listed_by {
            (member.address, member.listed_by) = (address.clone(), version.max(member.listed_by));
        }
    }

    pub(super) fn see_alive(&mut self, server: ServerId, life: Life, actions: &mut Vec<Action>) {
        self.see(server, life, Seen::Alive, None, actions);
    }

    /// Sees a member in this way from now on, and tells it on.
    fn see(
        &mut self,
        server: ServerId,
        life: Life,
        seen: Seen,
        suspicion: Option<Suspicion>,
        actions: &mut Vec<Action>,
    ) {
        let before = self.members.see(server, life, seen, suspicion);
        if before != Some(seen) || seen != Seen::Suspect {
            self.rumors.add(server);
        } else {
            // One more accuser goes with what is told anyway: a storm of suspicions must not keep refutations waiting.
            self.rumors.add_if_absent(server);
        }
        if before.is_some() && before != Some(seen) {
            actions.push(Action::Changed { server, before, after: Some(seen) });
        }
    }

    /// Suspects a member, or adds to those who do.
    pub(super) fn suspect(
        &mut self,
        now: Time,
        (server, life): (ServerId, Life),
        by: &BTreeSet<ServerId>,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get(server) else { return };
        let before = member.suspicion.as_ref().filter(|_| life == member.life);
        let mut accusers = before.map_or_else(BTreeSet::new, |known| known.by.clone());
        let known_count = accusers.len();
        let room_count = ACCUSER_COUNT_MAX - known_count;
        let new = by.iter().filter(|id| **id != server && !accusers.contains(id));
        let new: Vec<_> = new.take(room_count).copied().collect();
        accusers.extend(new);
        if accusers.len() == known_count {
            return;
        }
        let since = before.map_or(now, |known| known.since);
        let is_endless = mutant!("a suspicion without an end");
        let len = self.suspicion_len(accusers.len() - 1);
        let ends_at = since + if is_endless { std::time::Duration::MAX } else { len };
        let is_urgent = before.is_none() && !accusers.contains(&self.me);
        let is_asked = before.is_some_and(|known| known.is_asked);
        // Who was asked for its last word has the time to say it.
        let ends_at = before.filter(|_| is_asked).map_or(ends_at, |known| known.ends_at);
        let suspicion = Suspicion { by: accusers, since, ends_at, is_asked };
        self.see(server, life, Seen::Suspect, Some(suspicion), actions);
        let count = self.members.live_count().max(1);
        if is_urgent
            && self.probing.urgent.len() < URGENT_COUNT_MAX
            && self.random.below(count) < CONFIRMER_COUNT
        {
            self.probing.urgent.push_back(server);
        }
    }

    fn suspicion_len(&self, confirmations: usize) -> std::time::Duration {
        // All others but the suspect and the first who accused it, and no more than are waited for.
        let expected = self.members.live_count().saturating_sub(1).min(CONFIRMATION_COUNT_MAX);
        let all = mutant!("a suspicion as short as if all shared it");
        let confirmations = if all { expected } else { confirmations };
        self.settings.suspicion(self.count(), confirmations, expected)
    }

    /// Takes for dead who was suspected for too long, and does not answer when it is asked for a last word: the news that it
    /// refuted may have been lost, or be slow among very many.
    pub(super) fn end_suspicions(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.members.suspects().is_empty() {
            return;
        }
        for server in self.members.suspects().clone() {
            let Some(member) = self.members.get_mut(server) else { continue };
            let life = member.life;
            let Some(suspicion) = member.suspicion.as_mut().filter(|s| s.ends_at <= now) else {
                continue;
            };
            if suspicion.is_asked || mutant!("no last word") {
                self.see(server, life, Seen::Dead, None, actions);
            } else {
                suspicion.is_asked = true;
                suspicion.ends_at = now + self.settings.last_word;
                self.ping(server, actions);
            }
        }
    }

    /// Says goodbye.
    pub(super) fn leave(&mut self, actions: &mut Vec<Action>) {
        self.is_leaving = true;
        self.rumors.add(self.me);
        let count = self.settings.helper_count;
        for server in self.members.some_alive(count, None, &mut self.random) {
            self.send(server, Kind::News, actions);
        }
    }

    /// Forgets a member.
    pub(super) fn forget(&mut self, server: ServerId, actions: &mut Vec<Action>) {
        let Some(member) = self.members.remove(server) else { return };
        self.rumors.remove(server);
        self.reports.remove(server);
        actions.push(Action::Changed { server, before: Some(member.seen), after: None });
    }
}
