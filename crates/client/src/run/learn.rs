//! Learning the map, from one server after the other until one tells it.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use protocol::{Reply, Request};

use super::Run;
use crate::Error;
use crate::answer;
use crate::deadline::Deadline;
use crate::link::{Asked, QUIET_MIN};

/// How long a server may take to tell the map where others can be asked: it is in its memory.
const LEARN_TIMEOUT: Duration = Duration::from_millis(500);

/// The map is being asked for.
#[derive(Debug)]
pub(crate) struct Learning {
    pub(crate) teacher: usize,
    pub(super) deadline: Deadline,
    began_at: Instant,
}

impl Run<'_, '_> {
    /// Asks for the map, unless somebody is being asked, or was a moment ago; not the server `avoided`.
    pub(super) fn learn(&mut self, avoided: Option<usize>, now: Instant) {
        if self.core.learning.is_some() {
            return;
        }
        let again_at = match self.core.router.learn_at(now) {
            Some(at) => at,
            None => match self.ask_teacher(avoided, now) {
                Ok(()) => return,
                Err(at) => at,
            },
        };
        self.delayed.extend(self.parked.drain(..).map(|number| Reverse((again_at, number))));
    }

    /// Asks the next server, if it can be reached; returns when to go on if not. One at a time, so that between
    /// servers that say nothing, answers are read and deadlines kept.
    fn ask_teacher(&mut self, avoided: Option<usize>, now: Instant) -> Result<(), Instant> {
        let teacher = self.core.router.teacher(avoided, now)?;
        let is_only = self.core.router.server_count() <= 1;
        let timeout = if is_only { self.core.config.attempt_timeout } else { LEARN_TIMEOUT };
        // Of the operations the first runs out of time first.
        let left = self.ops.front().and_then(|op| op.deadline.remaining());
        let deadline = self.core.deadline(left.map_or(timeout, |left| timeout.min(left)));
        let began_at = Instant::now();
        match self.core.connect(teacher, &deadline) {
            Ok(()) => {
                let link = self.core.link(teacher);
                link.ask(Asked::Ecs, now, |out| Request::Ecs.encode_into(out));
                link.ask(Asked::Map, now, |out| Request::KeyrangeRead.encode_into(out));
                self.core.learning = Some(Learning { teacher, deadline, began_at: now });
                Ok(())
            }
            Err(error) => {
                log::debug!("{error}");
                let cost = began_at.elapsed();
                self.core.router.unreachable(teacher, cost, now + cost);
                // The first server's error tells most: it was named first.
                self.learn_error.get_or_insert(error);
                Err(Instant::now())
            }
        }
    }

    /// Takes a server's answer to the question for the map; returns why its connection is of no further use, if so.
    pub(super) fn taught(
        &mut self,
        teacher: usize,
        reply: &Reply<'_>,
        now: Instant,
    ) -> Option<Error> {
        let began_at = self.core.learning.take().map(|learning| learning.began_at);
        let address = self.core.router.address(teacher).to_owned();
        let told = answer::ranges(&address, true, reply).map_err(|miss| miss.error);
        match told {
            Ok(ranges) if !ranges.is_empty() => {
                let cost = began_at.map_or(Duration::ZERO, |began_at| began_at.elapsed());
                let is_new = self.core.router.learned(teacher, &ranges, cost, now);
                log::debug!(
                    "{address} told the map{}",
                    if is_new { ", and it is new" } else { "" }
                );
                self.learn_error = None;
                self.ready.extend(self.parked.drain(..));
                if is_new {
                    self.leave_quiet(now);
                }
                None
            }
            Ok(_) => {
                self.core.router.not_learned(teacher, now);
                let state = crate::ServerState::Stopped;
                self.learn_error = Some(Error::NotNow { server: address, state });
                None
            }
            Err(error) => {
                self.core.router.not_learned(teacher, now);
                let is_lost = error.is_connection_lost();
                self.learn_error = Some(error.again());
                is_lost.then_some(error)
            }
        }
    }

    /// Takes a server's answer to where the coordinator is: only a server of a cluster knows. Whoever does not know the
    /// question, as the coordinator itself, says nothing by that.
    pub(super) fn is_cluster(&mut self, reply: &Reply<'_>) {
        match reply {
            Reply::EcsSuccess { .. } => self.core.takes_ids = Some(true),
            Reply::EcsError { .. } => self.core.takes_ids = Some(false),
            _ => {}
        }
    }

    /// Leaves servers that are quiet and that the map no longer names for what waits there.
    fn leave_quiet(&mut self, now: Instant) {
        let quiet: Vec<usize> = self
            .core
            .links()
            .filter_map(|(server, link)| {
                let is_quiet = !link.is_idle() && link.quiet_since(now) + QUIET_MIN <= now;
                is_quiet.then_some(server)
            })
            .collect();
        for server in quiet {
            let asked: Vec<Asked> =
                self.core.link(server).in_flight.iter().map(|waited| waited.asked).collect();
            let is_moved = asked.into_iter().any(|asked| match asked {
                Asked::Op { op, has_id } => self.is_elsewhere(op, server, has_id),
                Asked::Map | Asked::Ecs => false,
            });
            if is_moved {
                let error = self.late(server, QUIET_MIN);
                self.lose(server, error);
            }
        }
    }

    /// Returns whether an operation that waits at `server` could go on elsewhere.
    fn is_elsewhere(&self, number: u64, server: usize, has_id: bool) -> bool {
        let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let op = self.ops.get(index).filter(|op| op.result.is_none());
        op.is_some_and(|op| {
            (has_id || op.is_read()) && !self.core.router.is_on_route(&op.route, server)
        })
    }
}
