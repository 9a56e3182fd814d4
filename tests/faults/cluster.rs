//! The ECS and the servers: started, watched, and asked for joins, leaves and rebalances.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Config, Coordinator};
use cluster::coordinator::{ServerStatus, Status, WholeMap};

use crate::network::{Network, Place};
use crate::node::Node;
use crate::patience::wait_for;
use crate::records::copy_files;

/// Slots of the ring: few, so that each has many keys, and moves by the dozen.
pub(crate) const SLOTS: &str = "64";
/// What a server keeps free of its disk: less than the default, since these disks are small.
pub(crate) const RESERVE_LEN: u64 = 16 << 20;
/// Length of a data file: small, so that files are sealed and merged during a run.
const FILE_LEN: &str = "4MiB";
/// How long the ECS may take to answer.
const ECS_TIMEOUT: Duration = Duration::from_secs(2);
/// Servers that stay on the ring.
pub(crate) const RING_COUNT_MIN: usize = 3;
/// How long a server may stay away until the ECS takes it off the ring: longer than most faults, short enough for a round.
pub(crate) const REJOIN_GRACE: Duration = Duration::from_secs(5);
/// How long the cluster may take until it is whole: longer than a server that was taken off the ring needs to come back.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The machines' network.
    pub(crate) network: Network,
    /// The coordinator.
    pub(crate) ecs: Node,
    /// The servers, the first with the number 1.
    pub(crate) servers: Vec<Node>,
    /// Numbers of the servers that were last asked to be on the ring.
    pub(crate) on_ring: BTreeSet<u8>,
    /// Numbers of those that were killed while they left, and started again: they go on leaving, or come back like new ones if the
    /// others had taken all from them by then.
    pub(crate) undecided: BTreeSet<u8>,
    /// Whether the ECS decides who is on the ring; then all count as asked for.
    pub(crate) is_elastic: bool,
}

/// What changes who holds what, while faults come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Movement {
    /// Nothing.
    Still,
    /// A server comes onto the ring.
    Join(u8),
    /// A server goes.
    Leave(u8),
    /// The shares are made level.
    Rebalance,
    /// The ECS makes the ring grow and shrink by itself.
    Elastic,
}

impl Cluster {
    /// Starts an ECS and `count` servers below `top`, from the folder `binaries`; does not wait for their slots.
    pub(crate) fn start(top: &Path, binaries: &Path, count: u8) -> Self {
        let network = Network::new(count);
        let secret = top.join("secret");
        fs::write(&secret, "a secret of the fault suite\n").expect("a file can be written");
        let secret = secret.to_string_lossy().into_owned();
        let grace = REJOIN_GRACE.as_millis().to_string();
        let flags = ["--slots", SLOTS, "--secret-file", &secret, "--rejoin-grace-ms", &grace];
        let mut ecs = Node::new(top, Place::Ecs, binaries.join("ecs"), &flags);
        ecs.start();
        ecs.wait_until_it_listens();
        let bootstrap = Place::Ecs.address();
        let reserve = RESERVE_LEN.to_string();
        let flags = [
            "--bootstrap",
            &bootstrap,
            "--secret-file",
            &secret,
            "--stay",
            "--reserve-bytes",
            &reserve,
            "--file-bytes",
            FILE_LEN,
        ];
        let node = |number| {
            let mut node = Node::new(top, Place::Server(number), binaries.join("kvserver"), &flags);
            node.start();
            node
        };
        let servers: Vec<Node> = (1..=count).map(node).collect();
        for server in &servers {
            server.wait_until_it_listens();
        }
        let (on_ring, undecided) = ((1..=count).collect(), BTreeSet::new());
        Self { network, ecs, servers, on_ring, undecided, is_elastic: false }
    }

    /// Returns the process at `place`.
    pub(crate) fn node(&mut self, place: Place) -> &mut Node {
        match place {
            Place::Ecs => &mut self.ecs,
            Place::Server(number) => &mut self.servers[usize::from(number) - 1],
            Place::Clients => unreachable!("clients are threads of this program"),
        }
    }

