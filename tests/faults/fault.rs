//! The faults: how each is made, shown to be there, and undone.
//!
//! | name | what happens | shown by |
//! |---|---|---|
//! | `kill`, `kill-two`, `kill-all` | `kill -9`, started again after a while | the process is reaped |
//! | `kill-long` | the same, started again when the ECS has taken it off the ring and the others hold all | the ECS says so |
//! | `kill-joiner`, `kill-leaver` | the same in the middle of its join or leave; a leaver may stay away for good | the ECS says so |
//! | `pause`, `pause-ecs` | SIGSTOP, 0.3 to 3 s | every thread stands in `/proc` |
//! | `cut-servers`, `one-way-servers` | two servers, in both directions or one | a probe that gets lost |
//! | `cut-ecs`, `one-way-ecs` | a server and the ECS, in both directions or one | a probe |
//! | `cut-clients`, `one-way-clients` | a server and all clients, in both directions or one | a probe |
//! | `isolate` | a server from all others and the ECS; clients reach it | probes |
//! | `delay-servers`, `delay-ecs`, `delay-clients` | packets between two servers, a server and the ECS or all clients come up to 20 to 400 ms late, each by another time: out of order | packets held by the relay |
//! | `lag` | the same between a server and all others and the ECS | the same |
//! | `kill-ecs`, `restart-ecs` | `kill -9` of the ECS, started again after a while or at once | reaped |
//! | `full-disk` | a disk with less free than the server's reserve | the file system's own count |
//! | `slow-disk` | each sync of a server takes 20 to 200 ms longer | strace says so |
//! | `failed-sync` | a server's next syncs fail; then it is killed and started again | strace says so |

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, REJOIN_GRACE, RESERVE_LEN};
use crate::halfway;
use crate::network::{Direction, Place, reached};
use crate::patience::wait_for;
use crate::relay::Delay;

/// How long strace may take to get hold of a process and meet a sync: clients write all the time.
const TRACE_MAX: Duration = Duration::from_secs(8);

/// How late packets may be at most, in milliseconds; one of these is drawn. The longest is as long as a lease.
const LATE_MILLIS: [u64; 5] = [20, 50, 100, 200, 400];

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    Kill,
    KillTwo,
    KillAll,
    KillLong,
    KillJoiner,
    KillLeaver,
    Pause,
    PauseEcs,
    CutServers,
    OneWayServers,
    CutEcs,
    OneWayEcs,
    CutClients,
    OneWayClients,
    Isolate,
    DelayServers,
    DelayEcs,
    DelayClients,
    Lag,
    KillEcs,
    RestartEcs,
    FullDisk,
    SlowDisk,
    FailedSync,
}

/// What undoes a fault.
#[derive(Debug)]
enum Undo {
    Nothing,
    Start(Vec<Place>),
    /// When the ECS has taken it off the ring.
    StartLate(Place),
    Resume(Place),
    Mend(Vec<Direction>),
    Hasten(Vec<Direction>, Delay),
    Empty(Place),
    Untrace(Child),
    Replace(Place),
}

/// A fault that is there.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Whom it concerns.
    pub(crate) places: Vec<Place>,
    /// When it is to be undone.
    pub(crate) until: Instant,
    undo: Undo,
}

impl Kind {
    /// Returns its name.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns whether all must be whole before: who loses its disk must not be the last that holds something, and nobody comes or
    /// goes while others do.
    pub(crate) fn needs_wholeness(self) -> bool {
        self.stays_alone() || self.moves_servers()
    }

    /// Returns whether no other fault may come while it is there.
    pub(crate) fn stays_alone(self) -> bool {
        self == Self::FailedSync
    }

    /// Returns whether a server joins or leaves for it.
    pub(crate) fn moves_servers(self) -> bool {
        matches!(self, Self::KillJoiner | Self::KillLeaver)
    }

    /// Returns whether it makes packets late.
    pub(crate) fn is_delay(self) -> bool {
        matches!(self, Self::DelayServers | Self::DelayEcs | Self::DelayClients | Self::Lag)
    }

