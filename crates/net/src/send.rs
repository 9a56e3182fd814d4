//! Sending bytes on a socket, with and without waiting for its reader.
//!
//! Several pieces go out in one `sendmsg`, so that a large value is never copied to stand beside its
//! key. A socket carries its write time-out in the kernel (`SO_SNDTIMEO`, set once), so waiting costs no
//! further system call. A reader that takes less than [`TAKEN_LEN_MIN`] in one time-out is too slow: a
//! large reply to a slow but living reader may take several of them.

use std::io::{self, IoSlice};
use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// Bytes a reader must take within one write time-out (or all of them, if there are fewer).
const TAKEN_LEN_MIN: usize = 64 * 1024;

/// Pieces handed to the kernel at once; its own limit is 1,024.
const PIECE_COUNT_MAX: usize = 64;

/// Sends all of `pieces` and waits for the reader where need be.
///
/// # Errors
/// `TimedOut` if the reader is too slow, else what the operating system says.
pub(crate) fn send_all(socket: &TcpStream, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut left = len_of(pieces);
    while left > 0 {
        match send_some(socket, pieces, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                let is_whole = sent == len_of(first_pieces(pieces));
                if !is_whole && sent < TAKEN_LEN_MIN.min(left) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                left -= sent;
                IoSlice::advance_slices(&mut pieces, sent);
            }
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sends what of `pieces` the socket takes at once and returns how many bytes that was.
///
/// # Errors
/// What the operating system says; a full socket is no error.
pub(crate) fn send_ready(socket: &TcpStream, mut pieces: &mut [IoSlice<'_>]) -> io::Result<usize> {
    let (mut total, len) = (0, len_of(pieces));
    while total < len {
        let asked = len_of(first_pieces(pieces));
        match send_some(socket, pieces, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => {
                total += sent;
                if sent < asked {
                    break;
                }
                IoSlice::advance_slices(&mut pieces, sent);
            }
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(total)
}

/// Makes one system call for as many pieces as it takes.
fn send_some(
    socket: &TcpStream,
    pieces: &[IoSlice<'_>],
    flags: SendFlags,
) -> rustix::io::Result<usize> {
    loop {
        let sent = match first_pieces(pieces) {
            [piece] => rustix::net::send(socket, piece, flags),
            several => sendmsg(socket, several, &mut SendAncillaryBuffer::default(), flags),
        };
        match sent {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Returns the pieces that one system call takes.
fn first_pieces<'a, 'b>(pieces: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
    pieces.get(..PIECE_COUNT_MAX).unwrap_or(pieces)
}

/// Returns the bytes in all of `pieces`.
fn len_of(pieces: &[IoSlice<'_>]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}
