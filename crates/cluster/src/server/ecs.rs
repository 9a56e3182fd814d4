//! Registration, and requests to the coordinator (R9, R15).
//!
//! Requests are numbered, and the coordinator handles one server's requests in rising order only. So an answer to a number
//! settles that request **and every one before it**: what they asked for was done, or never will be. What was
//! done is read from the map that comes with the answer, after it is in force here. An earlier answer that
//! comes late says nothing.
//!
//! One request is under way at a time, so that moves of many slots share requests, decisions and maps; only what somebody
//! waits for (a silent member is to be removed) goes out at once.
//!
//! When the connection breaks while something is asked for, nothing is known; as soon as there is a connection again, an
//! empty request with a higher number settles it. A connection on which nothing comes back for [`DEAF_MAX`] is given up for
//! another: the far end may have gone without a word, which TCP by itself would notice after a quarter of an hour.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::event::{Action, StopReason};
use crate::map::Standing;
use crate::message::{Change, FromEcs, ToEcs};
use crate::pace::sign_every;
use crate::server::loads::Loads;
use crate::server::{Cx, Server};
use crate::types::{Incarnation, Number, ServerId, Time, Version};

/// How long after a change of the server as a whole was asked for and is settled it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long an answer may take before an empty request is sent to settle it.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long nothing may come back on a connection that was spoken on: longer than a busy disk lets the coordinator wait.
const DEAF_MAX: Duration = Duration::from_millis(1500);

/// What is known of the coordinator.
#[derive(Debug, Default)]
pub(super) struct Ecs {
    pub(super) is_connected: bool,
    pub(super) incarnation: Option<Incarnation>,
    /// The version that the map must have before the registration is in force.
    registered_at: Option<Version>,
    last: Number,
    settled: Number,
    /// Answers whose map is not in force yet.
    answers: VecDeque<(Number, Version)>,
    sent_at: Option<Time>,
    /// When the first message was sent on this connection after which none came.
    deaf_since: Option<Time>,
    pub(super) loads: Loads,
    /// Whom everybody doubts, as gossip has it.
    doubts: BTreeSet<ServerId>,
}

impl Ecs {
    pub(super) fn closed(&mut self) {
        self.is_connected = false;
        self.deaf_since = None;
    }

    /// Notes that something is sent.
    fn speak(&mut self, now: Time) {
        self.sent_at = Some(now);
        self.deaf_since.get_or_insert(now);
    }

    /// Returns whether a change can be asked for now.
    pub(super) fn is_ready(&self) -> bool {
        self.is_connected && self.incarnation.is_some()
    }

    /// Returns the number that the next request will have.
    pub(super) fn next_number(&self) -> Number {
        self.last.next()
    }

    /// Returns whether an answer is awaited.
    pub(super) fn is_owed(&self) -> bool {
        self.settled < self.last
    }

    /// Returns whether the request is settled. One that was never sent is not.
    pub(super) fn is_settled(&self, number: Number) -> bool {
        number <= self.settled
    }
}

impl Server {
    pub(super) fn ecs_connected(&mut self, cx: &mut Cx<'_>) {
        self.ecs.is_connected = true;
        self.ecs.loads.forget();
        match self.ecs.incarnation {
            None => self.register(cx),
            // Whatever was asked on an earlier connection is settled by the answer to this.
            Some(_) => {
                self.request(Vec::new(), cx);
                self.tell_doubts(cx);
            }
        }
    }

    /// Takes whom everybody doubts, and tells the coordinator, which judges accusations by it (R15).
    pub(super) fn take_doubts(&mut self, servers: BTreeSet<ServerId>, cx: &mut Cx<'_>) {
        self.ecs.doubts = servers;
        if self.ecs.is_ready() {
            self.send_doubts(cx);
        }
    }

    /// Tells a coordinator that knows of no doubts, if there are any.
    fn tell_doubts(&mut self, cx: &mut Cx<'_>) {
        if !self.ecs.doubts.is_empty() {
            self.send_doubts(cx);
        }
    }

    fn send_doubts(&self, cx: &mut Cx<'_>) {
        let Some(incarnation) = self.ecs.incarnation else { return };
        cx.actions.push(Action::ToEcs(ToEcs::Doubts {
            server: self.me(),
            incarnation,
            doubted: self.ecs.doubts.clone(),
        }));
    }

    pub(super) fn register_again(&mut self, cx: &mut Cx<'_>) {
        let is_due = self.ecs.sent_at.is_none_or(|at| cx.now.since(at) >= ANSWER_MAX);
        if self.ecs.is_connected && self.ecs.registered_at.is_none() && is_due {
            self.register(cx);
        }
    }

    fn register(&mut self, cx: &mut Cx<'_>) {
        self.ecs.speak(cx.now);
        cx.actions.push(Action::ToEcs(ToEcs::Register {
            server: self.me(),
            address: self.identity.address.clone(),
            life: self.identity.life,
            is_complete: self.identity.is_complete,
            is_standby: self.identity.is_standby,
            version: self.version(),
        }));
    }

