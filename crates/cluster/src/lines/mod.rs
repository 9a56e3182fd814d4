//! The lines that servers say to each other and to the coordinator, both ways, without I/O.
//!
//! ```text
//!   Message ──write_message──▶ bytes ─ ─ ▶ lines (protocol::Framer) ──Reader::read──▶ Message
//!   ToEcs   ──write_to_ecs───▶ bytes ─ ─ ▶ lines ──read_to_ecs────▶ ToEcs         and back with FromEcs
//! ```
//!
//! A line ends in LF; its words are separated by exactly one space. Keys and values are escaped as they are to clients
//! ([`protocol::escape`]), so any bytes go through and no line end stands inside a line. Numbers are decimal, without
//! zeros in front; a server's id is 32 lower-case hexadecimal digits; an lsn is `<epoch>.<counter>`; a time is
//! nanoseconds of the sender's clock. `-` is nothing: no value of an option, an empty list. Lists have commas.
//! *Marks* are a list of those words that hold, in the order given here.
//!
//! | first line | |
//! |---|---|
//! | `peer 1 <server> <to> [<secret>]`, `gossip 1 <server> <to> [<secret>]`, `server 1 <server> [<secret>]` | [`Opening`] |
//!
//! | between servers | marks | [`Message`](crate::Message) |
//! |---|---|---|
//! | `hello <incarnation> <session> <version>` | | `Hello` |
//! | `beacon <sent_at> <echo> <marks> <version> <leases>` | `lease`, `reads`, `full` | `Beacon` |
//! | `pull <version>` | | `Pull` |
//! | `push <json>` | | `Push` |
//! | `open <slot> <epoch> <commit> <above> <marks>` | `learner` | `Open` |
//! | `prepare <slot> <epoch> <commit> <record>` | | `Prepare`; the commit point may be `-` |
//! | `chunk <slot> <epoch> <upto> <count>`, then `count` lines `record <record>` | | `Chunk` |
//! | `fresh <slot> <epoch>` | | `Fresh` |
//! | `commit <slot> <epoch> <commit> <floor> <requests> <marks>` | `reads` | `Commit` |
//! | `stop_reads <slot> <epoch>` | | `StopReads` |
//! | `state <slot> <epoch> <commit> <held> <marks> <count>`, then `count` lines `record <record>` | `empty`, `last` | `State` |
//! | `reads_stopped <slot> <epoch>` | | `ReadsStopped` |
//! | `refused <slot> <epoch> <known>` | | `Refused` |
//! | `ack <upto>` | | `Ack` |
//!
//! | record | |
//! |---|---|
//! | `<lsn> <expires_ms> <request> put <key> <value>` | the value is the rest of the line and may be empty |
//! | `<lsn> <expires_ms> <request> delete <key>` | a tombstone |
//! | `<lsn> - <request> request` | a request id alone |
//!
//! `<request>` is `<client>:<number>:<outcome>` or `-`; `<expires_ms>` is milliseconds since 1970-01-01 UTC, or `-`.
//!
//! | on a connection of gossip, both ways | [`GossipLine`] |
//! |---|---|
//! | `ping <number> <life> <version> <rumours> <reports>`, `pong …`, `silent …` | a [`gossip::Message`](crate::gossip::Message) |
//! | `ask <number> <server> <life> <version> <rumours> <reports>` | the same |
//! | `news <life> <version> <rumours> <reports>` | the same |
//! | `pull <version>`, `push <json>` | `Pull`, `Push`, as between servers |
//!
//! | to the coordinator | marks | [`ToEcs`](crate::ToEcs) |
//! |---|---|---|
//! | `register <server> <life> <version> <marks> <address>` | `complete`, `standby` | `Register` |
//! | `request <server> <incarnation> <number> <version> <marks> <changes> <loads>` | `full` | `Request` |
//! | `doubts <server> <incarnation> <servers>`, rising | | `Doubts` |
//!
//! A change is `depose:<slot>:<epoch>`, `remove:<slot>:<epoch>:<server>`, `promote:<slot>:<epoch>:<server>:<incarnation>`,
//! `hand_over:<slot>:<epoch>:<server>`, `resign:<slot>:<epoch>`, `fail` or `leave`; a load is `<slot>:<bytes>:<operations>`.
//!
//! | from the coordinator | [`FromEcs`](crate::FromEcs) |
//! |---|---|
//! | `welcome <cluster> <slots> <replicas>`, first of all | [`Welcome`] |
//! | `registered <life> <incarnation> <json>` | `Registered` |
//! | `answer <number> <json>` | `Answer` |
//! | `push <json>` | `Push` |
//! | `superseded` | `Superseded` |
//!
//! `<json>` is a [`Delta`](crate::Delta). `error <why>` may come in place of any line: the other side refuses, and closes.
//!
//! Writing and reading `prepare` and `ack` takes no memory but for the buffer, key and value. The limits of lines and
//! their parts are constants here; each is checked before memory is taken. Nonsense is a [`LineError`], never
//! a panic.
//!
//! Left out: compression and binary numbers. A line has about 75 bytes besides key and value, and costs less than
//! the system call that carries it.

mod beacon;
mod delta;
mod ecs;
mod error;
mod gossip;
mod limits;
mod message;
mod opening;
mod reader;
mod record;
mod text;
mod welcome;
mod words;

pub use ecs::{read_from_ecs, read_to_ecs, write_from_ecs, write_to_ecs};
pub use error::{Fault, LineError};
pub(crate) use gossip::{GOSSIP_HEAD_LEN_MAX, report_len, rumor_len};
pub use gossip::{GossipLine, read_gossip, write_gossip};
pub use limits::{
    ADDRESS_LEN_MAX, CHANGE_COUNT_MAX, DELTA_LEN_MAX, FROM_ECS_LEN_MAX, GOSSIP_LEN_MAX,
    LEASE_COUNT_MAX, LOAD_COUNT_MAX, OPENING_LEN_MAX, RECORD_COUNT_MAX, RECORDS_LEN_MAX,
    SECRET_LEN_MAX, TO_ECS_LEN_MAX, TOLD_LEN_MAX, message_len_max,
};
pub use message::write_message;
pub use opening::{Opening, PROTOCOL_VERSION, Secret, read_opening, write_opening, write_refusal};
pub use reader::Reader;
pub use welcome::{REPLICA_COUNT_MAX, Welcome, read_welcome, write_welcome};
