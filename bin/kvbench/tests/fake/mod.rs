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
    entries: Mutex<HashMap<String, String>>,
    requests: AtomicU64,
}

/// Starts a server that lives as long as the test process, and returns its address.
pub fn start(protocol: &'static str, manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server {
        protocol,
        manner,
        entries: Mutex::default(),
        requests: AtomicU64::new(0),
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let server = Arc::clone(&server);
            // A client that goes away ends its thread; nobody needs to know.
            std::thread::spawn(move || server.serve(stream.unwrap()));
        }
    });
    address
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
                words.next()?;
                Some((words.next()?, words.next()))
            }
            "memcached" => match words.next()?.as_str() {
                "get" => Some((words.next()?, None)),
                _ => Some((words.next()?, lines.next())),
            },
            _ => {
                let key = lines.nth(3)?;
                let value = (line == "*3").then(|| lines.nth(1)).flatten();
                Some((key, value))
            }
        }
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
