//! Sessions with peers: opening, fencing, beacons, acknowledgements (R9, R12, R16).

use std::collections::BTreeMap;

use crate::event::{Action, Link};
use crate::lease::Grant;
use crate::map::Server as ServerInfo;
use crate::message::{Beacon, Message, SlotMessage};
use crate::peer::{Inward, Outward, Peer};
use crate::server::{Cx, Server};
use crate::types::{Epoch, Incarnation, ServerId, Session, SlotId, Time, Version};

/// Beacons of a changed map come this many times as often as others at most: many changes in a row share one.
const NEWS_PART: u32 = 4;

/// Returns which life of a server the map has, and where it listens.
fn life_of(server: &ServerInfo) -> (Incarnation, String) {
    (server.incarnation, server.address.clone())
}

impl Server {
    /// Opens the sessions that are missing.
    pub(super) fn connect_peers(&mut self, cx: &mut Cx<'_>) {
        let Some(incarnation) = self.ecs.incarnation else { return };
        let missing: Vec<ServerId> = self
            .wanted
            .iter()
            .filter(|id| {
                let peer = self.peers.get(id);
                peer.is_none_or(|p| p.outward.is_none() && p.connect_at <= cx.now)
            })
            .copied()
            .collect();
        for id in missing {
            let Some(to) = self.map.servers().get(&id).map(life_of) else { continue };
            let session = Session { incarnation, number: self.count() };
            let peer = self.peers.entry(id).or_default();
            peer.connect_at = cx.now + self.config.retry_every;
            let address = to.1.clone();
            peer.outward = Some(Outward::new(session, to));
            cx.actions.push(Action::Connect { link: Link::Out(id, session), address });
        }
    }

    /// Closes the sessions to lives of peers that are over, as the map says: a connection to a process that is gone, or to where
    /// it was, may seem to stand for a long time.
    pub(super) fn leave_old_lives(&mut self, cx: &mut Cx<'_>) {
        let servers = self.map.servers();
        let is_old = |(id, peer): (&ServerId, &Peer)| {
            let outward = peer.outward.as_ref()?;
            let is_same = servers.get(id).is_some_and(|server| outward.to == life_of(server));
            (!is_same).then_some(Link::Out(*id, outward.session))
        };
        let old: Vec<Link> = self.peers.iter().filter_map(is_old).collect();
        for link in old {
            cx.actions.push(Action::Close(link));
            self.closed(link, cx.now);
            if let Link::Out(id, _) = link
                && let Some(peer) = self.peers.get_mut(&id)
            {
                peer.connect_at = cx.now;
            }
        }
    }

    pub(super) fn connected(&mut self, link: Link, cx: &mut Cx<'_>) {
        let Link::Out(id, session) = link else { return };
        let version = self.version();
        let current = self.peers.get_mut(&id).and_then(|peer| peer.outward.as_mut());
        match current {
            Some(outward) if outward.session == session => outward.is_connected = true,
            _ => return cx.actions.push(Action::Close(link)),
        }
        self.send(id, Message::Hello { session, version }, cx);
        self.send_beacon(id, cx);
        self.open_followers(id, cx);
    }

    pub(super) fn closed(&mut self, link: Link, now: Time) {
        match link {
            Link::Out(id, session) => {
                let Some(peer) = self.peers.get_mut(&id) else { return };
                if peer.outward.as_ref().is_some_and(|o| o.session == session) {
                    peer.outward = None;
                    peer.connect_at = now + self.config.retry_every / 4;
                    self.reset_followers(id);
                }
            }
            Link::In(id, session) => {
                let Some(peer) = self.peers.get_mut(&id) else { return };
                if peer.inward.as_ref().is_some_and(|i| i.session == session) {
                    peer.inward = None;
                }
            }
        }
    }

