//! Processes that the coordinator's host starts when servers are wanted, and ends when they are not: when, and how many.
//!
//! A machine beside the coordinator: the host tells it what it sees ([`View`]) and what became of the processes ([`News`]),
//! and carries out what it says ([`Order`]). A process has a number from 1 on, and with it a folder that is kept: started again under
//! the same number it is the same server.
//!
//! ```text
//!             wanted                  registered               idle for long enough, and let go
//!   (free) ───────────▶ starting ─────────────────▶ registered ─────────────────▶ ending ──▶ (free)
//!     ▲                    │ ended, or not in time       │ ended without being told
//!     └───── back-off ◀────┴─────────────────────────────┘
//! ```
//!
//! | | |
//! |---|---|
//! | starts | when growing is due and nobody is on standby, one after the other: the next when the one before is on the ring |
//! | starts again | what is not there and holds slots or is on the ring: it may have the only copy |
//! | ends | what is on standby, holds nothing, and was not wanted for [`Settings::idle_max`]; at once: what has left, or has a failed disk |
//! | lets alone | what is on the ring, or not seen; what was found at a start and cannot be told to be which server |
//! | back-off | [`BACK_OFF_MIN`], doubled with each failure up to [`BACK_OFF_MAX`], until one is on the ring again |
//! | not gone in time | [`END_MAX`] after it was told to end it is killed, if it holds nothing |
//!
//! Which process is which server is known by the address at which it says it listens: nobody else is registered with it. The
//! host keeps that ([`Order::Remember`]) and tells it at its next start.
//!
//! Left out: a server that was taken off the ring and holds nothing is not started again before one is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Coordinator;
use super::elastic::Mode;
use super::status::millis;
use crate::map::Standing;
use crate::types::{ServerId, Time};

/// Most processes that can be asked for: more are a scheduler's work.
pub const SPAWN_COUNT_MAX: u16 = 256;

/// The wait after a first failure: a typing error fails again at once.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(1);

/// The longest wait after a failure: what was mended shall be seen within minutes.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// How long a process that holds nothing may take to end: it has a log to close, no more.
pub const END_MAX: Duration = Duration::from_secs(30);

/// Bytes of a reason that are kept.
const WHY_LEN_MAX: usize = 300;

/// Settings of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Processes at the same time, at most.
    pub count_max: u16,
    /// How long a process may take from its start to its registration.
    pub register_max: Duration,
    /// How long a server may stand idle before its process is ended.
    pub idle_max: Duration,
}

/// A registered server, as far as its process is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: ServerId,
    /// Where it listens.
    pub address: String,
    /// What it is in the cluster.
    pub standing: Standing,
    /// Whether it spoke lately.
    pub is_seen: bool,
    /// Whether it holds no slot, and none is wanted of it.
    pub is_empty: bool,
    /// Whether it reported in this life that its disk failed.
    pub has_failed: bool,
}

/// What the coordinator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whether a server is wanted now, and nobody is on standby.
    pub is_lacking: bool,
    /// Whether growing is right, due or not.
    pub is_growing: bool,
    /// All servers, by id.
    pub servers: Vec<Seen>,
}

/// What became of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It was found running when the host started.
    Found {
        /// Its number.
        number: u16,
        /// Its process id.
        pid: u32,
    },
    /// Under this number an earlier process was this server.
    Known {
        /// The number.
        number: u16,
        /// The server.
        server: ServerId,
    },
    /// It was started.
    Started {
        /// Its number.
        number: u16,
        /// Its process id.
        pid: u32,
    },
    /// It could not be started.
    Refused {
        /// Its number.
        number: u16,
        /// Why.
        why: String,
    },
    /// It said where it listens.
    Listening {
        /// Its number.
        number: u16,
        /// Where.
        address: String,
    },
    /// It ended.
    Ended {
        /// Its number.
        number: u16,
        /// How, for people.
        how: String,
    },
    /// It was to be ended, and the coordinator does not let it go: it is wanted.
    Kept {
        /// Its number.
        number: u16,
    },
}

/// What the host shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start a process under this number.
    Start(u16),
    /// Have the coordinator let the server go, if it is one, and then tell the process to end.
    End {
        /// Its number.
        number: u16,
        /// Which server it is, if that is known.
        server: Option<ServerId>,
    },
    /// Kill a process that was told to end.
    Kill(u16),
    /// Keep which server a process is, for [`News::Known`].
    Remember {
        /// Its number.
        number: u16,
        /// The server.
        server: ServerId,
    },
    /// Tell operators, in the host's log, that something failed.
    Warn(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    address: Option<String>,
    server: Option<ServerId>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its start was ordered, and is not known to have been tried.
    Ordered,
    /// Not registered yet, since.
    Starting(Time),
    /// It was there before the host was, and is not known to be any server.
    Found,
    /// Registered; idle since, if it is.
    Registered(Option<Time>),
    /// Told to end, since; and whether it was killed.
    Ending(Time, bool),
}

