//! The accept loop: takes connections, gives each a thread, and survives a machine that has none left.
//!
//! Out of descriptors or memory, `accept` fails and the connection stays in the kernel's queue; trying again
//! at once would burn a processor, so the loop waits 10 ms, then twice that, up to 100 ms, and goes on. It
//! logs when such an episode begins and when it ends.
//!
//! Beyond the limit there are *reserved* places. A connection that takes one is on probation: within
//! [`PROBATION`] it must send a first line that the service calls privileged. When these places are full too, who has
//! been on probation longest is cut off for the newcomer: whoever is entitled sends its line at once, and a crowd that
//! sends nothing cannot hold them.
//!
//! *Sign of life.* The loop counts its turns (`Counters::accept_turns`), at least one in [`TURN_MAX`], so that whoever must
//! know sees whether connections are taken. A loop that waits for a descriptor goes round and counts: the server answers
//! those who are connected, and takes more as soon as it can; the crowd that used up its descriptors would only
//! do the same to the next one that took over its work. So does one at its limit of connections, which takes each and
//! says why not. A loop that hangs, has panicked, or whose socket listens no more does not count.
//!
//! A connection over both, or without a thread, gets a refusal line and is closed. That is done here and
//! without waiting: what the peer has sent is read once and thrown away, so that closing does not reset it.

use std::io::IoSlice;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};

use crate::config::STACK_LEN;
use crate::connection::{Connection, Loop};
use crate::counters::{Counters, count};
use crate::input::START_LEN;
use crate::send::send_ready;
use crate::server::{Registered, Shared};
use crate::{Config, Peer, Refusal, Service};

/// First pause after `accept` failed.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest pause after `accept` failed: what a new client then waits at most for a freed descriptor.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Longest turn of the loop when nobody connects: 100 ms, as far apart as signs of life between servers.
const TURN_MAX: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How long a connection on a reserved place may take for its first line.
pub(crate) const PROBATION: Duration = Duration::from_secs(1);

/// Quiet time after which the kernel asks whether the peer's machine is there, and the time between such questions.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// Accepts until the server stops.
pub(crate) fn accept_loop<S: Service>(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    service: &Arc<S>,
) {
    let mut pause = None;
    while !shared.is_stopping() {
        let accepted = listener.accept();
        let failure = accepted.as_ref().err().map(Failure::of);
        if failure != Some(Failure::OfListener) {
            count(&shared.counters.accept_turns);
        }
        match accepted.map_err(|error| (Failure::of(&error), error)) {
            Ok((socket, remote)) => {
                say_again(pause.take());
                admit(socket, remote, shared, service);
            }
            Err((Failure::NobodyThere, _)) => {
                say_again(pause.take());
                wait_for_somebody(listener);
            }
            Err((Failure::OfOneConnection, _)) => {}
            Err(_) if shared.is_stopping() => {}
            Err((Failure::OfMachine | Failure::OfListener, error)) => {
                if pause.is_none() {
                    log::warn!("cannot accept connections, trying on: {error}");
                }
                let next = pause.map_or(PAUSE_MIN, |pause: Duration| PAUSE_MAX.min(pause * 2));
                thread::park_timeout(next);
                pause = Some(next);
            }
        }
    }
    shared.counters.accept_turns.store(Counters::NO_MORE_TURNS, Relaxed);
}

/// Says that `accept` succeeds, if it did not before.
fn say_again(pause: Option<Duration>) {
    if pause.is_some() {
        log::info!("accepting connections again");
    }
}

/// Waits until somebody connects, the listener is shut, or the turn is over.
fn wait_for_somebody(listener: &TcpListener) {
    let mut descriptors = [PollFd::new(listener, PollFlags::IN)];
    // Where it cannot be waited, a moment's pause keeps the loop from burning a processor.
    if let Err(errno) = poll(&mut descriptors, Some(&TURN_MAX))
        && errno != Errno::INTR
    {
        thread::park_timeout(PAUSE_MIN);
    }
}

/// What it is that `accept` failed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Nothing: nobody connects.
    NobodyThere,
    /// The one connection that was about to be accepted.
    OfOneConnection,
    /// The machine has no descriptor or no memory for one more; it may have again.
    OfMachine,
    /// The listening socket is none any more.
    OfListener,
}

