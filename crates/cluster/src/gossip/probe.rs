//! Probes: one member a period, first directly, then through helpers.
//!
//! ```text
//! next_at            help_at                                next_at
//!   │ ping             │ ask × 3                               │ still no pong: a suspect; the next one's turn
//!   ├──────────────────┼───────────────────────────────────────┤
//!   │   time-out × (1 + health)                                │
//!   │                     period × (1 + health)                │
//! ```
//!
//! A helper pings in the asker's place and passes the pong on; if none comes in time it says so. A helper that says
//! neither was not reached, or its answer did not come through: a sign that the asker itself is ill. So the health gets worse
//! by each missing answer of a helper, and better with each pong (Lifeguard, section IV.A).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Gossip;
use super::event::Action;
use super::message::Kind;
use super::settings::RELAY_COUNT_MAX;
use crate::types::{ServerId, Time};

/// What is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Probing {
    /// When the present probe ends and the next one begins.
    pub(super) next_at: Time,
    probe: Option<Probe>,
    /// The newest number: it rises with each ping and ask.
    number: u64,
    /// Suspects to be probed out of turn.
    pub(super) urgent: VecDeque<ServerId>,
    /// Pings in others' place, by our number of the ping.
    relays: BTreeMap<u64, Relay>,
}

/// A probe that is not answered.
#[derive(Clone, Debug)]
struct Probe {
    target: ServerId,
    number: u64,
    /// When helpers are asked; `None`: they were.
    help_at: Option<Time>,
    /// Helpers that said nothing yet.
    helpers: BTreeSet<ServerId>,
    helper_count: usize,
}

/// A ping in another's place.
#[derive(Clone, Debug)]
struct Relay {
    asker: ServerId,
    /// The asker's number.
    number: u64,
    target: ServerId,
    /// When the asker is told that there is silence; `None`: it was.
    silent_at: Option<Time>,
    ends_at: Time,
}

