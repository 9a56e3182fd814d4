//! A ring of servers that answer as a test says: they share their records, remember request ids, and each knows a map.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use protocol::{
    Condition, Dialect, Limits, NEEDS_CLUSTER, Range, Reply, Request, With, write_ranges,
};

/// What a server does with requests about keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Serves those of its arcs.
    Serves,
    /// Takes requests, about the ring too, and answers none.
    Hangs,
    /// Answers so many requests with `server_write_lock`, then serves.
    Locked(u32),
    /// Answers so many requests with `server_stopped`, then serves.
    Stopped(u32),
    /// Answers so many writes with `put_unknown` after doing them, then serves.
    Doubtful(u32),
    /// Does the next write, closes the connection without an answer, then serves.
    DiesAfterWrite,
    /// Closes each connection when a request comes.
    Breaks,
}

/// Slices of the ring by its first hexadecimal digit: members of the arcs `0`..`7` and `8`..`f`, the primary first.
pub(crate) type Halves = [Vec<usize>; 2];

/// What all servers share.
pub(crate) struct State {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) map: Halves,
    /// What the map becomes once it has been asked for so often from now on.
    pub(crate) next_map: Option<(u32, Halves)>,
    pub(crate) modes: Vec<Mode>,
    pub(crate) records: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    pub(crate) requests: BTreeMap<(u16, u64), (u64, Reply<'static>)>,
    pub(crate) version: u64,
    /// Whether ids are taken.
    pub(crate) is_cluster: bool,
    /// Every line that came, with the server it came to.
    pub(crate) log: Vec<(usize, String)>,
    /// Writes that were done.
    pub(crate) write_count: u32,
}

/// Servers on threads that end with the test.
pub(crate) struct Ring {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) changed: Arc<Condvar>,
}

impl Ring {
    /// Starts `count` servers; the first is primary of the lower half, the second of the upper, all are members of both.
    pub(crate) fn start(count: usize) -> Self {
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let rotated = |first: usize| (0..count).map(|i| (first + i) % count).collect();
        let state = Arc::new(Mutex::new(State {
            addresses,
            map: [rotated(0), rotated(1 % count)],
            next_map: None,
            modes: vec![Mode::Serves; count],
            records: BTreeMap::new(),
            requests: BTreeMap::new(),
            version: 0,
            is_cluster: true,
            log: Vec::new(),
            write_count: 0,
        }));
        let changed = Arc::new(Condvar::new());
        for (server, listener) in listeners.into_iter().enumerate() {
            let (state, changed) = (Arc::clone(&state), Arc::clone(&changed));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (state, changed) = (Arc::clone(&state), Arc::clone(&changed));
                    std::thread::spawn(move || serve(&stream.unwrap(), server, &state, &changed));
                }
            });
        }
        Self { state, changed }
    }

    /// Changes what the servers do.
    pub(crate) fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Returns the address of a server.
    pub(crate) fn address(&self, server: usize) -> String {
        self.set(|state| state.addresses[server].to_string())
    }

    /// Returns how many lines that begin so came to `server`, or to any.
    pub(crate) fn count(&self, server: Option<usize>, begin: &str) -> usize {
        self.set(|state| {
            let fits = |(at, line): &&(usize, String)| {
                server.is_none_or(|server| server == *at) && line.starts_with(begin)
            };
            state.log.iter().filter(fits).count()
        })
    }

    /// Waits until a line that begins so came to any server.
    pub(crate) fn wait_for(&self, begin: &str) {
        let state = self.state.lock().unwrap();
        let is_missing = |state: &mut State| !state.log.iter().any(|(_, l)| l.starts_with(begin));
        let (_state, waited) =
            self.changed.wait_timeout_while(state, super::PATIENCE, is_missing).unwrap();
        assert!(!waited.timed_out(), "no {begin} came");
    }
}

/// Returns which half of the ring a key lies in.
pub(crate) fn half(key: &[u8]) -> usize {
    usize::from(hashring::SlotId::of_key(key).index() >= 2048)
}