impl Failure {
    fn of(error: &std::io::Error) -> Self {
        use Errno as E;
        let of_one = [E::INTR, E::CONNABORTED, E::PROTO, E::NETDOWN, E::HOSTUNREACH, E::NETUNREACH];
        let of_machine = [E::MFILE, E::NFILE, E::NOBUFS, E::NOMEM];
        match Errno::from_io_error(error) {
            Some(E::AGAIN) => Self::NobodyThere,
            Some(errno) if of_one.contains(&errno) => Self::OfOneConnection,
            Some(errno) if of_machine.contains(&errno) => Self::OfMachine,
            _ => Self::OfListener,
        }
    }
}

/// Gives a new connection its thread, or refuses it.
fn admit<S: Service>(
    socket: TcpStream,
    remote: SocketAddr,
    shared: &Arc<Shared>,
    service: &Arc<S>,
) {
    count(&shared.counters.accepted);
    let Ok(local) = prepare(&socket, &shared.config) else { return };
    let socket = Arc::new(socket);
    let limit = shared.config.connection_count_max;
    let Some(registered) = shared.register(&socket) else {
        let refusal = Refusal::TooManyConnections { limit };
        return refuse(&socket, &shared.counters, &**service, refusal);
    };
    let connection = Connection {
        socket: Arc::clone(&socket),
        peer: Peer { remote, local },
        config: shared.config,
        counters: Arc::clone(&shared.counters),
        is_stopping: Arc::clone(&shared.is_stopping),
        budget: Some(Arc::clone(&shared.budget)),
        owed: Arc::clone(&shared.owed),
    };
    let service_of_thread = Arc::clone(service);
    let builder = thread::Builder::new().name("connection".into()).stack_size(STACK_LEN);
    let run = move || run(&connection, service_of_thread, Some(registered));
    if let Err(error) = builder.spawn(run) {
        log::warn!("{remote}: no thread for the connection: {error}");
        refuse(&socket, &shared.counters, &**service, Refusal::NoThread);
    }
}

/// Sets what every connection needs; fails if the peer is gone already.
pub(crate) fn prepare(socket: &TcpStream, config: &Config) -> std::io::Result<SocketAddr> {
    // Some systems hand the listener's setting on.
    #[cfg(not(target_os = "linux"))]
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(config.write_timeout))?;
    // The same for a peer that is gone without a word: what it never acknowledged is not sent again for a quarter of an hour.
    #[cfg(target_os = "linux")]
    SockRef::from(socket).set_tcp_user_timeout(Some(config.write_timeout))?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)?;
    socket.local_addr()
}

/// The whole life of a connection's thread. A panic ends this connection and nothing else.
pub(crate) fn run<S: Service>(
    connection: &Connection,
    service: Arc<S>,
    registered: Option<Registered>,
) {
    let remote = connection.peer.remote;
    log::debug!("{remote}: connected");
    let outcome =
        catch_unwind(AssertUnwindSafe(|| live(connection, &*service, registered.as_ref())));
    if outcome.is_err() {
        count(&connection.counters.panicked);
        log::error!("{remote}: closing the connection after a panic in its thread");
        // A socket that is closed already is what was wanted.
        connection.socket.shutdown(Shutdown::Both).unwrap_or_default();
    }
    log::debug!("{remote}: closed");
    // Who waits for all connections to end takes it that nothing of the service is in use any more.
    drop(service);
    drop(registered);
}

/// Serves the connection, if it may have the place that it took.
fn live<S: Service>(connection: &Connection, service: &S, registered: Option<&Registered>) {
    let mut cycle = Loop::new(connection);
    if let Some(place) = registered.filter(|place| place.is_reserved()) {
        if !cycle.opens_with(PROBATION, |line| service.is_privileged(line)) {
            let limit = connection.config.connection_count_max;
            let refusal = Refusal::TooManyConnections { limit };
            return refuse(&connection.socket, &connection.counters, service, refusal);
        }
        place.end_probation();
    }
    cycle.serve(service);
}

/// Tells a peer why it is not served, as far as that goes without waiting.
fn refuse<S: Service>(socket: &TcpStream, counters: &Counters, service: &S, refusal: Refusal) {
    count(&counters.refused);
    let line = service.refusal(refusal);
    // The peer may be gone; then there is nobody to tell.
    send_ready(socket, &mut [IoSlice::new(&line)]).unwrap_or_default();
    socket.shutdown(Shutdown::Write).unwrap_or_default();
    let mut scrap = Vec::with_capacity(START_LEN);
    recv(socket, spare_capacity(&mut scrap), RecvFlags::DONTWAIT).map(|_| ()).unwrap_or_default();
}
