//! A look at a slot from outside.

use crate::replica::RoleState;
use crate::server::Server;
use crate::types::{Bytes, Epoch, Lsn, SlotId, Time};

/// What a server is for a slot, to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Primary, backup, learner or none, by the map in force.
    pub role: Role,
    /// The epoch in force.
    pub epoch: Epoch,
    /// The commit point.
    pub commit: Lsn,
    /// Records above it: lsn and key.
    pub pending: Vec<(Lsn, Bytes)>,
    /// Whether it would serve a read of a key without pending records now.
    pub can_read: bool,
    /// Whether it would take a write now.
    pub can_write: bool,
}

/// What a server is for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    None,
    /// Being brought up to date.
    Learner,
    /// Holds a full copy.
    Backup,
    /// Orders the writes.
    Primary,
}

impl Server {
    /// Returns what the server is for a slot.
    #[must_use]
    pub fn peek(&self, now: Time, slot: SlotId) -> Peek {
        let role = self.replica(slot).map_or(Role::None, |replica| match &replica.state {
            RoleState::None => Role::None,
            RoleState::Primary(_) => Role::Primary,
            RoleState::Holder(holder) if holder.is_learner => Role::Learner,
            RoleState::Holder(_) => Role::Backup,
        });
        let replica = self.replica(slot);
        let pending = replica.into_iter().flat_map(|replica| replica.pending.iter());
        Peek {
            role,
            epoch: replica.map(|replica| replica.epoch).unwrap_or_default(),
            commit: replica.map(|replica| replica.commit).unwrap_or_default(),
            pending: pending.map(|item| (item.info.lsn, item.info.key.clone())).collect(),
            can_read: !self.has_stopped && self.may_read(slot, now).is_ok(),
            can_write: !self.has_stopped && self.may_write(slot).is_ok(),
        }
    }
}
