//! One connection: bytes out, bytes in, time limits.
//!
//! ```text
//!   input  [ consumed | received, unparsed | room ]
//!                     start               end
//! ```
//!
//! A batch goes out with one write; a read takes whatever is there, into a buffer that holds the replies to a
//! whole batch. When all replies are parsed the buffer starts over at its beginning, so that its first pages
//! stay in the processor's cache.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, Result};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may send nothing, or take nothing, while replies are due: far above any stall
/// that a figure should include, far below a person's patience.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Smallest and largest buffer to begin with, bytes. A longer reply makes it grow.
const INPUT_LEN_MIN: usize = 16 << 10;
const INPUT_LEN_START_MAX: usize = 512 << 10;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// No reply may be longer, so that a server that makes no sense cannot fill our memory.
    reply_len_max: usize,
}

impl Connection {
    /// Connects, with room for `replies_len` bytes of replies to begin with.
    ///
    /// # Errors
    /// [`Error::Connect`] if the server cannot be reached.
    pub(crate) fn open(
        address: SocketAddr,
        replies_len: usize,
        reply_len_max: usize,
    ) -> Result<Self> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.set_write_timeout(Some(SILENCE_MAX))?;
            Ok(stream)
        };
        let stream = connect().map_err(|source| Error::Connect { address, source })?;
        let input = vec![0; replies_len.clamp(INPUT_LEN_MIN, INPUT_LEN_START_MAX)];
        Ok(Self { stream, address, input, start: 0, end: 0, reply_len_max })
    }

    /// Returns the server's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// If the server is gone or takes nothing for too long.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|source| self.failure(source))
    }

    /// Waits for bytes and adds them to the received ones. Returns false if the first reply among them is
    /// longer than any may be.
    ///
    /// # Errors
    /// If the server is gone or sends nothing for too long.
    pub(crate) fn receive(&mut self) -> Result<bool> {
        if !self.make_room() {
            return Ok(false);
        }
        let room = self.input.get_mut(self.end..).unwrap_or_default();
        let received = loop {
            match self.stream.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match received {
            Ok(0) => Err(Error::Closed { address: self.address }),
            Ok(len) => {
                self.end += len;
                Ok(true)
            }
            Err(source) => Err(self.failure(source)),
        }
    }

    /// Returns what was received and not consumed.
    pub(crate) fn received(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Forgets the first `len` received bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        assert!(self.start <= self.end, "consumed more than was received");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Sees to it that there is room for a read; returns false if that would need too much memory.
    fn make_room(&mut self) -> bool {
        if self.end < self.input.len() {
            return true;
        }
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            return true;
        }
        if self.input.len() > self.reply_len_max {
            return false;
        }
        self.input.resize(self.input.len() * 2, 0);
        true
    }

    fn failure(&self, source: io::Error) -> Error {
        let address = self.address;
        match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Error::Silent { address, after: SILENCE_MAX }
            }
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                Error::Closed { address }
            }
            _ => Error::Io { address, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair(replies_len: usize, reply_len_max: usize) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connection = Connection::open(address, replies_len, reply_len_max).unwrap();
        (connection, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_arrive_whole_however_the_buffer_must_move_and_grow() {
        let (mut connection, mut peer) = pair(0, 1 << 20);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let writer = std::thread::spawn(move || peer.write_all(&copy));
        let mut got = Vec::new();
        while got.len() < sent.len() {
            assert!(connection.receive().unwrap());
            let part = connection.received().to_vec();
            // Leave some behind, as a reply that is not whole would be.
            let len =
                if got.len() + part.len() == sent.len() { part.len() } else { part.len() / 3 };
            got.extend_from_slice(&part[..len]);
            connection.consume(len);
        }
        writer.join().unwrap().unwrap();
        assert_eq!(got, sent);
    }

    #[test]
    fn a_reply_without_end_is_given_up_at_the_limit() {
        let (mut connection, mut peer) = pair(0, 100_000);
        let writer = std::thread::spawn(move || peer.write_all(&[b'x'; 400_000]).ok());
        while connection.receive().unwrap() {}
        assert!((100_000..400_000).contains(&connection.received().len()));
        drop(connection);
        writer.join().unwrap();
    }

    #[test]
    fn a_server_that_hangs_up_is_said_to_have_closed() {
        let (mut connection, peer) = pair(0, 100);
        drop(peer);
        assert!(matches!(connection.receive(), Err(Error::Closed { .. })));
    }
}
