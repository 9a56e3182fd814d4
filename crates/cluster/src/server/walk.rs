//! The committed records that a learner lacks: read in pages, sent in chunks, at a rate (DESIGN section 8).
//!
//! Each walk has one page on its way at a time: the next is read when the chunk before is durable at the learner. So a slow
//! learner is not flooded, whatever the rate. All walks of a server share a bucket of bytes that fills at
//! `move_rate`; those beyond `transfer_count_max` wait for their turn.

use std::collections::VecDeque;

use crate::event::{Action, PageTicket};
use crate::message::SlotMessage;
use crate::peer::Meaning;
use crate::replica::{Follower, Replica, Stage, Walk};
use crate::server::{Cx, Server};
use crate::storage::Page;
use crate::types::{Record, ServerId, SlotId, Time};

/// The bucket holds what comes in this part of a second.
const BURST_PART: u64 = 8;

/// Whose turn it is, and how much may be sent.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    queue: VecDeque<(SlotId, ServerId)>,
    /// Bytes that may be sent; below zero after a chunk that was longer than what was left.
    budget: i64,
    filled_at: Option<Time>,
}

impl Throttle {
    pub(super) fn enqueue(&mut self, slot: SlotId, learner: ServerId) {
        if !self.queue.contains(&(slot, learner)) {
            self.queue.push_back((slot, learner));
        }
    }

    fn fill(&mut self, now: Time, rate: u64) {
        let burst = i64::try_from(rate / BURST_PART).unwrap_or(i64::MAX).max(1);
        let since = self.filled_at.map(|at| now.since(at));
        self.filled_at = Some(now);
        let Some(since) = since else {
            self.budget = burst;
            return;
        };
        let filled = u128::from(rate) * since.as_nanos() / 1_000_000_000;
        let filled = i64::try_from(filled).unwrap_or(i64::MAX);
        self.budget = self.budget.saturating_add(filled).min(burst);
    }
}

impl Server {
    fn walk_of(&self, slot: SlotId, id: ServerId) -> Option<Walk> {
        let follower = self.replica(slot)?.primary()?.followers.get(&id)?;
        match follower.stage {
            Stage::Live { walk } => Some(walk),
            Stage::Away | Stage::Stating { .. } | Stage::Stated { .. } => None,
        }
    }

    pub(super) fn follower_mut(&mut self, slot: SlotId, id: ServerId) -> Option<&mut Follower> {
        self.replica_mut(slot).and_then(Replica::primary_mut)?.followers.get_mut(&id)
    }

    /// Asks for the pages that may be read now.
    pub(super) fn pump_walks(&mut self, cx: &mut Cx<'_>) {
        self.throttle.fill(cx.now, self.config.move_rate);
        let mut queue = std::mem::take(&mut self.throttle.queue);
        queue.retain(|(slot, id)| matches!(self.walk_of(*slot, *id), Some(Walk::At { .. })));
        for (slot, id) in queue.iter().take(self.config.transfer_count_max) {
            let Some(Walk::At { number, above, is_reading: false }) = self.walk_of(*slot, *id)
            else {
                continue;
            };
            if self.throttle.budget <= 0 {
                break;
            }
            let walk = Walk::At { number, above, is_reading: true };
            self.set_stage(*slot, *id, Stage::Live { walk });
            let len_max = self.config.chunk_len;
            let ticket = PageTicket { slot: *slot, peer: *id, transfer: number, above, len_max };
            cx.actions.push(Action::ReadPage(ticket));
        }
        self.throttle.queue = queue;
    }

    pub(super) fn page_done(&mut self, ticket: PageTicket, page: Page, cx: &mut Cx<'_>) {
        let (slot, id) = (ticket.slot, ticket.peer);
        let Some(Walk::At { number, above, .. }) = self.walk_of(slot, id) else { return };
        if number != ticket.transfer || above != ticket.above {
            return;
        }
        if page.has_unreadable && !mutant!("an unreadable record left out") {
            // The walk stands still: a learner that skipped something would not know of it (R4). Others take its place.
            self.throttle.queue.retain(|walk| *walk != (slot, id));
            return self.damaged(slot);
        }
        let Some(replica) = self.replica(slot) else { return };
        let (at, commit) = ((slot, replica.epoch), replica.commit);
        let len: usize = page.records.iter().map(Record::byte_len).sum();
        self.throttle.budget -= i64::try_from(len).unwrap_or(i64::MAX);
        // What was committed since the walk began was sent when it was proposed.
        let upto = page.next.unwrap_or(commit).min(commit);
        let meaning = match page.next {
            Some(next) => {
                let walk = Walk::At { number, above: next, is_reading: true };
                self.set_stage(slot, id, Stage::Live { walk });
                Meaning::Chunk
            }
            None => {
                self.set_stage(slot, id, Stage::Live { walk: Walk::Sent });
                Meaning::WalkEnd(upto)
            }
        };
        self.send_slot(id, at, SlotMessage::Chunk { records: page.records, upto }, cx);
        self.mark(id, slot, meaning, cx);
        self.pump_walks(cx);
    }

    /// A chunk is durable at the learner.
    pub(super) fn walked(&mut self, id: ServerId, slot: SlotId, meaning: Meaning, cx: &mut Cx<'_>) {
        let Some(walk) = self.walk_of(slot, id) else { return };
        let next = match (meaning, walk) {
            (Meaning::Chunk, Walk::At { number, above, .. }) => {
                Walk::At { number, above, is_reading: false }
            }
            (Meaning::WalkEnd(upto), Walk::Sent) => {
                if let Some(follower) = self.follower_mut(slot, id) {
                    follower.acked = follower.acked.max(upto);
                }
                Walk::Done
            }
            (_, walk) => walk,
        };
        self.set_stage(slot, id, Stage::Live { walk: next });
        self.pump_walks(cx);
    }

    /// Tells a learner that it is level, when it is: all is there, and what it stated too much is overridden (R20).
    pub(super) fn level_learner(&mut self, slot: SlotId, cx: &mut Cx<'_>) {
        let Some(replica) = self.replica(slot) else { return };
        let commit = replica.commit;
        let Some(primary) = replica.primary() else { return };
        let is_ready = |follower: &Follower| {
            let has_noted =
                follower.noted.iter().all(|lsn| *lsn <= commit && *lsn <= follower.acked);
            follower.is_learner
                && !follower.is_level
                && (follower.has_walked()
                    || mutant!("level before the walk ends")
                    || mutant!("\"level\" by highest lsn") && follower.acked >= commit)
                && follower.is_live()
                && (has_noted || mutant!("level before what was noted is there"))
        };
        let ready = primary.followers.iter().find(|(_, follower)| is_ready(follower));
        let Some(id) = ready.map(|(id, _)| *id) else { return };
        if let Some(follower) = self.follower_mut(slot, id) {
            follower.is_level = true;
        }
        self.tell_commit(slot, cx);
        self.mark(id, slot, Meaning::Level, cx);
    }
}
