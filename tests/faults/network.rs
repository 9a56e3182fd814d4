//! A bridge and a network namespace for each machine, with cuts between any two, in one direction or both.
//!
//! ```text
//!             clients: 10.77.0.254 on the bridge itself
//!   ───────────────┬──────────────┬───────────────┬─────────────
//!             s1: 10.77.0.1   s2: 10.77.0.2   ecs: 10.77.0.100
//! ```
//!
//! Each machine is told the hardware address of each other one, so nobody asks. A cut from A to B gives A a wrong one for
//! B: what A sends to B goes out and is taken by nobody. The sender sees silence, not an error, as behind a switch that
//! drops; what B sends to A still arrives. No packet filter is needed.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

/// Where processes listen, each on an address of its own.
pub(crate) const PORT: u16 = 7000;
/// A port where nobody listens: who gets through is told so at once.
const CLOSED_PORT: u16 = 9;
/// How long a connection may take to be refused before it counts as lost: thousands of round trips.
const PROBE_SECONDS: &str = "0.25";

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
    fn number(self) -> u8 {
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
        format!("02:00:00:00:00:{:02x}", self.number())
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

/// All machines, and what is cut.
#[derive(Debug)]
pub(crate) struct Network {
    places: Vec<Place>,
    /// How many faults cut this direction.
    cuts: BTreeMap<(Place, Place), u32>,
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
        let network = Self { places, cuts: BTreeMap::new() };
        for (from, to) in network.pairs() {
            neighbour(from, to, &to.hardware());
        }
        network
    }

    fn pairs(&self) -> Vec<(Place, Place)> {
        let all =
            self.places.iter().flat_map(|from| self.places.iter().map(move |to| (*from, *to)));
        all.filter(|(from, to)| from != to).collect()
    }

    /// Loses what `from` sends to `to`.
    pub(crate) fn cut(&mut self, from: Place, to: Place) {
        let count = self.cuts.entry((from, to)).or_default();
        *count += 1;
        neighbour(from, to, "02:00:00:00:01:00");
    }

    /// Undoes one cut.
    pub(crate) fn mend(&mut self, from: Place, to: Place) {
        let count = self.cuts.get_mut(&(from, to)).expect("it was cut");
        *count -= 1;
        if *count == 0 {
            neighbour(from, to, &to.hardware());
        }
    }
}

/// Returns whether a connection from `from` to `to` gets lost: the way there or the way back is cut.
pub(crate) fn is_lost(from: Place, to: Place) -> bool {
    let connect = format!("exec 3<>/dev/tcp/{}/{CLOSED_PORT}", to.ip());
    let mut probe = from.command("timeout");
    probe.args([PROBE_SECONDS, "bash", "-c", &connect]).stderr(std::process::Stdio::null());
    // The exit code of `timeout` when the time was over.
    probe.status().expect("timeout can be run").code() == Some(124)
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
