//! What can be asked: how this server sees the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Gossip;
use super::event::Seen;
use super::members::Member;
use super::message::{Life, Load};
use crate::types::{ServerId, Time, Version};

/// A server, as another sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Which.
    pub server: ServerId,
    /// Where it listens.
    pub address: Arc<str>,
    /// Its newest life.
    pub life: Life,
    /// How it is seen.
    pub seen: Seen,
    /// Who suspects it, by its own probes: not more than are waited for.
    pub accusers: BTreeSet<ServerId>,
    /// The version of its map, as far as is known.
    pub version: Version,
    /// What it stores and does; `None` before its first report came.
    pub load: Option<Load>,
    /// How long ago that was heard.
    pub load_age: Duration,
}

impl View {
    fn of(now: Time, server: ServerId, member: &Member) -> Self {
        let suspicion = member.suspicion.as_ref();
        Self {
            server,
            address: member.address.clone(),
            life: member.life,
            seen: member.seen,
            accusers: suspicion.map_or_else(BTreeSet::new, |suspicion| suspicion.by.clone()),
            version: member.version,
            load: member.load.map(|(load, _)| load),
            load_age: member.load.map_or(Duration::ZERO, |(_, at)| now.since(at)),
        }
    }
}

impl Gossip {
    /// Returns how a server is seen here; `None` if it is not known. This server sees itself alive.
    #[must_use]
    pub fn seen(&self, server: ServerId) -> Option<Seen> {
        if server == self.me {
            return Some(Seen::Alive);
        }
        self.members.get(server).map(|member| member.seen)
    }

    /// Returns how this server sees another; `None` if it is not known, or is this server itself.
    #[must_use]
    pub fn view(&self, now: Time, server: ServerId) -> Option<View> {
        self.members.get(server).map(|member| View::of(now, server, member))
    }

    /// Returns all servers that are known, this one included, by id.
    #[must_use]
    pub fn views(&self, now: Time) -> Vec<View> {
        let me = View {
            server: self.me,
            address: self.address.clone(),
            life: self.life,
            seen: Seen::Alive,
            accusers: BTreeSet::new(),
            version: self.version(),
            load: Some(self.load),
            load_age: Duration::ZERO,
        };
        let others = self.members.iter().map(|(id, member)| View::of(now, id, member));
        let mut views: Vec<_> = others.chain([me]).collect();
        views.sort_unstable_by_key(|view| view.server);
        views
    }

    /// Returns the load of each server that reported, with how long ago that was heard; this one's own first of all.
    #[must_use]
    pub fn loads(&self, now: Time) -> Vec<(ServerId, Load, Duration)> {
        let others = self.members.iter().filter_map(|(id, member)| {
            let (load, heard_at) = member.load?;
            Some((id, load, now.since(heard_at)))
        });
        [(self.me, self.load, Duration::ZERO)].into_iter().chain(others).collect()
    }

    /// Returns how ill this server takes itself to be: 0 is well, [`HEALTH_MAX`](super::HEALTH_MAX) as ill as can be.
    #[must_use]
    pub fn health(&self) -> u32 {
        self.health
    }

    /// Returns this server's life, which others must have heard of to know that it lives.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Returns the members that have something new to tell on: rumours and reports. For tests and measurements.
    #[must_use]
    pub fn waiting_count(&self) -> (usize, usize) {
        (self.rumors.len(), self.reports.len())
    }
}
