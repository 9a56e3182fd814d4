//! The ring that grows, shrinks and is levelled by itself: when it is looked at, what is done, and what is told of it.
//!
//! What is right is judged by [`super::elastic`]. Here it is looked at, a few times in each cool-down and at most once a second,
//! because it costs a look at every slot; done, in mode `on`, as one decision like an operator's; or said, once, in mode
//! `suggest`. A server that is drained goes back to standby: its process stays, and it can be asked onto the ring again.
//!
//! Nothing of this is logged but the decisions. After a start everything is looked at anew, and a whole cool-down passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Coordinator;
use super::draft::Draft;
use super::elastic::{self, Known, Mode, Pace, Rest, Seated, Step};
use super::event::{Action, Entry};
use super::status::millis;
use crate::map::Standing;
use crate::types::{ServerId, Time};

/// Looks in each cool-down.
const LOOKS_PER_COOL_DOWN: u32 = 32;

/// The time between two looks at most.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// What is remembered for growing and shrinking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scaling {
    /// Begins with the first step.
    pace: Option<Pace>,
    looked_at: Option<Time>,
    /// What was said last, so that it is said once.
    said: Option<(&'static str, Option<ServerId>)>,
    decided: Option<(Time, String)>,
    /// Whether a server is wanted, has been for long enough, and none is on standby.
    is_lacking: bool,
    /// Whether one more server is right, for long enough or not.
    is_growing: bool,
}

/// What would be decided next, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Who decides.
    pub mode: Mode,
    /// `add`, `start` (one is wanted and none on standby), `drain`, `rebalance`, or `none`.
    pub step: String,
    /// Who would come or go: its id.
    pub server: Option<String>,
    /// Why, with numbers.
    pub why: String,
    /// In how many milliseconds it would be decided, if it stays right.
    pub in_ms: Option<u64>,
    /// Slots that would be copied.
    pub slots: usize,
    /// Their stored bytes.
    pub bytes: u64,
    /// How long that takes at the move rate, in milliseconds.
    pub transfer_ms: u64,
}

/// What was decided last since the coordinator's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What and why.
    pub why: String,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
}

impl Coordinator {
    /// Looks whether the ring should change, and changes it or says so.
    pub(super) fn scale(&mut self, now: Time, actions: &mut Vec<Action>) {
        let (mode, cool_down) = (self.settings.elastic.mode, self.settings.elastic.cool_down);
        if mode == Mode::Off || !self.is_time_to_look(now) {
            return;
        }
        let judged = self.judge_ring(now);
        let start = self.first_cool_down(now);
        let pace = self.scaling.pace.get_or_insert_with(|| Pace::new(start, cool_down));
        let Ok(step) = judged else {
            pace.rest();
            (self.scaling.is_lacking, self.scaling.is_growing) = (false, false);
            return;
        };
        let is_due = pace.wait(now, &step).is_zero();
        self.scaling.is_lacking = is_due && matches!(step, Step::Lack { .. });
        self.scaling.is_growing = matches!(step, Step::Add { .. } | Step::Lack { .. });
        if !is_due {
            return;
        }
        if mode == Mode::On && !matches!(step, Step::Lack { .. }) {
            let entry = self.scaled(now, &step);
            if self.commit(now, entry, actions) {
                self.scaling.decided = Some((now, step.to_string()));
                self.converge(now, actions);
            }
        } else if self.scaling.said != Some((step.word(), step.server())) {
            self.scaling.said = Some((step.word(), step.server()));
            let verb = if mode == Mode::On { "wanted" } else { "suggested" };
            actions.push(Action::Note(format!("elastic, {verb}: {step}")));
        }
    }

    fn is_time_to_look(&mut self, now: Time) -> bool {
        let every = (self.settings.elastic.cool_down / LOOKS_PER_COOL_DOWN).min(LOOK_EVERY_MAX);
        let is_time = self.scaling.looked_at.is_none_or(|at| now.since(at) >= every);
        if is_time {
            self.scaling.looked_at = Some(now);
        }
        is_time
    }

    /// Returns from when the first cool-down counts.
    fn first_cool_down(&self, now: Time) -> Time {
        if mutant!("no cool-down after a start") {
            return Time::default();
        }
        self.started_at.unwrap_or(now)
    }

    /// Notes that the ring changes, whoever decided it.
    pub(super) fn note_ring(&mut self, now: Time) {
        let cool_down = self.settings.elastic.cool_down;
        self.scaling.said = None;
        self.scaling.is_lacking = false;
        let pace = self.scaling.pace.get_or_insert_with(|| Pace::new(now, cool_down));
        pace.ring_changed(now);
    }

    /// Returns the decision that a step is.
    fn scaled(&self, now: Time, step: &Step) -> Option<Entry> {
        let mut draft = Draft::new(&self.map);
        match step {
            Step::Add { server, .. } if self.is_seen(now, *server) => {
                self.join(*server, &mut draft);
            }
            Step::Drain { server, .. } => {
                // Where nobody else is there it stays.
                let _is_left = self.leave(*server, Standing::Standby, &mut draft);
            }
            Step::Level { by, .. } => {
                draft.set_ring(self.placing.rebalance(self.map.ring(), *by));
            }
            Step::Add { .. } | Step::Lack { .. } => {}
        }
        draft.finish(&format!("elastic: {step}"))
    }