/// Returns `count` keys of one half.
pub(crate) fn keys(of: usize, count: usize) -> Vec<String> {
    (0..).map(|n| format!("k{n}")).filter(|k| half(k.as_bytes()) == of).take(count).collect()
}

fn serve(stream: &TcpStream, server: usize, state: &Mutex<State>, changed: &Condvar) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        let text = line.strip_suffix(b"\n").unwrap();
        let mut out = Vec::new();
        {
            let mut state = state.lock().unwrap();
            state.log.push((server, String::from_utf8_lossy(text).into_owned()));
            let reply = answer(&mut state, server, text, &mut out);
            changed.notify_all();
            match reply {
                Some(reply) => reply.encode_into(Dialect::Native, &mut out),
                None if state.modes[server] == Mode::Hangs || !out.is_empty() => {}
                None => return,
            }
        }
        if (&*stream).write_all(&out).is_err() {
            return;
        }
        line.clear();
    }
}

/// Returns what `server` answers; nothing if it closes the connection.
fn answer(
    state: &mut State,
    server: usize,
    line: &[u8],
    out: &mut Vec<u8>,
) -> Option<Reply<'static>> {
    if state.modes[server] == Mode::Hangs {
        return None;
    }
    let limits = Limits::default();
    let request = Request::parse(line, Dialect::Native, &limits).unwrap();
    match request {
        Request::Ecs if state.is_cluster => {
            Some(Reply::EcsSuccess { address: "127.0.0.1:1".into() })
        }
        Request::Ecs => Some(Reply::EcsError { reason: "no cluster".into() }),
        Request::KeyrangeRead => Some(Reply::KeyrangeRead { ranges: state.ranges(true).into() }),
        Request::Keyrange => Some(Reply::Keyrange { ranges: state.ranges(false).into() }),
        Request::Forget { client } => {
            state.requests.retain(|(_, other), _| *other != client);
            Some(Reply::Forgotten)
        }
        Request::Get { key } => state.read(server, &key, false),
        Request::Read { key } => state.read(server, &key, true),
        Request::Put { key, value } => {
            state.write(server, &With { key, value: Some(value), ..With::default() })
        }
        Request::Delete { key } => state.write(server, &With { key, ..With::default() }),
        Request::With(_) if !state.is_cluster => {
            Some(Reply::Error { what: format!("with {NEEDS_CLUSTER}").into() })
        }
        Request::With(with) => state.write(server, &with),
        Request::Scan { cursor, .. } => {
            assert_eq!(cursor, None, "all is given at once");
            let own: Vec<_> = state
                .records
                .iter()
                .filter(|(key, _)| state.map[half(key)].contains(&server))
                .collect();
            for (key, (_, value)) in &own {
                let item =
                    Reply::ScanItem { key: key.as_slice().into(), value: value.as_slice().into() };
                item.encode_into(Dialect::Native, out);
            }
            Some(Reply::ScanSuccess { next: None, count: u32::try_from(own.len()).unwrap() })
        }
        Request::Info | Request::Backup { .. } | Request::Ping | Request::Quit => None,
    }
}

impl State {
    fn ranges(&mut self, is_read: bool) -> String {
        if let Some((count, map)) = self.next_map.take() {
            match count {
                0 => self.map = map,
                _ => self.next_map = Some((count - 1, map)),
            }
        }
        let bounds = [(0, u128::MAX >> 1), (1 << 127, u128::MAX)];
        let ranges: Vec<Range> = bounds
            .iter()
            .zip(&self.map)
            .flat_map(|((first, last), members)| {
                let arc =
                    hashring::Arc { first: hashring::Token(*first), last: hashring::Token(*last) };
                let count = if is_read { members.len() } else { 1 };
                members.iter().take(count).map(move |server| (arc, *server))
            })
            .map(|(arc, server)| Range { arc, server: self.addresses[server] })
            .collect();
        write_ranges(&ranges)
    }

