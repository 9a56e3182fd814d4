//! Whom everybody doubts: what the coordinator is told for its judgement of accusations (R15).
//!
//! ```text
//!   suspected by its own probes, and by all others that live ──▶ doubted ──dead──▶ still doubted ──heard of──▶ not any more
//! ```
//!
//! Only those tell whose own probes found it out: four of a large cluster as a rule. A server that can hear nobody doubts
//! all others, the accused as well as the accuser; so its word decides nothing.

use std::collections::BTreeSet;

use super::Gossip;
use super::event::{Action, Seen};
use super::members::Member;
use super::settings::{CONFIRMATION_COUNT_MAX, DOUBT_COUNT_MAX};
use crate::types::ServerId;

impl Gossip {
    /// Says whom everybody doubts, if that has changed.
    pub(super) fn tell_doubts(&mut self, actions: &mut Vec<Action>) {
        if self.doubts.is_empty() && self.members.suspects().is_empty() {
            return;
        }
        let is_dead = |id: &ServerId| self.seen(*id) == Some(Seen::Dead);
        let still = self.doubts.iter().filter(|id| is_dead(id));
        let suspects = self.members.suspects().iter();
        let doubts: BTreeSet<ServerId> = still
            .chain(suspects.filter(|id| self.is_doubted_by_all(**id)))
            .copied()
            .take(DOUBT_COUNT_MAX)
            .collect();
        if doubts != self.doubts {
            self.doubts.clone_from(&doubts);
            actions.push(Action::Doubts(doubts));
        }
    }

    /// Returns whether a suspect is one by this server's own probes and, as far as is known here, by those of all others that
    /// live. Of many, three are all: no more are waited for.
    #[must_use]
    pub fn is_doubted_by_all(&self, server: ServerId) -> bool {
        let member = self.members.get(server);
        let Some(suspicion) = member.and_then(|member| member.suspicion.as_ref()) else {
            return false;
        };
        let is_alive = |(id, m): &(ServerId, &Member)| m.seen == Seen::Alive && *id != server;
        let others = self.members.iter().filter(is_alive).count() + 1;
        suspicion.by.contains(&self.me) && suspicion.by.len() >= others.min(CONFIRMATION_COUNT_MAX)
    }
}