    /// Sends a request and returns its number.
    fn request(&mut self, changes: Vec<Change>, cx: &mut Cx<'_>) {
        let Some(incarnation) = self.ecs.incarnation else { return };
        self.ecs.last = self.ecs.last.next();
        self.ecs.speak(cx.now);
        let (is_full, loads) = (cx.storage.is_full(), self.tell_loads(cx));
        cx.actions.push(Action::ToEcs(ToEcs::Request {
            server: self.me(),
            incarnation,
            number: self.ecs.last,
            version: self.version(),
            is_full,
            changes,
            loads,
        }));
    }

    /// Sends what was decided in this step, or a sign of life when one is due.
    pub(super) fn send_asks(&mut self, cx: &mut Cx<'_>) {
        if !self.ecs.is_ready() {
            return;
        }
        let since = self.ecs.sent_at.map(|at| cx.now.since(at));
        let is_owed = self.ecs.is_owed();
        let silent_max = sign_every(self.map.servers().len());
        let wait = if is_owed { ANSWER_MAX } else { silent_max };
        let is_due = since.is_none_or(|since| since >= wait);
        if is_owed && !is_due && !self.has_urgent_ask() {
            return;
        }
        let number = self.ecs.last.next();
        let changes = self.collect_asks(number, cx.now);
        if !changes.is_empty() || is_due {
            self.request(changes, cx);
        }
    }

    /// Gives up a connection on which nothing comes back.
    pub(super) fn hang_up_deaf(&mut self, cx: &mut Cx<'_>) {
        if self.ecs.deaf_since.is_some_and(|since| cx.now.since(since) >= DEAF_MAX) {
            self.ecs.closed();
            cx.actions.push(Action::CloseEcs);
        }
    }

    pub(super) fn ecs_said(&mut self, message: FromEcs, cx: &mut Cx<'_>) {
        self.ecs.deaf_since = None;
        match message {
            FromEcs::Registered { life, incarnation, delta } => {
                if life == self.identity.life && self.ecs.incarnation.is_none() {
                    self.ecs.registered_at = Some(delta.to);
                    self.registering = Some(incarnation);
                    self.take_delta(delta, cx);
                    self.settle(cx);
                }
            }
            FromEcs::Answer { number, delta } => {
                if self.ecs.incarnation.is_some() {
                    self.ecs.answers.push_back((number, delta.to));
                    self.take_delta(delta, cx);
                    self.settle(cx);
                }
            }
            FromEcs::Push(delta) => self.take_delta(delta, cx),
            FromEcs::Superseded => self.stop(StopReason::Superseded, cx),
        }
    }

    /// Settles what the map in force lets be settled.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        let version = self.version();
        if self.ecs.incarnation.is_none() && self.ecs.registered_at.is_some_and(|at| at <= version)
        {
            self.ecs.incarnation = self.registering;
            self.relist_all(cx);
            self.request(Vec::new(), cx);
            self.tell_doubts(cx);
        }
        while let Some((number, at)) = self.ecs.answers.front().copied() {
            if at > version && !mutant!("settled before the map is in force") {
                break;
            }
            self.ecs.answers.pop_front();
            let number =
                if mutant!("requests to the ECS unnumbered") { self.ecs.last } else { number };
            self.ecs.settled = self.ecs.settled.max(number);
            self.forget_settled(cx);
        }
    }

    /// Ends a server that holds nothing any more and is leaving, whoever asked for it, in this life or the one before; one
    /// that waits to be asked onto the ring, only if it was told to leave itself.
    pub(super) fn end_leaving(&mut self, cx: &mut Cx<'_>) {
        let standing = self.map.servers().get(&self.me()).map(|server| server.standing);
        let is_off = match standing {
            Some(Standing::Leaving) => true,
            Some(Standing::Standby) => self.wants_to_leave,
            Some(Standing::Serving | Standing::Away) | None => false,
        };
        if !is_off {
            return;
        }
        let me = self.me();
        let holds =
            self.map.slots().any(|(_, slot)| slot.is_holder(me) || slot.former.contains(&me));
        if is_off && !holds {
            self.stop(StopReason::Left, cx);
        }
    }

    /// Changes that concern the server as a whole.
    pub(super) fn own_changes(&mut self, now: Time) -> Vec<Change> {
        let standing = self.map.servers().get(&self.me()).map(|server| server.standing);
        let mut changes = Vec::new();
        let is_early = |(number, at)| !self.ecs.is_settled(number) || now.since(at) < ASK_AGAIN;
        if self.own_asked.is_some_and(is_early) {
            return changes;
        }
        if self.wants_to_leave && matches!(standing, Some(Standing::Serving)) {
            changes.push(Change::Leave);
        }
        let me = self.me();
        if self.has_failed && self.map.slots().any(|(_, slot)| slot.is_holder(me)) {
            changes.push(Change::Fail);
        }
        if !changes.is_empty() {
            self.own_asked = Some((self.ecs.last.next(), now));
        }
        changes
    }
}
