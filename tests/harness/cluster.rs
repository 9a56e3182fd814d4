//! A cluster: an `ecs` and several `kvserver`s, each in a folder of its own.
//!
//! The ring has few slots, so that all of them have their copies within a moment. Servers stay members when they are told to end
//! (`--stay`), as in a restart. [`Cluster::wait_until_level`] waits until nothing is left to do: every server that runs has its share,
//! every slot its copies at the right servers.
//!
//! Servers listen at whatever port the system gives them, also when they are started again. The ECS must be found again where it
//! was, so its port is one of those that the system gives to nobody by itself.

use super::line::Line;
use super::server::{Launch, Server};
use super::wait::eventually;
use client::{Client, Config};
use cluster::coordinator::Status;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// Slots of the ring.
pub(crate) const SLOT_COUNT: u16 = 16;
/// Ports among which the ECS's is drawn: below those that the system gives to connections.
const ECS_PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How a cluster is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    ecs: Vec<String>,
    server: Vec<String>,
    wrappers: Vec<Launch>,
}

impl Setup {
    /// A cluster of `count` servers.
    pub(crate) fn of(count: usize) -> Self {
        let ecs = ["--slots".to_owned(), SLOT_COUNT.to_string()].to_vec();
        Self { ecs, server: vec!["--stay".to_owned()], wrappers: vec![Launch::new(&[]); count] }
    }

    /// Gives the ECS `flags` besides.
    pub(crate) fn with_ecs(mut self, flags: &[&str]) -> Self {
        self.ecs.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Gives all servers `flags` besides.
    pub(crate) fn with_servers(mut self, flags: &[&str]) -> Self {
        self.server.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Starts server `index` as `launch` says: wrapped, at an address, on a folder. Flags come from here.
    pub(crate) fn with_launch(mut self, index: usize, launch: Launch) -> Self {
        self.wrappers[index] = launch;
        self
    }

    /// Starts the cluster and waits until it is level.
    pub(crate) fn start(self) -> Cluster {
        let flags: Vec<_> = self.ecs.iter().map(String::as_str).collect();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let ecs = Launch::new(&flags).of("ecs").at(address).start();
        let mut cluster =
            Cluster { ecs, ecs_address: address, flags: self.server, servers: Vec::new() };
        for launch in self.wrappers {
            cluster.start_server(launch);
        }
        cluster.wait_until_level();
        cluster
    }
}

/// A cluster that runs.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The configuration service.
    pub(crate) ecs: Server,
    ecs_address: SocketAddr,
    flags: Vec<String>,
    /// The servers; some may have been killed.
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    /// Starts a cluster of `count` servers and waits until it is level.
    pub(crate) fn of(count: usize) -> Self {
        Setup::of(count).start()
    }

    /// Starts one more server, which joins the ring by itself, and returns its index.
    pub(crate) fn start_server(&mut self, launch: Launch) -> usize {
        self.servers.push(launch.with_flags(self.server_flags()).start());
        self.servers.len() - 1
    }

    /// Returns how a server of this cluster is started that has nothing special.
    pub(crate) fn launch(&self) -> Launch {
        Launch::new(&[]).with_flags(self.server_flags())
    }

    fn server_flags(&self) -> impl Iterator<Item = String> + use<> {
        let address = self.ecs_address.to_string();
        ["--bootstrap".to_owned(), address].into_iter().chain(self.flags.clone())
    }

    /// Has servers that are started from now on leave the ring when they are told to end.
    pub(crate) fn leave_when_told_to_end(&mut self) {
        self.flags.retain(|flag| flag != "--stay");
    }

    /// Returns the servers that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.is_running())
    }

    /// Returns the addresses of the servers that run.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.running().map(|server| server.address().to_string()).collect()
    }

    /// Returns a client of the cluster whose operations may take up to `timeout`.
    pub(crate) fn client(&self, timeout: Duration) -> Client {
        Client::new(self.addresses(), Config { timeout, ..Config::default() })
    }

    /// Returns what the ECS says of the cluster.
    pub(crate) fn status(&self) -> Status {
        let reply = self.ecs.ask("status");
        let json = reply.strip_prefix("status_success ").unwrap_or_else(|| panic!("{reply}"));
        serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"))
    }

    /// Waits until every server that runs has its share and every slot its copies where they belong, and says so itself.
    pub(crate) fn wait_until_level(&self) {
        eventually("every slot has its copies", || self.is_level());
    }

    fn is_level(&self) -> bool {
        let status = self.status();
        let is_placed = |server: &Server| {
            let address = server.address().to_string();
            status.servers.iter().any(|s| s.address == address && s.is_seen && s.owned > 0)
        };
        status.slots.complete == usize::from(status.slot_count)
            && status.moves.is_empty()
            && self.running().all(is_placed)
    }

    /// Has the ECS take the order `order`, of the server at `index`, which may have ended.
    pub(crate) fn order(&self, order: &str, address: SocketAddr) {
        let reply = self.ecs.ask(&format!("{order} {address}"));
        assert!(reply.starts_with(&format!("{order}_success")), "{reply}");
    }

    /// Returns the indices of the servers that may serve `key`, its primary first.
    pub(crate) fn members(&self, key: &str) -> Vec<usize> {
        let token = hashring::Token::of_key(key.as_bytes());
        let mut asker = Client::new(vec![self.ecs_address.to_string()], Config::default());
        let ranges = asker.keyrange_read().expect("the ECS knows the ring");
        let found = ranges.iter().filter(|range| range.arc.contains(token));
        found.filter_map(|range| self.index_of(range.server)).collect()
    }

    /// Returns the index of the primary of `key`.
    pub(crate) fn primary(&self, key: &str) -> usize {
        self.members(key).first().copied().unwrap_or_else(|| panic!("nobody serves `{key}`"))
    }

    fn index_of(&self, address: SocketAddr) -> Option<usize> {
        self.servers.iter().position(|s| s.is_running() && s.address() == address)
    }

    /// Returns a key for each of the servers, of which that one is primary.
    pub(crate) fn keys(&self) -> Vec<String> {
        let own = |index| {
            let mut names = (0..10_000).map(|n| format!("own{n}"));
            names.find(|name| self.primary(name) == index).expect("it is primary of something")
        };
        (0..self.servers.len()).map(own).collect()
    }

    /// Waits until the server at `index` answers `request` with what `is_it` accepts.
    pub(crate) fn wait_for(&self, index: usize, request: &str, is_it: impl Fn(&str) -> bool) {
        let mut line: Line = self.servers[index].connect();
        let mut said = String::new();
        eventually(&format!("server {index} answers `{request}` as it shall"), || {
            said = line.ask(request);
            is_it(&said)
        });
    }
}

/// Returns a port that is free, of those that no connection gets by itself.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(ECS_PORTS));
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.find(is_free).expect("there are twenty thousand")
}
