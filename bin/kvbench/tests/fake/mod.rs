//! A small server in the test's own process, of any of the three protocols, that behaves as it is told.
//!
//! Values of `kvbench` contain no line ends, so all three protocols can be read by lines here.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// Changes the last byte of each value it gives out.
    Lies,
    /// Gives out the value that another key has.
    Mixes,
    /// Refuses every put.
    Refuses,
    /// Does not know how a put ended.
    Doubts,
    /// Closes the connection at this request.
    HangsUp(u64),
    /// Keeps this request waiting so long, unless the client sends something or goes away.
    Stalls(u64, Duration),
    /// Says something before it is asked.
    Greets,
}

struct Server {
    protocol: &'static str,
    manner: Manner,
    /// What it answers to who asks which servers there are.
    map: Arc<Mutex<String>>,
    /// Copies that it says have a set.
    copies: u32,
    entries: Mutex<HashMap<String, String>>,
    requests: AtomicU64,
}

/// Starts a server that lives as long as the test process, and returns its address.
pub fn start(protocol: &'static str, manner: Manner) -> SocketAddr {
    serve(protocol, manner, 0, &Arc::default()).0
}

/// Starts a Redis that says that so many copies have each set.
pub fn replicated(copies: u32) -> SocketAddr {
    serve("redis", Manner::Honest, copies, &Arc::default()).0
}

/// A cluster of two servers, one for each half of the slots.
pub struct Cluster {
    pub addresses: [SocketAddr; 2],
    servers: [Arc<Server>; 2],
}

impl Cluster {
    /// Starts a cluster.
    pub fn start(protocol: &'static str, manner: Manner) -> Self {
        let map = Arc::default();
        let [(low, first), (high, second)] = [0, 1].map(|_| serve(protocol, manner, 0, &map));
        *map.lock().unwrap() = if protocol == "ringcask" {
            let (zero, end) = ("0".repeat(32), "f".repeat(32));
            let (to, from) = (format!("7{}", "f".repeat(31)), format!("8{}", "0".repeat(31)));
            format!("keyrange_read_success {zero},{to},{low};{from},{end},{high};\r\n")
        } else {
            let range = |from, to, node: SocketAddr| {
                format!("*3\r\n:{from}\r\n:{to}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{}\r\n", node.port())
            };
            format!("*2\r\n{}{}", range(0, 8191, low), range(8192, 16_383, high))
        };
        Self { addresses: [low, high], servers: [first, second] }
    }

    /// Returns how many entries each server has.
    pub fn counts(&self) -> [usize; 2] {
        self.servers.each_ref().map(|server| server.entries.lock().unwrap().len())
    }
}

fn serve(
    protocol: &'static str,
    manner: Manner,
    copies: u32,
    map: &Arc<Mutex<String>>,
) -> (SocketAddr, Arc<Server>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server {
        protocol,
        manner,
        map: Arc::clone(map),
        copies,
        entries: Mutex::default(),
        requests: AtomicU64::new(0),
    });
    let started = Arc::clone(&server);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let server = Arc::clone(&server);
            // A client that goes away ends its thread; nobody needs to know.
            std::thread::spawn(move || server.serve(stream.unwrap()));
        }
    });
    (address, started)
}

/// Answers nothing for `time`, but no longer than the client waits.
fn stall(stream: &TcpStream, time: Duration) -> Option<()> {
    stream.set_read_timeout(Some(time)).ok()?;
    let is_left_alone = stream.peek(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(None).ok()?;
    is_left_alone.then_some(())
}

impl Server {
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
        if self.manner == Manner::Greets {
            stream.write_all(b"Connection to KVServer established\r\n").ok()?;
        }
        loop {
            let (key, value) = self.request(&mut lines)?;
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            match self.manner {
                Manner::HangsUp(at) if number == at => return None,
                Manner::Stalls(at, time) if number == at => stall(&stream, time)?,
                _ => {}
            }
            let reply = match value {
                _ if key == "SLOTS" || key == "keyrange_read" => self.map(),
                _ if key == "keyrange" => self.map().replacen("_read", "", 1),
                _ if key == "WAIT" => format!(":{}\r\n", self.copies),
                Some(value) => self.set(key, value),
                None => self.get(&key),
            };
            stream.write_all(reply.as_bytes()).ok()?;
        }
    }

    fn request(
        &self,
        lines: &mut impl Iterator<Item = String>,
    ) -> Option<(String, Option<String>)> {
        let line = lines.next()?;
        let mut words = line.split(' ').map(str::to_owned);
        match self.protocol {
            "ringcask" => {
                let verb = words.next()?;
                Some((words.next().unwrap_or(verb), words.next()))
            }
            "memcached" => match words.next()?.as_str() {
                "get" => Some((words.next()?, None)),
                _ => Some((words.next()?, lines.next())),
            },
            _ => {
                let verb = lines.nth(1)?;
                let key = lines.nth(1)?;
                let value = (line == "*3").then(|| lines.nth(1)).flatten();
                Some((if verb == "WAIT" { verb } else { key }, value))
            }
        }
    }

    /// Returns what is answered to who asks for the map; something else by a server without.
    fn map(&self) -> String {
        let map = self.map.lock().unwrap().clone();
        if map.is_empty() { "error unknown request at column 1\r\n".into() } else { map }
    }

    fn get(&self, key: &str) -> String {
        let entries = self.entries.lock().unwrap();
        let value = match self.manner {
            Manner::Mixes => {
                entries.iter().find(|entry| entry.0 != key).map(|entry| entry.1.clone())
            }
            Manner::Lies => entries.get(key).map(|value| format!("{}~", &value[1..])),
            _ => entries.get(key).cloned(),
        };
        match (self.protocol, value) {
            ("ringcask", Some(value)) => format!("get_success {key} {value}\r\n"),
            ("ringcask", None) => format!("get_error {key} not found\r\n"),
            ("memcached", Some(v)) => format!("VALUE {key} 0 {}\r\n{v}\r\nEND\r\n", v.len()),
            ("memcached", None) => "END\r\n".into(),
            (_, Some(value)) => format!("${}\r\n{value}\r\n", value.len()),
            (_, None) => "$-1\r\n".into(),
        }
    }

    fn set(&self, key: String, value: String) -> String {
        if self.manner == Manner::Doubts {
            return format!("put_unknown {key} lost its backup\r\n");
        }
        if self.manner == Manner::Refuses {
            return match self.protocol {
                "ringcask" => format!("put_error {key} disk full\r\n"),
                "memcached" => "SERVER_ERROR disk full\r\n".into(),
                _ => "-ERR disk full\r\n".into(),
            };
        }
        let reply = match self.protocol {
            "ringcask" => format!("put_success {key}\r\n"),
            "memcached" => "STORED\r\n".into(),
            _ => "+OK\r\n".into(),
        };
        self.entries.lock().unwrap().insert(key, value);
        reply
    }
}