    /// Draws whom it concerns; none if there is nobody free.
    pub(crate) fn draw(
        self,
        cluster: &Cluster,
        busy: &[Place],
        rng: &mut Rng,
    ) -> Option<Vec<Place>> {
        let on_ring = cluster.on_ring.iter().map(|number| Place::Server(*number));
        let mut free: Vec<Place> = on_ring.filter(|place| !busy.contains(place)).collect();
        rng.shuffle(&mut free);
        let is_free = |place| !busy.contains(&place);
        let first = |count: usize| (free.len() >= count).then(|| free[..count].to_vec());
        let movable = || first(1).filter(|_| !cluster.is_elastic);
        match self {
            Self::KillJoiner => {
                let away = cluster.away().first().map(|number| vec![Place::Server(*number)]);
                away.filter(|_| !cluster.is_elastic).or_else(movable)
            }
            Self::KillLeaver => movable(),
            Self::KillLong
            | Self::Kill
            | Self::Pause
            | Self::FullDisk
            | Self::SlowDisk
            | Self::FailedSync => first(1),
            Self::CutClients | Self::OneWayClients | Self::Isolate => first(1),
            Self::DelayClients | Self::Lag => first(1),
            Self::KillTwo | Self::CutServers | Self::OneWayServers | Self::DelayServers => first(2),
            Self::CutEcs | Self::OneWayEcs | Self::DelayEcs => {
                first(1).filter(|_| is_free(Place::Ecs))
            }
            Self::PauseEcs | Self::KillEcs | Self::RestartEcs => {
                is_free(Place::Ecs).then(|| vec![Place::Ecs])
            }
            Self::KillAll => first(cluster.on_ring.len()),
        }
    }

    /// Makes it, and shows that it is there; `None` if it came too late for that, and all goes on as if it had not been meant.
    ///
    /// # Errors
    /// If it cannot be shown.
    pub(crate) fn inject(
        self,
        cluster: &mut Cluster,
        places: Vec<Place>,
        rng: &mut Rng,
    ) -> Result<Option<Fault>, String> {
        let place = places[0];
        let millis = match self {
            Self::Pause | Self::PauseEcs => 300..=3000,
            Self::RestartEcs => 0..=0,
            Self::KillAll => 0..=500,
            Self::KillEcs => 500..=6000,
            _ => 300..=4000,
        };
        let mut hold = Duration::from_millis(rng.u64(millis));
        let undo = match self {
            Self::Kill | Self::KillTwo | Self::KillAll | Self::KillEcs | Self::RestartEcs => {
                for place in &places {
                    cluster.node(*place).kill();
                }
                Undo::Start(places.clone())
            }
            Self::KillLong => {
                cluster.node(place).kill();
                hold = REJOIN_GRACE;
                Undo::StartLate(place)
            }
            Self::KillJoiner => match halfway::kill_joiner(cluster, place.number(), rng)? {
                true => Undo::Start(places.clone()),
                false => return Ok(None),
            },
            Self::KillLeaver => match halfway::kill_leaver(cluster, place.number(), rng)? {
                Some(true) => Undo::Start(places.clone()),
                Some(false) => Undo::Nothing,
                None => return Ok(None),
            },
            Self::Pause | Self::PauseEcs => {
                cluster.node(place).pause();
                Undo::Resume(place)
            }
            Self::CutServers
            | Self::OneWayServers
            | Self::CutEcs
            | Self::OneWayEcs
            | Self::CutClients
            | Self::OneWayClients
            | Self::Isolate => self.cut(cluster, &places, rng)?,
            Self::DelayServers | Self::DelayEcs | Self::DelayClients | Self::Lag => {
                self.delay(cluster, &places, rng)?
            }
            Self::FullDisk => {
                let is_full = cluster.node(place).fill(rng.u64(RESERVE_LEN / 2..RESERVE_LEN));
                if !is_full {
                    return Err(format!("the disk of {place} did not get full"));
                }
                Undo::Empty(place)
            }
            Self::SlowDisk => {
                let delay = format!("delay_enter={}", rng.u32(20_000..=200_000));
                Undo::Untrace(trace(cluster, place, &delay, "(DELAYED)")?)
            }
            Self::FailedSync => {
                end(trace(cluster, place, "error=EIO", "(INJECTED)")?);
                Undo::Replace(place)
            }
        };
        Ok(Some(Fault { kind: self, places, until: Instant::now() + hold, undo }))
    }

    /// Returns from whom it separates the first of `places`.
    fn others(self, cluster: &Cluster, places: &[Place]) -> Vec<Place> {
        match self {
            Self::CutEcs | Self::OneWayEcs | Self::DelayEcs => vec![Place::Ecs],
            Self::CutClients | Self::OneWayClients | Self::DelayClients => vec![Place::Clients],
            Self::Isolate | Self::Lag => {
                let servers = cluster.servers.iter().map(|server| server.place);
                servers.chain([Place::Ecs]).filter(|other| *other != places[0]).collect()
            }
            _ => places[1..].to_vec(),
        }
    }

