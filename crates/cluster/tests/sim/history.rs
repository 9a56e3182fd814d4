//! What clients asked and were told, with times: all that the checkers look at.
//!
//! One operation is one line of JSON, in the order in which they were called:
//!
//! ```text
//! {"client":3,"key":"h1-0","op":"put","value":"3.17","call":2000000,"ret":2900000,"status":"ok","outcome":"stored","version":"4.12"}
//! {"client":1,"key":"h1-0","op":"cas","value":"1.9","call":3000000,"ret":3800000,"status":"fail","if":"4.11","outcome":"condition","version":"4.12"}
//! ```
//!
//! | field | |
//! |---|---|
//! | `client` | the number of the sequential client |
//! | `key`, `value` | text; the value that was written, or read by a get: `null` if there was none; of a delete `null` |
//! | `op` | `get`, `put`, `delete`, `cas` (a conditional put) |
//! | `call`, `ret` | nanoseconds from the start; `ret` is `null` if the client was still waiting at the end |
//! | `status` | `ok`: done as `outcome` says; `fail`: nothing was done, definitely; `info`: a write that takes effect once, at any time after `call`, or never |
//! | `if` | of a cas: `"absent"`, or the version that it asked for |
//! | `outcome` | `found`, `absent` (get); `stored`, `replaced` (put, cas); `deleted`, `missing` (delete); `condition` (a condition that did not hold); `refused`; `old` (refused as an old request); `unknown` |
//! | `version` | the lsn, `epoch.counter`, of the value read, written, or met by a condition that did not hold |
//! | `has_id` | whether the write carried a request id (R24) |
//! | `attempts` | how often it was sent |
//! | `ends` | of a put: when its value ends, in nanoseconds from the start |
//!
//! The first seven fields are enough for the checkers; without the others they see less. Every value of a key is written by
//! one operation only: values tell operations apart.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::str::FromStr;

use cluster::{Bytes, Lsn};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Get,
    Put,
    Delete,
    /// A conditional put.
    Cas,
}

impl Kind {
    /// Returns whether it may change anything.
    pub fn is_write(self) -> bool {
        self != Self::Get
    }
}

/// What is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was done.
    Ok,
    /// Nothing was done.
    Fail,
    /// It takes effect once, at any time after its call, or never.
    Info,
}

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    Found,
    Absent,
    Stored,
    Replaced,
    Deleted,
    Missing,
    /// The condition did not hold.
    Condition,
    Refused,
    /// Refused as older than what the client asked last.
    Old,
    Unknown,
}

/// The condition of a cas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum If {
    Absent,
    Version(Lsn),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub client: u32,
    #[serde(with = "text")]
    pub key: Bytes,
    pub op: Kind,
    #[serde(with = "maybe_text")]
    pub value: Option<Bytes>,
    pub call: u64,
    pub ret: Option<u64>,
    pub status: Status,
    #[serde(rename = "if", with = "maybe_word", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<If>,
    #[serde(rename = "outcome", default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    #[serde(with = "maybe_word", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    #[serde(default)]
    pub has_id: bool,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<u64>,
}

impl Operation {
    /// Returns the lsn that the client was told.
    pub fn lsn(&self) -> Option<Lsn> {
        self.version.map(|version| version.0)
    }

    /// Returns whether it returned before `other` was called.
    pub fn is_before(&self, other: &Self) -> bool {
        self.ret.is_some_and(|ret| ret < other.call)
    }

    /// Returns whether it may have changed something.
    pub fn may_write(&self) -> bool {
        self.op.is_write() && self.status != Status::Fail
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let seconds = |nanos: u64| format!("{:.6}", nanos as f64 / 1e9);
        let ret = self.ret.map_or_else(|| "…".to_owned(), seconds);
        let op = format!("{:?}", self.op).to_lowercase();
        write!(
            f,
            "[{:>11} – {ret:>11}] client {}: {op} {}",
            seconds(self.call),
            self.client,
            text(&self.key)
        )?;
        if let Some(value) = &self.value {
            write!(f, " {:?}", text(value))?;
        }
        if let Some(condition) = &self.condition {
            write!(f, " if {condition}")?;
        }
        write!(f, " → {:?}", self.status)?;
        if let Some(told) = self.told {
            write!(f, " {}", format!("{told:?}").to_lowercase())?;
        }
        match self.lsn() {
            Some(lsn) => write!(f, " at {lsn}"),
            None => Ok(()),
        }
    }
}

/// How many operations ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: usize,
    pub fail: usize,
    pub info: usize,
    /// Still waiting.
    pub open: usize,
}

