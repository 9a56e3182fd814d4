//! The first word of a request.

use std::fmt;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Store a value, or without one, delete.
    Put,
    /// Read a value.
    Get,
    /// Remove a key and its value.
    Delete,
    /// Which server is primary for which arc.
    Keyrange,
    /// Which servers may serve reads of which arc.
    KeyrangeRead,
    /// The server's figures.
    Info,
    /// Some of the entries, from a cursor on.
    Scan,
    /// A snapshot into a folder on the server's machine.
    Backup,
    /// A put or delete with options.
    With,
    /// Read a value and its version.
    Read,
    /// A client needs its request ids no more.
    Forget,
    /// Where the cluster's configuration service is.
    Ecs,
    /// Is anybody there.
    Ping,
    /// Close the connection.
    Quit,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 14] = [
        Self::Put,
        Self::Get,
        Self::Delete,
        Self::Keyrange,
        Self::KeyrangeRead,
        Self::Info,
        Self::Scan,
        Self::Backup,
        Self::With,
        Self::Read,
        Self::Forget,
        Self::Ecs,
        Self::Ping,
        Self::Quit,
    ];

    /// Returns the word as a client writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Keyrange => "keyrange",
            Self::KeyrangeRead => "keyrange_read",
            Self::Info => "info",
            Self::Scan => "scan",
            Self::Backup => "backup",
            Self::With => "with",
            Self::Read => "read",
            Self::Forget => "forget",
            Self::Ecs => "ecs",
            Self::Ping => "ping",
            Self::Quit => "quit",
        }
    }

    /// Returns the verb that `word` is, in any case.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let candidates: &[Self] = match word.len() {
            // The most frequent ones, as nearly every client spells them.
            3 if word == b"get" => return Some(Self::Get),
            3 if word == b"put" => return Some(Self::Put),
            4 if word == b"with" => return Some(Self::With),
            3 => &[Self::Get, Self::Put, Self::Ecs],
            4 => &[Self::With, Self::Read, Self::Info, Self::Scan, Self::Ping, Self::Quit],
            6 => &[Self::Delete, Self::Backup, Self::Forget],
            8 => &[Self::Keyrange],
            13 => &[Self::KeyrangeRead],
            _ => &[],
        };
        candidates.iter().copied().find(|verb| word.eq_ignore_ascii_case(verb.name().as_bytes()))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_read_in_any_case() {
        for verb in Verb::ALL {
            let name = verb.name();
            assert_eq!(Verb::from_word(name.as_bytes()), Some(verb));
            assert_eq!(Verb::from_word(name.to_uppercase().as_bytes()), Some(verb));
        }
        assert_eq!(Verb::from_word(b"kEyRaNgE_rEaD"), Some(Verb::KeyrangeRead));
        for word in [&b""[..], b"pu", b"putt", b"pat", b"keyrange-read", b"GE\xd4"] {
            assert_eq!(Verb::from_word(word), None);
        }
    }
}