    fn cut(self, cluster: &mut Cluster, places: &[Place], rng: &mut Rng) -> Result<Undo, String> {
        let (one, others) = (places[0], self.others(cluster, places));
        let is_one_way =
            matches!(self, Self::OneWayServers | Self::OneWayEcs | Self::OneWayClients);
        let is_outgoing = rng.bool();
        let mut cuts = Vec::new();
        for other in &others {
            if !is_one_way || is_outgoing {
                cuts.push((one, *other));
            }
            if !is_one_way || !is_outgoing {
                cuts.push((*other, one));
            }
        }
        for direction in &cuts {
            cluster.network.cut(*direction);
        }
        match reached(one, &others).first() {
            Some(other) => Err(format!("{one} still reaches {other}")),
            None => Ok(Undo::Mend(cuts)),
        }
    }

    fn delay(self, cluster: &mut Cluster, places: &[Place], rng: &mut Rng) -> Result<Undo, String> {
        let (one, others) = (places[0], self.others(cluster, places));
        let most = LATE_MILLIS[rng.usize(..LATE_MILLIS.len())];
        let least = Duration::from_millis(rng.u64(0..=most / 2));
        let delay = Delay { least, most: Duration::from_millis(most) };
        let late: Vec<Direction> =
            others.iter().flat_map(|other| [(one, *other), (*other, one)]).collect();
        let counts = |cluster: &Cluster| -> Vec<Option<u64>> {
            late.iter().map(|direction| cluster.network.held_count(*direction)).collect()
        };
        let before = counts(cluster);
        for direction in &late {
            cluster.network.delay(*direction, delay);
        }
        let reached = reached(one, &others);
        let after = counts(cluster);
        let is_as_ever =
            |index: &usize| before[*index].is_some() && before[*index] == after[*index];
        // Where the way there is cut, nothing comes back.
        let is_asked =
            |index: &usize| index.is_multiple_of(2) || reached.contains(&others[index / 2]);
        match (0..late.len()).find(|index| is_asked(index) && is_as_ever(index)) {
            Some(index) => {
                Err(format!("nothing from {} to {} is late", late[index].0, late[index].1))
            }
            None => Ok(Undo::Hasten(late, delay)),
        }
    }
}

impl Fault {
    /// Returns the number of a server that must be off the ring before it is undone.
    pub(crate) fn must_be_off(&self) -> Option<u8> {
        match self.undo {
            Undo::StartLate(place) => Some(place.number()),
            _ => None,
        }
    }

    /// Undoes it.
    pub(crate) fn undo(self, cluster: &mut Cluster) {
        match self.undo {
            Undo::Nothing => {}
            Undo::StartLate(place) => cluster.node(place).start(),
            Undo::Start(places) => {
                for place in places {
                    cluster.node(place).start();
                }
            }
            Undo::Resume(place) => cluster.node(place).resume(),
            Undo::Mend(cuts) => {
                cuts.into_iter().for_each(|direction| cluster.network.mend(direction));
            }
            Undo::Hasten(late, delay) => {
                late.into_iter().for_each(|direction| cluster.network.hasten(direction, delay));
            }
            Undo::Empty(place) => cluster.node(place).empty(),
            Undo::Untrace(strace) => end(strace),
            Undo::Replace(place) => {
                let node = cluster.node(place);
                match node.ended() {
                    Some(_) => node.forget(),
                    None => node.kill(),
                }
                node.start();
            }
        }
    }
}

/// Has strace meddle with the syncs of a process, and waits until it has.
fn trace(cluster: &mut Cluster, place: Place, how: &str, word: &str) -> Result<Child, String> {
    let node = cluster.node(place);
    let (pid, out) = (node.pid().as_raw_pid().to_string(), node.beside("strace"));
    fs::write(&out, "").expect("a file can be written");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=fdatasync,fsync", "-e"]);
    strace.arg(format!("inject=fdatasync,fsync:{how}")).arg("-o").arg(&out).args(["-p", &pid]);
    let strace = strace.stdin(Stdio::null()).stderr(Stdio::null());
    let child = strace.spawn().expect("strace can be run");
    let is_there =
        wait_for(TRACE_MAX, || fs::read_to_string(&out).is_ok_and(|text| text.contains(word)));
    if is_there {
        return Ok(child);
    }
    end(child);
    Err(format!("strace met no sync of {place}"))
}

/// Has strace let go of its process.
fn end(mut strace: Child) {
    // It lets go of all threads before it ends; killed, it would leave breakpoints behind.
    kill_process(Pid::from_child(&strace), Signal::TERM).unwrap_or_default();
    strace.wait().expect("a child can be waited for");
}
