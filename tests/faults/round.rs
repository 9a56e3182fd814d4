//! The order of it all: rounds of load, movement and faults, healing, and judgement.
//!
//! ```text
//! whole ─▶ clients start ─▶ a movement? ─▶ faults come and go ─▶ all undone ─▶ whole? ─▶ clients stop
//!   ▲                                                                                        │
//!   └───── copies equal? ◀── history right? ◀── every key read twice ◀───────────────────────┘
//! ```
//!
//! Kinds of faults are dealt like cards: each comes once before any comes again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use fastrand::Rng;

use crate::args::Args;
use crate::binaries::scratch;
use crate::check;
use crate::cluster::{Cluster, Movement};
use crate::copies;
use crate::fault::{Fault, Kind};
use crate::figures::Figures;
use crate::history::{History, Status};
use crate::load::{Load, Plan};
use crate::network::Place;
use crate::patience::wait_for;
use crate::shelter;

/// How long a run is unless it is said, in minutes.
const MINUTES_DEFAULT: f64 = 2.0;
/// How long faults come in a round.
const ROUND: Duration = Duration::from_secs(20);
/// Faults at a time.
const TOGETHER_COUNT_MAX: usize = 2;
/// How long the cluster may take until it is whole: longer than a server that was taken off the ring needs to come back.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// How long copies may take to be alike, when nobody writes any more.
const ALIKE_MAX: Duration = Duration::from_secs(10);
/// How long after the start of all servers nobody expects them to serve.
const START: Duration = Duration::from_secs(2);
/// Where the run has its disks: a file system of its own is mounted there.
const TOP: &str = "/run";

/// A run.
struct Run {
    args: Args,
    seed: u64,
    rng: Rng,
    cluster: Cluster,
    began_at: Instant,
    /// The kinds that may come.
    kinds: Vec<Kind>,
    /// Those that come next, the last first.
    deck: Vec<Kind>,
    figures: Figures,
}

/// Runs until the time is over, or something is wrong.
pub(crate) fn run(args: &Args) -> ExitCode {
    shelter::end_with_the_outer_one();
    let seed = args.seed.unwrap_or_default();
    println!("faults: seed {seed}, {} servers, {} clients", args.servers, args.clients);
    let mount = Command::new("mount").args(["-t", "tmpfs", "tmpfs", TOP]).status();
    assert!(mount.expect("mount can be run").success(), "nothing can be mounted at {TOP}");
    let binaries = args.inside.clone().expect("it is inside");
    let mut run = Run {
        args: args.clone(),
        seed,
        rng: Rng::with_seed(seed),
        cluster: Cluster::start(Path::new(TOP), &binaries, args.servers),
        began_at: Instant::now(),
        kinds: kinds(args),
        deck: Vec::new(),
        figures: Figures::default(),
    };
    let ended = catch_unwind(AssertUnwindSafe(|| run.rounds()));
    let found = match ended {
        Ok(found) => found.err(),
        // The message was written when it happened.
        Err(_) => Some("the suite itself gave up".to_owned()),
    };
    run.report(found)
}

fn kinds(args: &Args) -> Vec<Kind> {
    if args.only.is_empty() { Kind::value_variants().to_vec() } else { args.only.clone() }
}

