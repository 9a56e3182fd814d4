//! Processes that the ECS starts when servers are wanted: one thread that looks, asks the machine, and does what it says.
//!
//! ```text
//!   processes (folders, pids) ──news──▶ [ Spawner ] ──orders──▶ start, end, kill
//!   host (the coordinator)   ──view──▶      │
//!          ▲──── what was spawned ──────────┘        every LOOK_EVERY; no other thread ever waits for this one
//! ```
//!
//! | module | |
//! |---|---|
//! | `template` | the command, and its placeholders |
//! | `processes` | folders, and the processes in them |
//!
//! Starting a process, its folder and its files are this thread's alone. It holds the coordinator's lock only to look at it.
//! When the ECS ends the processes stay: reads and writes go on without it. The next one finds them by their folders.

mod processes;
mod template;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cluster::coordinator::spawn::{News, Order, Settings, Spawner};
use crossbeam_channel::{Receiver, Sender, bounded};

pub use template::Template;

use crate::Error;
use crate::clock;
use crate::host::Host;
use processes::Processes;

/// How often it is looked at what became of the processes.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The thread at work.
#[derive(Debug)]
pub(crate) struct Spawning {
    thread: JoinHandle<()>,
    /// Dropped to end it.
    end: Sender<()>,
}

impl Spawning {
    /// Starts the thread. What runs in the folders below `dir` from an earlier life of the ECS is found again.
    ///
    /// # Errors
    /// [`Error::System`].
    pub(crate) fn start(
        (template, settings): (Template, Settings),
        dir: &Path,
        address: SocketAddr,
        host: Arc<Host>,
    ) -> Result<Self, Error> {
        if let Err(why) = template.check() {
            log::error!("--spawn-command cannot be run, and no server will be started: {why}");
        }
        let processes = Processes::new(dir.join("spawned"), template, reachable(address));
        let (end, ending) = bounded(0);
        let spawner = Spawner::new(settings);
        host.set_spawned(spawner.status(clock::now()), spawner.servers());
        let run = move || run(&host, processes, spawner, &ending);
        let thread = thread::Builder::new().name("spawn".into()).spawn(run);
        let thread = thread.map_err(|cause| Error::System { what: "start a thread", cause })?;
        Ok(Self { thread, end })
    }

    /// Ends the thread; the processes stay.
    pub(crate) fn stop(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            log::error!("the thread that starts servers had panicked");
        }
    }
}

fn run(host: &Host, mut processes: Processes, mut spawner: Spawner, ending: &Receiver<()>) {
    let mut news = processes.find();
    loop {
        news.extend(processes.look());
        let orders = spawner.step(clock::now(), std::mem::take(&mut news), &host.spawn_view());
        for order in orders {
            news.extend(carry_out(host, &mut processes, order));
        }
        host.set_spawned(spawner.status(clock::now()), spawner.servers());
        let wait = if news.is_empty() { LOOK_EVERY } else { Duration::ZERO };
        if !ending.recv_timeout(wait).is_err_and(|error| error.is_timeout()) {
            return;
        }
    }
}

/// Does what the machine says, and returns what came of it.
fn carry_out(host: &Host, processes: &mut Processes, order: Order) -> Option<News> {
    match order {
        Order::Start(number) => Some(match processes.start(number) {
            Ok(pid) => News::Started { number, pid },
            Err(why) => News::Refused { number, why },
        }),
        Order::End { number, server: Some(server) } if !host.retire(server) => {
            Some(News::Kept { number })
        }
        Order::End { number, .. } => {
            processes.end(number);
            None
        }
        Order::Kill(number) => {
            processes.kill(number);
            None
        }
        Order::Remember { number, server } => {
            processes.remember(number, server);
            None
        }
        Order::Warn(what) => {
            log::warn!("{what}");
            None
        }
    }
}

/// Returns where processes of this machine reach the ECS that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(at) if at.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        SocketAddr::V6(at) if at.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        named => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ecs_that_listens_everywhere_is_reached_by_loopback() {
        for (listens, reached) in
            [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("10.0.0.4:7", "10.0.0.4:7")]
        {
            assert_eq!(reachable(listens.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
