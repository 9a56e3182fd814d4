//! Client threads: they ask, no faster than they are told, until they are stopped; then some read everything once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use client::{Client, Config};

use crate::asks::Asker;
use crate::history::{Operation, Status};

/// How long an operation may take, all retries together.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Keys that are put when all is healed: so many that hardly a slot has none.
const LAST_COUNT: u32 = 400;
/// How far behind its pace a client may be before it gives up catching up.
const BEHIND_MAX: Duration = Duration::from_millis(200);

/// What the clients of a round have in common.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The round's number.
    pub(crate) round: u32,
    /// Threads.
    pub(crate) count: u32,
    /// Operations a second, all threads together.
    pub(crate) rate: u32,
    /// The run's seed.
    pub(crate) seed: u64,
    /// When times begin.
    pub(crate) began_at: Instant,
    /// Where servers listen.
    pub(crate) addresses: Vec<String>,
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    ok_count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<Operation>>>,
}

impl Plan {
    fn asker(&self, number: u32) -> Asker {
        let config = Config { timeout: TIMEOUT, ..Config::default() };
        let client = Client::new(self.addresses.clone(), config);
        Asker::new(number, self.round, client, self.began_at, self.seed)
    }

    /// Sets the clients to work.
    pub(crate) fn start(&self) -> Load {
        let (is_over, ok_count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let pause = Duration::from_secs(1) * self.count / self.rate;
        let begin = |number| {
            let (is_over, ok_count) = (Arc::clone(&is_over), Arc::clone(&ok_count));
            let asker = self.asker(number);
            thread::spawn(move || wait_while_asking(asker, pause, &is_over, &ok_count))
        };
        let threads = (0..self.count).map(begin).collect();
        Load { is_over, ok_count, threads }
    }

    /// Puts a few keys into every slot; returns what came of it.
    pub(crate) fn write_some(&self) -> Vec<Operation> {
        let mut asker = self.asker(2 * self.count);
        (0..LAST_COUNT).for_each(|index| asker.put_last(index));
        asker.noted
    }

    /// Reads every key twice, wherever the client library goes; returns what was read.
    pub(crate) fn read_all(&self, keys: &[String]) -> Vec<Operation> {
        let part_len = keys.len().div_ceil(self.count as usize).max(1);
        thread::scope(|scope| {
            let parts = keys.chunks(part_len).zip(self.count..);
            let readers: Vec<_> = parts
                .map(|(part, number)| {
                    scope.spawn(move || {
                        let mut asker = self.asker(number);
                        for key in part.iter().chain(part) {
                            asker.read(key);
                        }
                        asker.noted
                    })
                })
                .collect();
            readers
                .into_iter()
                .flat_map(|reader| reader.join().expect("no reader panics"))
                .collect()
        })
    }
}

impl Load {
    /// Returns how many operations were done so far.
    pub(crate) fn ok_count(&self) -> u64 {
        self.ok_count.load(Ordering::Relaxed)
    }

    /// Stops the clients and returns all they noted.
    pub(crate) fn stop(self) -> Vec<Operation> {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads.flat_map(|thread| thread.join().expect("no client panics")).collect()
    }
}

/// Asks at its pace until it is over; waits in between.
fn wait_while_asking(
    mut asker: Asker,
    pause: Duration,
    is_over: &AtomicBool,
    ok_count: &AtomicU64,
) -> Vec<Operation> {
    let mut next_at = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let noted_count = asker.noted.len();
        asker.ask();
        let asked = &asker.noted[noted_count..];
        let done_count = asked.iter().filter(|operation| operation.status == Status::Ok).count();
        ok_count.fetch_add(done_count as u64, Ordering::Relaxed);
        next_at += pause * u32::try_from(asked.len()).expect("two or three");
        let now = Instant::now();
        if now > next_at + BEHIND_MAX {
            next_at = now;
        }
        thread::sleep(next_at.saturating_duration_since(now));
    }
    asker.noted
}
