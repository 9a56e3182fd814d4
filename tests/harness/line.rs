//! A client that sees bytes.
//!
//! It sends what it is given as it stands, in one write, and takes replies line by line, each with a deadline.
//! A reply must end in CR LF and is returned without it. Nothing is parsed, so a wrong space is seen.

use super::wait::DEADLINE;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes asked for in one read.
const READ_LEN: usize = 64 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
    /// How much of `unread` has been returned already.
    taken: usize,
}

impl Line {
    /// Connects to `address`.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)
            .unwrap_or_else(|e| panic!("no connection to {address}: {e}"));
        stream.set_nodelay(true).expect("a fresh socket takes options");
        stream.set_read_timeout(Some(DEADLINE)).expect("a fresh socket takes options");
        stream.set_write_timeout(Some(DEADLINE)).expect("a fresh socket takes options");
        Self { stream, unread: Vec::new(), taken: 0 }
    }

    /// Sends `bytes` in one write.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server reads what is sent to it");
    }

    /// Sends `bytes` to a server that may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends `request` as a line and returns the line that answers it.
    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n"));
        self.line()
    }

    /// Returns the next line, which must be text.
    pub(crate) fn line(&mut self) -> String {
        String::from_utf8(self.line_bytes()).expect("a reply to text is text")
    }

    /// Returns the next line.
    pub(crate) fn line_bytes(&mut self) -> Vec<u8> {
        let line = self.next().expect("a line, and the connection is still open");
        assert!(
            line.ends_with(b"\r\n"),
            "not ended by CR LF: {:?}",
            String::from_utf8_lossy(&line)
        );
        line[..line.len() - 2].to_vec()
    }

    /// Returns the next line with its end, or the rest before the server closed, or `None` at once at its end.
    ///
    /// # Panics
    /// When nothing comes within the deadline.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let begun_at = Instant::now();
        let mut searched = self.taken;
        loop {
            if let Some(at) = self.unread[searched..].iter().position(|&b| b == b'\n') {
                return Some(self.take(searched + at + 1));
            }
            searched = self.unread.len();
            assert!(begun_at.elapsed() < DEADLINE, "no whole line within {DEADLINE:?}");
            if !self.read_more() {
                let rest = self.take(self.unread.len());
                return (!rest.is_empty()).then_some(rest);
            }
            searched = searched.min(self.unread.len());
        }
    }

    /// Asserts that the server says nothing more and closes the connection.
    pub(crate) fn expect_end(&mut self) {
        let line = self.next().map(|line| String::from_utf8_lossy(&line).into_owned());
        assert_eq!(line, None, "the server closes and says nothing more");
    }

    /// Asserts that nothing comes for `time`: for silence, which no condition announces.
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        assert_eq!(self.unread.len(), self.taken, "a line is waiting");
        self.stream.set_read_timeout(Some(time)).expect("an open socket takes options");
        let outcome = self.stream.read(&mut [0]);
        self.stream.set_read_timeout(Some(DEADLINE)).expect("an open socket takes options");
        let is_silent = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(outcome.as_ref().is_err_and(|e| is_silent(e.kind())), "no silence: {outcome:?}");
    }

    /// Says that nothing more will be sent, and still reads.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket can be half closed");
    }

    /// Returns the socket, for what a line client does not do.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn take(&mut self, end: usize) -> Vec<u8> {
        let line = self.unread[self.taken..end].to_vec();
        self.taken = end;
        if self.taken == self.unread.len() {
            self.unread.clear();
            self.taken = 0;
        }
        line
    }

    /// Reads once; returns whether the connection is still open. A connection that was reset is closed.
    fn read_more(&mut self) -> bool {
        let mut buffer = vec![0; READ_LEN];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                self.unread.extend_from_slice(&buffer[..len]);
                true
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) if e.kind() == ErrorKind::Interrupted => true,
            Err(e) => panic!("no reply: {e}"),
        }
    }
}
