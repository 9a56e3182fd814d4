//! The ECS from its start to its end, without the process around it.
//!
//! Start: the address is bound first, so that a busy port is found before anything is read or made; then the folder is taken
//! and read, or founded; then connections are accepted and time begins to pass. End: connections drain, the ticks end.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cluster::coordinator::{Coordinator, Settings};
use cluster::lines::Secret;
use crossbeam_channel::{Receiver, Sender, bounded};
use net::{Listener, Server};

use crate::Error;
use crate::args::{REPLICAS, Serve};
use crate::folder::{Folder, Kept};
use crate::host::Host;
use crate::journal::{Log, is_full};
use crate::service::{self, Service};
use crate::spawn::Spawning;

/// How often time passes for the machine: half of what it asks for.
const TICK_EVERY: Duration = Duration::from_millis(50);

/// How long connections get to finish at the end.
const DRAIN: Duration = Duration::from_secs(1);

/// Bytes of a secret's file that are read: enough to see that it is too long.
const SECRET_FILE_LEN_MAX: u64 = 4096;

/// An ECS at work.
#[derive(Debug)]
pub struct Running {
    server: Server,
    ticks: JoinHandle<()>,
    /// Dropped to end the ticks.
    end_ticks: Sender<()>,
    spawning: Option<Spawning>,
    is_ending: Arc<AtomicBool>,
    failed: Receiver<Error>,
    /// Lets go of the folder at the very end.
    host: Arc<Host>,
}

impl Running {
    /// Starts an ECS; it answers when this returns.
    ///
    /// # Errors
    /// Says what could not be had; nothing is left behind but the folder.
    pub fn start(args: &Serve) -> Result<Self, Error> {
        let secret = args.secret_file.as_deref().map(read_secret).transpose()?;
        let config = service::config(args.max_connections);
        let listener = Listener::bind(&args.address, args.port, config).map_err(Error::Net)?;
        let address = listener.address();
        if secret.is_none() && !args.insecure && !address.ip().is_loopback() {
            return Err(Error::Open { address });
        }
        let folder = Folder::take(&args.dir)?;
        let Kept { cluster, machine, log_len } = keep(&folder, args)?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let journal = Log::open(folder, cluster, log_len, Arc::clone(&is_ending))?;
        log::info!(
            "cluster {cluster:032x}: map {}, {} servers, {} slots, {} copies of each, folder {}",
            machine.map().version(),
            machine.map().servers().len(),
            machine.map().slot_count(),
            machine.map().replica_count(),
            args.dir.display()
        );
        let (failing, failed) = bounded(1);
        let host = Arc::new(Host::new(machine, cluster, Box::new(journal), failing));
        let (end_ticks, ending) = bounded(0);
        let of_ticks = Arc::clone(&host);
        let ticks = thread::Builder::new().name("tick".into()).spawn(move || {
            while ending.recv_timeout(TICK_EVERY).is_err_and(|error| error.is_timeout()) {
                of_ticks.tick();
            }
        });
        let ticks = ticks.map_err(|cause| Error::System { what: "start a thread", cause })?;
        // The command line was checked.
        let spawning = args.spawning().unwrap_or_default();
        let start = |how| Spawning::start(how, &args.dir, address, Arc::clone(&host));
        let spawning = spawning.map(start).transpose()?;
        let service = Service { host: Arc::clone(&host), secret };
        let server = listener.start(Arc::new(service)).map_err(Error::Net)?;
        log::info!("listening on {address}");
        Ok(Self { server, ticks, end_ticks, spawning, is_ending, failed, host })
    }

    /// Returns the address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns where it is told that the ECS cannot go on.
    #[must_use]
    pub fn failed(&self) -> Receiver<Error> {
        self.failed.clone()
    }

    /// Ends the ECS. What was told is durable already.
    pub fn stop(self) {
        let Self { server, ticks, end_ticks, spawning, is_ending, failed: _, host } = self;
        is_ending.store(true, Ordering::Relaxed);
        if let Some(spawning) = spawning {
            spawning.stop();
        }
        let left = server.stop(DRAIN);
        if left > 0 {
            log::info!("{left} connections were cut off");
        }
        drop(end_ticks);
        if ticks.join().is_err() {
            log::error!("the ticks had panicked");
        }
        drop(host);
    }
}

/// Returns what is kept in the folder; a folder that holds no cluster becomes one.
fn keep(folder: &Folder, args: &Serve) -> Result<Kept, Error> {
    let settings = Settings {
        token_count: usize::from(args.tokens),
        grace: args.grace_ms,
        rejoin_grace: args.rejoin_grace_ms,
        slot_count: args.slots.unwrap_or(hashring::SLOT_COUNT),
        replica_count: args.replicas.unwrap_or(REPLICAS),
        // The command line was checked.
        elastic: args.elastic().unwrap_or_default(),
        ..Settings::default()
    };
    if !folder.is_founded() {
        let path = folder.path("log");
        if path.exists() {
            let what = "it is there, but the snapshot that it follows is not".to_owned();
            return Err(Error::Damaged { path, line: 1, what });
        }
        let cluster = draw_number()?;
        folder.write_snapshot(cluster, &Coordinator::new(settings.clone()).snapshot())?;
        log::info!("founded cluster {cluster:032x} in {}", args.dir.display());
    }
    let kept = folder.read(settings, (args.slots, args.replicas))?;
    if kept.log_len == 0 {
        return Ok(kept);
    }
    // A sync that failed in the life before left lines that only the page cache has, and another sync would say that all is
    // well. So what the log says is written anew before anybody is told of it.
    match folder.write_snapshot(kept.cluster, &kept.machine.snapshot()) {
        Ok(()) => Ok(Kept { log_len: 0, ..kept }),
        Err(Error::Io { path, cause, .. }) if is_full(&cause) => {
            log::warn!("{}: {cause}; the log stays as it is", path.display());
            Ok(kept)
        }
        Err(error) => Err(error),
    }
}

/// Draws a number that no other cluster has.
fn draw_number() -> Result<u128, Error> {
    let mut bytes = [0; 16];
    let drawn = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    drawn.map_err(|cause| Error::System { what: "draw a random number", cause })?;
    Ok(u128::from_ne_bytes(bytes))
}

fn read_secret(path: &std::path::Path) -> Result<Secret, Error> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(SECRET_FILE_LEN_MAX).read_to_end(&mut bytes))
        .map_err(crate::folder::failed(path, "read"))?;
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    Secret::new(line).ok_or_else(|| Error::Secret { path: path.to_owned() })
}
