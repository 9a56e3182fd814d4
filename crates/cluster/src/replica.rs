//! One slot on one server: what it is there, its commit point, and what is pending.
//!
//! ```text
//!              learns that it is                         all members stated, all durable everywhere (R18)
//!   None ──▶ Learner ──▶ Backup ──▶ Primary: Reconciling ─────────────────────▶ Serving ──▶ HandingOver (R23)
//!     ▲                     ▲                      ▲ a new epoch begins it anew      │              │
//!     └─────────────────────┴──────────────────────┴──── the map says so ◀───────────┴──────────────┘
//! ```
//!
//! The map decides the role; this file keeps the state that goes with it. A replica's *stay* is a number that rises
//! whenever it begins another role or the primary's term changes: what was begun in one stay cannot end in another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::{OpId, Reply};
use crate::message::Change;
use crate::pending::Pending;
use crate::types::{Bytes, Epoch, Lsn, Number, Request, ServerId, SlotId, Time};

/// Places for those who wait that a slot keeps when nobody waits.
const KEPT_WAITER_COUNT_MAX: usize = 64;

/// A slot on this server.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) slot: SlotId,
    pub(crate) state: RoleState,
    /// Rises with each change of role or term.
    pub(crate) stay: u64,
    /// The epoch in force here.
    pub(crate) epoch: Epoch,
    /// The term in force here.
    pub(crate) term: Epoch,
    /// When that term was learned, or this server was listed in it: a silence counts from here at the earliest (R15).
    pub(crate) listed_at: Time,
    /// The commit point: see DESIGN section 6.
    pub(crate) commit: Lsn,
    /// Every committed record up to here is held, or a newer one of its key; ahead of the commit point only while
    /// this is a learner.
    pub(crate) held: Lsn,
    /// Whose walk that is: what another dropped below its floor was never sent, so its walk cannot be gone on with (R5).
    pub(crate) held_from: Option<ServerId>,
    /// The slot exists in the storage.
    pub(crate) is_stored: bool,
    /// Requests below this are forgotten (R24), as far as was told in this life.
    pub(crate) request_floor: Lsn,
    /// Something of it was found that cannot be read: this copy is to be given up, and made anew (R4).
    pub(crate) is_damaged: bool,
    /// Not to be asked to resign before this time.
    pub(crate) resign_at: Time,
    /// Clients' operations that were taken in this life.
    pub(crate) op_count: u64,
    pub(crate) pending: Pending,
}

/// What the server is for the slot, with what goes with it.
#[derive(Debug)]
pub(crate) enum RoleState {
    /// Nothing; data of an earlier role may still be here.
    None,
    /// Learner or backup.
    Holder(Holder),
    /// Primary.
    Primary(Box<Primary>),
}

/// The state of a backup or learner in one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) primary: ServerId,
    pub(crate) is_learner: bool,
    /// It was primary in the epoch before.
    pub(crate) was_primary: bool,
    /// The primary said in this epoch that reads may be served.
    pub(crate) has_reads: bool,
    /// The primary said that they must not, for the rest of the epoch (R21).
    pub(crate) has_stopped: bool,
}

/// The state of a primary.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) phase: Phase,
    /// The counter of the next lsn.
    pub(crate) next: u64,
    /// Everybody else who holds the slot.
    pub(crate) followers: BTreeMap<ServerId, Follower>,
    /// Who waits for which record.
    pub(crate) waiters: Waiters,
    /// What was asked of the coordinator and is not settled.
    pub(crate) ask: Option<Asked>,
    /// What the tombstone floor becomes when another age has passed (R5).
    pub(crate) next_floor: Lsn,
    /// What the request floor becomes when another age has passed (R24).
    pub(crate) next_request_floor: Lsn,
    /// No new move before this time: one was refused, or given up.
    pub(crate) quiet_until: Time,
    /// The surplus backup that is being let go (R21).
    pub(crate) letting_go: Option<ServerId>,
}

