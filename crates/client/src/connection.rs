//! One connection: bytes out, lines in, each with a deadline; knows what the server can have received.
//!
//! ```text
//!   queue ──▶ output ──send, never blocking──▶ socket
//!                        │ would block: poll for both directions
//!   line  ◀── input  ◀───┴─────────────────── socket
//! ```
//!
//! A client that only writes while its peer only writes waits for ever once both socket buffers are full.
//! So output is handed over without blocking, and whenever the socket takes no more, what arrives is read
//! meanwhile. When everything is handed over, a plain blocking read waits for the replies: the
//! common exchange costs one `send` and one `recv`, nothing else.
//!
//! **What was sent** is counted in bytes of the connection's life. A server executes whole lines only, so a
//! request whose LF was never handed to the socket has definitely not been executed; of any other
//! request nobody can say, once the connection is lost.
//!
//! Limits: a reply line of [`Config::reply_len_max`](crate::Config::reply_len_max) bytes; the input buffer grows to
//! little more than one such line, and shrinks back once it is empty. A connection that met any fault is of no further use: replies would be out of step.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::deadline::Deadline;

/// Bytes asked for in one read: holds some hundreds of short replies.
const READ_LEN: usize = 64 * 1024;

/// Bytes of empty input and output buffers that are kept: a larger buffer is given back once it is empty.
const KEEP_LEN_MAX: usize = 1024 * 1024;

/// How far the socket's own time-out may overshoot the deadline before it is worth a system call to set it anew.
const TIMEOUT_SLACK: Duration = Duration::from_millis(10);

/// Why a connection is of no further use.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server closed it.
    Closed,
    /// The operating system reported an error.
    Io(io::Error),
    /// The deadline passed.
    Late,
    /// A reply line is longer than allowed.
    ReplyTooLong,
}

/// A connection to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes received; those from `input_start` to `input_end` are not used yet.
    input: Vec<u8>,
    input_start: usize,
    input_end: usize,
    /// Bytes from `input_start` on that are known to hold no LF.
    input_searched: usize,
    output: Vec<u8>,
    /// Bytes of `output` that were handed to the socket.
    output_sent: usize,
    /// The error met in sending; nothing more is sent after it.
    output_fault: Option<io::Error>,
    /// Bytes ever queued, and of those ever handed to the socket.
    queued_total: u64,
    sent_total: u64,
    /// Bytes ever received.
    received_total: u64,
    reply_len_max: usize,
    /// The time-out the socket has now.
    socket_timeout: Option<Duration>,
}