    /// Returns what the server's mode has it answer whatever is asked.
    fn mode(&mut self, server: usize) -> Option<Reply<'static>> {
        let (reply, left) = match self.modes[server] {
            Mode::Locked(count) => {
                (Reply::WriteLock, (count > 1).then_some(Mode::Locked(count - 1)))
            }
            Mode::Stopped(count) => {
                (Reply::Stopped, (count > 1).then_some(Mode::Stopped(count - 1)))
            }
            _ => return None,
        };
        self.modes[server] = left.unwrap_or(Mode::Serves);
        Some(reply)
    }

    fn read(&mut self, server: usize, key: &[u8], is_versioned: bool) -> Option<Reply<'static>> {
        if self.modes[server] == Mode::Breaks {
            return None;
        }
        if let Some(reply) = self.mode(server) {
            return Some(reply);
        }
        if !self.map[half(key)].contains(&server) {
            return Some(Reply::NotResponsible { ranges: "".into() });
        }
        let key: std::borrow::Cow<'static, [u8]> = key.to_vec().into();
        Some(match (self.records.get(&*key).cloned(), is_versioned) {
            (None, false) => Reply::GetNotFound { key },
            (None, true) => Reply::ReadNotFound { key },
            (Some((_, value)), false) => Reply::GetSuccess { key, value: value.into() },
            (Some((version, value)), true) => {
                Reply::ReadSuccess { key, version, value: value.into() }
            }
        })
    }

    fn write(&mut self, server: usize, with: &With<'_>) -> Option<Reply<'static>> {
        if self.modes[server] == Mode::Breaks {
            return None;
        }
        if let Some(reply) = self.mode(server) {
            return Some(reply);
        }
        if self.map[half(&with.key)][0] != server {
            return Some(Reply::NotResponsible { ranges: "".into() });
        }
        let slot = hashring::SlotId::of_key(&with.key).index();
        let reply = match with.id {
            Some((client, number)) => match self.requests.get(&(slot, client)) {
                Some((last, reply)) if *last == number => reply.clone(),
                Some((last, _)) => {
                    assert!(*last < number, "a lower number after a higher one");
                    self.apply(slot, with)
                }
                None => self.apply(slot, with),
            },
            None => self.apply(slot, with),
        };
        match self.modes[server] {
            Mode::DiesAfterWrite => {
                self.modes[server] = Mode::Serves;
                None
            }
            Mode::Doubtful(count) => {
                self.modes[server] =
                    if count > 1 { Mode::Doubtful(count - 1) } else { Mode::Serves };
                Some(Reply::PutUnknown {
                    key: with.key.to_vec().into(),
                    reason: "no longer primary".into(),
                })
            }
            _ => Some(reply),
        }
    }

    fn apply(&mut self, slot: u16, with: &With<'_>) -> Reply<'static> {
        let key = with.key.to_vec();
        let found = self.records.get(&key).map(|(version, _)| *version);
        let is_met = match with.condition {
            None => true,
            Some(Condition::Absent) => found.is_none(),
            Some(Condition::Version(version)) => found == Some(version),
        };
        if !is_met {
            return Reply::ConditionFailed { key: key.into(), found };
        }
        self.version += 1;
        let reply = match &with.value {
            Some(value) => {
                let old = self.records.insert(key.clone(), (self.version, value.to_vec()));
                match old {
                    None => Reply::PutSuccess { key: key.into(), value: (&[][..]).into() },
                    Some(_) => Reply::PutUpdate { key: key.into(), value: (&[][..]).into() },
                }
            }
            None => match self.records.remove(&key) {
                None => return Reply::DeleteNotFound { key: key.into() },
                Some(_) => Reply::DeleteSuccess { key: key.into(), value: (&[][..]).into() },
            },
        };
        self.write_count += 1;
        if let Some((client, number)) = with.id {
            self.requests.insert((slot, client), (number, reply.clone()));
        }
        reply
    }
}