impl Probing {
    /// Returns when something is to be done.
    pub(super) fn due(&self) -> impl Iterator<Item = Time> + '_ {
        let help = self.probe.iter().filter_map(|probe| probe.help_at);
        let relays = self.relays.values().map(|relay| relay.silent_at.unwrap_or(relay.ends_at));
        relays.chain(help).chain([self.next_at])
    }

    pub(super) fn put_off(&mut self, late: Duration) {
        self.next_at = self.next_at + late;
        if let Some(probe) = &mut self.probe {
            probe.help_at = probe.help_at.map(|at| at + late);
        }
        for relay in self.relays.values_mut() {
            relay.silent_at = relay.silent_at.map(|at| at + late);
            relay.ends_at = relay.ends_at + late;
        }
    }

    /// A helper did not reach the target either.
    pub(super) fn silent(&mut self, helper: ServerId, number: u64) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.number == number) {
            probe.helpers.remove(&helper);
        }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Gossip {
    /// Does what is due for the present probe, and begins the next.
    pub(super) fn probe(&mut self, now: Time, actions: &mut Vec<Action>) {
        let is_help_due = |probe: &Probe| probe.help_at.is_some_and(|at| at <= now);
        if now < self.probing.next_at {
            if self.probing.probe.as_ref().is_some_and(is_help_due) {
                self.ask_helpers(actions);
            }
            return;
        }
        self.give_up(now, actions);
        self.probing.next_at = now + self.scaled(self.settings.period);
        if self.is_leaving {
            return;
        }
        let Some(target) = self.next_target() else { return };
        let number = self.probing.next_number();
        let help_at = Some(now + self.scaled(self.settings.probe_timeout));
        let (helpers, helper_count) = (BTreeSet::new(), 0);
        self.probing.probe = Some(Probe { target, number, help_at, helpers, helper_count });
        self.send(target, Kind::Ping { number }, actions);
    }

    fn scaled(&self, time: Duration) -> Duration {
        let health = if mutant!("own health ignored") { 0 } else { self.health };
        time * (1 + health)
    }

    fn next_target(&mut self) -> Option<ServerId> {
        while let Some(server) = self.probing.urgent.pop_front() {
            if self.members.is_probed(server) {
                return Some(server);
            }
        }
        self.members.next(&mut self.random)
    }

    fn ask_helpers(&mut self, actions: &mut Vec<Action>) {
        let Some(probe) = &mut self.probing.probe else { return };
        probe.help_at = None;
        let (target, number) = (probe.target, probe.number);
        let count = self.settings.helper_count;
        let helpers = self.members.some_alive(count, Some(target), &mut self.random);
        if let Some(probe) = &mut self.probing.probe {
            (probe.helpers, probe.helper_count) =
                (helpers.iter().copied().collect(), helpers.len());
        }
        for helper in helpers {
            self.send(helper, Kind::Ask { number, target }, actions);
        }
    }

    /// Ends the present probe: whoever has not answered is a suspect.
    fn give_up(&mut self, now: Time, actions: &mut Vec<Action>) {
        let Some(probe) = self.probing.probe.take() else { return };
        let missing = u32::try_from(probe.helpers.len()).unwrap_or(u32::MAX);
        self.worse(if probe.helper_count == 0 { 1 } else { missing });
        let Some(member) = self.members.get(probe.target) else { return };
        if self.members.is_probed(probe.target) {
            let life = member.life;
            self.suspect(now, (probe.target, life), &BTreeSet::from([self.me]), actions);
        }
    }

    /// A pong came: to our own probe, or to one in another's place.
    pub(super) fn ponged(
        &mut self,
        now: Time,
        from: ServerId,
        number: u64,
        actions: &mut Vec<Action>,
    ) {
        if self.probing.probe.as_ref().is_some_and(|probe| probe.number == number) {
            self.probing.probe = None;
            self.better();
        }
        let Some(relay) = self.probing.relays.get(&number) else { return };
        if relay.target == from && now <= relay.ends_at {
            let (asker, number_there) = (relay.asker, relay.number);
            self.probing.relays.remove(&number);
            self.send(asker, Kind::Pong { number: number_there }, actions);
        }
    }

    /// Pings in another's place.
    pub(super) fn asked(
        &mut self,
        now: Time,
        (asker, number): (ServerId, u64),
        target: ServerId,
        actions: &mut Vec<Action>,
    ) {
        if target == self.me {
            return self.send(asker, Kind::Pong { number }, actions);
        }
        let is_known = self.members.get(target).is_some();
        if !is_known || self.probing.relays.len() >= RELAY_COUNT_MAX {
            return self.send(asker, Kind::Silent { number }, actions);
        }
        // Half of what is left to the asker: the other half is for the way.
        let wait = self.settings.period.saturating_sub(self.settings.probe_timeout) / 2;
        let (silent_at, ends_at) = (Some(now + wait), now + self.settings.period);
        let relay = Relay { asker, number, target, silent_at, ends_at };
        let number = self.probing.next_number();
        self.probing.relays.insert(number, relay);
        self.send(target, Kind::Ping { number }, actions);
    }

    /// Tells askers of silence, and forgets what is too old.
    pub(super) fn relay(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.probing.relays.is_empty() {
            return;
        }
        let mut silent = Vec::new();
        for relay in self.probing.relays.values_mut() {
            if relay.silent_at.is_some_and(|at| at <= now) {
                relay.silent_at = None;
                silent.push((relay.asker, relay.number));
            }
        }
        self.probing.relays.retain(|_, relay| relay.ends_at > now);
        for (asker, number) in silent {
            self.send(asker, Kind::Silent { number }, actions);
        }
    }

    /// The host could not connect: helpers are asked without waiting.
    pub(super) fn unreachable(&mut self, now: Time, server: ServerId, actions: &mut Vec<Action>) {
        let is_waiting = |probe: &Probe| probe.target == server && probe.help_at.is_some();
        if now < self.probing.next_at && self.probing.probe.as_ref().is_some_and(is_waiting) {
            self.ask_helpers(actions);
        }
    }

    /// Tries a member that is taken for dead: if it lives it refutes.
    pub(super) fn revive(&mut self, actions: &mut Vec<Action>) {
        if let Some(server) = self.members.next_dead(self.revived)
            && !self.is_leaving
        {
            self.revived = server;
            self.ping(server, actions);
        }
    }

    /// Pings out of turn: the answer counts for what it says of its sender's life.
    pub(super) fn ping(&mut self, server: ServerId, actions: &mut Vec<Action>) {
        let number = self.probing.next_number();
        self.send(server, Kind::Ping { number }, actions);
    }
}
