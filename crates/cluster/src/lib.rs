//! What a cluster decides, as machines without sockets, threads, clocks or disks.
//!
//! ```text
//!  clients, peers, coordinator, clock, disk        (a process, or the simulator)
//!        │ events                    ▲ actions
//!        ▼                           │
//!   Server::step(now, event, storage, actions)         one kvserver
//!   Coordinator::step(now, event, actions)             the ECS
//!   Gossip::step(now, event, actions)                  one kvserver: who lives, whose map is newer, who is loaded
//! ```
//!
//! A [`Map`] says who serves what. The [`coordinator`] makes maps and does nothing else: it is asked for each change, and
//! grants it by compare-and-set on the slot's epoch. [`gossip`] carries hints between servers. A [`Server`] holds slots as primary, backup or learner; replication
//! follows PacificA (Lin et al., 2008), reads at backups CRAQ (Terrace and Freedman, 2009). `docs/ARCHITECTURE.md` tells the
//! life of a put, a get, a failover, a join, a leave and a restart, with the rule at each step.
//!
//! Everything is deterministic: no iteration over hash maps, no randomness but from a given seed. So a simulated run repeats from its seed. Where a
//! rule could be broken in code, a `mutant!` shows how; with the feature `mutants` the tests plant each and must find it.
//!
//! Left out: consensus among several coordinators. The coordinator's log stands behind its actions, so that it can be
//! given one.

#[macro_use]
mod mutants;

mod awake;
mod config;
pub mod coordinator;
mod event;
pub mod gossip;
mod lease;
pub mod lines;
mod map;
mod message;
mod pace;
mod peer;
mod pending;
mod permit;
mod replica;
pub mod server;
mod slot_set;
mod storage;
mod types;
mod wire;

pub use config::{Config, ConfigError};
pub use event::{
    Action, Ask, Condition, Event, Link, OpId, Outcome, PageTicket, ReadTicket, Refusal, Reply,
    StopReason,
};
pub use map::{Delta, DeltaError, Map, Server as ServerInfo, Slot, Standing};
pub use message::{Beacon, Change, FromEcs, Message, RequestEntry, SlotMessage, State, ToEcs};
#[cfg(feature = "mutants")]
pub use mutants::{ELASTIC_MUTANTS, GOSSIP_MUTANTS, MUTANTS, Planted};
pub use permit::{Look, Permits};
pub use server::{Identity, Peek, Role, Server};
pub use storage::{Entry, Page, PendingInfo, Position, Refused, Storage};
pub use types::{
    Bytes, Epoch, Incarnation, Lsn, Number, Record, Request, ServerId, Session, SlotId, SlotLoad,
    Time, Version,
};
