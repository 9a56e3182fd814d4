//! Servers of a few lines each: what a test says, on each connection in turn.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers of tests fail by panicking, and each test executable uses some of them"
)]

pub(crate) mod ring;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use client::{Client, Config};
use rustix::net::{AddressFamily, SocketType};

/// The one range of a ring with one server, which is known by another address than it thinks.
pub(crate) const RING: &str =
    "00000000000000000000000000000000,ffffffffffffffffffffffffffffffff,127.0.0.1:5153;";

/// A time-out that no test waits for: far beyond what anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A time-out that a test does wait for, and within which a busy machine still answers a request.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

/// One accepted connection, seen from the server.
pub(crate) struct Peer {
    pub(crate) reader: BufReader<TcpStream>,
}

impl Peer {
    /// Reads a line, without its end; empty when the client has closed the connection. The client's questions about the
    /// ring are answered meanwhile, as a server by itself does.
    pub(crate) fn line(&mut self) -> String {
        loop {
            match self.raw_line().as_str() {
                "ecs" => self.write("ecs_error no cluster\r\n"),
                "keyrange_read" => self.write(&format!("keyrange_read_success {RING}\r\n")),
                line => return line.to_owned(),
            }
        }
    }

    /// Reads a line as it comes.
    pub(crate) fn raw_line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Answers the client's first questions about the ring.
    pub(crate) fn greet(&mut self) {
        assert_eq!(self.raw_line(), "ecs");
        assert_eq!(self.raw_line(), "keyrange_read");
        self.write(&format!("ecs_error no cluster\r\nkeyrange_read_success {RING}\r\n"));
    }

    /// Writes `text` as it stands.
    pub(crate) fn write(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Expects the line `request` and answers it with the line `reply`.
    pub(crate) fn answer(&mut self, request: &str, reply: &str) {
        assert_eq!(self.line(), request);
        self.write(&format!("{reply}\r\n"));
    }

    /// Waits until the client has closed the connection.
    pub(crate) fn wait_for_end(&mut self) {
        while self.reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
            let len = self.reader.buffer().len();
            self.reader.consume(len);
        }
    }
}

/// What a server does with one connection.
pub(crate) type Script = Box<dyn FnOnce(Peer) + Send>;

/// Starts a server that treats its connections by `scripts`, one after the other, and then ends; returns its
/// address.
pub(crate) fn server(scripts: Vec<Script>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            script(Peer { reader: BufReader::new(stream) });
        }
    });
    address
}

/// Returns a client of a server that has only one connection to treat.
pub(crate) fn client_of(script: impl FnOnce(Peer) + Send + 'static) -> Client {
    client_with(PATIENCE, vec![Box::new(script)])
}

/// Returns a client with a time-out, of a server with scripts for several connections.
pub(crate) fn client_with(timeout: Duration, scripts: Vec<Script>) -> Client {
    Client::new(vec![server(scripts)], Config { timeout, ..Config::default() })
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
