//! Operators' commands. Each names the state that is wanted, so it can be said twice.
//!
//! | command | was | becomes |
//! |---|---|---|
//! | join | standby, leaving, away | on the ring, if it is seen |
//! | leave | on the ring | off it and leaving, if somebody else is on it |
//! | leave | standby, away | leaving: it ends, or does not join when it comes back |
//! | rebalance | | the shares are level, of bytes or of operations |
//! | retire | standby, with nothing | leaving: nobody puts it on the ring while its process is being ended |
//! | force complete | slots without a primary that this server held last | it is their primary: **acknowledged writes may be lost** |

use super::Coordinator;
use super::draft::Draft;
use super::elastic::By;
use super::event::{Action, Answer, Command};
use super::members;
use super::register::set_standing;
use crate::map::Standing;
use crate::types::{ServerId, Time};

impl Coordinator {
    pub(super) fn command(
        &mut self,
        now: Time,
        command: Command,
        actions: &mut Vec<Action>,
    ) -> Answer {
        let mut draft = Draft::new(&self.map);
        let (why, refusal) = match command {
            Command::Join(server) => ("join", self.command_join(now, server, &mut draft)),
            Command::Leave(server) => ("leave", self.command_leave(server, &mut draft)),
            Command::Rebalance(by) => {
                draft.set_ring(self.placing.rebalance(self.map.ring(), by));
                ("rebalance", None)
            }
            Command::Retire(server) => ("retire", self.command_retire(server, &mut draft)),
            Command::ForceComplete(server) => {
                ("force complete", self.command_force(now, server, &mut draft))
            }
        };
        if let Some(refusal) = refusal {
            return refusal;
        }
        let whom = match command {
            Command::Join(id)
            | Command::Leave(id)
            | Command::Retire(id)
            | Command::ForceComplete(id) => format!(" {id}"),
            Command::Rebalance(By::Bytes) => String::new(),
            Command::Rebalance(By::Operations) => " by operations".to_owned(),
        };
        let who = if matches!(command, Command::Retire(_)) { "elastic" } else { "operator" };
        let entry = draft.finish(&format!("{who}: {why}{whom}"));
        if self.commit(now, entry, actions) { Answer::Done } else { Answer::Already }
    }

    fn command_join(&self, now: Time, server: ServerId, draft: &mut Draft<'_>) -> Option<Answer> {
        let Some(known) = self.map.servers().get(&server) else { return Some(Answer::NoServer) };
        match known.standing {
            Standing::Serving => Some(Answer::Already),
            Standing::Standby | Standing::Leaving | Standing::Away => {
                if !self.is_seen(now, server) {
                    return Some(Answer::NotNow);
                }
                self.join(server, draft);
                None
            }
        }
    }

    fn command_leave(&self, server: ServerId, draft: &mut Draft<'_>) -> Option<Answer> {
        let Some(known) = self.map.servers().get(&server) else { return Some(Answer::NoServer) };
        match known.standing {
            Standing::Leaving => Some(Answer::Already),
            Standing::Serving | Standing::Standby | Standing::Away => {
                let is_left = self.leave(server, Standing::Leaving, draft);
                (!is_left).then_some(Answer::NotNow)
            }
        }
    }

    fn command_retire(&self, server: ServerId, draft: &mut Draft<'_>) -> Option<Answer> {
        let Some(known) = self.map.servers().get(&server) else { return Some(Answer::NoServer) };
        match known.standing {
            Standing::Leaving => Some(Answer::Already),
            Standing::Standby if !self.holds(server) => {
                set_standing(server, Standing::Leaving, draft);
                None
            }
            Standing::Standby | Standing::Serving | Standing::Away => Some(Answer::NotNow),
        }
    }

    fn command_force(&self, now: Time, server: ServerId, draft: &mut Draft<'_>) -> Option<Answer> {
        let Some(life) = self.life(server) else { return Some(Answer::NoServer) };
        for (id, slot) in self.map.slots() {
            draft.set_slot(id, "forced", members::force(slot, life));
        }
        // A server that is not there may come back in a new life, and be taken out again for the same reason.
        (!self.is_seen(now, server)).then_some(Answer::NotNow)
    }
}