    /// Sends a message on the session that this server opened, if it stands. Returns whether it did.
    pub(super) fn send(&mut self, id: ServerId, message: Message, cx: &mut Cx<'_>) -> bool {
        let outward = self.peers.get_mut(&id).and_then(|peer| peer.outward.as_mut());
        let Some(outward) = outward.filter(|outward| outward.is_connected) else { return false };
        outward.sent += 1;
        cx.actions.push(Action::Send(Link::Out(id, outward.session), message));
        true
    }

    pub(super) fn send_slot(
        &mut self,
        id: ServerId,
        (slot, epoch): (SlotId, Epoch),
        body: SlotMessage,
        cx: &mut Cx<'_>,
    ) -> bool {
        let is_sent = self.send(id, Message::Slot { slot, epoch, body }, cx);
        let outward = self.peers.get_mut(&id).and_then(|peer| peer.outward.as_mut());
        if let Some(outward) = outward.filter(|_| is_sent) {
            outward.slot_sent = outward.sent;
        }
        is_sent
    }

    pub(super) fn received(&mut self, link: Link, message: Message, cx: &mut Cx<'_>) {
        if self.ecs.incarnation.is_none() {
            // Not registered yet: the peer will come again.
            return cx.actions.push(Action::Close(link));
        }
        if let Message::Slot { epoch, body, .. } = &message
            && body.newest().epoch() > epoch.0
        {
            // Nonsense: taken for a commit point, it would make every record to come one that is here already.
            return self.cut(link, cx);
        }
        match link {
            Link::Out(id, session) => self.received_answer(id, session, message, cx),
            Link::In(id, session) => self.received_inward(id, session, message, cx),
        }
    }

    fn received_answer(
        &mut self,
        id: ServerId,
        session: Session,
        message: Message,
        cx: &mut Cx<'_>,
    ) {
        let outward = self.peers.get(&id).and_then(|peer| peer.outward.as_ref());
        let is_current = outward.is_some_and(|outward| outward.session == session);
        if !is_current && !mutant!("two sessions alive") {
            return;
        }
        match message {
            Message::Ack { upto } => self.acknowledged(id, upto, cx),
            Message::Pull { version } => self.pulled(id, version, cx),
            Message::Push(delta) => self.take_delta(delta, cx),
            Message::Slot { slot, epoch, body } => self.answered(id, (slot, epoch), body, cx),
            // Beacons and greetings go the other way.
            Message::Hello { .. } | Message::Beacon(_) => {}
        }
    }

    fn received_inward(
        &mut self,
        id: ServerId,
        session: Session,
        message: Message,
        cx: &mut Cx<'_>,
    ) {
        if let Message::Hello { version, .. } = message {
            self.greeted(id, session, version, cx);
        }
        let inward = self.peers.get_mut(&id).and_then(|peer| peer.inward.as_mut());
        let Some(inward) = inward.filter(|i| i.session == session || mutant!("two sessions alive"))
        else {
            return cx.actions.push(Action::Close(Link::In(id, session)));
        };
        inward.received += 1;
        let position = inward.received;
        match message {
            Message::Hello { .. } => {}
            Message::Beacon(beacon) => self.heard(id, session, beacon, cx),
            Message::Push(delta) => self.take_delta(delta, cx),
            Message::Slot { .. } => {
                if !inward.block(position, message) {
                    return self.close_inward(id, cx);
                }
                self.unblock(id, cx);
            }
            // Only answers go this way.
            Message::Ack { .. } | Message::Pull { .. } => {}
        }
    }

    /// Lets a new session begin, and fences every earlier one. One whom the map does not know yet may come again when it does:
    /// nothing is kept for a stranger.
    fn greeted(&mut self, id: ServerId, session: Session, version: Version, cx: &mut Cx<'_>) {
        let Some(newest) = self.map.servers().get(&id).map(|server| server.incarnation) else {
            return;
        };
        let peer = self.peers.entry(id).or_default();
        let is_late = peer.inward.as_ref().is_some_and(|inward| inward.session >= session);
        if is_late || session.incarnation < newest {
            return;
        }
        if let Some(old) = peer.inward.replace(Inward::new(session)) {
            cx.actions.push(Action::Close(Link::In(id, old.session)));
        }
        peer.version = peer.version.max(version);
        self.pull_if_behind(id, version, cx);
    }

