//! Clients that write and read while something befalls the cluster, and remember what they were told.
//!
//! Each has keys of its own: one key for each write, never written again, and one counter that it writes in turn. So it knows at
//! every moment what must be there:
//!
//! | it reads | and must see |
//! |---|---|
//! | its counter | what it wrote last; if that is unknown, that or what it wrote before |
//! | any of its keys whose write was done | the value of that write |
//!
//! Anything else is a stale read, a lost write or a damaged one. It is noted, and fails the test when the load ends. Clients send request
//! ids, so an *unknown* needs a deadline that has passed; tests say how many of those, and how many refusals, they allow.

use super::cluster::Cluster;
use super::wait::eventually;
use client::{Client, Config, Error, Outcome, Stored};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Clients at once.
const CLIENT_COUNT: usize = 4;

/// What one client was told.
#[derive(Debug, Default)]
struct Memory {
    name: String,
    written: u64,
    done: Vec<u64>,
    unknown: Vec<u64>,
    refused: Vec<u64>,
    /// What the counter may hold: the last write that was done, and unknown ones after it.
    counter: Vec<u64>,
    /// Whether a write of the counter was done, so that it must be there.
    has_counter: bool,
    /// Operations that were not done, in words.
    failed: Vec<String>,
    /// What must not be seen, and was.
    wrong: Vec<String>,
}

/// Several clients, and what they were told so far.
#[derive(Debug)]
pub(crate) struct Crowd {
    memories: Vec<Memory>,
    timeout: Duration,
}

/// What is known while the load is on.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    done: &'a AtomicU64,
}

impl Progress<'_> {
    /// Waits until `count` more writes are done.
    pub(crate) fn wait_for(&self, count: u64) {
        let enough = self.done.load(Ordering::Relaxed) + count;
        eventually("writes are done", || self.done.load(Ordering::Relaxed) >= enough);
    }
}

/// Ends the clients when it goes, also by a panic.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Crowd {
    /// Clients whose operations may take up to `timeout` each.
    pub(crate) fn new(timeout: Duration) -> Self {
        let memory = |n| Memory { name: format!("c{n}"), ..Memory::default() };
        Self { memories: (0..CLIENT_COUNT).map(memory).collect(), timeout }
    }

    /// Has all clients write and read while `meanwhile` runs.
    pub(crate) fn run(
        &mut self,
        cluster: &mut Cluster,
        meanwhile: impl FnOnce(&mut Cluster, &Progress),
    ) {
        let (done, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let config = Config { timeout: self.timeout, ..Config::default() };
        thread::scope(|scope| {
            for memory in &mut self.memories {
                let mut client = Client::new(cluster.addresses(), config.clone());
                let (done, is_over) = (&done, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        memory.step(&mut client, done);
                    }
                });
            }
            let _end = End(&is_over);
            meanwhile(cluster, &Progress { done: &done });
        });
        self.assert_right();
    }

    /// Asserts that nobody saw what must not be seen.
    fn assert_right(&self) {
        let wrong: Vec<_> = self.memories.iter().flat_map(|memory| &memory.wrong).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Asserts that every operation was done within its deadline.
    pub(crate) fn assert_all_done(&self) {
        let failed: Vec<_> = self.memories.iter().flat_map(|memory| &memory.failed).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    /// Asserts that the cluster still has all that was done, and nothing of what was refused.
    pub(crate) fn judge(&mut self, cluster: &Cluster) {
        let mut client = cluster.client(Duration::from_secs(20));
        for memory in &mut self.memories {
            memory.judge(&mut client);
        }
        self.assert_right();
    }
}

impl Memory {
    /// Writes a key of its own and the counter, and reads the counter and some older key.
    fn step(&mut self, client: &mut Client, done: &AtomicU64) {
        let number = self.written;
        self.written += 1;
        let key = format!("{}.{number}", self.name);
        match self.write(client, &key, number, done) {
            Some(Fate::Done(stored)) => {
                if stored == Stored::Replaced {
                    self.wrong.push(format!("{key} is written once and was there already"));
                }
                self.done.push(number);
            }
            Some(Fate::Unknown) => self.unknown.push(number),
            None => self.refused.push(number),
        }
        let counter = self.counter_key();
        match self.write(client, &counter, number, done) {
            Some(Fate::Done(_)) => {
                self.counter = vec![number];
                self.has_counter = true;
            }
            Some(Fate::Unknown) => self.counter.push(number),
            None => {}
        }
        self.look_at_counter(client);
        if !self.done.is_empty() {
            let number = self.done[fastrand::usize(..self.done.len())];
            self.look_at(client, number);
        }
    }

    fn counter_key(&self) -> String {
        format!("{}.counter", self.name)
    }

    fn write(
        &mut self,
        client: &mut Client,
        key: &str,
        number: u64,
        done: &AtomicU64,
    ) -> Option<Fate> {
        let begun_at = Instant::now();
        let outcome = client.put(key.as_bytes(), value(key, number).as_bytes());
        match outcome {
            Outcome::Done(stored) => {
                done.fetch_add(1, Ordering::Relaxed);
                Some(Fate::Done(stored))
            }
            Outcome::Unknown(error) => {
                self.failed
                    .push(format!("put {key} unknown after {:?}: {error}", begun_at.elapsed()));
                Some(Fate::Unknown)
            }
            Outcome::Refused(error) => {
                self.failed
                    .push(format!("put {key} refused after {:?}: {error}", begun_at.elapsed()));
                None
            }
        }
    }

    fn read(&mut self, client: &mut Client, key: &str) -> Result<Option<String>, Error> {
        let begun_at = Instant::now();
        let read = client.get(key.as_bytes());
        if let Err(error) = &read {
            self.failed.push(format!("get {key} failed after {:?}: {error}", begun_at.elapsed()));
        }
        Ok(read?.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn look_at_counter(&mut self, client: &mut Client) {
        let key = self.counter_key();
        let Ok(found) = self.read(client, &key) else { return };
        let is_one = |number: &u64| found == Some(value(&key, *number));
        let is_new = found.is_none() && !self.has_counter;
        if !is_new && !self.counter.iter().any(is_one) {
            self.wrong.push(format!("{key} is {found:?}, and may be {:?}", self.counter));
        }
    }

    fn look_at(&mut self, client: &mut Client, number: u64) {
        let key = format!("{}.{number}", self.name);
        let Ok(found) = self.read(client, &key) else { return };
        if found != Some(value(&key, number)) {
            self.wrong.push(format!("{key} was written, and is {found:?}"));
        }
    }

    fn judge(&mut self, client: &mut Client) {
        self.look_at_counter(client);
        for number in self.done.clone() {
            self.look_at(client, number);
        }
        for number in self.refused.clone() {
            let key = format!("{}.{number}", self.name);
            if let Ok(Some(found)) = self.read(client, &key) {
                self.wrong.push(format!("{key} was refused, and is {found}"));
            }
        }
    }
}

/// What became of a write that was not refused.
enum Fate {
    Done(Stored),
    Unknown,
}

/// Returns the value of the write `number` of `key`.
fn value(key: &str, number: u64) -> String {
    format!("{number} of {key}")
}
