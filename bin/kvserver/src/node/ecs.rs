//! The connection with the coordinator: one, opened again for ever.
//!
//! ```text
//! dial ─▶ `server 1 <me> [<secret>]` ─▶ ◀─ `welcome <cluster> <slots> <replicas>` ─▶ EcsConnected ─▶ register or request …
//! ```
//!
//! Its absence is nothing to worry about: reads and writes go on, and it is tried again a few times a second (P4). A
//! coordinator of another cluster ends this server, since nothing it says could mean anything here.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cluster::lines::{
    FROM_ECS_LEN_MAX, Opening, Secret, Welcome, read_from_ecs, read_welcome, write_opening,
};
use cluster::{Event, ServerId, Version};
use crossbeam_channel::{Sender, bounded};
use net::{Next, Peer, Refusal, Replies};

use super::links::refusal_line;
use super::{End, Node};

/// How long the coordinator's machine may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the coordinator may take to welcome this server.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two lines in the log about a coordinator of another cluster.
const STRANGER_EVERY: Duration = Duration::from_secs(10);

impl Node {
    /// Sees to it that there is a connection, or that one is being made.
    pub(super) fn reach_ecs(self: &Arc<Self>) {
        if self.is_ending() || self.is_dialing_ecs.swap(true, Ordering::AcqRel) {
            return;
        }
        let service = Arc::new(EcsService { node: Arc::clone(self) });
        let of_failure = Arc::clone(self);
        let failed = move |error: std::io::Error| {
            log::debug!("the coordinator cannot be reached: {error}");
            of_failure.is_dialing_ecs.store(false, Ordering::Release);
        };
        let address = self.ecs_address.to_string();
        if let Err(error) = net::dial(&address, &config(), CONNECT_TIMEOUT, service, failed) {
            log::warn!("the coordinator cannot be tried: {error}");
            self.is_dialing_ecs.store(false, Ordering::Release);
        }
    }
}

impl Node {
    /// The coordinator is that of another cluster: an end for a server that has no part in its own yet. One that has goes
    /// on serving, as if there were none (P4), since the coordinator's folder may just not be mounted.
    fn met_other_cluster(&self) {
        if self.lock().machine.map().version() == Version(0) {
            return self.ends.send(End::OtherCluster).unwrap_or_default();
        }
        let mut told_at = self.stranger_told_at.lock().unwrap_or_else(PoisonError::into_inner);
        if told_at.is_none_or(|at| at.elapsed() >= STRANGER_EVERY) {
            *told_at = Some(Instant::now());
            log::error!(
                "the ECS at {} is that of another cluster, perhaps with an empty folder; this server goes on without it",
                self.ecs_address
            );
        }
    }

    /// Gives up a connection on which no welcome comes.
    pub(super) fn hang_up_unwelcomed(&self) {
        let mut unwelcomed = self.unwelcomed();
        if unwelcomed.as_ref().is_some_and(|(since, _)| since.elapsed() >= WELCOME_TIMEOUT)
            && let Some((_, sender)) = unwelcomed.take()
        {
            log::warn!("the coordinator took a connection and says nothing");
            sender.close();
        }
    }

    /// Returns whether there is a connection with a coordinator, or what may be one, that has not said its welcome.
    pub(super) fn has_unwelcomed_ecs(&self) -> bool {
        self.unwelcomed().is_some()
    }

    fn unwelcomed(&self) -> MutexGuard<'_, Option<(Instant, net::Sender)>> {
        self.unwelcomed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config() -> net::Config {
    net::Config { line_len_max: FROM_ECS_LEN_MAX, ..net::Config::default() }
}

fn opening(from: ServerId, secret: Option<Secret>) -> impl FnOnce(&mut Vec<u8>) {
    move |line| write_opening(line, &Opening::Server { from, secret })
}

#[derive(Debug)]
struct EcsService {
    node: Arc<Node>,
}

#[derive(Debug)]
struct EcsSession {
    node: Arc<Node>,
    sender: net::Sender,
    is_welcome: bool,
}

impl net::Service for EcsService {
    type Session = EcsSession;

