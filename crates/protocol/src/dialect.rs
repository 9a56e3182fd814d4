//! The three ways in which stores of this family answer.
//!
//! | | [`Native`](Dialect::Native) | [`Toronto`](Dialect::Toronto) | [`Tum`](Dialect::Tum) |
//! |---|---|---|---|
//! | replies | lower case | UPPER case | lower case |
//! | backslash | begins an escape | an ordinary character | an ordinary character |
//! | `get`, `delete` | one token | rest of the line | rest of the line |
//! | `put k null` | stores `null` | deletes | stores `null` |
//! | nonsense | `error …` | `FAILED …` | `error …` |
//!
//! Requests do not show which one a client expects, so a flag of the server says it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Which of the family's dialects is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Ringcask's own: any bytes in keys and values, by escapes.
    #[default]
    Native,
    /// Upper-case replies that echo key and value.
    Toronto,
    /// Lower-case replies that echo the key, and a greeting.
    Tum,
}

impl Dialect {
    /// Every dialect, the default first.
    pub const ALL: [Self; 3] = [Self::Native, Self::Toronto, Self::Tum];

    /// Returns the name by which a flag chooses this dialect.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Toronto => "toronto",
            Self::Tum => "tum",
        }
    }

    /// Returns whether a backslash begins an escape.
    #[must_use]
    pub const fn has_escapes(self) -> bool {
        matches!(self, Self::Native)
    }

    /// Appends the line with which a server greets a new connection at its address `server`.
    ///
    /// Only `tum` has one; in the others nothing is appended.
    pub fn encode_greeting(self, server: SocketAddr, out: &mut Vec<u8>) {
        if self == Self::Tum {
            let greeting = format!("Connection to KVServer established: /{server}\r\n");
            out.extend_from_slice(greeting.as_bytes());
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name).ok_or(UnknownDialect)
    }
}

/// A name that is no dialect's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDialect;

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such dialect: native, toronto and tum are known")
    }
}

impl std::error::Error for UnknownDialect {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_chosen_by_its_name() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.to_string().parse(), Ok(dialect));
        }
        assert_eq!("Native".parse::<Dialect>(), Err(UnknownDialect));
    }

    #[test]
    fn only_tum_greets() {
        let greet = |dialect: Dialect| {
            let mut out = Vec::new();
            dialect.encode_greeting("127.0.0.1:5000".parse().unwrap(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(greet(Dialect::Native), "");
        assert_eq!(greet(Dialect::Toronto), "");
        assert_eq!(greet(Dialect::Tum), "Connection to KVServer established: /127.0.0.1:5000\r\n");
    }
}
