//! The map: who is listed in it, who has a newer one, and whom to tell of ours.
//!
//! ```text
//!  ours is newer than before ──▶ three others are told at once, at most every 50 ms; everybody else by what is sent anyway
//!  a peer's is newer         ──▶ Pull from it; no Map event in time: Pull from another whose map is newer
//! ```
//!
//! There is one pull at a time, and each message says the sender's version. So a change that the coordinator told
//! a few servers is with all of them after some round trips as a rule, and after O(log N) periods however much is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Gossip;
use super::event::{Action, Seen};
use super::members::Member;
use super::message::{Kind, Life};
use crate::map::{Map, Server, Standing, VERSION_MAX};
use crate::types::{ServerId, Time, Version};

/// What is under way to spread maps.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// Who was asked for its newer map, and until when that is waited for.
    pull: Option<(ServerId, Time)>,
    /// When others are told of ours.
    tell_at: Option<Time>,
    told_at: Option<Time>,
}

impl News {
    /// Returns when something is to be done.
    pub(super) fn due(&self) -> impl Iterator<Item = Time> + '_ {
        self.pull.iter().map(|(_, until)| *until).chain(self.tell_at)
    }

    pub(super) fn put_off(&mut self, late: Duration) {
        self.tell_at = self.tell_at.map(|at| at + late);
        self.pull = self.pull.map(|(from, until)| (from, until + late));
    }
}

impl Gossip {
    /// Takes the map that is in force here now.
    pub(super) fn take_map(&mut self, now: Time, map: &Map, actions: &mut Vec<Action>) {
        let before = self.version;
        if before.is_some_and(|before| before >= map.version()) {
            return;
        }
        self.version = Some(map.version());
        let holders = holders_that_leave(map);
        let is_listed = |id: ServerId, server: &Server| match server.standing {
            Standing::Standby | Standing::Serving => true,
            Standing::Leaving => holders.contains(&id),
            Standing::Away => false,
        };
        let me = self.me;
        for (id, server) in map.servers().iter().filter(|(id, _)| **id != me) {
            if before.is_none_or(|before| server.changed > before) && is_listed(*id, server) {
                self.list(*id, server, map.version(), actions);
            }
        }
        let has_gone = |(id, member): (ServerId, &Member)| {
            let listed = map.servers().get(&id).is_some_and(|server| is_listed(id, server));
            let has_gone = !listed && member.listed_by <= map.version();
            (has_gone && !mutant!("gone for good and remembered")).then_some(id)
        };
        let gone: Vec<_> = self.members.iter().filter_map(has_gone).collect();
        gone.into_iter().for_each(|id| self.forget(id, actions));
        self.news.pull = None;
        if let Some(from) = self.someone_ahead(None) {
            self.pull(now, from, actions);
        }
        if before.is_some() && !mutant!("a newer map kept to oneself") {
            let told_at = self.news.told_at.map_or(now, |told| told + self.settings.news_every);
            self.news.tell_at.get_or_insert(told_at.max(now));
            self.tell(now, actions);
        }
    }

    /// Takes what the map says of a server that is there.
    fn list(&mut self, id: ServerId, server: &Server, version: Version, actions: &mut Vec<Action>) {
        let life = Life::new(server.incarnation);
        match self.members.get(id) {
            None => {
                let address = Arc::from(server.address.as_str());
                self.insert(id, Member::new(address, life, version), actions);
            }
            Some(member) if life.incarnation > member.life.incarnation => {
                self.see_alive(id, life, actions);
            }
            Some(_) => {}
        }
        if let Some(member) = self.members.get_mut(id) {
            (member.is_listed, member.listed_by) = (true, version);
            if *member.address != *server.address {
                member.address = Arc::from(server.address.as_str());
            }
        }
    }

    /// A message told which version its sender has.
    pub(super) fn notice_version(
        &mut self,
        now: Time,
        from: ServerId,
        version: Version,
        actions: &mut Vec<Action>,
    ) {
        let is_ahead = version > self.version() && version <= VERSION_MAX;
        if is_ahead && self.news.pull.is_none() {
            self.pull(now, from, actions);
        }
    }

    fn pull(&mut self, now: Time, from: ServerId, actions: &mut Vec<Action>) {
        let is_endless = mutant!("a pull that fails not tried elsewhere");
        let wait = if is_endless { Duration::MAX } else { self.settings.pull_timeout };
        self.news.pull = Some((from, now + wait));
        let address = self.members.get(from).map_or_else(|| Arc::from(""), |m| m.address.clone());
        actions.push(Action::Pull { from, address });
    }

    /// Returns somebody whose map is newer, if there is anybody; `last` only if there is nobody else.
    fn someone_ahead(&mut self, last: Option<ServerId>) -> Option<ServerId> {
        let version = self.version();
        let is_ahead = |member: &Member| {
            member.seen == Seen::Alive && member.version > version && member.version <= VERSION_MAX
        };
        let ahead = self.members.iter().filter(|(_, member)| is_ahead(member));
        let mut ahead: Vec<_> = ahead.map(|(id, _)| id).collect();
        if ahead.len() > 1 {
            ahead.retain(|id| Some(*id) != last);
        }
        let index = self.random.below(ahead.len());
        ahead.get(index).copied()
    }

    /// Does what is due.
    pub(super) fn follow_maps(&mut self, now: Time, actions: &mut Vec<Action>) {
        if let Some((last, until)) = self.news.pull
            && until <= now
        {
            self.news.pull = None;
            if let Some(from) = self.someone_ahead(Some(last)) {
                self.pull(now, from, actions);
            }
        }
        self.tell(now, actions);
    }

    /// Tells a few others of our map, if that is due.
    fn tell(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.news.tell_at.is_none_or(|at| at > now) {
            return;
        }
        (self.news.tell_at, self.news.told_at) = (None, Some(now));
        let count = self.settings.news_count;
        for server in self.members.some_alive(count, None, &mut self.random) {
            self.send(server, Kind::News, actions);
        }
    }
}

/// Returns those that are leaving and still hold slots.
fn holders_that_leave(map: &Map) -> BTreeSet<ServerId> {
    let is_leaving = |id: &ServerId| {
        map.servers().get(id).is_some_and(|server| server.standing == Standing::Leaving)
    };
    if !map.servers().keys().any(is_leaving) {
        return BTreeSet::new();
    }
    map.slots().flat_map(|(_, slot)| slot.holders()).filter(is_leaving).collect()
}