    fn open(&self, _: &Peer, replies: &mut Replies) -> EcsSession {
        let (node, sender) = (Arc::clone(&self.node), replies.sender());
        sender.queue(opening(node.id, node.secret.clone()));
        sender.flush();
        *node.unwelcomed() = Some((Instant::now(), sender.clone()));
        EcsSession { node, sender, is_welcome: false }
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        refusal_line(&refusal.to_string())
    }
}

impl net::Session for EcsSession {
    fn handle(&mut self, lines: &[u8], _: &mut Replies) -> Next {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let next = match self.is_welcome {
                true => self.told(line),
                false => self.welcomed(line),
            };
            if next == Next::Close {
                return next;
            }
        }
        Next::Continue
    }
}

impl EcsSession {
    fn welcomed(&mut self, line: &[u8]) -> Next {
        match read_welcome(line) {
            Ok(welcome) if welcome == self.node.welcome => {
                self.is_welcome = true;
                self.node.run(|core| {
                    core.ecs = Some(self.sender.clone());
                    core.step(Event::EcsConnected);
                });
                // Afterwards, so that at no moment there seems to be no connection.
                *self.node.unwelcomed() = None;
                Next::Continue
            }
            Ok(_) => {
                self.node.met_other_cluster();
                Next::Close
            }
            Err(error) => {
                log::warn!("the coordinator does not welcome this server: {error}");
                Next::Close
            }
        }
    }

    fn told(&self, line: &[u8]) -> Next {
        match read_from_ecs(line) {
            Ok(message) => {
                self.node.tell(Event::FromEcs(message));
                Next::Continue
            }
            Err(error) => {
                log::warn!("the coordinator said what makes no sense: {error}");
                Next::Close
            }
        }
    }
}

impl Drop for EcsSession {
    fn drop(&mut self) {
        if self.is_welcome {
            self.node.run(|core| {
                core.ecs = None;
                core.step(Event::EcsClosed);
            });
        }
        *self.node.unwelcomed() = None;
        self.node.is_dialing_ecs.store(false, Ordering::Release);
    }
}

/// Asks the coordinator for its welcome and nothing else, for a server that has kept nothing yet. `None` if it cannot
/// be reached or says something else; why is in the log.
pub(super) fn ask_welcome(
    address: SocketAddr,
    from: ServerId,
    secret: Option<Secret>,
) -> Option<Welcome> {
    let (answer, answers) = bounded(1);
    let service = Arc::new(Asker { from, secret, answer });
    let failed = |error: std::io::Error| log::debug!("the coordinator cannot be reached: {error}");
    if let Err(error) = net::dial(&address.to_string(), &config(), CONNECT_TIMEOUT, service, failed)
    {
        log::warn!("the coordinator cannot be tried: {error}");
    }
    answers.recv_timeout(WELCOME_TIMEOUT).ok()
}

/// Asks for the welcome.
#[derive(Debug)]
struct Asker {
    from: ServerId,
    secret: Option<Secret>,
    answer: Sender<Welcome>,
}

/// Passes the welcome on.
#[derive(Debug)]
struct Asking(Sender<Welcome>);

impl net::Service for Asker {
    type Session = Asking;

    fn open(&self, _: &Peer, replies: &mut Replies) -> Asking {
        let sender = replies.sender();
        sender.queue(opening(self.from, self.secret.clone()));
        sender.flush();
        Asking(self.answer.clone())
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        refusal_line(&refusal.to_string())
    }
}

impl net::Session for Asking {
    fn handle(&mut self, lines: &[u8], _: &mut Replies) -> Next {
        let line = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match read_welcome(line) {
            Ok(welcome) => self.0.try_send(welcome).unwrap_or_default(),
            Err(error) => log::warn!("the coordinator does not welcome this server: {error}"),
        }
        Next::Close
    }
}
