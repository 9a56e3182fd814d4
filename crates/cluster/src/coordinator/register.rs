//! Registration: a server says that it lives, and becomes an incarnation.
//!
//! A life is one process of a server; it draws a number for itself at its start, so a registration that is sent twice is
//! recognised and answered with the same incarnation. A new life gets the next one, and with it:
//!
//! | it was … of a slot | complete (all it ever acknowledged is there) | not complete |
//! |---|---|---|
//! | primary | stays, in a new term (R19) | a backup becomes primary; if there is none the slot is refused, `former` says who held it |
//! | backup | stays, epoch unchanged | is taken out |
//! | learner | is one no longer | is one no longer |
//!
//! What was taken out comes back as a learner, by the normal way to the ideal members.
//!
//! A server that is not on the ring joins it when it registers, unless it waits to be asked (`--standby`) or is leaving and
//! still holds something. One that had left with all it held, and is started again, is a server like a new one. One
//! that was taken off because it was away joins whatever it was started with: it had been asked before. The first server
//! on the ring becomes primary of every slot: nothing was ever stored there.

use super::Coordinator;
use super::draft::Draft;
use super::event::{Action, ConnectionId, Entry};
use super::members::{self, Life};
use super::tell::Due;
use crate::map::{Server, Slot, Standing};
use crate::types::{Epoch, Incarnation, ServerId, SlotId, Time, Version};

/// Servers that were ever registered. Each costs the map about 150 bytes.
pub(super) const SERVER_COUNT_MAX: usize = 4096;

/// Bytes of an address: `ip:port`, or a host's name of 255 bytes and a port.
pub(super) const ADDRESS_LEN_MAX: usize = 261;

/// What a server says when it registers.
pub(super) struct Registration {
    pub(super) server: ServerId,
    pub(super) address: String,
    pub(super) life: u64,
    pub(super) is_complete: bool,
    pub(super) is_standby: bool,
    pub(super) version: Version,
}

impl Coordinator {
    pub(super) fn register(
        &mut self,
        now: Time,
        connection: ConnectionId,
        said: &Registration,
        actions: &mut Vec<Action>,
    ) -> Option<Due> {
        if !self.is_sane(said) || !self.peers.may_speak(connection, said.server) {
            self.close(connection, actions);
            return None;
        }
        self.hear((connection, said.server), said.version, now, actions);
        if self.map.servers().get(&said.server).is_some_and(|known| known.life != said.life) {
            self.note_new_life(now, said.server);
        }
        let entry = self.registered(now, said);
        self.commit(now, entry, actions);
        let (life, version) = (said.life, said.version);
        Some(Due::Registered { connection, server: said.server, life, version })
    }

    /// Returns whether a registration can be meant: the map that it kept is not from another log than ours.
    fn is_sane(&self, said: &Registration) -> bool {
        let servers = self.map.servers();
        !said.address.is_empty()
            && said.address.len() <= ADDRESS_LEN_MAX
            && !said.address.contains(|c: char| c.is_whitespace() || c.is_control())
            && said.version <= self.map.version()
            && (servers.len() < SERVER_COUNT_MAX || servers.contains_key(&said.server))
    }

    /// Returns what a registration decides, if anything.
    fn registered(&self, now: Time, said: &Registration) -> Option<Entry> {
        let known = self.map.servers().get(&said.server);
        let is_same = known.is_some_and(|known| known.life == said.life);
        let before = known.map_or(Incarnation(0), |known| known.incarnation);
        let standing = known.map(|known| known.standing);
        let has_left = standing == Some(Standing::Leaving) && !is_same && !self.holds(said.server);
        let standing = if has_left { Some(Standing::Standby) } else { standing };
        let mut draft = Draft::new(&self.map);
        let server = Server {
            address: said.address.clone(),
            incarnation: if is_same { before } else { before.next() },
            life: said.life,
            standing: standing.unwrap_or(Standing::Standby),
            changed: known.map_or(Version(0), |known| known.changed),
        };
        let life = (said.server, server.incarnation);
        draft.set_server(said.server, server);
        if !is_same {
            self.replace_life(now, life, said.is_complete, &mut draft);
        }
        match standing {
            None | Some(Standing::Standby) if said.is_standby => {}
            None | Some(Standing::Standby | Standing::Away) => self.join(said.server, &mut draft),
            Some(Standing::Serving | Standing::Leaving) => {}
        }
        let completeness = if said.is_complete { "complete" } else { "incomplete" };
        draft.finish(&format!("{} registered, {completeness}, as life {}", life.0, life.1))
    }

    /// Returns whether a server holds a slot, or held one last that nobody holds now.
    pub(super) fn holds(&self, server: ServerId) -> bool {
        self.map.slots().any(|(_, slot)| slot.is_holder(server) || slot.former.contains(&server))
    }

    /// Says what becomes of the slots of a server whose life before is over.
    fn replace_life(&self, now: Time, life: Life, is_complete: bool, draft: &mut Draft<'_>) {
        for (id, slot) in self.map.slots().filter(|(_, slot)| slot.is_holder(life.0)) {
            if is_complete {
                draft.set_slot(id, "renewed", members::renew(slot, life));
            } else {
                let heir = self.heir(now, id, slot);
                draft.set_slot(id, "taken out", members::take_out(slot, life.0, heir));
            }
        }
    }

    /// Returns the backup that follows the primary: one that is seen, clockwise first.
    pub(super) fn heir(&self, now: Time, id: SlotId, slot: &Slot) -> Option<Life> {
        let ideal = self.map.ideal(id);
        let place = |server| ideal.iter().position(|i| *i == server).unwrap_or(ideal.len());
        let order = |server: &ServerId| (!self.is_seen(now, *server), place(*server));
        let heir = slot.backups.iter().copied().min_by_key(order)?;
        self.life(heir)
    }

    /// Puts a server on the ring, and gives it what nobody ever held.
    pub(super) fn join(&self, server: ServerId, draft: &mut Draft<'_>) {
        let ring = self.placing.join(draft.ring(), server);
        draft.set_ring(ring);
        set_standing(server, Standing::Serving, draft);
        for (id, slot) in self.map.slots().filter(|(_, slot)| slot.epoch == Epoch(0)) {
            let owner = draft.ring().owner(id);
            let life = owner.and_then(|id| draft.server(id).map(|server| (id, server.incarnation)));
            if let Some(life) = life {
                draft.set_slot(id, "begun", members::begin(slot, life));
            }
        }
    }

    /// Takes a server off the ring. Returns whether somebody else is left on it.
    pub(super) fn leave(&self, server: ServerId, to: Standing, draft: &mut Draft<'_>) -> bool {
        let Some(ring) = self.placing.leave(draft.ring(), server) else { return false };
        // Somebody who is there must stay: a ring of servers that never come back could not be mended.
        let is_there = |id| self.peers.get(id).is_some_and(|peer| peer.connection.is_some());
        if !ring.servers().into_iter().any(is_there) {
            return false;
        }
        draft.set_ring(ring);
        set_standing(server, to, draft);
        true
    }
}

pub(super) fn set_standing(id: ServerId, standing: Standing, draft: &mut Draft<'_>) {
    if let Some(server) = draft.server(id).cloned() {
        draft.set_server(id, Server { standing, ..server });
    }
}
