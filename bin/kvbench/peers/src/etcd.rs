//! The two requests of etcd's gRPC interface that are needed here, and which member leads.
//!
//! | request | path | answer |
//! |---|---|---|
//! | `PutRequest { key = 1, value = 2 }` | `/etcdserverpb.KV/Put` | `{ header = 1 }` |
//! | `StatusRequest {}` | `/etcdserverpb.Maintenance/Status` | `{ header = 1, version = 2, leader = 4 }` |
//!
//! Both headers say which member answers (2) and the revision its store is at (3); each put makes the next one. The
//! messages are written out, with the fields that are used: a reader skips others, and no compiler of interface files is
//! needed. Source: etcd's `rpc.proto`, version 3.

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;

use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::Result;

/// A connection may take so long to be made: loopback takes less than a millisecond, a busy machine some.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

/// The member that leads, and what it said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Where it takes clients.
    pub(crate) address: SocketAddr,
    /// Its release.
    pub(crate) version: String,
    /// How many puts its store has seen, and one.
    pub(crate) revision: u64,
}

/// A connection of its own to one member.
#[derive(Debug)]
pub(crate) struct Connection {
    grpc: Grpc<Channel>,
}

impl Connection {
    /// Connects to a member.
    pub(crate) async fn new(address: SocketAddr) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.tcp_nodelay(true).connect_timeout(CONNECT_TIME_MAX).connect().await;
        let channel = channel.map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { grpc: Grpc::new(channel) })
    }

    /// Puts a value; done when a majority of the members has it on disk.
    pub(crate) async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        let answer: PutResponse =
            self.ask("/etcdserverpb.KV/Put", PutRequest { key, value }).await?;
        answer.header.map(|_| ()).ok_or_else(|| "a put was answered without a header".into())
    }

    async fn status(&mut self) -> Result<StatusResponse> {
        self.ask("/etcdserverpb.Maintenance/Status", StatusRequest {}).await
    }

    async fn ask<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.grpc.ready().await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer =
            self.grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }
}

/// Asks every member and returns the one that says of itself that it leads.
pub(crate) async fn find_leader(members: &[SocketAddr]) -> Result<Leader> {
    for &address in members {
        let status = Connection::new(address).await?.status().await?;
        let header = status.header.unwrap_or_default();
        if header.member_id != 0 && header.member_id == status.leader {
            let revision = u64::try_from(header.revision)?;
            return Ok(Leader { address, version: status.version, revision });
        }
    }
    Err("no member leads".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_its_key_and_its_value_behind_their_tags_and_lengths() {
        let request = PutRequest { key: b"k".to_vec(), value: b"vv".to_vec() };
        assert_eq!(request.encode_to_vec(), b"\x0a\x01k\x12\x02vv");
    }

    #[test]
    fn fields_that_are_not_used_are_skipped() {
        // A header of cluster 9, member 5, revision 7, term 3; version "3"; 8 bytes of file; leader 5.
        let bytes = b"\x0a\x08\x08\x09\x10\x05\x18\x07\x20\x03\x12\x013\x18\x08\x20\x05";
        let status = StatusResponse::decode(&bytes[..]).unwrap();
        assert_eq!(status.header, Some(Header { member_id: 5, revision: 7 }));
        assert_eq!((status.version.as_str(), status.leader), ("3", 5));
    }
}
