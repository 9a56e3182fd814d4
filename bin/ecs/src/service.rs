//! Connections: the first line says whether it is a server, or an operator or client.
//!
//! | | a server | an operator, a client |
//! |---|---|---|
//! | first line | `server 1 <id> [<secret>]` | anything else |
//! | lines | [`TO_ECS_LEN_MAX`] | [`LINE_LEN_MAX`] |
//! | may be silent | [`SERVER_IDLE`] | [`IDLE`] |
//! | places | [`RESERVED_COUNT`] besides all others | `--max-connections` |
//! | what makes no sense | `error <why>`, and the connection closes | `error <why>`, and it goes on |

use std::sync::Arc;
use std::time::Duration;

use cluster::ServerId;
use cluster::ToEcs;
use cluster::coordinator::ConnectionId;
use cluster::lines::{Opening, Secret, TO_ECS_LEN_MAX, read_opening, read_to_ecs, write_refusal};
use net::{Next, Peer, Refusal, Replies};

use crate::host::Host;
use crate::verbs;

/// Bytes of an operator's line, and of a server's first.
const LINE_LEN_MAX: usize = 4096;

/// How long an operator's or client's connection may ask nothing.
const IDLE: Duration = Duration::from_secs(60);

/// How long a server may be silent, which speaks at least once a second: then its connection is a dead one.
const SERVER_IDLE: Duration = Duration::from_secs(30);

/// How long a line may take from its first byte to its end.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long whoever asked may take nothing of a reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Places that only servers may have, however many others there are: for clusters of 1,000 servers.
const RESERVED_COUNT: usize = 1024;

/// Replies to come of one connection: an operator asks one thing after the other, and a map is a megabyte.
const TICKET_COUNT_MAX: usize = 2;

/// Bytes of replies that wait for their reader before it is read again.
const OUTBOX_LEN_MAX: usize = 64 * 1024;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) host: Arc<Host>,
    pub(crate) secret: Option<Secret>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    host: Arc<Host>,
    secret: Option<Secret>,
    peer: Peer,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Nothing was said yet.
    New,
    Operator,
    Server(ConnectionId, ServerId),
}

/// Returns the limits of connections.
pub(crate) fn config(connection_count_max: usize) -> net::Config {
    net::Config {
        connection_count_max,
        reserved_count: RESERVED_COUNT,
        line_len_max: LINE_LEN_MAX,
        idle_timeout: Some(IDLE),
        request_timeout: REQUEST_TIMEOUT,
        write_timeout: WRITE_TIMEOUT,
        outbox_len_max: OUTBOX_LEN_MAX,
        ticket_count_max: TICKET_COUNT_MAX,
        ..net::Config::default()
    }
}

impl net::Service for Service {
    type Session = Session;

    fn open(&self, peer: &Peer, _: &mut Replies) -> Session {
        let (host, secret) = (Arc::clone(&self.host), self.secret.clone());
        Session { host, secret, peer: *peer, kind: Kind::New }
    }

    fn is_privileged(&self, line: &[u8]) -> bool {
        admitted(trimmed(line), self.secret.as_ref()).is_some_and(|server| server.is_ok())
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        let mut line = Vec::new();
        write_refusal(&mut line, &refusal.to_string());
        line
    }
}

impl net::Session for Session {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = trimmed(line.strip_suffix(b"\n").unwrap_or(line));
            let next = match self.kind {
                Kind::New => self.begin(line, replies),
                Kind::Operator => verbs::answer(&self.host, line, replies),
                Kind::Server(connection, server) => self.hear(connection, server, line, replies),
            };
            if next == Next::Close || replies.is_dead() {
                return Next::Close;
            }
        }
        Next::Continue
    }
}

impl Session {
    /// Takes the first line.
    fn begin(&mut self, line: &[u8], replies: &mut Replies) -> Next {
        match admitted(line, self.secret.as_ref()) {
            None => {
                self.kind = Kind::Operator;
                verbs::answer(&self.host, line, replies)
            }
            Some(Err(why)) => {
                log::warn!("{}: refused a server: {why}", self.peer.remote);
                refuse(&why, replies)
            }
            Some(Ok(server)) => {
                replies.limit_lines(TO_ECS_LEN_MAX);
                replies.limit_idle(Some(SERVER_IDLE));
                let connection = self.host.connect(replies.sender());
                log::debug!("{}: server {server}", self.peer.remote);
                self.kind = Kind::Server(connection, server);
                Next::Continue
            }
        }
    }

    /// Takes a further line of a server.
    fn hear(
        &self,
        connection: ConnectionId,
        server: ServerId,
        line: &[u8],
        replies: &mut Replies,
    ) -> Next {
        let message = match read_to_ecs(line) {
            Ok(message) => message,
            Err(error) => {
                log::warn!(
                    "{}: server {server} says what makes no sense: {error}",
                    self.peer.remote
                );
                return refuse(&error.to_string(), replies);
            }
        };
        let (ToEcs::Register { server: from, .. }
        | ToEcs::Request { server: from, .. }
        | ToEcs::Doubts { server: from, .. }) = &message;
        if *from != server {
            log::warn!("{}: server {server} speaks for {from}", self.peer.remote);
            return refuse("you opened this connection as another server", replies);
        }
        self.host.receive(connection, message);
        Next::Continue
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Kind::Server(connection, _) = self.kind {
            self.host.disconnect(connection);
        }
    }
}

/// Returns which server a first line is of, or why it is refused; `None` if it is no server's.
fn admitted(line: &[u8], secret: Option<&Secret>) -> Option<Result<ServerId, String>> {
    Some(match read_opening(line)? {
        Ok(Opening::Server { from, secret: said }) => {
            let is_right = secret.is_none_or(|secret| said.as_ref() == Some(secret));
            if is_right { Ok(from) } else { Err("wrong secret".to_owned()) }
        }
        Ok(Opening::Peer { .. } | Opening::Gossip { .. }) => {
            Err("this is the ECS, not a server".to_owned())
        }
        Err(error) => Err(error.to_string()),
    })
}

fn refuse(why: &str, replies: &mut Replies) -> Next {
    let mut line = Vec::new();
    write_refusal(&mut line, why);
    replies.push_last(&line);
    Next::Close
}

/// Returns a line without the carriage returns around it.
fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"\r").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
