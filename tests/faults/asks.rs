//! What one client asks, and what it notes of the answers.
//!
//! | keys of round *r* | |
//! |---|---|
//! | `h<r>-<i>` | shared by all: put, get, deleted, put on conditions |
//! | `c<r>-<i>` | counters, one up at a time on the condition of the version that was read |
//! | `u<r>-<client>-<n>` | put once by one client, some deleted once, read at once and at the end |
//!
//! Values and what is certain are as the simulator's: see its `history.rs` and `wishes.rs`. A definite refusal is `fail`, an
//! unknown outcome `info` with no end, everything else `ok`. Conditional puts name a version that this client just read.

use std::time::{Duration, Instant};

use client::{Client, Condition, Error, Outcome, PutOptions, Stored};
use cluster::{Bytes, Lsn};
use fastrand::Rng;

use crate::history::{If, Kind, Operation, Status, Told, Version};
use crate::wishes::count_of;

/// How long puts may still be refused after a full disk has room again.
const ROOM_TOLD: Duration = Duration::from_secs(2);

/// Keys that all clients share in a round: a few hundred.
pub(crate) const SHARED_COUNT: u32 = 240;
/// Counters in a round.
pub(crate) const COUNTER_COUNT: u32 = 24;

/// A client that notes what it asks.
#[derive(Debug)]
pub(crate) struct Asker {
    number: u32,
    round: u32,
    client: Client,
    began_at: Instant,
    rng: Rng,
    value_count: u64,
    unique_count: u32,
    /// Unique keys that may still be deleted or read.
    unique_open: Vec<String>,
    /// What was asked and told.
    pub(crate) noted: Vec<Operation>,
}

impl Asker {
    /// A client with a number of its own in this round.
    pub(crate) fn new(
        number: u32,
        round: u32,
        client: Client,
        began_at: Instant,
        seed: u64,
    ) -> Self {
        let rng = Rng::with_seed(seed ^ (u64::from(round) << 32) ^ u64::from(number));
        let (noted, unique_open) = (Vec::new(), Vec::new());
        Self {
            number,
            round,
            client,
            began_at,
            rng,
            value_count: 0,
            unique_count: 0,
            unique_open,
            noted,
        }
    }

    /// Asks for something.
    pub(crate) fn ask(&mut self) {
        let shared = format!("h{}-{}", self.round, self.rng.u32(..SHARED_COUNT));
        match self.rng.u32(..100) {
            0..24 => _ = self.read(&shared),
            24..38 => self.get(&shared),
            38..62 => self.put(&shared, None),
            62..67 => self.delete(&shared),
            67..71 => self.put(&shared, Some(If::Absent)),
            71..79 => self.put_over(&shared),
            79..87 => self.count_up(),
            87..95 => self.put_unique(),
            95..97 => self.delete_unique(),
            _ => self.read_unique(),
        }
    }

    /// Reads a key with its version; returns what was read, unless it failed.
    pub(crate) fn read(&mut self, key: &str) -> Option<Option<(Lsn, Vec<u8>)>> {
        let operation = self.begin(key, Kind::Get, None, None);
        let found = self.client.read(key.as_bytes());
        let (told, lsn, value) = match &found {
            Ok(Some(found)) => (Told::Found, Some(Lsn(found.version)), Some(found.value.clone())),
            Ok(None) => (Told::Absent, None, None),
            Err(_) => (Told::Refused, None, None),
        };
        let status = if found.is_ok() { Status::Ok } else { Status::Fail };
        self.end(Operation { value: value.map(Into::into), ..operation }, status, told, lsn);
        Some(found.ok()?.map(|found| (Lsn(found.version), found.value)))
    }

    /// Puts a key that nobody else puts.
    pub(crate) fn put_last(&mut self, index: u32) {
        let key = format!("h{}-last-{index}", self.round);
        let until = Instant::now() + ROOM_TOLD;
        self.put(&key, None);
        // That a disk has room again is seen four times a second and told with the next beacon.
        while self.noted.last().is_some_and(|o| o.status == Status::Fail) && Instant::now() < until
        {
            std::thread::park_timeout(Duration::from_millis(20));
            self.noted.pop();
            self.put(&key, None);
        }
    }