/// What a primary is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Bringing all members to one state; serves nothing (R18).
    Reconciling,
    /// Serving.
    Serving,
    /// Giving the slot to another; serves nothing (R23).
    HandingOver { to: ServerId, since: Time },
}

/// A change asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) change: Change,
    /// The number of the request that carried it; none before it is sent.
    pub(crate) number: Option<Number>,
}

/// Somebody who waits for a record's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) op: OpId,
    pub(crate) reply: Reply,
}

/// Who waits, in the order of what is waited for; for the same record, in the order of coming.
#[derive(Debug, Default)]
pub(crate) struct Waiters(VecDeque<(Lsn, Waiter)>);

impl Waiters {
    /// Lets somebody wait for the commit of a record: nearly always the newest.
    pub(crate) fn push(&mut self, lsn: Lsn, waiter: Waiter) {
        let is_last = self.0.back().is_none_or(|(last, _)| *last <= lsn);
        let place = match is_last {
            true => self.0.len(),
            false => self.0.partition_point(|(at, _)| *at <= lsn),
        };
        self.0.insert(place, (lsn, waiter));
    }

    /// Takes out the first, if what it waits for is not above `upto`.
    pub(crate) fn pop_upto(&mut self, upto: Lsn) -> Option<Waiter> {
        self.0.front().filter(|(at, _)| *at <= upto)?;
        let (_, waiter) = self.0.pop_front()?;
        if self.0.is_empty() {
            self.0.shrink_to(KEPT_WAITER_COUNT_MAX);
        }
        Some(waiter)
    }

    /// Returns all of them.
    pub(crate) fn into_all(self) -> impl Iterator<Item = Waiter> {
        self.0.into_iter().map(|(_, waiter)| waiter)
    }
}

/// A member or learner, as its primary sees it in this epoch and session.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) is_learner: bool,
    /// When it was listed, or this server became primary: a silence counts from here at the earliest (R15).
    pub(crate) listed_at: Time,
    /// Told apart from what it was before a reset: a mark of an earlier life counts for nothing.
    pub(crate) life: u64,
    pub(crate) stage: Stage,
    /// Every record of the primary's log up to here is durable there.
    pub(crate) acked: Lsn,
    /// Since when it owes an acknowledgement, or last gave one while it owed more (R16).
    pub(crate) owes_since: Option<Time>,
    /// Messages sent that it has to acknowledge.
    pub(crate) owes: usize,
    /// The commit point it was told last, in this session and epoch.
    pub(crate) told: Option<Lsn>,
    /// Whether it was told that it may serve reads.
    pub(crate) told_reads: bool,
    /// A learner acknowledged that it knows it is level.
    pub(crate) knows_level: bool,
    /// It may be told commit points: a member always once it is live, a learner when it is level.
    pub(crate) is_level: bool,
    /// Since when commits wait for it though it is only a learner (R22).
    pub(crate) counted_at: Option<Time>,
    /// It was told to stop serving reads (R21).
    pub(crate) was_stopped: bool,
    /// It said that it stopped serving reads (R21).
    pub(crate) has_stopped_reads: bool,
    /// What must be committed, and durable there, before it is level (R20).
    pub(crate) noted: BTreeSet<Lsn>,
}

/// How far a follower is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// No session, or not asked yet.
    Away,
    /// Asked for what it holds; what it stated so far.
    Stating { stated: Statement },
    /// It stated everything; waits for the other members' statements (R18).
    Stated { stated: Statement },
    /// It gets every prepare.
    Live { walk: Walk },
}

/// What is kept of a follower's statement: what it holds above its commit point, without values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    pub(crate) commit: Lsn,
    pub(crate) held: Lsn,
    pub(crate) is_empty: bool,
    /// Up to where it was stated.
    pub(crate) upto: Lsn,
    pub(crate) records: BTreeMap<(Lsn, Bytes), Option<Request>>,
}