/// When processes are started and ended.
#[derive(Clone, Debug)]
pub struct Spawner {
    settings: Settings,
    processes: BTreeMap<u16, Process>,
    /// Which server each number is, whether its process runs or not.
    known: BTreeMap<u16, ServerId>,
    failure_count: u32,
    failed: Option<(u16, String)>,
    not_before: Option<Time>,
}

/// What operators are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// Processes at the same time, at most.
    pub max: u16,
    /// Those that run, by number.
    pub processes: Vec<SpawnedProcess>,
    /// Why the last one failed, until one works.
    pub failure: Option<String>,
    /// In how many milliseconds another may be started, after a failure.
    pub retry_ms: Option<u64>,
}

/// A process that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnedProcess {
    /// Its number, and its folder's name.
    pub number: u16,
    /// Its process id.
    pub pid: u32,
    /// Which server it is: its id.
    pub server: Option<String>,
    /// Where it listens.
    pub address: Option<String>,
    /// `starting`, `found` (at the host's start; not known yet to be a server), `working`, `idle`, or `ending`.
    pub state: String,
}

impl Spawner {
    /// Returns a machine that has started nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            processes: BTreeMap::new(),
            known: BTreeMap::new(),
            failure_count: 0,
            failed: None,
            not_before: None,
        }
    }

    /// Notes what became of processes, looks at what the coordinator knows, and returns what is to be done.
    pub fn step(&mut self, now: Time, news: Vec<News>, view: &View) -> Vec<Order> {
        let mut orders = Vec::new();
        for one in news {
            self.note(now, one, &mut orders);
        }
        let numbers: Vec<u16> = self.processes.keys().copied().collect();
        for number in numbers {
            self.look(now, number, view, &mut orders);
        }
        orders.extend(self.next(now, view));
        orders
    }

    fn note(&mut self, now: Time, news: News, orders: &mut Vec<Order>) {
        match news {
            News::Found { number, pid } => self.begin(number, pid, Stage::Found),
            News::Known { number, server } => {
                self.known.insert(number, server);
            }
            News::Started { number, pid } => self.begin(number, pid, Stage::Starting(now)),
            News::Refused { number, why } => {
                self.processes.remove(&number);
                orders.push(self.fail(now, number, why));
            }
            News::Listening { number, address } => {
                if let Some(process) = self.processes.get_mut(&number) {
                    process.address = Some(address);
                }
            }
            News::Ended { number, how } => {
                let ended = self.processes.remove(&number);
                let is_told = matches!(ended, Some(Process { stage: Stage::Ending(..), .. }));
                if ended.is_some() && !is_told {
                    orders.push(self.fail(now, number, how));
                }
            }
            News::Kept { number } => {
                if let Some(process) = self.processes.get_mut(&number) {
                    process.stage = Stage::Registered(None);
                }
            }
        }
    }

    fn begin(&mut self, number: u16, pid: u32, stage: Stage) {
        let process = Process { pid, address: None, server: None, stage };
        self.processes.insert(number, process);
    }

    /// Notes a failure: the next start waits, twice as long as after the failure before.
    fn fail(&mut self, now: Time, number: u16, why: String) -> Order {
        let doubled = 1_u32.checked_shl(self.failure_count).unwrap_or(u32::MAX);
        let wait = BACK_OFF_MIN.saturating_mul(doubled).min(BACK_OFF_MAX);
        self.failure_count = self.failure_count.saturating_add(1);
        if !mutant!("starts again without a pause") {
            self.not_before = Some(now + wait);
        }
        let why: String = why.chars().take(WHY_LEN_MAX).collect();
        let warning =
            format!("process {number} failed: {why}; the next start waits {} s", wait.as_secs());
        self.failed = Some((number, why));
        Order::Warn(warning)
    }

    /// Looks what became of one process' server.
    fn look(&mut self, now: Time, number: u16, view: &View, orders: &mut Vec<Order>) {
        let (register_max, idle_max) = (self.settings.register_max, self.settings.idle_max);
        let Some(process) = self.processes.get_mut(&number) else { return };
        let is_it = |seen: &&Seen| Some(&seen.address) == process.address.as_ref();
        let seen = view.servers.iter().find(is_it).filter(|seen| seen.is_seen);
        if let Some(seen) = seen {
            process.server = Some(seen.id);
            if self.known.insert(number, seen.id) != Some(seen.id) {
                orders.push(Order::Remember { number, server: seen.id });
            }
        }
        match (process.stage, seen) {
            (Stage::Starting(_) | Stage::Found, Some(_)) => {
                process.stage = Stage::Registered(None);
            }
            (Stage::Starting(since), None) if now.since(since) >= register_max => {
                process.stage = Stage::Ending(now, false);
                orders.push(Order::End { number, server: None });
                let why = format!("it did not register within {} s", register_max.as_secs());
                orders.push(self.fail(now, number, why));
            }
            (Stage::Registered(idle_since), Some(seen)) => {
                let idle_since = idle_since.unwrap_or(now);
                let is_over = match seen.standing {
                    Standing::Serving | Standing::Away => None,
                    _ if !seen.is_empty && !mutant!("ends a process that holds slots") => None,
                    Standing::Leaving => Some(true),
                    Standing::Standby if seen.has_failed => Some(true),
                    Standing::Standby if view.is_growing => None,
                    Standing::Standby => Some(now.since(idle_since) >= idle_max),
                };
                process.stage = Stage::Registered(is_over.map(|_| idle_since));
                if is_over == Some(true) {
                    process.stage = Stage::Ending(now, false);
                    orders.push(Order::End { number, server: Some(seen.id) });
                }
                if seen.standing == Standing::Serving {
                    (self.failure_count, self.failed, self.not_before) = (0, None, None);
                }
            }
            (Stage::Ending(since, false), seen) if now.since(since) >= END_MAX => {
                if seen.is_none_or(|seen| seen.is_empty) {
                    process.stage = Stage::Ending(since, true);
                    orders.push(Order::Kill(number));
                }
            }
            (
                Stage::Ordered
                | Stage::Starting(_)
                | Stage::Found
                | Stage::Registered(_)
                | Stage::Ending(..),
                _,
            ) => {}
        }
    }

    /// Returns the order to start one more, if one is wanted and may be.
    fn next(&mut self, now: Time, view: &View) -> Option<Order> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let number = self.missed(view).or_else(|| self.lacked(view))?;
        self.begin(number, 0, Stage::Ordered);
        Some(Order::Start(number))
    }

    /// Returns a number whose process does not run, and whose server is missed.
    fn missed(&self, view: &View) -> Option<u16> {
        let is_missed = |server: ServerId| {
            let seen = view.servers.iter().find(|seen| seen.id == server);
            seen.is_some_and(|seen| !seen.is_seen && !seen.is_empty)
        };
        let mut known =
            self.known.iter().filter(|(number, _)| !self.processes.contains_key(number));
        known.find(|(_, server)| is_missed(**server)).map(|(number, _)| *number)
    }

    /// Returns the number of a process that is wanted because servers are too full.
    fn lacked(&self, view: &View) -> Option<u16> {
        // One that is coming may be enough; and the coordinator looks at what is there once in a while only.
        let is_under_way = |process: &Process| match process.stage {
            Stage::Ordered | Stage::Starting(_) => true,
            Stage::Registered(_) => {
                let is_it = |seen: &&Seen| Some(seen.id) == process.server;
                let standing = view.servers.iter().find(is_it).map(|seen| seen.standing);
                standing == Some(Standing::Standby)
            }
            Stage::Found | Stage::Ending(..) => false,
        };
        let is_waited_for = self.processes.values().any(is_under_way)
            && !mutant!("starts several for one that is wanted");
        if !view.is_lacking || is_waited_for {
            return None;
        }
        let is_free = |number: &u16| !self.processes.contains_key(number);
        // What failed last may fail for a reason of its own: a folder that another process has.
        let last = self.failed.as_ref().map(|(number, _)| *number);
        let mut free = (1..=self.settings.count_max).filter(is_free);
        let first = free.next()?;
        Some(if Some(first) == last { free.next().unwrap_or(first) } else { first })
    }

    /// Returns the servers that are processes of this machine.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<ServerId> {
        self.processes.values().filter_map(|process| process.server).collect()
    }

    /// Returns what operators are shown.
    #[must_use]
    pub fn status(&self, now: Time) -> Spawned {
        let processes = self.processes.iter().map(|(number, process)| SpawnedProcess {
            number: *number,
            pid: process.pid,
            server: process.server.map(|id| id.to_string()),
            address: process.address.clone(),
            state: process.stage.word().to_owned(),
        });
        let wait = self.not_before.map(|at| at.since(now)).filter(|wait| !wait.is_zero());
        Spawned {
            max: self.settings.count_max,
            processes: processes.collect(),
            failure: self.failed.as_ref().map(|(number, why)| format!("process {number}: {why}")),
            retry_ms: wait.map(millis),
        }
    }
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Ordered | Self::Starting(_) => "starting",
            Self::Found => "found",
            Self::Registered(None) => "working",
            Self::Registered(Some(_)) => "idle",
            Self::Ending(..) => "ending",
        }
    }
}

impl Coordinator {
    /// Returns what is known for starting and ending processes; growing is wanted in mode `on` only.
    #[must_use]
    pub fn spawn_view(&self, now: Time) -> View {
        let is_on = self.settings.elastic.mode == Mode::On;
        let mut holders: BTreeSet<ServerId> = self.map.ring().servers().into_iter().collect();
        for (_, slot) in self.map.slots() {
            holders.extend(slot.holders());
            holders.extend(&slot.former);
        }
        let servers = self.map.servers().iter().map(|(id, server)| Seen {
            id: *id,
            address: server.address.clone(),
            standing: server.standing,
            is_seen: self.is_seen(now, *id),
            is_empty: !holders.contains(id),
            has_failed: self.has_failed(*id),
        });
        View {
            is_lacking: is_on && self.is_lacking(),
            is_growing: is_on && self.is_growing(),
            servers: servers.collect(),
        }
    }
}