/// The operations of a run, in the order of their calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a call and returns its number, to be ended with. Until then its outcome is unknown.
    pub fn call(&mut self, operation: Operation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Returns an operation that is under way.
    pub fn open(&mut self, number: usize) -> &mut Operation {
        let operation = &mut self.operations[number];
        assert!(operation.ret.is_none(), "an operation ends once");
        operation
    }

    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Returns every key that was asked for, once, in their order.
    pub fn keys(&self) -> Vec<Bytes> {
        let mut keys: Vec<Bytes> = self.operations.iter().map(|o| o.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in &self.operations {
            let counter = match (operation.ret, operation.status) {
                (None, _) => &mut counts.open,
                (_, Status::Ok) => &mut counts.ok,
                (_, Status::Fail) => &mut counts.fail,
                (_, Status::Info) => &mut counts.info,
            };
            *counter += 1;
        }
        counts
    }

    /// Writes the lines.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for operation in &self.operations {
            serde_json::to_writer(&mut *out, operation)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Reads the lines, in any order.
    pub fn read(input: impl BufRead) -> Result<Self, String> {
        let mut operations = Vec::new();
        for (index, line) in input.lines().enumerate() {
            let line = line.map_err(|error| error.to_string())?;
            let operation: Operation = serde_json::from_str(&line)
                .map_err(|error| format!("line {}: {error}", index + 1))?;
            if operation.ret.is_some_and(|ret| ret < operation.call) {
                return Err(format!("line {}: it returns before it is called", index + 1));
            }
            operations.push(operation);
        }
        operations.sort_by_key(|operation| operation.call);
        Ok(Self { operations })
    }
}

impl FromIterator<Operation> for History {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        let mut operations: Vec<_> = operations.into_iter().collect();
        operations.sort_by_key(|operation| operation.call);
        Self { operations }
    }
}

/// An lsn as text: `epoch.counter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub Lsn);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.');
        let numbers = parts.and_then(|(e, c)| Some((e.parse().ok()?, c.parse().ok()?)));
        match numbers {
            Some((epoch, counter)) if epoch <= Lsn::EPOCH_MAX && counter <= Lsn::COUNTER_MAX => {
                Ok(Self(Lsn::new(epoch, counter)))
            }
            _ => Err(format!("no version: {text:?}")),
        }
    }
}

impl fmt::Display for If {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Version(lsn) => lsn.fmt(f),
        }
    }
}

impl FromStr for If {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "absent" => Ok(Self::Absent),
            _ => text.parse::<Version>().map(|version| Self::Version(version.0)),
        }
    }
}

/// Bytes as text.
mod text {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&String::from_utf8_lossy(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        Ok(String::deserialize(from)?.into_bytes().into())
    }
}

/// Bytes as text, or null.
mod maybe_text {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &Option<Bytes>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes)).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(|text| text.into_bytes().into()))
    }
}

/// What can be written as a word, or null.
mod maybe_word {
    use super::*;

    pub fn serialize<T: fmt::Display, S: Serializer>(
        word: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        word.as_ref().map(T::to_string).serialize(to)
    }

    pub fn deserialize<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let word = Option::<String>::deserialize(from)?;
        word.map(|word| word.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"client":1,"key":"h1-0","op":"cas","value":"1.9","call":3000000,"ret":3800000,"status":"fail","if":"4.11","outcome":"condition","version":"4.12","has_id":true,"attempts":2}"#;

    #[test]
    fn a_history_is_written_in_the_documented_form_and_read_again() {
        let history = History::read(LINE.as_bytes()).unwrap();
        let operation = &history.operations()[0];
        assert_eq!(operation.condition, Some(If::Version(Lsn::new(4, 11))));
        assert_eq!(operation.lsn(), Some(Lsn::new(4, 12)));
        let mut out = Vec::new();
        history.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{LINE}\n"));
    }

    #[test]
    fn the_seven_fields_are_enough() {
        let line =
            r#"{"client":1,"key":"k","op":"get","value":null,"call":3,"ret":null,"status":"info"}"#;
        assert_eq!(History::read(line.as_bytes()).unwrap().counts().open, 1);
    }

    #[test]
    fn nonsense_is_named_with_its_line() {
        let line =
            r#"{"client":1,"key":"k","op":"get","value":null,"call":3,"ret":2,"status":"ok"}"#;
        assert!(History::read(line.as_bytes()).unwrap_err().starts_with("line 1: it returns"));
        assert!(History::read(&b"{}"[..]).unwrap_err().starts_with("line 1: missing field"));
        for version in ["", "1", "1.", "16777216.0", "1.1099511627776", "a.b"] {
            assert!(version.parse::<Version>().is_err(), "{version}");
        }
        assert_eq!("16777215.1099511627775".parse(), Ok(Version(Lsn(u64::MAX))));
    }
}