/// How far the committed records are that a learner lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Waiting for its turn, or being read: sent up to here.
    At { number: u64, above: Lsn, is_reading: bool },
    /// All sent; acknowledged when the mark comes back.
    Sent,
    /// All durable there.
    Done,
}

impl Follower {
    pub(crate) fn new(is_learner: bool, listed_at: Time) -> Self {
        Self {
            is_learner,
            listed_at,
            life: 0,
            stage: Stage::Away,
            acked: Lsn(0),
            owes_since: None,
            owes: 0,
            told: None,
            told_reads: false,
            is_level: false,
            knows_level: false,
            counted_at: None,
            was_stopped: false,
            has_stopped_reads: false,
            noted: BTreeSet::new(),
        }
    }

    /// Returns whether it gets every prepare.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live { .. })
    }

    /// Returns whether a commit must wait for its acknowledgement.
    pub(crate) fn counts(&self) -> bool {
        !self.is_learner || self.counted_at.is_some()
    }

    /// Returns whether it has everything that was committed when its transfer began, durably.
    pub(crate) fn has_walked(&self) -> bool {
        matches!(self.stage, Stage::Live { walk: Walk::Done })
    }

    /// Forgets what was of a session that is over. What it acknowledged it still has, but a new session states it anew.
    pub(crate) fn reset(&mut self, life: u64) {
        let (counted_at, is_learner) = (self.counted_at, self.is_learner);
        *self = Self { counted_at, life, ..Self::new(is_learner, self.listed_at) };
    }
}

impl Replica {
    pub(crate) fn new(slot: SlotId) -> Self {
        Self {
            slot,
            state: RoleState::None,
            stay: 0,
            epoch: Epoch(0),
            term: Epoch(0),
            listed_at: Time(0),
            commit: Lsn(0),
            held: Lsn(0),
            held_from: None,
            is_stored: false,
            request_floor: Lsn(0),
            is_damaged: false,
            resign_at: Time(0),
            op_count: 0,
            pending: Pending::default(),
        }
    }

    pub(crate) fn primary(&self) -> Option<&Primary> {
        match &self.state {
            RoleState::Primary(primary) => Some(primary),
            RoleState::Holder(_) | RoleState::None => None,
        }
    }

    pub(crate) fn primary_mut(&mut self) -> Option<&mut Primary> {
        match &mut self.state {
            RoleState::Primary(primary) => Some(primary),
            RoleState::Holder(_) | RoleState::None => None,
        }
    }

    pub(crate) fn holder(&self) -> Option<&Holder> {
        match &self.state {
            RoleState::Holder(holder) => Some(holder),
            RoleState::Primary(_) | RoleState::None => None,
        }
    }

    pub(crate) fn holder_mut(&mut self) -> Option<&mut Holder> {
        match &mut self.state {
            RoleState::Holder(holder) => Some(holder),
            RoleState::Primary(_) | RoleState::None => None,
        }
    }

    /// Returns the lsn up to which a primary's records are durable here and wherever commits wait for (R10), given what
    /// is durable here.
    pub(crate) fn committable(&self, durable: crate::storage::Position) -> Option<Lsn> {
        let primary = self.primary()?;
        let leaving = primary.ask.and_then(|asked| match asked.change {
            Change::Remove { member, .. } => Some(member),
            _ => None,
        });
        let is_skipped = |id: &ServerId| {
            mutant!("acknowledgement before a backup's")
                || leaving == Some(*id) && mutant!("commit without a member not yet removed")
        };
        let counted = primary.followers.iter().filter(|(id, f)| f.counts() && !is_skipped(id));
        let acked = counted.map(|(_, follower)| follower.acked).min();
        let limit = acked.unwrap_or(Lsn(u64::MAX));
        let is_own = |item: &&crate::pending::Item| item.position <= durable;
        let own = self.pending.iter().take_while(is_own).map(|item| item.info.lsn);
        own.take_while(|lsn| *lsn <= limit).last()
    }
}