    /// Ends a connection on which the peer said what cannot be.
    fn cut(&mut self, link: Link, cx: &mut Cx<'_>) {
        cx.actions.push(Action::Close(link));
        self.closed(link, cx.now);
    }

    pub(super) fn close_inward(&mut self, id: ServerId, cx: &mut Cx<'_>) {
        let inward = self.peers.get_mut(&id).and_then(|peer| peer.inward.take());
        if let Some(inward) = inward {
            cx.actions.push(Action::Close(Link::In(id, inward.session)));
        }
    }

    /// Works on the messages of a peer until one must wait for a newer map.
    pub(super) fn unblock(&mut self, id: ServerId, cx: &mut Cx<'_>) {
        loop {
            let replicas = &self.replicas;
            let is_known = |slot: SlotId, epoch: Epoch| {
                let replica = replicas.get(usize::from(slot.index()));
                replica.is_none_or(|replica| epoch <= replica.epoch)
            };
            let inward = self.peers.get_mut(&id).and_then(|peer| peer.inward.as_mut());
            let Some(inward) = inward else { return };
            let Some((position, Message::Slot { slot, epoch, body })) = inward.unblock(is_known)
            else {
                if inward.is_blocked() {
                    self.pull(id, cx);
                }
                return;
            };
            self.hold(id, (slot, epoch), body, cx);
            let inward = self.peers.get_mut(&id).and_then(|peer| peer.inward.as_mut());
            if let Some(inward) = inward {
                inward.owe(position, cx.storage.appended());
            }
        }
    }

    pub(super) fn pull_if_behind(&mut self, id: ServerId, version: Version, cx: &mut Cx<'_>) {
        if version > self.version() {
            self.pull(id, cx);
        }
    }

    /// Asks a peer that is ahead for its map, not too often.
    fn pull(&mut self, id: ServerId, cx: &mut Cx<'_>) {
        let version = self.version();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let wait = self.config.beacon_every / 5;
        if peer.pulled_at.is_some_and(|at| cx.now.since(at) < wait) {
            return;
        }
        let Some(inward) = &peer.inward else { return };
        peer.pulled_at = Some(cx.now);
        cx.actions.push(Action::Send(Link::In(id, inward.session), Message::Pull { version }));
    }

    fn pulled(&mut self, id: ServerId, version: Version, cx: &mut Cx<'_>) {
        if version < self.version() {
            let delta = self.map.since(version);
            self.send(id, Message::Push(delta), cx);
        }
    }

    fn heard(&mut self, id: ServerId, session: Session, beacon: Beacon, cx: &mut Cx<'_>) {
        let (own, at) = (self.incarnation(), self.version());
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.lease.hear(cx.now, session.incarnation, beacon.sent_at);
        peer.version = peer.version.max(beacon.version);
        peer.is_full = beacon.is_full;
        let version = beacon.version;
        let echo = beacon.echo.filter(|(incarnation, _)| *incarnation == own);
        if let Some((_, sent_at)) = echo {
            let sent_at = if mutant!("lease counted from receipt") { cx.now } else { sent_at };
            let (is_primary, is_read) = (beacon.is_grant, beacon.is_read_grant);
            let leases = beacon.leases;
            let lasting = match mutant!("lease longer than the grace") {
                true => self.config.grace * 4,
                false => self.config.lease.max(self.config.read_lease),
            };
            let grant = Grant { sent_at, version, is_primary, is_read, leases };
            peer.lease.hold(grant, at, (cx.now, lasting));
        }
        self.pull_if_behind(id, version, cx);
        self.answer_beacon(id, cx);
    }

