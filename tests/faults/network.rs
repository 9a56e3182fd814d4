//! A bridge and a network namespace for each machine, with cuts and delays between any two, in one direction or both.
//!
//! ```text
//!             clients: 10.77.0.254 on the bridge itself
//!   ───────────────┬──────────────┬───────────────┬─────────────
//!             s1: 10.77.0.1   s2: 10.77.0.2   ecs: 10.77.0.100
//! ```
//!
//! Each machine is told the hardware address of each other one, so nobody asks. A cut from A to B gives A a wrong one for
//! B: what A sends to B goes out and is taken by nobody. The sender sees silence, not an error, as behind a switch that
//! drops; what B sends to A still arrives. A delay gives A the address of the [`relay`](crate::relay) for B, which is on the bridge, too,
//! and passes on what it gets after a while. No packet filter is needed. Where both are wanted, the cut wins.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Child, Command, Stdio};

use crate::relay::{self, Delay, Relay};

/// Where processes listen, each on an address of its own.
pub(crate) const PORT: u16 = 7000;
/// A port where nobody listens: who gets through is told so at once.
const CLOSED_PORT: u16 = 9;
/// How long a connection may take to be refused before it counts as lost: longer than the longest delay there and back.
const PROBE_SECONDS: &str = "0.9";
/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:01:00";

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Where all clients are.
    Clients,
    /// The coordinator's.
    Ecs,
    /// A server's, counted from 1.
    Server(u8),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients => f.write_str("clients"),
            Self::Ecs => f.write_str("ecs"),
            Self::Server(number) => write!(f, "s{number}"),
        }
    }
}

impl Place {
    /// Returns the last byte of its addresses: a server's own number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Clients => 254,
            Self::Ecs => 100,
            Self::Server(number) => number,
        }
    }

    /// Returns its address.
    pub(crate) fn ip(self) -> String {
        format!("10.77.0.{}", self.number())
    }

    /// Returns where its process listens.
    pub(crate) fn address(self) -> String {
        format!("{}:{PORT}", self.ip())
    }

    fn hardware(self) -> String {
        hardware(&relay::MACHINES, self)
    }

    fn device(self) -> &'static str {
        if self == Self::Clients { "bridge" } else { "eth0" }
    }

    /// Returns a command that runs `program` on this machine, as the process that is started.
    pub(crate) fn command(self, program: &str) -> Command {
        if self == Self::Clients {
            return Command::new(program);
        }
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{self}")).arg(program);
        command
    }
}

/// From one machine to another.
pub(crate) type Direction = (Place, Place);

/// All machines, and what is cut or late.
#[derive(Debug)]
pub(crate) struct Network {
    places: Vec<Place>,
    /// How many faults cut this direction.
    cuts: BTreeMap<Direction, u32>,
    /// How late this direction is, by fault: the newest counts.
    delays: BTreeMap<Direction, Vec<Delay>>,
    relay: Relay,
}

impl Network {
    /// Connects the machines of `server_count` servers, the ECS and the clients.
    pub(crate) fn new(server_count: u8) -> Self {
        let mut places = vec![Place::Clients, Place::Ecs];
        places.extend((1..=server_count).map(Place::Server));
        ip("link set lo up");
        ip(&format!("link add bridge address {} type bridge", Place::Clients.hardware()));
        ip(&format!("addr add {}/24 dev bridge", Place::Clients.ip()));
        ip("link set bridge up");
        for place in &places[1..] {
            ip(&format!("netns add {place}"));
            let hardware = place.hardware();
            ip(&format!(
                "link add {place} type veth peer name eth0 address {hardware} netns {place}"
            ));
            ip(&format!("link set {place} master bridge up"));
            ip(&format!("-n {place} addr add {}/24 dev eth0", place.ip()));
            ip(&format!("-n {place} link set eth0 up"));
            ip(&format!("-n {place} link set lo up"));
        }
        let device = relay::device();
        ip(&format!("link set {} master bridge up", relay::DEVICE));
        // Else the bridge would send to the relay whatever is for somebody whose frames it passed on.
        ip(&format!("link set {} type bridge_slave learning off", relay::DEVICE));
        let relay = Relay::start(device);
        let network = Self { places, cuts: BTreeMap::new(), delays: BTreeMap::new(), relay };
        for direction in network.pairs() {
            network.tell(direction);
        }
        network
    }

