//! Which server a request goes to, when the target is a cluster.
//!
//! | target | learned by | slot of a key | writes | reads |
//! |---|---|---|---|---|
//! | Ringcask | `keyrange_read` | first 12 bits of its MD5 | the primary | the primary, or each member in turn (`--spread-reads`) |
//! | Redis Cluster | `CLUSTER SLOTS` | CRC-16 (XMODEM) modulo 16,384 | the primary | the primary |
//!
//! Every connection of a run is one socket to each server, as a client of a cluster has them. A batch is divided among
//! them, all parts are sent before the first reply is awaited, and the batch is over when all replies are here. So all servers
//! work side by side, each with as many batches at once as there are connections.
//!
//! The map is learned once, before each run. It is not followed while a run goes on: who is sent elsewhere counts as refused.
//! `kvbench outage` is for clusters that change.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hashring::{SLOT_COUNT, SlotId};

use crate::error::{Error, Result};
use crate::plan::{Protocol, Target};

/// How long a server may take to say which servers there are.
const LEARN_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer to that question that is taken, bytes.
const ANSWER_LEN_MAX: u64 = 64 << 20;

/// Slots of a Redis Cluster.
const REDIS_SLOT_COUNT: u16 = 16_384;

/// Most servers: each connection has a socket to each.
pub(crate) const SERVERS_MAX: usize = 1_000;

/// How keys are given to slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slots {
    /// All are one: there is one server.
    One,
    Ringcask,
    Redis,
}

/// The servers, and who has which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) servers: Vec<SocketAddr>,
    slots: Slots,
    /// For each slot the indexes of its servers, the primary first.
    members: Vec<Vec<usize>>,
}

impl Routes {
    /// Returns the routes to a server by itself.
    fn one(server: SocketAddr) -> Self {
        Self { servers: vec![server], slots: Slots::One, members: Vec::new() }
    }

    /// Learns the routes of `target`; a single server has them all.
    ///
    /// # Errors
    /// If no server of a cluster says who has which slot, or a slot has no server.
    pub(crate) fn learn(target: &Target) -> Result<Self> {
        if !target.is_cluster() {
            return Ok(Self::one(target.address()));
        }
        let mut last_error = None;
        for &address in &target.addresses {
            let learned = match target.protocol {
                Protocol::Ringcask => ringcask(address),
                Protocol::Redis => redis(address),
                Protocol::Memcached => {
                    return Err(Error::Usage("memcached has no cluster: name one server".into()));
                }
            };
            match learned {
                Ok(routes) if routes.members.iter().any(Vec::is_empty) => {
                    last_error = Some("some slots have no server".to_owned());
                }
                Ok(routes) => return Ok(routes),
                Err(error) => last_error = Some(error.to_string()),
            }
        }
        let what = last_error.unwrap_or_default();
        Err(Error::Routes { target: target.clone(), what })
    }

    /// Returns the index of the server that takes writes of `key`.
    pub(crate) fn primary(&self, key: &[u8]) -> usize {
        self.members_of(key).first().copied().unwrap_or_default()
    }

    /// Returns the index of one of the servers that may be asked to read `key`, `turn` choosing among them.
    pub(crate) fn member(&self, key: &[u8], turn: usize) -> usize {
        let members = self.members_of(key);
        members.get(turn % members.len().max(1)).copied().unwrap_or_default()
    }

    /// Returns whether there is a choice of servers at all.
    pub(crate) fn is_single(&self) -> bool {
        self.slots == Slots::One
    }

    fn members_of(&self, key: &[u8]) -> &[usize] {
        let slot = match self.slots {
            Slots::One => return &[],
            Slots::Ringcask => SlotId::of_key(key).index(),
            Slots::Redis => crc16(key) % REDIS_SLOT_COUNT,
        };
        self.members.get(usize::from(slot)).map_or(&[], Vec::as_slice)
    }

    /// Returns routes without any slot's servers.
    fn empty(slots: Slots, slot_count: u16) -> Self {
        Self { servers: Vec::new(), slots, members: vec![Vec::new(); usize::from(slot_count)] }
    }

    /// Adds a server to slots.
    fn add(&mut self, slots: impl Iterator<Item = u16>, server: SocketAddr) {
        let known = self.servers.iter().position(|&other| other == server);
        let index = known.unwrap_or(self.servers.len());
        if known.is_none() {
            self.servers.push(server);
        }
        for slot in slots {
            if let Some(members) = self.members.get_mut(usize::from(slot)) {
                members.push(index);
            }
        }
    }
}

/// Asks one line, and returns a reader of the answer.
fn ask(
    address: SocketAddr,
    request: &[u8],
) -> std::io::Result<BufReader<std::io::Take<TcpStream>>> {
    let mut stream = TcpStream::connect_timeout(&address, LEARN_TIMEOUT)?;
    stream.set_read_timeout(Some(LEARN_TIMEOUT))?;
    stream.write_all(request)?;
    Ok(BufReader::new(stream.take(ANSWER_LEN_MAX)))
}

fn nonsense(found: &str) -> std::io::Error {
    let shown = crate::tally::shortened(found.as_bytes());
    std::io::Error::other(format!("it answered \"{shown}\""))
}

/// Asks a Ringcask server.
fn ringcask(address: SocketAddr) -> std::io::Result<Routes> {
    let mut line = String::new();
    ask(address, b"keyrange_read\n")?.read_line(&mut line)?;
    let line = line.trim_end();
    let list = line.strip_prefix("keyrange_read_success ").ok_or_else(|| nonsense(line))?;
    let ranges = protocol::parse_ranges(list).map_err(std::io::Error::other)?;
    let mut routes = Routes::empty(Slots::Ringcask, SLOT_COUNT);
    for range in ranges {
        // A slot is never divided, so its first position tells for all.
        let has = |slot: &SlotId| range.arc.contains(slot.first_token());
        routes.add(SlotId::all().filter(has).map(SlotId::index), range.server);
    }
    Ok(routes)
}