    /// Returns the addresses of all servers.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.place.address()).collect()
    }

    /// Returns what the ECS says of the cluster, if it answers.
    pub(crate) fn status(&self) -> Option<Status> {
        status()
    }

    /// Returns the whole map.
    pub(crate) fn map(&self) -> Option<WholeMap> {
        serde_json::from_str(ask("map")?.strip_prefix("map_success ")?).ok()
    }

    /// Starts the ECS again, with these flags besides.
    pub(crate) fn restart_ecs(&mut self, more_flags: &[&str]) {
        self.ecs.kill();
        self.ecs.more_flags = more_flags.iter().map(|&flag| flag.to_owned()).collect();
        self.ecs.start();
        self.ecs.wait_until_it_listens();
    }

    /// Waits until nothing is missing.
    ///
    /// # Errors
    /// What is missing still, or how a process ended that nobody ended.
    pub(crate) fn wait_until_whole(&mut self) -> Result<(), String> {
        let (mut death, mut lacks) = (None, None);
        wait_for(WHOLE_MAX, || {
            death = self.deaths();
            lacks = self.lacks();
            death.is_some() || lacks.is_none()
        });
        match (death, lacks) {
            (Some(death), _) => Err(death),
            (None, Some(lacks)) => Err(format!("not whole after {WHOLE_MAX:?}: {lacks}")),
            (None, None) => Ok(()),
        }
    }

    /// Returns what is missing until every slot has its ideal members, and every server asked for is on the ring.
    fn lacks(&mut self) -> Option<String> {
        let Some(status) = self.status() else { return Some("the ECS does not answer".to_owned()) };
        let owners = owners(&status);
        if let Some(leaver) =
            self.leavers().find(|node| node.is_running() && !owners.contains(&node.place.number()))
        {
            return Some(format!("{} still runs, though asked to leave", leaver.place));
        }
        let slots = &status.slots;
        if slots.complete != usize::from(status.slot_count) || !status.moves.is_empty() {
            return Some(format!("{slots:?}, {} moves, {:?}", status.moves.len(), status.hints));
        }
        if self.is_elastic {
            return (owners.len() < RING_COUNT_MIN).then(|| format!("on the ring are {owners:?}"));
        }
        let stayed: Vec<u8> = self.undecided.intersection(&owners).copied().collect();
        let expected: BTreeSet<u8> = self.on_ring.iter().copied().chain(stayed).collect();
        if owners != expected {
            return Some(format!("on the ring are {owners:?} and not {expected:?}"));
        }
        self.on_ring = expected;
        self.undecided.clear();
        None
    }

    /// Returns the servers that are not on the ring.
    pub(crate) fn away(&self) -> Vec<u8> {
        let all = self.servers.iter().map(|server| server.place.number());
        all.filter(|number| !self.on_ring.contains(number)).collect()
    }

    /// Draws a movement that the ring allows.
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng) -> Movement {
        let away = self.away();
        match rng.u8(0..5) {
            0 => Movement::Still,
            1 => Movement::Rebalance,
            2..4 if !away.is_empty() => Movement::Join(away[rng.usize(..away.len())]),
            _ if self.on_ring.len() > RING_COUNT_MIN => {
                let on_ring: Vec<u8> = self.on_ring.iter().copied().collect();
                Movement::Leave(on_ring[rng.usize(..on_ring.len())])
            }
            _ => away.first().map_or(Movement::Rebalance, |number| Movement::Join(*number)),
        }
    }

    /// Begins a movement: a server that left has ended, and joins when it is started; the others are the ECS's to order.
    ///
    /// # Panics
    /// When the ECS refuses: all is whole when it is asked.
    pub(crate) fn begin(&mut self, movement: Movement) {
        let line = match movement {
            // The second is begun by the round, which also ends it.
            Movement::Still | Movement::Elastic => return,
            Movement::Join(number) => {
                self.on_ring.insert(number);
                return self.node(Place::Server(number)).start();
            }
            Movement::Leave(number) => {
                self.on_ring.remove(&number);
                format!("leave {}", Place::Server(number).address())
            }
            Movement::Rebalance => "rebalance".to_owned(),
        };
        let reply = ask(&line).expect("the ECS answers");
        assert!(reply.contains("_success"), "{line}: {reply}");
    }

    /// Returns how the ECS says that a server stands, if it answers.
    pub(crate) fn standing(&self, number: u8) -> Option<ServerStatus> {
        let servers = self.status()?.servers;
        servers.into_iter().find(|server| number_of(server) == Some(number))
    }

    /// Returns whether a server is off the ring, and the others hold all.
    pub(crate) fn is_off(&self, number: u8) -> bool {
        let Some(status) = self.status() else { return false };
        let server = status.servers.iter().find(|server| number_of(server) == Some(number));
        let is_off = server.is_some_and(|server| server.owned == 0);
        is_off && status.slots.complete == usize::from(status.slot_count)
    }

    /// Returns whether what is not whole has its last copy on a server that is down: nobody but that server can make it whole.
    pub(crate) fn waits_for_the_dead(&self) -> bool {
        let Some(status) = self.status() else { return false };
        let dead = status.servers.iter().filter(|server| !server.is_seen && server.owned == 0);
        let last: usize = dead.map(|server| server.primary).sum();
        last > 0 && status.slots.complete + last >= usize::from(status.slot_count)
    }

    /// Returns the servers that were asked to leave, or have left.
    fn leavers(&mut self) -> impl Iterator<Item = &mut Node> {
        let on_ring = &self.on_ring;
        let numbered = self.servers.iter_mut().zip(1..);
        numbered.filter(|(_, number)| !on_ring.contains(number)).map(|(node, _)| node)
    }

    /// Returns how a process ended that nobody ended, with the end of its log. Who was asked to leave ends by itself.
    pub(crate) fn deaths(&mut self) -> Option<String> {
        for node in self.leavers() {
            if node.ended().is_some_and(|status| status.success()) {
                node.forget();
            }
        }
        let nodes = self.servers.iter_mut().chain([&mut self.ecs]);
        for node in nodes {
            if let Some(status) = node.ended() {
                return Some(format!(
                    "{} ended by itself: {status}\n{}",
                    node.place,
                    last(&node.log())
                ));
            }
        }
        None
    }

    /// Returns the panics that the logs tell of.
    pub(crate) fn panics(&self) -> Vec<String> {
        let nodes = self.servers.iter().chain([&self.ecs]);
        let told = nodes.flat_map(|node| {
            let log = node.log();
            let lines: Vec<String> =
                log.lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
            lines.into_iter().map(move |line| format!("{}: {line}", node.place))
        });
        told.collect()
    }

    /// Copies logs and data into `folder`.
    pub(crate) fn keep_files(&self, folder: &Path) {
        for node in self.servers.iter().chain([&self.ecs]) {
            let path: PathBuf = folder.join(format!("{}.log", node.place));
            fs::write(path, node.log()).expect("a log can be kept");
            let data = folder.join(node.place.to_string());
            // A file of a running server may go while it is copied: the rest is worth having all the same.
            let _kept = fs::create_dir_all(&data).and_then(|()| copy_files(&node.data(), &data));
        }
    }
}

/// Returns what the ECS says of the cluster, if it answers.
pub(crate) fn status() -> Option<Status> {
    serde_json::from_str(ask("status")?.strip_prefix("status_success ")?).ok()
}

fn ask(line: &str) -> Option<String> {
    let config = Config { timeout: ECS_TIMEOUT, ..Config::default() };
    Coordinator::new(Place::Ecs.address(), config).ask(line).ok()
}

/// Returns the numbers of the servers that own slots.
pub(crate) fn owners(status: &Status) -> BTreeSet<u8> {
    status.servers.iter().filter(|server| server.owned > 0).filter_map(number_of).collect()
}

/// Returns the number of a server that the ECS tells of, by its address.
pub(crate) fn number_of(server: &ServerStatus) -> Option<u8> {
    server.address.split(':').next()?.rsplit('.').next()?.parse().ok()
}

/// Returns the last lines of a log.
fn last(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
