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
use crate::cluster::{Cluster, Movement, RING_COUNT_MIN};
use crate::copies;
use crate::elastic::Tide;
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
/// How long the ECS may take, after its grace, to take a server off the ring and have its copies made elsewhere.
const OFF_MAX: Duration = Duration::from_secs(40);
/// How often the ECS is asked whether it has.
const OFF_ASKED_EVERY: Duration = Duration::from_millis(100);
/// Of so many rounds one is elastic.
const ELASTIC_EVERY: usize = 4;
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
    /// When the ECS was asked last whether a server is off the ring.
    asked_at: Instant,
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
        asked_at: Instant::now(),
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
    let all = Kind::value_variants();
    let kinds = if args.only.is_empty() { all } else { &args.only };
    let may_move = !args.still && usize::from(args.servers) > RING_COUNT_MIN;
    kinds.iter().copied().filter(|kind| may_move || !kind.moves_servers()).collect()
}

impl Run {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.args.minutes.unwrap_or(MINUTES_DEFAULT) * 60.0)
    }

    fn rounds(&mut self) -> Result<(), String> {
        self.cluster.wait_until_whole()?;
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
        let tide = (movement == Movement::Elastic).then(|| Tide::begin(&mut self.cluster));
        let down = self.faults(length, &load)?;
        let healing_at = Instant::now();
        self.cluster.wait_until_whole()?;
        let healed = healing_at.elapsed();
        if let Some(tide) = tide {
            let (grown, shrunk) = tide.end(&mut self.cluster)?;
            self.figures.grown_count += grown;
            self.figures.shrunk_count += shrunk;
        }
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
        let is_many = usize::from(self.args.servers) > RING_COUNT_MIN;
        let is_turn = self.figures.round_count % ELASTIC_EVERY == 1 && !self.args.still;
        let movement = match self.args.still {
            _ if is_many && (is_turn || self.args.elastic) => Movement::Elastic,
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
            if let Some(index) = self.find_over(&there, end_at)? {
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

    /// Returns the index of a fault that is to be undone.
    ///
    /// # Errors
    /// If a server stays on the ring that is to be off it.
    fn find_over(&mut self, there: &[Fault], end_at: Instant) -> Result<Option<usize>, String> {
        let now = Instant::now();
        let is_late = |fault: &Fault| fault.until <= now;
        let (waiting, plain): (Vec<usize>, Vec<usize>) =
            (0..there.len()).partition(|index| there[*index].must_be_off().is_some());
        if let Some(index) = plain.iter().find(|index| is_late(&there[**index]) || end_at <= now) {
            return Ok(Some(*index));
        }
        let Some(index) = waiting.into_iter().find(|index| is_late(&there[*index])) else {
            return Ok(None);
        };
        let is_ecs_there = !there.iter().any(|fault| fault.places.contains(&Place::Ecs));
        if !is_ecs_there || self.asked_at.elapsed() < OFF_ASKED_EVERY {
            return Ok(None);
        }
        let is_off = there[index].must_be_off().is_some_and(|number| self.cluster.is_off(number));
        self.asked_at = Instant::now();
        if !is_off && there[index].until + OFF_MAX < now {
            if self.cluster.waits_for_the_dead() {
                return Ok(Some(index));
            }
            return Err(format!("{} was not taken off the ring", there[index].places[0]));
        }
        Ok(is_off.then_some(index))
    }

    /// A server whose syncs fail may end; nobody else may.
    fn unexpected_death(&mut self, there: &[Fault]) -> Option<String> {
        let may_end = there.iter().any(|fault| fault.kind == Kind::FailedSync);
        if may_end { None } else { self.cluster.deaths() }
    }

    /// Draws what comes next: the next card that can be played. Those that cannot stay until they can.
    fn deal(&mut self, there: &[Fault]) -> Option<(Kind, Vec<Place>)> {
        let busy: Vec<Place> =
            there.iter().flat_map(|fault| fault.places.iter().copied()).collect();
        for _ in 0..2 {
            for index in (0..self.deck.len()).rev() {
                let kind = self.deck[index];
                if (there.is_empty() || !kind.needs_wholeness())
                    && let Some(places) = kind.draw(&self.cluster, &busy, &mut self.rng)
                {
                    self.deck.remove(index);
                    return Some((kind, places));
                }
            }
            if !there.is_empty() && !self.deck.is_empty() {
                return None;
            }
            let mut fresh: Vec<Kind> =
                self.kinds.iter().copied().filter(|kind| !self.deck.contains(kind)).collect();
            self.rng.shuffle(&mut fresh);
            self.deck.extend(fresh);
        }
        None
    }

    fn next_fault(&mut self, there: &[Fault], load: &Load) -> Result<Option<Fault>, String> {
        if there.iter().any(|fault| fault.kind.stays_alone()) {
            return Ok(None);
        }
        let Some((kind, places)) = self.deal(there) else { return Ok(None) };
        if kind.needs_wholeness() {
            self.cluster.wait_until_whole()?;
        }
        let names: Vec<String> = places.iter().map(Place::to_string).collect();
        println!(
            "{:>6.1} s  {} {} ({} done so far)",
            self.began_at.elapsed().as_secs_f64(),
            kind.name(),
            names.join(" "),
            load.ok_count(),
        );
        let told = match kind.inject(&mut self.cluster, places, &mut self.rng) {
            Ok(Some(fault)) => return Ok(Some(fault)),
            Ok(None) => "it came too late".to_owned(),
            // Beside another fault nothing may be written that a disk could be slow at.
            Err(error) if !there.is_empty() => error,
            Err(error) => return Err(format!("{} was not there: {error}", kind.name())),
        };
        println!("          it does not count: {told}");
        self.deck.insert(0, kind);
        Ok(None)
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