    fn judge_ring(&self, now: Time) -> Result<Step, Rest> {
        elastic::judge(self.settings.elastic.limits, &self.known(now))
    }

    fn known(&self, now: Time) -> Known<'_> {
        let seated = self.map.ring().servers().into_iter().map(|id| Seated {
            id,
            is_seen: self.is_seen(now, id),
            is_full: self.is_full(id),
            is_spawned: self.spawned.contains(&id),
        });
        let is_fit = |id: ServerId, standing| {
            let is_well = !self.has_failed(id) && !self.is_full(id);
            standing == Standing::Standby && self.is_seen(now, id) && is_well
        };
        let servers = self.map.servers().iter();
        let standbys = servers.filter(|(id, server)| is_fit(**id, server.standing));
        Known {
            ring: self.map.ring(),
            loads: self.placing.loads(),
            rates: self.placing.rates(),
            level_by: self.settings.elastic.level_by,
            unknown_count: self.placing.unknown_count(),
            replica_count: self.map.replica_count(),
            token_count: self.placing.token_count(),
            seated: seated.collect(),
            standbys: standbys.map(|(id, _)| *id).collect(),
            is_half_seen: self.is_half_seen(now),
            move_count: self.moves().count(),
        }
    }

    /// Returns whether a server is wanted and none is on standby.
    #[must_use]
    pub fn is_lacking(&self) -> bool {
        self.scaling.is_lacking
    }

    /// Returns whether one more server was right when the ring was looked at last.
    pub(super) fn is_growing(&self) -> bool {
        self.scaling.is_growing
    }

    /// Says which servers are processes that the host started: of two that could go, they go first. Forgotten at a restart.
    pub fn set_spawned(&mut self, servers: BTreeSet<ServerId>) {
        self.spawned = servers;
    }

    /// Returns what would be decided next; `None` if nobody asks.
    #[must_use]
    pub fn next(&self, now: Time) -> Option<Next> {
        let elastic = &self.settings.elastic;
        if elastic.mode == Mode::Off {
            return None;
        }
        let step = match self.judge_ring(now) {
            Ok(step) => step,
            Err(rest) => return Some(Next::none(elastic.mode, rest.to_string())),
        };
        let fresh = Pace::new(self.started_at.unwrap_or(now), elastic.cool_down);
        let wait = self.scaling.pace.as_ref().unwrap_or(&fresh).wait_of(now, &step);
        let moves = self.copies(&self.known(now).ring_after(&step));
        // Servers send side by side; the one that sends most is the last to be done.
        let mut sent = BTreeMap::new();
        for source in moves.iter().flat_map(|copies| &copies.from) {
            let bytes: &mut u64 = sent.entry(source.server).or_default();
            *bytes = bytes.saturating_add(source.bytes);
        }
        let most = sent.into_values().max().unwrap_or_default();
        Some(Next {
            mode: elastic.mode,
            step: step.word().to_owned(),
            server: step.server().map(|id| id.to_string()),
            why: step.to_string(),
            in_ms: Some(millis(wait)),
            slots: moves.iter().map(|copies| copies.to_do).sum(),
            bytes: moves.iter().map(|copies| copies.bytes_to_do).sum(),
            transfer_ms: most.saturating_mul(1000) / elastic.move_rate.max(1),
        })
    }

    /// Returns whether standby servers join without being asked.
    pub(super) fn grows_by_itself(&self) -> bool {
        self.settings.elastic.mode == Mode::On && self.settings.elastic.limits.is_some()
    }

    /// Returns what was decided last since the start.
    pub(super) fn decided(&self, now: Time) -> Option<Decided> {
        let (at, why) = self.scaling.decided.clone()?;
        Some(Decided { why, ago_ms: millis(now.since(at)) })
    }

    /// Returns which slots no levelling helps, in sentences.
    pub(super) fn hot_hints(&self) -> Vec<String> {
        let (ring, none) = (self.map.ring(), "more than a mean share of");
        let bytes = elastic::hot_slot(ring, self.placing.loads()).map(|hot| {
            format!(
                "slot {} alone stores {} bytes, {none} {}: no move of slots levels that",
                hot.slot.index(),
                hot.bytes,
                hot.mean_bytes
            )
        });
        let rate = elastic::hot_key(ring, self.placing.rates()).map(|(slot, rate, mean)| {
            format!(
                "slot {} alone answers {} operations a second, {none} {}: a hot key or few; no move of slots levels that",
                slot.index(),
                rate / 60,
                mean / 60
            )
        });
        bytes.into_iter().chain(rate).collect()
    }

    /// Returns whether a server's disk takes no more puts.
    pub(super) fn is_full(&self, server: ServerId) -> bool {
        self.peers.get(server).is_some_and(|peer| peer.is_full)
    }
}

impl Next {
    fn none(mode: Mode, why: String) -> Self {
        Self {
            mode,
            step: "none".to_owned(),
            server: None,
            why,
            in_ms: None,
            slots: 0,
            bytes: 0,
            transfer_ms: 0,
        }
    }
}
