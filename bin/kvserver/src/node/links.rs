//! Connections with peers: one for each peer and direction, opened by the side that speaks as primary on it.
//!
//! ```text
//! opened here:   dial ─▶ `peer 1 <me> <peer> [<secret>]` ─▶ Connected(Out) ─▶ the machine's Hello …
//! opened there:  the session told apart by that line ─▶ its first message is a Hello ─▶ In(peer, session)
//! ```
//!
//! What is queued for a peer goes out in one write by the thread that queued it (`net::Sender`). All whole lines of a
//! read are given to the machine under one lock. A line that makes no sense ends the connection: messages are
//! counted, so none can be passed over.

use std::sync::Arc;
use std::time::Duration;

use cluster::lines::{
    Fault, LineError, Opening, Reader, message_len_max, write_opening, write_refusal,
};
use cluster::{Event, Link, Message, ServerId};
use net::{Next, Peer, Refusal, Replies};

use super::Node;
use super::machine::Core;

/// How long a peer's machine may take to accept a connection. Short: leases run meanwhile, and it is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a peer may take nothing of what it is sent, before the connection is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that may wait for a peer. Clients' writes wait long before; what may come together is a batch of each of many
/// clients, and what is sent again when a connection is new.
const QUEUE_LEN_MAX: usize = 1 << 30;

/// How the greeting of the dialect `tum` begins. It is said before the server knows that a peer connected.
pub(super) const GREETING: &[u8] = b"Connection to KVServer established";

/// Opens a connection to a peer.
pub(super) fn dial(node: &Arc<Node>, link: Link, address: &str) {
    let service = Arc::new(Outward { node: Arc::clone(node), link });
    let of_failure = Arc::clone(node);
    let failed = move |error: std::io::Error| {
        log::debug!("{} cannot be reached: {error}", Named(link));
        of_failure.closed(link);
    };
    let config = net::Config {
        line_len_max: message_len_max(&node.limits),
        write_timeout: WRITE_TIMEOUT,
        queue_len_max: QUEUE_LEN_MAX,
        // An idle cluster keeps its sessions; a peer that is gone is noticed by what it does not acknowledge.
        idle_timeout: None,
        ..net::Config::default()
    };
    if node.is_ending() {
        return;
    }
    if let Err(error) = net::dial(address, &config, CONNECT_TIMEOUT, service, failed) {
        log::warn!("{} cannot be tried: {error}", Named(link));
        node.closed(link);
    }
}

/// A link, as the log names it.
struct Named(Link);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Link::Out(id, _) | Link::In(id, _)) = self.0;
        write!(f, "server {id}")
    }
}

/// Makes the session of a connection that was opened here.
#[derive(Debug)]
struct Outward {
    node: Arc<Node>,
    link: Link,
}

impl net::Service for Outward {
    type Session = PeerSession;

    fn open(&self, _: &Peer, replies: &mut Replies) -> PeerSession {
        let Link::Out(to, _) = self.link else { unreachable!("only outward links are dialed") };
        let sender = replies.sender();
        let (from, secret) = (self.node.id, self.node.secret.clone());
        sender.queue(|line| write_opening(line, &Opening::Peer { from, to, secret }));
        self.node.run(|core| {
            core.links.insert(self.link, sender.clone());
            core.step(Event::Connected(self.link));
        });
        PeerSession::new(Arc::clone(&self.node), to, Some(self.link))
    }

    fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        refusal_line(&refusal.to_string())
    }
}

/// Returns the line that tells a peer why it is cut off.
pub(super) fn refusal_line(why: &str) -> Vec<u8> {
    let mut line = Vec::new();
    write_refusal(&mut line, why);
    line
}

/// One connection with a peer.
#[derive(Debug)]
pub(super) struct PeerSession {
    node: Arc<Node>,
    peer: ServerId,
    /// None before the Hello of a connection that the peer opened.
    link: Option<Link>,
    reader: Reader,
    /// Whether the next line may be what a server of the dialect `tum` says to everybody who connects.
    may_be_greeted: bool,
}

impl net::Session for PeerSession {
    fn handle(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        self.take(lines, replies)
    }
}

impl PeerSession {
    pub(super) fn new(node: Arc<Node>, peer: ServerId, link: Option<Link>) -> Self {
        let reader = Reader::new(node.limits);
        Self { node, peer, link, reader, may_be_greeted: link.is_some() }
    }

    /// Gives the machine the messages of some lines.
    pub(super) fn take(&mut self, lines: &[u8], replies: &mut Replies) -> Next {
        let mut messages = Vec::new();
        let mut outcome = Ok(());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if std::mem::take(&mut self.may_be_greeted) && line.starts_with(GREETING) {
                continue;
            }
            match self.reader.read(line.strip_suffix(b"\n").unwrap_or(line)) {
                Ok(message) => messages.extend(message),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        replies.limit_lines(message_len_max(&self.node.limits));
        // Others' writes wait for what comes here: no crowd of clients may hold it up.
        replies.exempt_input();
        if let Some(Err(why)) = messages.first().map(|first| self.begin(first, replies)) {
            replies.buffer().extend_from_slice(&refusal_line(why));
            return Next::Close;
        }
        if let Some(link) = self.link.filter(|_| !messages.is_empty()) {
            // Leases hang on beacons: they do not wait behind writes.
            let has_beacon = messages.iter().any(|message| matches!(message, Message::Beacon(_)));
            let give = |core: &mut Core| {
                core.step_all(messages.into_iter().map(|message| Event::Received(link, message)));
            };
            match has_beacon {
                true => self.node.run(give),
                false => self.node.run_patiently(give),
            }
        }
        match outcome {
            Ok(()) => Next::Continue,
            Err(error) => self.refuse(&error, replies),
        }
    }

    /// Learns from the first message of a connection that the peer opened which one it is.
    fn begin(&mut self, first: &Message, replies: &mut Replies) -> Result<(), &'static str> {
        if self.link.is_some() {
            return Ok(());
        }
        let Message::Hello { session, .. } = first else {
            return Err("a connection of a server begins with a hello");
        };
        let link = Link::In(self.peer, *session);
        let (sender, mut is_new) = (replies.sender(), false);
        self.node.run(|core| {
            is_new = !core.links.contains_key(&link);
            if is_new {
                core.links.insert(link, sender);
            }
        });
        self.link = Some(link).filter(|_| is_new);
        if is_new { Ok(()) } else { Err("this session has a connection already") }
    }

    fn refuse(&self, error: &LineError, replies: &mut Replies) -> Next {
        if matches!(error.fault, Fault::Told { .. }) {
            log::warn!("server {} refuses this one: {error}", self.peer);
        } else {
            log::warn!("server {} said what makes no sense: {error}", self.peer);
            replies.buffer().extend_from_slice(&refusal_line(&error.to_string()));
        }
        Next::Close
    }
}

impl Drop for PeerSession {
    fn drop(&mut self) {
        if let Some(link) = self.link {
            self.node.closed(link);
        }
    }
}