    /// Answers a beacon at once if the last one to the peer is not very young, so that its leases are as young as they can be:
    /// where threads wait long for a processor, each step of the way counts. Not while the ticks stand still, of which nothing
    /// else would tell (R16).
    fn answer_beacon(&mut self, id: ServerId, cx: &mut Cx<'_>) {
        let every = self.config.beacon_every;
        let is_ticking = self.ticked_at.is_some_and(|at| cx.now.since(at) < every * 2);
        let last = self.peers.get(&id).and_then(|peer| peer.beacon_at);
        if is_ticking && last.is_some_and(|at| cx.now.since(at) >= every / 2) {
            self.send_beacon(id, cx);
        }
    }

    /// Sends the beacons that are due.
    pub(super) fn send_beacons(&mut self, cx: &mut Cx<'_>) {
        let every = self.config.beacon_every;
        let is_due = |peer: &Peer| {
            let wait = if peer.owes_news { every / NEWS_PART } else { every };
            peer.beacon_at.is_none_or(|at| cx.now.since(at) >= wait)
        };
        let due: Vec<ServerId> =
            self.peers.iter().filter(|(_, peer)| is_due(peer)).map(|(id, _)| *id).collect();
        for id in due {
            self.send_beacon(id, cx);
        }
    }

    /// Sends a beacon with a map that has just changed, at once, if the last one is not very young.
    pub(super) fn send_news(&mut self, id: ServerId, cx: &mut Cx<'_>) {
        let wait = self.config.beacon_every / NEWS_PART;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match peer.beacon_at.is_some_and(|at| cx.now.since(at) < wait) {
            true => peer.owes_news = true,
            false => self.send_beacon(id, cx),
        }
    }

    pub(super) fn send_beacon(&mut self, id: ServerId, cx: &mut Cx<'_>) {
        if !self.is_able(cx.now) {
            return;
        }
        let (is_grant, is_read_grant) = self.grants(id, cx.now);
        let (version, lease) = (self.version(), self.config.lease);
        let held = |peer: &Peer| peer.lease.primary_version(cx.now, lease, version);
        let leases: BTreeMap<ServerId, Version> =
            self.peers.iter().filter_map(|(id, peer)| Some((*id, held(peer)?))).collect();
        let is_full = cx.storage.is_full();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.outward.as_ref().is_none_or(|outward| !outward.is_connected) {
            return;
        }
        peer.beacon_at = Some(cx.now);
        peer.owes_news = false;
        let echo = peer.lease.echo();
        if is_read_grant && echo.is_some() {
            peer.lease.note_read_grant();
        }
        let sent_at = cx.now;
        let beacon = Beacon { sent_at, echo, is_grant, is_read_grant, version, leases, is_full };
        self.send(id, Message::Beacon(beacon), cx);
    }

    /// Returns what is granted to a peer now: a primary lease, a read lease.
    fn grants(&self, id: ServerId, now: Time) -> (bool, bool) {
        let Some(peer) = self.peers.get(&id) else { return (false, false) };
        let is_accused = peer.accused.is_some() && !mutant!("grants while its removal is asked");
        if is_accused {
            return (false, false);
        }
        (true, !peer.is_suspect && !self.lacks_joiners_lease(id, now))
    }

    /// Sends the acknowledgements that are due.
    pub(super) fn send_acks(&mut self, cx: &mut Cx<'_>) {
        let mut durable = self.durable;
        if mutant!("acknowledgement before fsync") {
            durable = cx.storage.appended();
        }
        for (id, peer) in &mut self.peers {
            let Some(inward) = &mut peer.inward else { continue };
            if let Some(upto) = inward.due(durable).filter(|_| !self.has_failed) {
                let link = Link::In(*id, inward.session);
                cx.actions.push(Action::Send(link, Message::Ack { upto }));
            }
        }
    }
}
