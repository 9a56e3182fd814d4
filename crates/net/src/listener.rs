//! A listening socket, before it serves.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Config, Counters, Error, Result, Server, Service};

/// Connections the kernel keeps ready for the accept loop; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound and listening socket; connections queue in the kernel until it is started.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) config: Config,
    pub(crate) counters: Arc<Counters>,
}

impl Listener {
    /// Listens on `host`, a name or a number, and `port`; port 0 lets the kernel choose one.
    ///
    /// # Errors
    /// [`Error::InUse`] or [`Error::Unavailable`] if no address of `host` can be had.
    pub fn bind(host: &str, port: u16, config: Config) -> Result<Self> {
        let wanted = || {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        let unavailable = |cause| Error::Unavailable { address: wanted(), cause };
        let mut outcome = Err(unavailable(io::ErrorKind::AddrNotAvailable.into()));
        for address in (host, port).to_socket_addrs().map_err(unavailable)? {
            match listen(address) {
                Ok(socket) => {
                    let address = socket.local_addr().map_err(unavailable)?;
                    return Ok(Self { socket, address, config, counters: Arc::default() });
                }
                Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                    outcome = Err(Error::InUse { address: wanted() });
                }
                Err(cause) => outcome = Err(unavailable(cause)),
            }
        }
        outcome
    }

    /// Returns the address that is listened on, with the port the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the counts that the server will keep.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Starts to accept connections, each served by a session of `service`.
    ///
    /// # Errors
    /// [`Error::Thread`] if the accept loop cannot be started.
    pub fn start<S: Service>(self, service: Arc<S>) -> Result<Server> {
        Server::start(self, service)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Raises the number of files and sockets this process may have open to what it may raise it to.
///
/// Returns the number it may have open now; `None` is without limit.
///
/// # Errors
/// What the operating system says; the limit is then as it was.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}