    fn get(&mut self, key: &str) {
        let operation = self.begin(key, Kind::Get, None, None);
        let found = self.client.get(key.as_bytes());
        let (status, told, value) = match found {
            Ok(Some(value)) => (Status::Ok, Told::Found, Some(value)),
            Ok(None) => (Status::Ok, Told::Absent, None),
            Err(_) => (Status::Fail, Told::Refused, None),
        };
        self.end(Operation { value: value.map(Into::into), ..operation }, status, told, None);
    }

    fn put(&mut self, key: &str, condition: Option<If>) {
        let value = self.next_value();
        self.put_value(key, value, condition);
    }

    fn put_over(&mut self, key: &str) {
        match self.read(key) {
            Some(Some((lsn, _))) => self.put(key, Some(If::Version(lsn))),
            Some(None) => self.put(key, Some(If::Absent)),
            None => {}
        }
    }

    fn count_up(&mut self) {
        let key = format!("c{}-{}", self.round, self.rng.u32(..COUNTER_COUNT));
        let Some(found) = self.read(&key) else { return };
        let count = found.as_ref().map_or(0, |(_, value)| count_of(value));
        let condition = found.map_or(If::Absent, |(lsn, _)| If::Version(lsn));
        let value = format!("{}={}", self.next_value(), count + 1);
        self.put_value(&key, value, Some(condition));
    }

    fn put_unique(&mut self) {
        self.unique_count += 1;
        let key = format!("u{}-{}-{}", self.round, self.number, self.unique_count);
        self.put(&key, None);
        self.unique_open.push(key);
    }

    fn delete_unique(&mut self) {
        if self.unique_open.is_empty() {
            return;
        }
        let key = self.unique_open.swap_remove(self.rng.usize(..self.unique_open.len()));
        self.delete(&key);
        self.read(&key);
    }

    fn read_unique(&mut self) {
        if !self.unique_open.is_empty() {
            let key = self.unique_open[self.rng.usize(..self.unique_open.len())].clone();
            self.get(&key);
        }
    }

    fn delete(&mut self, key: &str) {
        let operation = self.begin(key, Kind::Delete, None, None);
        let (status, told) = match self.client.delete(key.as_bytes()) {
            Outcome::Done(true) => (Status::Ok, Told::Deleted),
            Outcome::Done(false) => (Status::Ok, Told::Missing),
            Outcome::Refused(_) => (Status::Fail, Told::Refused),
            Outcome::Unknown(_) => (Status::Info, Told::Unknown),
        };
        self.end(operation, status, told, None);
    }

    fn put_value(&mut self, key: &str, value: String, condition: Option<If>) {
        let kind = if condition.is_some() { Kind::Cas } else { Kind::Put };
        let operation = self.begin(key, kind, Some(&value), condition);
        let asked = condition.map(|condition| match condition {
            If::Absent => Condition::Absent,
            If::Version(lsn) => Condition::Version(lsn.0),
        });
        let options = PutOptions { condition: asked, ttl: None };
        let (status, told, lsn) =
            match self.client.put_with(key.as_bytes(), value.as_bytes(), options) {
                Outcome::Done(Stored::New) => (Status::Ok, Told::Stored, None),
                Outcome::Done(Stored::Replaced) => (Status::Ok, Told::Replaced, None),
                Outcome::Refused(Error::Conflict { found }) => {
                    (Status::Fail, Told::Condition, found.map(Lsn))
                }
                Outcome::Refused(_) => (Status::Fail, Told::Refused, None),
                Outcome::Unknown(_) => (Status::Info, Told::Unknown, None),
            };
        self.end(operation, status, told, lsn);
    }

    fn next_value(&mut self) -> String {
        self.value_count += 1;
        format!("{}.{}", self.number, self.value_count)
    }

    fn begin(&self, key: &str, op: Kind, value: Option<&str>, condition: Option<If>) -> Operation {
        Operation {
            client: self.number,
            key: bytes(key),
            op,
            value: value.map(bytes),
            call: self.now(),
            ret: None,
            status: Status::Info,
            condition,
            told: None,
            version: None,
            has_id: op.is_write(),
            attempts: 1,
            ends: None,
        }
    }

    fn end(&mut self, operation: Operation, status: Status, told: Told, lsn: Option<Lsn>) {
        let (ret, version) = (Some(self.now()), lsn.map(Version));
        self.noted.push(Operation { ret, status, told: Some(told), version, ..operation });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began_at.elapsed().as_nanos()).expect("a run is no five hundred years")
    }
}

fn bytes(text: &str) -> Bytes {
    text.as_bytes().to_vec().into()
}