/// A value of Redis's protocol, as far as `CLUSTER SLOTS` uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resp {
    Number(i64),
    Text(String),
    List(Vec<Resp>),
}

/// Asks a server of a Redis Cluster.
fn redis(address: SocketAddr) -> std::io::Result<Routes> {
    let mut answer = ask(address, b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n")?;
    let Resp::List(ranges) = resp(&mut answer, 0)? else { return Err(nonsense("no list")) };
    let mut routes = Routes::empty(Slots::Redis, REDIS_SLOT_COUNT);
    for range in ranges {
        // From slot, to slot, and the nodes: the primary first, of which one reads and writes.
        let Resp::List(parts) = range else { return Err(nonsense("a range that is no list")) };
        let [Resp::Number(from), Resp::Number(to), Resp::List(node), ..] = parts.as_slice() else {
            return Err(nonsense("a range of other parts"));
        };
        let [Resp::Text(host), Resp::Number(port), ..] = node.as_slice() else {
            return Err(nonsense("a node of other parts"));
        };
        let host = if host.is_empty() { address.ip().to_string() } else { host.clone() };
        let server = format!("{host}:{port}").parse().map_err(std::io::Error::other)?;
        let slot = |number: &i64| u16::try_from(*number).map_err(std::io::Error::other);
        routes.add(slot(from)?..=slot(to)?, server);
    }
    Ok(routes)
}

/// Lists within lists that are read: `CLUSTER SLOTS` has three.
const DEPTH_MAX: usize = 8;

/// Reads one value.
fn resp(answer: &mut impl std::io::BufRead, depth: usize) -> std::io::Result<Resp> {
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| nonsense(line))?;
    let number = || rest.parse::<i64>().ok().ok_or_else(|| nonsense(line));
    match kind {
        ":" => Ok(Resp::Number(number()?)),
        "$" => {
            let len = u64::try_from(number()?.max(0)).unwrap_or_default();
            let mut bytes = Vec::new();
            // With the line end behind it.
            answer.take(len.saturating_add(2)).read_to_end(&mut bytes)?;
            Ok(Resp::Text(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
        }
        "*" if depth < DEPTH_MAX => {
            let count = number()?.max(0);
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(resp(answer, depth + 1)?);
            }
            Ok(Resp::List(values))
        }
        _ => Err(nonsense(line)),
    }
}

/// Returns the CRC-16 of the XMODEM protocol, by which Redis Cluster gives keys to slots.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let index = usize::from((crc >> 8) ^ u16::from(*byte));
        (crc << 8) ^ CRC_TABLE.get(index).copied().unwrap_or_default()
    })
}

const CRC_TABLE: [u16; 256] = crc_table();

const fn crc_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "a constant, checked when it is compiled")]
        {
            table[byte as usize] = crc;
        }
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `answer`, and returns its address.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 14];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn the_checksum_is_that_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b"foo") % REDIS_SLOT_COUNT, 12_182);
    }

    #[test]
    fn a_ringcask_clusters_routes_are_its_arcs() {
        let (low, high) = ("127.0.0.1:1", "127.0.0.1:2");
        let half = "7fffffffffffffffffffffffffffffff";
        let rest = "80000000000000000000000000000000";
        let (zero, end) = ("0".repeat(32), "f".repeat(32));
        let list = format!("{zero},{half},{low};{zero},{half},{high};{rest},{end},{high};");
        let answer = format!("keyrange_read_success {list}\r\n");
        let seed = answering(String::leak(answer));
        let routes = ringcask(seed).unwrap();
        assert_eq!(routes.servers, [low.parse().unwrap(), high.parse().unwrap()]);
        // MD5 of "abc" begins with 9, that of "b" with 9, that of "a" with 0.
        assert_eq!((routes.primary(b"abc"), routes.primary(b"a")), (1, 0));
        assert_eq!([0, 1, 2].map(|turn| routes.member(b"a", turn)), [0, 1, 0]);
        assert_eq!([0, 1].map(|turn| routes.member(b"abc", turn)), [1, 1]);
    }

    #[test]
    fn a_redis_clusters_routes_are_its_slots_primaries() {
        let seed = answering(
            "*2\r\n*4\r\n:0\r\n:8191\r\n*3\r\n$9\r\n127.0.0.1\r\n:7001\r\n$1\r\na\r\n*3\r\n$9\r\n127.0.0.1\r\n:7009\r\n$1\r\nx\r\n\
             *3\r\n:8192\r\n:16383\r\n*4\r\n$0\r\n\r\n:7002\r\n$1\r\nb\r\n*0\r\n",
        );
        let routes = redis(seed).unwrap();
        assert_eq!(
            routes.servers,
            ["127.0.0.1:7001", "127.0.0.1:7002"].map(|a| a.parse().unwrap())
        );
        assert_eq!(routes.primary(b"foo"), 1);
        assert!(routes.members.iter().all(|members| members.len() == 1));
    }

    #[test]
    fn what_is_no_map_is_an_error() {
        for answer in ["error unknown request at column 1\r\n", "keyrange_read_success x\r\n", ""] {
            assert!(ringcask(answering(answer)).is_err(), "{answer}");
        }
        for answer in
            ["-ERR This instance has cluster support disabled\r\n", "*1\r\n:1\r\n", ":1\r\n"]
        {
            assert!(redis(answering(answer)).is_err(), "{answer}");
        }
    }
}
