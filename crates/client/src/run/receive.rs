//! Waiting for servers, and their answers.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use protocol::{NEEDS_CLUSTER, Reply};
use rustix::event::{PollFlags, Timespec, poll};

use super::{Run, WAIT_MAX};
use crate::Error;
use crate::link::{Asked, InFlight};

impl Run<'_, '_> {
    /// Waits for answers, or for the next moment at which something else is to be done, and takes in what has come.
    pub(super) fn receive(&mut self) {
        if self.ops.front().is_none_or(|op| op.result.is_some()) {
            return;
        }
        let timeout = self.wait_time(Instant::now());
        let (mut servers, mut fds) = (Vec::new(), Vec::new());
        for (server, link) in self.core.all_links() {
            if let Some(connection) = link.connection.as_ref().filter(|_| !link.is_idle()) {
                servers.push(server);
                fds.push(connection.poll_fd());
            }
        }
        let timeout = Timespec::try_from(timeout).ok();
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // Interrupted: the next turn looks again.
            return;
        }
        let has_input =
            |flags: PollFlags| flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        let heard: Vec<usize> = servers
            .into_iter()
            .zip(&fds)
            .filter_map(|(server, fd)| has_input(fd.revents()).then_some(server))
            .collect();
        for server in heard {
            self.hear(server);
        }
    }

    /// Returns how long to wait for sockets.
    fn wait_time(&mut self, now: Instant) -> Duration {
        let has_ready =
            !self.ready.is_empty() && self.core.all_links().all(|(_, link)| link.is_idle());
        if has_ready {
            return Duration::ZERO;
        }
        let delayed = self.delayed.peek().map(|Reverse((at, _))| *at);
        let learning = self.core.learning.as_ref().and_then(|learning| learning.deadline.at());
        let oldest = self.ops.iter().find(|op| op.result.is_none()).and_then(|op| op.deadline.at());
        let quiet = self
            .core
            .links()
            .filter_map(|(_, link)| (!link.is_idle()).then(|| link.patience_ends_at(now)))
            .min();
        let at = [delayed, learning, oldest, quiet].into_iter().flatten().min();
        at.map_or(WAIT_MAX, |at| at.saturating_duration_since(now).min(WAIT_MAX))
    }

    /// Takes in what a server has sent.
    fn hear(&mut self, server: usize) {
        let link = self.core.link(server);
        let mut fault = link.fill().err();
        let mut lost = None;
        while fault.is_none() && lost.is_none() {
            // Taken out, so that a line can be read while its operation is changed.
            let Some(mut connection) = self.core.link(server).connection.take() else { return };
            let is_more = match connection.line_at_hand() {
                Ok(Some(line)) => {
                    lost = self.take_line(server, line);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    fault = Some(error);
                    false
                }
            };
            self.core.link(server).connection = Some(connection);
            if !is_more {
                break;
            }
        }
        let limit = self.core.config.timeout;
        let error = lost.or_else(|| fault.map(|fault| self.core.error(server, fault, limit)));
        if let Some(error) = error {
            self.lose(server, error);
        }
    }

    /// Takes one line of a server; returns why its connection is of no further use, if so.
    fn take_line(&mut self, server: usize, line: &[u8]) -> Option<Error> {
        let nonsense = |run: &Self| Error::nonsense(run.core.router.address(server), line);
        let Some(InFlight { asked, .. }) = self.core.link(server).in_flight.pop_front() else {
            return Some(nonsense(self));
        };
        let reply = Reply::parse(line);
        match (asked, reply) {
            (Asked::Ecs, Ok(reply)) => {
                self.is_cluster(&reply);
                None
            }
            (Asked::Map, Ok(reply)) => self.taught(server, &reply, Instant::now()),
            (Asked::Op { op, has_id }, Ok(reply)) => self.answered(op, server, has_id, reply),
            (Asked::Op { op, has_id }, Err(_)) => {
                let error = nonsense(self);
                let lost = error.again();
                self.missed(op, server, has_id, crate::answer::Miss::doubtful(error));
                Some(lost)
            }
            (Asked::Map | Asked::Ecs, Err(_)) => {
                self.core.learning = None;
                let error = nonsense(self);
                self.learn_error = Some(error.again());
                Some(error)
            }
        }
    }

    /// Takes the answer to an operation.
    fn answered(
        &mut self,
        number: u64,
        server: usize,
        has_id: bool,
        mut reply: Reply<'_>,
    ) -> Option<Error> {
        if has_id && is_refusal_of_ids(&reply) {
            self.core.takes_ids = Some(false);
            self.ready.push_back(number);
            return None;
        }
        let Self { core, ops, first, .. } = self;
        let index = usize::try_from(number.saturating_sub(*first)).unwrap_or(usize::MAX);
        // Its deadline may have come before its answer.
        let op = ops.get_mut(index).filter(|op| op.result.is_none())?;
        let address = core.router.address(server);
        match op.read(address, &mut reply) {
            Ok(value) => {
                let attempt = op.settle(address, Ok(value));
                core.router.answered(&op.route, server);
                self.finish(number, attempt);
                None
            }
            Err(miss) => {
                // A server that complains of one request may yet answer the others; with none, it may be about to leave.
                let is_complaint = matches!(miss.error, Error::Complaint { .. });
                let is_lost = miss.error.is_connection_lost()
                    && (!is_complaint || core.link(server).is_idle());
                let lost = is_lost.then(|| miss.error.again());
                self.missed(number, server, has_id, miss);
                lost
            }
        }
    }
}

/// Returns whether a server says that it takes no request ids: it belongs to no cluster, or is an old one.
fn is_refusal_of_ids(reply: &Reply<'_>) -> bool {
    match reply {
        Reply::Error { what } => {
            what.ends_with(NEEDS_CLUSTER) || what.starts_with("unknown request")
        }
        _ => false,
    }
}
