//! Connections *to* others: a thread that connects, then serves the connection as an accepted one is served.
//!
//! Whoever dials speaks first, so the session's first lines are put onto the connection in `Service::open`, by
//! the sender that is had there. That the connection has ended is told by the drop of its session.
//!
//! A connection to a port of this machine on which nobody listens may, by chance, be given that very port as its
//! own; TCP then connects it to itself. Such a connection is a failure to connect, and the port is free again.
//! Left out: trying again, and how many such threads there are; both are the caller's to decide.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::accept::{prepare, run};
use crate::config::STACK_LEN;
use crate::connection::Connection;
use crate::owed::Owed;
use crate::{Config, Error, Peer, Result, Service};

/// Connects to `address` (`ip:port` or `name:port`) on a thread of its own, which then serves the connection.
///
/// `failed` is called on that thread, instead of `Service::open`, if it could not connect; each address that a
/// name stands for is given `connect_timeout`.
///
/// # Errors
/// [`Error::Thread`] if there is no thread to be had; then `failed` is not called.
pub fn dial<S: Service>(
    address: &str,
    config: &Config,
    connect_timeout: Duration,
    service: Arc<S>,
    failed: impl FnOnce(io::Error) + Send + 'static,
) -> Result<()> {
    let (address, config) = (address.to_owned(), *config);
    let life = move || match connect(&address, connect_timeout, &config) {
        Ok((socket, peer)) => {
            let counters = Arc::default();
            let connection = Connection {
                socket: Arc::new(socket),
                peer,
                config,
                is_stopping: Arc::default(),
                // It is one of few, and whoever dialled it knows why.
                budget: None,
                owed: Owed::new(usize::MAX, Arc::clone(&counters)),
                counters,
            };
            run(&connection, service, None);
        }
        Err(error) => failed(error),
    };
    let builder = thread::Builder::new().name("dialled".into()).stack_size(STACK_LEN);
    builder.spawn(life).map_err(|cause| Error::Thread { cause })?;
    Ok(())
}

fn connect(address: &str, timeout: Duration, config: &Config) -> io::Result<(TcpStream, Peer)> {
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    for remote in address.to_socket_addrs()? {
        outcome = connect_to(remote, timeout, config);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn connect_to(
    remote: SocketAddr,
    timeout: Duration,
    config: &Config,
) -> io::Result<(TcpStream, Peer)> {
    let socket = TcpStream::connect_timeout(&remote, timeout)?;
    let local = prepare(&socket, config)?;
    if local == remote {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok((socket, Peer { remote, local }))
}
