//! A server in a thread that keeps what it is given in memory.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketType};

use protocol::{Dialect, Limits, Reply, Request};

use super::PATIENCE;

/// The whole ring.
const RING: &str = "00000000000000000000000000000000,ffffffffffffffffffffffffffffffff";

/// A key whose put is refused with a reason.
pub(crate) const FULL: &[u8] = b"full";

/// A key whose put and delete have an unknown outcome.
pub(crate) const DOUBTFUL: &[u8] = b"doubtful";

/// A key of which nothing is ever answered.
pub(crate) const SILENT: &[u8] = b"silent";

/// A key whose put makes the server close the connection without an answer.
pub(crate) const BREAKS: &[u8] = b"breaks";

type Records = Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// Where the server says that its coordinator is, if it has one.
type Ecs = Arc<Mutex<Option<String>>>;

/// A server that lives until the test process ends.
pub(crate) struct FakeServer {
    pub(crate) address: String,
    records: Records,
    ecs: Ecs,
    /// Requests that were not answered, because they were about [`SILENT`].
    asked: Arc<AtomicUsize>,
}

impl FakeServer {
    /// Starts a server on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (records, ecs) = (Records::default(), Ecs::default());
        let (served, own, known) = (Arc::clone(&records), address.clone(), Arc::clone(&ecs));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (records, own) = (Arc::clone(&served), own.clone());
                let (ecs, asked) = (Arc::clone(&known), Arc::clone(&counted));
                std::thread::spawn(move || serve(&stream.unwrap(), &records, &own, &ecs, &asked));
            }
        });
        Self { address, records, ecs, asked }
    }

    /// Lets the server know of a coordinator.
    pub(crate) fn set_ecs(&self, address: &str) {
        *self.ecs.lock().unwrap() = Some(address.to_owned());
    }

    /// Returns the value of `key`.
    pub(crate) fn record(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.records.lock().unwrap().get(key).cloned()
    }

    /// Stores a record without being asked to.
    pub(crate) fn insert(&self, key: &[u8], value: &[u8]) {
        self.records.lock().unwrap().insert(key.into(), value.into());
    }

    /// Waits until a number of requests were not answered.
    pub(crate) fn wait_until_asked(&self, count: usize) {
        let started_at = Instant::now();
        while self.asked.load(SeqCst) < count {
            assert!(started_at.elapsed() < PATIENCE, "nothing was asked");
            std::thread::yield_now();
        }
    }

    /// Returns how many records there are.
    pub(crate) fn count(&self) -> usize {
        self.records.lock().unwrap().len()
    }
}

/// An address at which nobody listens, and nobody else can begin to while this lives.
pub(crate) struct Nobody {
    pub(crate) address: String,
    _socket: OwnedFd,
}

/// Reserves an address without listening at it.
pub(crate) fn nobody() -> Nobody {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    Nobody { address: address.to_string(), _socket: socket }
}

/// Answers the lines of one connection; as many together as arrived together.
fn serve(stream: &TcpStream, records: &Records, own: &str, ecs: &Ecs, asked: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let (mut line, mut replies) = (Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        let text = line.strip_suffix(b"\n").unwrap();
        let request = Request::parse(text, Dialect::Native, &Limits::default());
        let is_broken = match request {
            Ok(Request::Put { key, .. }) if *key == *BREAKS => true,
            Ok(Request::Put { key, .. } | Request::Get { key }) if *key == *SILENT => {
                asked.fetch_add(1, SeqCst);
                false
            }
            Ok(Request::Ecs) => {
                let reply = match ecs.lock().unwrap().clone() {
                    Some(address) => Reply::EcsSuccess { address: address.into() },
                    None => Reply::EcsError { reason: "no cluster".into() },
                };
                reply.encode_into(Dialect::Native, &mut replies);
                false
            }
            Ok(request) => {
                reply(&request, &mut records.lock().unwrap(), own, &mut replies);
                false
            }
            Err(error) => {
                error.encode_into(Dialect::Native, &mut replies);
                false
            }
        };
        line.clear();
        let is_idle = !reader.buffer().contains(&b'\n');
        if (is_idle || is_broken) && writer.write_all(&std::mem::take(&mut replies)).is_err() {
            return;
        }
        if is_broken {
            return;
        }
    }
}

fn reply(
    request: &Request<'_>,
    records: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    own: &str,
    out: &mut Vec<u8>,
) {
    let none = || (&[][..]).into();
    let reply = match request {
        Request::Put { key, .. } if **key == *FULL => {
            Reply::PutError { key: key.clone(), reason: "the disk is full".into() }
        }
        Request::Put { key, .. } if **key == *DOUBTFUL => {
            Reply::PutUnknown { key: key.clone(), reason: "the sync failed".into() }
        }
        Request::Put { key, value } => match records.insert(key.to_vec(), value.to_vec()) {
            None => Reply::PutSuccess { key: key.clone(), value: none() },
            Some(_) => Reply::PutUpdate { key: key.clone(), value: none() },
        },
        Request::Get { key } => match records.get(&**key) {
            None => Reply::GetNotFound { key: key.clone() },
            Some(value) => Reply::GetSuccess { key: key.clone(), value: value.into() },
        },
        Request::Delete { key } => match records.remove(&**key) {
            None => Reply::DeleteNotFound { key: key.clone() },
            Some(_) => Reply::DeleteSuccess { key: key.clone(), value: none() },
        },
        Request::Keyrange => Reply::Keyrange { ranges: format!("{RING},{own};").into() },
        Request::KeyrangeRead => Reply::KeyrangeRead { ranges: format!("{RING},{own};").into() },
        Request::Info => {
            let keys = records.len().to_string();
            Reply::Info {
                pairs: vec![("version".into(), "0".into()), ("keys".into(), keys.into())],
            }
        }
        Request::Scan { cursor, count } => {
            scan(records, *cursor, usize::try_from(*count).unwrap(), out);
            return;
        }
        Request::Backup { path } => {
            Reply::BackupSuccess { path: path.clone(), file_count: 2, len: 2048 }
        }
        Request::Read { key } => match records.get(&**key) {
            None => Reply::ReadNotFound { key: key.clone() },
            Some(value) => Reply::ReadSuccess { key: key.clone(), version: 1, value: value.into() },
        },
        Request::With(_) | Request::Forget { .. } => {
            Reply::Error { what: format!("{} {}", request.verb(), protocol::NEEDS_CLUSTER).into() }
        }
        Request::Ping => Reply::Pong,
        Request::Ecs | Request::Quit => return,
    };
    reply.encode_into(Dialect::Native, out);
}

/// Answers a scan; a cursor is the index of the next record.
fn scan(
    records: &BTreeMap<Vec<u8>, Vec<u8>>,
    cursor: Option<&[u8]>,
    count: usize,
    out: &mut Vec<u8>,
) {
    let start = cursor.map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
    let entries: Vec<_> = records.iter().skip(start).take(count).collect();
    for (key, value) in &entries {
        let item = Reply::ScanItem { key: (*key).into(), value: (*value).into() };
        item.encode_into(Dialect::Native, out);
    }
    let end = start + entries.len();
    let next = (end < records.len()).then(|| end.to_string().into());
    let count = u32::try_from(entries.len()).unwrap();
    Reply::ScanSuccess { next, count }.encode_into(Dialect::Native, out);
}