    fn pairs(&self) -> Vec<Direction> {
        let all =
            self.places.iter().flat_map(|from| self.places.iter().map(move |to| (*from, *to)));
        all.filter(|(from, to)| from != to).collect()
    }

    /// Loses what goes in this direction.
    pub(crate) fn cut(&mut self, direction: Direction) {
        *self.cuts.entry(direction).or_default() += 1;
        self.tell(direction);
    }

    /// Undoes one cut.
    pub(crate) fn mend(&mut self, direction: Direction) {
        *self.cuts.get_mut(&direction).expect("it was cut") -= 1;
        self.tell(direction);
    }

    fn is_cut(&self, direction: Direction) -> bool {
        self.cuts.get(&direction).is_some_and(|count| *count > 0)
    }

    /// Holds up what goes in this direction.
    pub(crate) fn delay(&mut self, direction: Direction, delay: Delay) {
        self.delays.entry(direction).or_default().push(delay);
        self.tell(direction);
    }

    /// Undoes one delay. What is held already comes when it was to come.
    pub(crate) fn hasten(&mut self, direction: Direction, delay: Delay) {
        let delays = self.delays.get_mut(&direction).expect("it was late");
        let index = delays.iter().rposition(|other| *other == delay).expect("it was late");
        delays.remove(index);
        self.tell(direction);
    }

    /// Returns how many frames of this direction were held up so far; `None` where it is cut besides.
    pub(crate) fn held_count(&self, direction: Direction) -> Option<u64> {
        let numbers = (direction.0.number(), direction.1.number());
        (!self.is_cut(direction)).then(|| self.relay.held_count(numbers))
    }

    /// Returns how many frames were held up so far, and how many of them came after a later one.
    pub(crate) fn late_counts(&self) -> (u64, u64) {
        self.relay.counts()
    }

    /// Tells the first of a direction the hardware address by which it is to reach the second.
    fn tell(&self, direction: Direction) {
        let (from, to) = direction;
        let delay = self.delays.get(&direction).and_then(|delays| delays.last().copied());
        self.relay.set((from.number(), to.number()), delay);
        match delay {
            _ if self.is_cut(direction) => neighbour(from, to, NOBODY),
            Some(_) => neighbour(from, to, &hardware(&relay::ADDRESSES, to)),
            None => neighbour(from, to, &to.hardware()),
        }
    }
}

/// Connects `from` with each of `others`; returns those to whom that does not get lost: the way there and the way back are whole.
pub(crate) fn reached(from: Place, others: &[Place]) -> Vec<Place> {
    let connect = |to: &Place| {
        let connect = format!("exec 3<>/dev/tcp/{}/{CLOSED_PORT}", to.ip());
        let mut probe = from.command("timeout");
        probe.args([PROBE_SECONDS, "bash", "-c", &connect]).stderr(Stdio::null());
        (*to, probe.spawn().expect("timeout can be run"))
    };
    let probes: Vec<_> = others.iter().map(connect).collect();
    let is_through = |(to, mut probe): (Place, Child)| {
        // The exit code of `timeout` when the time was over.
        let code = probe.wait().expect("a child can be waited for").code();
        (code != Some(124)).then_some(to)
    };
    probes.into_iter().filter_map(is_through).collect()
}

fn hardware(head: &[u8; 5], place: Place) -> String {
    let bytes = head.iter().copied().chain([place.number()]);
    bytes.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Tells `from` the hardware address of `to`.
fn neighbour(from: Place, to: Place, hardware: &str) {
    let within = if from == Place::Clients { String::new() } else { format!("-n {from} ") };
    let (ip_to, device) = (to.ip(), from.device());
    ip(&format!("{within}neigh replace {ip_to} lladdr {hardware} nud permanent dev {device}"));
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip can be run");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {complaint}");
}