impl Connection {
    /// Connects to `address` within `timeout`.
    pub(crate) fn open(
        address: &SocketAddr,
        timeout: Duration,
        reply_len_max: usize,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(address, timeout)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
            input_start: 0,
            input_end: 0,
            input_searched: 0,
            output: Vec::new(),
            output_sent: 0,
            output_fault: None,
            queued_total: 0,
            sent_total: 0,
            received_total: 0,
            reply_len_max,
            socket_timeout: None,
        })
    }

    /// Returns whether the server has closed this connection, or has sent what nobody asked for, while
    /// it was idle. To be asked only when no reply is outstanding.
    ///
    /// A request sent on such a connection could not be told from one that was executed.
    pub(crate) fn is_stale(&self) -> bool {
        if self.input_start != self.input_end {
            return true;
        }
        let mut byte = [0_u8; 1];
        let peeked = recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(peeked, Err(Errno::AGAIN))
    }

    /// Lets `write` append a request to what is sent next, and returns the request's [end](Self::is_handed_over).
    pub(crate) fn queue(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let len_before = self.output.len();
        write(&mut self.output);
        let added = self.output.len().saturating_sub(len_before);
        self.queued_total = self.queued_total.saturating_add(added as u64);
        self.queued_total
    }

    /// Returns how many bytes are queued and not handed to the socket yet.
    pub(crate) fn unsent_len(&self) -> usize {
        self.output.len().saturating_sub(self.output_sent)
    }

    /// Returns whether the last byte of the request that ends at `end` was handed to the socket, so that the
    /// server may have executed it.
    pub(crate) fn is_handed_over(&self, end: u64) -> bool {
        self.sent_total >= end
    }

    /// Returns a number that rises with every byte that goes out or comes in.
    pub(crate) fn moved_total(&self) -> u64 {
        self.sent_total.saturating_add(self.received_total)
    }

    /// Returns the socket and what to wait for on it.
    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        let is_all_sent = self.unsent_len() == 0;
        let flags = if is_all_sent { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        PollFd::new(&self.stream, flags)
    }

    /// Hands to the socket what it takes of the queued bytes without waiting.
    pub(crate) fn push(&mut self) {
        while self.unsent_len() > 0 {
            let unsent = self.output.get(self.output_sent..).unwrap_or_default();
            match send(&self.stream, unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(len) => {
                    self.output_sent = self.output_sent.saturating_add(len);
                    self.sent_total = self.sent_total.saturating_add(len as u64);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // What has arrived before may still be read, and may say why.
                    self.output_fault = Some(errno.into());
                    break;
                }
            }
        }
        self.output.clear();
        self.output.shrink_to(KEEP_LEN_MAX);
        self.output_sent = 0;
    }

    /// Waits until the socket takes more, reading what arrives.
    fn wait_for_room(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        let piece = deadline.piece().ok_or(Fault::Late)?;
        let timeout =
            Timespec::try_from(piece).map_err(|error| Fault::Io(io::Error::other(error)))?;
        let both = PollFlags::IN | PollFlags::OUT;
        let mut ready = [PollFd::new(&self.stream, both)];
        match poll(&mut ready, Some(&timeout)) {
            // The deadline is looked at when the next wait begins.
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::Io(errno.into())),
        }
        let has_input = ready.iter().any(|fd| fd.revents().contains(PollFlags::IN));
        if has_input { self.fill_without_waiting() } else { Ok(()) }
    }

    /// Takes in what has arrived.
    pub(crate) fn fill_without_waiting(&mut self) -> Result<(), Fault> {
        let room = make_room(&mut self.input, &mut self.input_start, &mut self.input_end);
        match recv(&self.stream, room, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Err(self.closed()),
            Ok((_, len)) => {
                self.input_end = self.input_end.saturating_add(len);
                self.received_total = self.received_total.saturating_add(len as u64);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(Fault::Io(errno.into())),
        }
    }

    /// Waits for the next line and returns it without its line end; hands over what is queued meanwhile.
    ///
    /// Reads only when no whole line is at hand, so that the buffer holds little more than one line.
    pub(crate) fn line(&mut self, deadline: &Deadline) -> Result<&[u8], Fault> {
        let len = loop {
            if let Some(len) = self.find_line()? {
                break len;
            }
            self.push();
            if self.unsent_len() > 0 {
                self.wait_for_room(deadline)?;
            } else {
                self.fill(deadline)?;
            }
        };
        Ok(self.take_line(len))
    }

    /// Returns the next line without its line end if all of it is at hand.
    pub(crate) fn line_at_hand(&mut self) -> Result<Option<&[u8]>, Fault> {
        Ok(match self.find_line()? {
            Some(len) => Some(self.take_line(len)),
            None => None,
        })
    }

    /// Takes the first line received, which has `len` bytes before its LF.
    fn take_line(&mut self, len: usize) -> &[u8] {
        let start = self.input_start;
        // The LF goes with the line.
        self.input_start = start.saturating_add(len).saturating_add(1);
        self.input_searched = 0;
        let line = self.input.get(start..start.saturating_add(len)).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Returns the length of the first line received, up to its LF.
    fn find_line(&mut self) -> Result<Option<usize>, Fault> {
        let unused = self.input.get(self.input_start..self.input_end).unwrap_or_default();
        let unsearched = unused.get(self.input_searched..).unwrap_or_default();
        let found = memchr::memchr(b'\n', unsearched)
            .map(|offset| offset.saturating_add(self.input_searched));
        // One more than the limit: the CR is not counted.
        let len_max = self.reply_len_max.saturating_add(1);
        if found.unwrap_or(unused.len()) > len_max {
            return Err(Fault::ReplyTooLong);
        }
        if found.is_none() {
            self.input_searched = unused.len();
        }
        Ok(found)
    }

    /// Waits for bytes and takes them in.
    fn fill(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        self.arm(deadline)?;
        let room = make_room(&mut self.input, &mut self.input_start, &mut self.input_end);
        match self.stream.read(room) {
            Ok(0) => Err(self.closed()),
            Ok(len) => {
                self.input_end = self.input_end.saturating_add(len);
                self.received_total = self.received_total.saturating_add(len as u64);
                Ok(())
            }
            Err(error) => match error.kind() {
                // The deadline is looked at when the next wait begins.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(Fault::Io(error)),
            },
        }
    }

    /// Returns the reason for the end of the stream: the error met in sending, if there was one.
    fn closed(&mut self) -> Fault {
        self.output_fault.take().map_or(Fault::Closed, Fault::Io)
    }

    /// Gives the socket a time-out that ends with the deadline.
    fn arm(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        let remaining = deadline.piece().ok_or(Fault::Late)?;
        let is_close = self
            .socket_timeout
            .is_some_and(|set| set >= remaining && set.saturating_sub(remaining) <= TIMEOUT_SLACK);
        if is_close {
            return Ok(());
        }
        self.stream.set_read_timeout(Some(remaining)).map_err(Fault::Io)?;
        self.socket_timeout = Some(remaining);
        Ok(())
    }
}

/// Returns the free end of the buffer, at least [`READ_LEN`] bytes, moving what is unused to the front first.
fn make_room<'b>(input: &'b mut Vec<u8>, start: &mut usize, end: &mut usize) -> &'b mut [u8] {
    if *start == *end {
        *start = 0;
        *end = 0;
        if input.len() > KEEP_LEN_MAX {
            input.truncate(READ_LEN);
            input.shrink_to(READ_LEN);
        }
    }
    if input.len().saturating_sub(*end) < READ_LEN {
        // Moving only when the front half is free keeps the cost of moving below that of receiving.
        if *start > input.len() / 2 {
            input.copy_within(*start..*end, 0);
            *end = end.saturating_sub(*start);
            *start = 0;
        }
        let len = end.saturating_add(READ_LEN);
        if len > input.len() {
            input.resize(len, 0);
        }
    }
    input.get_mut(*end..).unwrap_or_default()
}
