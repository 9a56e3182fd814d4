//! Writers that remember what was acknowledged, and the judgement after a crash.
//!
//! Each [`Writer`] has a connection of its own and keys that nobody else writes. It pipelines numbered puts and
//! deletes and notes each before it is sent, with what is known of it:
//!
//! ```text
//!   history:   put k1 #1   put k2 #2   delete k1 #3   put k3 #4   put k1 #5 …
//!              done        done        done           open        open
//!                                          ▲ must survive  ▲ may survive
//! ```
//!
//! Writes of one connection reach the log in their order, so after a crash the store must look as after some
//! first part of the history: no shorter than what was acknowledged (else a write is lost), no longer than what was
//! sent (else one is invented), and the same part for all keys (else there is a hole). Refused writes are taken
//! out of the history: *refused* promises that nothing was done.

use super::Line;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Keys of a writer: few, so that most writes replace.
const KEY_COUNT: u64 = 25;
/// Writes a writer has under way at most.
const DEPTH_MAX: u64 = 8;
/// Bytes that fill a value up to a random length below this.
const FILL_LEN_MAX: usize = 600;

/// What is known of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Sent, and not answered or answered *unknown*.
    Open,
    /// Acknowledged.
    Done,
    /// Refused: it must not take effect.
    Refused,
}

/// A write: the number that it gives its key, or nothing for a delete.
#[derive(Clone, Copy, Debug)]
struct Write {
    key: u64,
    number: Option<u64>,
    fate: Fate,
}

/// One client that writes, and what it knows.
#[derive(Debug)]
pub(crate) struct Writer {
    name: String,
    random: fastrand::Rng,
    next_number: u64,
    /// What each key held when the history began.
    before: BTreeMap<u64, u64>,
    history: Vec<Write>,
}

/// Several writers at once.
#[derive(Debug)]
pub(crate) struct Load {
    writers: Vec<Writer>,
    acknowledged: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    /// Returns `count` writers whose choices follow from `seed`.
    pub(crate) fn new(count: u64, seed: u64) -> Self {
        let writers = (0..count).map(|n| Writer::new(n, seed)).collect();
        Self { writers, acknowledged: AtomicU64::new(0), is_over: AtomicBool::new(false) }
    }

    /// Has all write to the server at `address` until their connections break or no longer acknowledge, while
    /// `meanwhile` runs, which may look at what has been acknowledged. A writer also ends when `meanwhile` has.
    pub(crate) fn run(&mut self, address: SocketAddr, meanwhile: impl FnOnce(&Progress)) {
        let Self { writers, acknowledged, is_over } = self;
        is_over.store(false, Ordering::Relaxed);
        let progress = Progress { acknowledged, is_over };
        thread::scope(|scope| {
            // All are connected before the server may be killed.
            let lines: Vec<_> = writers.iter().map(|_| Line::connect(address)).collect();
            for (writer, line) in writers.iter_mut().zip(lines) {
                scope.spawn(move || writer.write(line, &progress));
            }
            let _end = End(is_over);
            meanwhile(&progress);
        });
    }

    /// Judges what the server at `address` holds after a restart, and goes on from there.
    ///
    /// # Panics
    /// When an acknowledged write is lost, one was invented, or there is a hole.
    pub(crate) fn judge(&mut self, address: SocketAddr) {
        for writer in &mut self.writers {
            writer.judge(Line::connect(address));
        }
    }

    /// Returns how many writes were acknowledged in all.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// Ends the writers when it goes, also by a panic, which otherwise would wait for them for ever.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the writers have done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress<'a> {
    acknowledged: &'a AtomicU64,
    is_over: &'a AtomicBool,
}

