//! What to do when nothing happens: deadlines, and servers that are quiet.

use std::time::{Duration, Instant};

use super::Run;
use crate::Error;
use crate::answer::Miss;
use crate::link::Asked;

impl Run<'_, '_> {
    /// Gives up what has no time left, and looks after quiet servers.
    pub(super) fn expire(&mut self, now: Instant) {
        let late = self.core.learning.as_ref().filter(|it| it.deadline.remaining().is_none());
        if let Some((teacher, limit)) = late.map(|it| (it.teacher, it.deadline.limit())) {
            let error = self.late(teacher, limit);
            self.lose(teacher, error);
        }
        // All have the same time, so those submitted first run out of it first.
        let count = self
            .ops
            .iter()
            .take_while(|op| op.result.is_some() || op.deadline.remaining().is_none())
            .count();
        for number in (self.first..).take(count) {
            self.run_out(number);
        }
        let quiet: Vec<usize> = self
            .core
            .links()
            .filter_map(|(server, link)| {
                let is_quiet = !link.is_idle() && link.patience_ends_at(now) <= now;
                is_quiet.then_some(server)
            })
            .collect();
        for server in quiet {
            self.core.link(server).noticed(now);
            self.look_after(server, now);
        }
    }

    /// Ends an operation whose deadline has come.
    fn run_out(&mut self, number: u64) {
        let Some(op) = self.op(number) else { return };
        let (limit, is_read) = (op.deadline.limit(), op.is_read());
        let is_asked = |asked: &Asked| matches!(asked, Asked::Op { op, .. } if *op == number);
        let found = self.core.all_links().find_map(|(server, link)| {
            let waited = link.in_flight.iter().find(|waited| is_asked(&waited.asked))?;
            let connection = link.connection.as_ref()?;
            Some((server, waited.asked, connection.is_handed_over(waited.end)))
        });
        let (error, is_definite) = match found {
            Some((server, asked, is_sent)) => {
                let has_id = matches!(asked, Asked::Op { has_id: true, .. });
                self.core.has_strays |= has_id && !is_read;
                (self.late(server, limit), !is_sent)
            }
            None => (self.failure(number), true),
        };
        let is_definite = is_definite && !self.op(number).is_some_and(|op| op.is_doubtful);
        self.finish(number, Err(Miss { error, is_definite }));
        if let Some((server, ..)) = found {
            let error =
                Error::Broken { server: self.core.router.address(server).into(), source: None };
            self.lose(server, error);
        }
    }

    /// Sees to a server on whose connection nothing moves.
    fn look_after(&mut self, server: usize, now: Instant) {
        if self.core.router.server_count() > 1 {
            self.learn(Some(server), now);
        }
        let quiet = now.saturating_duration_since(self.core.link(server).quiet_since(now));
        let asked: Vec<Asked> =
            self.core.link(server).in_flight.iter().map(|waited| waited.asked).collect();
        let is_over = quiet >= self.core.config.attempt_timeout
            && asked.iter().all(|asked| self.is_repeatable(*asked));
        let is_read_elsewhere = asked.iter().any(|asked| match asked {
            Asked::Op { op, .. } => {
                let index = usize::try_from(op.saturating_sub(self.first)).unwrap_or(usize::MAX);
                let op = self.ops.get(index).filter(|op| op.result.is_none());
                op.is_some_and(|op| self.core.router.has_other(&op.route, server, now))
            }
            Asked::Map | Asked::Ecs => false,
        });
        if is_over || is_read_elsewhere {
            let error = self.late(server, quiet);
            self.lose(server, error);
        }
    }

    /// Returns whether what was asked may be asked again although it may have been carried out.
    fn is_repeatable(&self, asked: Asked) -> bool {
        match asked {
            Asked::Op { op, has_id } => {
                let index = usize::try_from(op.saturating_sub(self.first)).unwrap_or(usize::MAX);
                has_id || self.ops.get(index).is_none_or(|op| op.is_read() || op.result.is_some())
            }
            Asked::Map | Asked::Ecs => true,
        }
    }

    /// Returns that a server did not answer in time, or before nobody wanted to wait any longer.
    pub(super) fn late(&self, server: usize, limit: Duration) -> Error {
        let server = self.core.router.address(server).to_owned();
        match self.core.is_interrupted() {
            true => Error::Interrupted { server },
            false => Error::Late { server, limit },
        }
    }
}