impl Run {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.args.minutes.unwrap_or(MINUTES_DEFAULT) * 60.0)
    }

    fn rounds(&mut self) -> Result<(), String> {
        self.wait_until_whole()?;
        let mut left = self.length();
        while !left.is_zero() {
            let length = left.min(ROUND);
            self.round(length)?;
            left -= length;
        }
        Ok(())
    }

    fn round(&mut self, length: Duration) -> Result<(), String> {
        let plan = self.plan();
        let load = plan.start();
        let began_at = Instant::now();
        let movement = self.begin_movement();
        let down = self.faults(length, &load)?;
        let healing_at = Instant::now();
        self.wait_until_whole()?;
        let healed = healing_at.elapsed();
        let worked = began_at.elapsed().saturating_sub(down);
        let mut operations = load.stop();
        self.figures.note(&operations, worked);
        let keys: BTreeSet<String> =
            operations.iter().map(|o| String::from_utf8_lossy(&o.key).into_owned()).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let mut last = plan.write_some();
        last.extend(plan.read_all(&keys));
        if let Some(failed) = last.iter().find(|operation| operation.status != Status::Ok) {
            return Err(format!("all is healed, and this is not done: {failed}"));
        }
        operations.extend(last);
        let count = operations.len();
        let history = operations.into_iter().collect();
        let record_count = self.judge(&history).inspect_err(|_| self.keep(&history))?;
        if self.args.keep {
            self.keep(&history);
        }
        if let Some(panic) = self.cluster.panics().first() {
            return Err(panic.clone());
        }
        let figures = &mut self.figures;
        figures.round_count += 1;
        figures.judged_count += count;
        figures.record_count += record_count;
        figures.healed_max = figures.healed_max.max(healed);
        println!(
            "{:>6.0} s  round {}: {movement:?}, {count} operations and {record_count} records right, whole after {:.1} s",
            self.began_at.elapsed().as_secs_f64(),
            figures.round_count,
            healed.as_secs_f64(),
        );
        Ok(())
    }

    fn plan(&self) -> Plan {
        Plan {
            round: u32::try_from(self.figures.round_count).expect("rounds take seconds"),
            count: self.args.clients,
            rate: self.args.rate,
            seed: self.seed,
            began_at: self.began_at,
            addresses: self.cluster.addresses(),
        }
    }

    fn begin_movement(&mut self) -> Movement {
        let movement = match self.args.still {
            true => Movement::Still,
            false => self.cluster.draw(&mut self.rng),
        };
        self.cluster.begin(movement);
        self.figures.movement_count += usize::from(movement != Movement::Still);
        movement
    }

    /// Lets faults come and go, and undoes the last; returns how long no server ran.
    fn faults(&mut self, length: Duration, load: &Load) -> Result<Duration, String> {
        let (end_at, mut down) = (Instant::now() + length, Duration::ZERO);
        let mut there: Vec<Fault> = Vec::new();
        let mut next_at = Instant::now() + Duration::from_millis(self.rng.u64(0..=800));
        while Instant::now() < end_at || !there.is_empty() {
            if let Some(death) = self.unexpected_death(&there) {
                return Err(death);
            }
            let is_over = |fault: &Fault| fault.until <= Instant::now() || end_at <= Instant::now();
            if let Some(index) = there.iter().position(is_over) {
                let fault = there.remove(index);
                fault.undo(&mut self.cluster);
            }
            let limit = if self.args.alone { 1 } else { TOGETHER_COUNT_MAX };
            let may_begin = (next_at..end_at).contains(&Instant::now()) && there.len() < limit;
            if may_begin && let Some(fault) = self.next_fault(&there, load)? {
                if fault.kind == Kind::KillAll {
                    down += fault.until.saturating_duration_since(Instant::now()) + START;
                }
                self.figures.together_count += usize::from(!there.is_empty());
                *self.figures.faults.entry(fault.kind).or_default() += 1;
                there.push(fault);
                let pause = if self.rng.u8(0..3) == 0 { 0 } else { self.rng.u64(200..=2500) };
                next_at = Instant::now() + Duration::from_millis(pause);
            }
            wait_for(Duration::from_millis(10), || false);
        }
        Ok(down)
    }

    /// A server whose syncs fail may end; nobody else may.
    fn unexpected_death(&mut self, there: &[Fault]) -> Option<String> {
        let may_end = there.iter().any(|fault| fault.kind == Kind::FailedSync);
        if may_end { None } else { self.cluster.deaths() }
    }

    fn next_fault(&mut self, there: &[Fault], load: &Load) -> Result<Option<Fault>, String> {
        if self.deck.is_empty() {
            self.deck = self.kinds.clone();
            self.rng.shuffle(&mut self.deck);
        }
        let Some(kind) = self.deck.last().copied() else { return Ok(None) };
        let is_alone = |kind: Kind| kind.needs_wholeness();
        if !there.is_empty() && (is_alone(kind) || there.iter().any(|fault| is_alone(fault.kind))) {
            return Ok(None);
        }
        let busy: Vec<Place> =
            there.iter().flat_map(|fault| fault.places.iter().copied()).collect();
        let Some(places) = kind.draw(&self.cluster, &busy, &mut self.rng) else { return Ok(None) };
        if kind.needs_wholeness() {
            self.wait_until_whole()?;
        }
        self.deck.pop();
        let names: Vec<String> = places.iter().map(Place::to_string).collect();
        println!(
            "{:>6.1} s  {} {} ({} done so far)",
            self.began_at.elapsed().as_secs_f64(),
            kind.name(),
            names.join(" "),
            load.ok_count(),
        );
        match kind.inject(&mut self.cluster, places, &mut self.rng) {
            Ok(fault) => Ok(Some(fault)),
            // Beside another fault nothing may be written that a disk could be slow at: it is not counted.
            Err(error) if !there.is_empty() => {
                println!("          it was not there, and does not count: {error}");
                Ok(None)
            }
            Err(error) => Err(format!("{} was not there: {error}", kind.name())),
        }
    }

    fn wait_until_whole(&mut self) -> Result<(), String> {
        let (mut death, mut lacks) = (None, None);
        wait_for(WHOLE_MAX, || {
            death = self.cluster.deaths();
            lacks = self.cluster.lacks();
            death.is_some() || lacks.is_none()
        });
        match (death, lacks) {
            (Some(death), _) => Err(death),
            (None, Some(lacks)) => Err(format!("not whole after {WHOLE_MAX:?}: {lacks}")),
            (None, None) => Ok(()),
        }
    }

    /// Judges what clients saw, and what servers hold; returns how many records they hold alike.
    fn judge(&self, history: &History) -> Result<usize, String> {
        match check::check(history)?.unread_count {
            0 => self.compare(),
            count => Err(format!("{count} keys that were written once were not read at the end")),
        }
    }

    /// Compares copies, until they are alike: what was under way last is to be settled, but not at once.
    fn compare(&self) -> Result<usize, String> {
        let mut compared = Err(String::new());
        wait_for(ALIKE_MAX, || {
            compared = copies::compare(&self.cluster, &Path::new(TOP).join("copies"));
            compared.is_ok()
        });
        compared
    }

    /// Keeps a round's history.
    fn keep(&self, history: &History) {
        let path = self.kept().join(format!("history-{}.jsonl", self.figures.round_count));
        let file = File::create(&path).expect("a file can be made");
        history.write(&mut BufWriter::new(file)).expect("a history can be kept");
    }

    /// Returns the folder of what is kept.
    fn kept(&self) -> PathBuf {
        let folder = scratch().join(format!("faults-{}", self.seed));
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    /// Says what was done and found.
    fn report(&mut self, found: Option<String>) -> ExitCode {
        self.figures.late_counts = self.cluster.network.late_counts();
        println!("\n{}", self.figures);
        let mut complaints: Vec<String> = found.into_iter().collect();
        if complaints.is_empty() {
            complaints = self.figures.complaints(&self.kinds, self.length());
        }
        if !complaints.is_empty() || self.args.keep {
            self.cluster.keep_files(&self.kept());
            println!("logs, data and histories: {}", self.kept().display());
        }
        for complaint in &complaints {
            println!("FAILED: {complaint}");
        }
        let minutes = self.args.minutes.unwrap_or(MINUTES_DEFAULT);
        println!(
            "again: cargo test --release -p integration --test faults -- --seed {} --minutes {minutes} --servers {}",
            self.seed, self.args.servers
        );
        if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