impl Progress<'_> {
    /// Returns how many writes were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Writer {
    fn new(n: u64, seed: u64) -> Self {
        Self {
            name: format!("w{n}"),
            random: fastrand::Rng::with_seed(seed ^ (n << 32)),
            next_number: 1,
            before: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    /// Writes batches until the connection breaks, the load is over, or nothing is acknowledged any more.
    fn write(&mut self, mut line: Line, progress: &Progress) {
        while !progress.is_over() {
            let count = self.random.u64(1..=DEPTH_MAX);
            let begin = self.history.len();
            let batch: String = (0..count).map(|_| self.next_write()).collect();
            if line.try_send(batch).is_err() {
                return;
            }
            for at in begin..self.history.len() {
                let Some(reply) = line.next() else { return };
                self.history[at].fate = fate(&reply);
                let is_done = self.history[at].fate == Fate::Done;
                progress.acknowledged.fetch_add(u64::from(is_done), Ordering::Relaxed);
            }
            if self.history[begin..].iter().all(|write| write.fate != Fate::Done) {
                return;
            }
        }
    }

    /// Notes the next write and returns its line.
    fn next_write(&mut self) -> String {
        let key = self.random.u64(..KEY_COUNT);
        let is_delete = self.random.u8(..10) == 0;
        let number = (!is_delete).then_some(self.next_number);
        self.next_number += 1;
        self.history.push(Write { key, number, fate: Fate::Open });
        let name = &self.name;
        match number {
            Some(number) => {
                format!(
                    "put {name}.{key} {}\n",
                    value(name, number, self.random.usize(..FILL_LEN_MAX))
                )
            }
            None => format!("delete {name}.{key}\n"),
        }
    }

    fn judge(&mut self, mut line: Line) {
        let found: BTreeMap<_, _> =
            (0..KEY_COUNT).filter_map(|key| Some((key, self.look(&mut line, key)?))).collect();
        self.history.retain(|write| write.fate != Fate::Refused);
        let is_done = |write: &Write| write.fate == Fate::Done;
        let least = self.history.iter().rposition(is_done).map_or(0, |at| at + 1);
        let mut state = self.before.clone();
        self.history[..least].iter().for_each(|write| apply(&mut state, write));
        let acknowledged = state.clone();
        let mut rest = self.history[least..].iter();
        while state != found {
            let Some(write) = rest.next() else {
                self.complain(&acknowledged, &found, least);
            };
            apply(&mut state, write);
        }
        self.before = found;
        self.history.clear();
    }

    /// Returns the number that the store holds for `key`.
    fn look(&self, line: &mut Line, key: u64) -> Option<u64> {
        let name = format!("{}.{key}", self.name);
        let reply = line.ask(&format!("get {name}"));
        if reply == format!("get_error {name} not found") {
            return None;
        }
        let held = reply.strip_prefix(&format!("get_success {name} ")).expect(&reply);
        let (number, fill) = held.split_once(' ').expect(&reply);
        let number = number.parse().expect(&reply);
        assert_eq!(held, value(&self.name, number, fill.len()), "damaged");
        Some(number)
    }

    fn complain(
        &self,
        acknowledged: &BTreeMap<u64, u64>,
        found: &BTreeMap<u64, u64>,
        least: usize,
    ) -> ! {
        let wrong: Vec<_> = (0..KEY_COUNT)
            .filter(|key| acknowledged.get(key) != found.get(key))
            .map(|key| {
                let (was, is) = (acknowledged.get(&key), found.get(&key));
                format!("{}.{key}: acknowledged {was:?}, found {is:?}", self.name)
            })
            .collect();
        let open = self.history[least..].iter().map(|write| {
            let Write { key, number, fate } = write;
            format!("{key} = {number:?} ({fate:?}), found {:?}", found.get(key))
        });
        panic!(
            "the store looks like no point of the history.\n{}\nnot acknowledged, in order:\n{}",
            wrong.join("\n"),
            open.collect::<Vec<_>>().join("\n")
        );
    }
}

/// Returns the value that the write `number` puts: its number, then letters that follow from it.
fn value(writer: &str, number: u64, fill_len: usize) -> String {
    let fill: String = writer.chars().chain('a'..='z').cycle().take(fill_len).collect();
    format!("{number} {fill}")
}

fn fate(reply: &[u8]) -> Fate {
    let reply = String::from_utf8_lossy(reply);
    let word = reply.split(' ').next().unwrap_or_default();
    match word {
        "put_success" | "put_update" | "delete_success" => Fate::Done,
        "put_error" | "delete_error" => Fate::Refused,
        _ => Fate::Open,
    }
}

fn apply(state: &mut BTreeMap<u64, u64>, write: &Write) {
    match write.number {
        Some(number) => state.insert(write.key, number),
        None => state.remove(&write.key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Fate = Fate::Done;
    const OPEN: Fate = Fate::Open;

    /// A server of one connection that answers each `get` from `held`.
    fn serve(held: &'static [(u64, u64)]) -> SocketAddr {
        use std::io::{BufRead as _, BufReader, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let Ok(line) = line else { return };
                let key = line.strip_prefix("get ").unwrap();
                let number = key.split('.').nth(1).unwrap().parse::<u64>().unwrap();
                let reply = match held.iter().find(|(held, _)| *held == number) {
                    Some((_, held)) => format!("get_success {key} {}\r\n", value("w0", *held, 9)),
                    None => format!("get_error {key} not found\r\n"),
                };
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        address
    }

    fn judge(history: &[(u64, Option<u64>, Fate)], held: &'static [(u64, u64)]) -> bool {
        let mut writer = Writer::new(0, 0);
        let write = |&(key, number, fate)| Write { key, number, fate };
        writer.history = history.iter().map(write).collect();
        let line = Line::connect(serve(held));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.judge(line))).is_ok()
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        assert!(judge(&[(1, Some(1), DONE), (2, Some(2), DONE)], &[(1, 1), (2, 2)]));
        assert!(!judge(&[(1, Some(1), DONE), (2, Some(2), DONE)], &[(1, 1)]));
        assert!(!judge(&[(1, Some(1), DONE), (1, Some(2), DONE)], &[(1, 1)]));
        assert!(!judge(&[(1, Some(1), DONE), (1, None, DONE)], &[(1, 1)]));
    }

    #[test]
    fn what_was_not_acknowledged_may_be_lost_from_the_end_only() {
        let history = [(1, Some(1), DONE), (2, Some(2), OPEN), (1, Some(3), OPEN)];
        assert!(judge(&history, &[(1, 1)]));
        assert!(judge(&history, &[(1, 1), (2, 2)]));
        assert!(judge(&history, &[(1, 3), (2, 2)]));
        assert!(!judge(&history, &[(1, 3)]), "a hole");
    }

    #[test]
    fn what_was_refused_or_never_sent_must_not_be_there() {
        assert!(!judge(&[(1, Some(1), Fate::Refused)], &[(1, 1)]));
        assert!(judge(&[(1, Some(1), Fate::Refused), (1, Some(2), DONE)], &[(1, 2)]));
        assert!(!judge(&[(1, Some(1), DONE)], &[(1, 2)]));
        assert!(!judge(&[], &[(3, 1)]));
    }

    #[test]
    fn replies_are_understood_as_the_three_outcomes() {
        for (reply, expected) in [
            ("put_success k\r\n", DONE),
            ("put_update k\r\n", DONE),
            ("delete_success k\r\n", DONE),
            ("delete_error k not found\r\n", Fate::Refused),
            ("delete_error k disk full\r\n", Fate::Refused),
            ("put_error k disk full\r\n", Fate::Refused),
            ("put_unknown k sync failed\r\n", OPEN),
            ("put_succ", OPEN),
        ] {
            assert_eq!(fate(reply.as_bytes()), expected, "{reply}");
        }
    }
}
