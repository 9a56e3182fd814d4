//! Commands of the prompt and of a pipe: one typed line to one [`Command`].
//!
//! A line is a verb, in any case, and its words (see [`words`](crate::words)). `put` without a value deletes, as in every
//! store of this family; an empty value is `put k ""`, or `put k` with a space at its end. Blank lines and
//! lines that begin with `#` are no commands.

use std::borrow::Cow;
use std::fmt;

use log::LevelFilter;

use crate::ask::Ask;
use crate::cluster::{self, ClusterArgs};
use crate::help::{self, Topic};
use crate::words::{WordError, split_word, value};

/// What a person asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'l> {
    /// Connect to the server at this address.
    Connect(String),
    /// Close the connection.
    Disconnect,
    /// Ask the server for something.
    Ask(Ask<'l>),
    /// Ask something of the cluster's coordinator.
    Cluster(ClusterArgs),
    /// Show more or less of what goes on.
    LogLevel(LevelFilter),
    /// Explain one command, or all.
    Help(Option<&'static Topic>),
    /// Leave.
    Quit,
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// No command has this name.
    Unknown(String),
    /// The command's words are not those it takes.
    Usage(&'static Topic),
    /// A quoted word is broken; the message says where.
    Word(String),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "there is no command \"{name}\"; `help` lists those there are")
            }
            Self::Usage(topic) => {
                write!(f, "usage: {}; `help {}` explains it", topic.usage, topic.name)
            }
            Self::Word(message) => f.write_str(message),
        }
    }
}

/// Reads one line, given without its line end; none if there is nothing to do.
pub(crate) fn parse(line: &[u8]) -> Result<Option<Command<'_>>, CommandError> {
    let text = line.trim_ascii_start();
    if text.is_empty() || text.starts_with(b"#") {
        return Ok(None);
    }
    let verb_len = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
    let (verb, rest) = text.split_at_checked(verb_len).unwrap_or((text, &[]));
    let Some(topic) = help::topic(verb) else {
        let name = String::from_utf8_lossy(verb).escape_debug().to_string();
        return Err(CommandError::Unknown(name));
    };
    // What follows the verb's one space; none when the line ends with the verb.
    let words = Words { line, topic, rest: rest.strip_prefix(b" ") };
    words.command().map(Some)
}

/// The words behind a verb.
struct Words<'l> {
    line: &'l [u8],
    topic: &'static Topic,
    rest: Option<&'l [u8]>,
}

impl<'l> Words<'l> {
    fn command(mut self) -> Result<Command<'l>, CommandError> {
        let command = match self.topic.name {
            "connect" => self.connect()?,
            "put" => return self.put(),
            "get" => Command::Ask(Ask::Get(self.word()?)),
            "delete" => Command::Ask(Ask::Delete(self.word()?)),
            "backup" => Command::Ask(Ask::Backup(text(&self.word()?))),
            "cluster" => self.cluster()?,
            "logLevel" => self.log_level()?,
            "help" => self.help()?,
            "disconnect" => Command::Disconnect,
            "keyrange" => Command::Ask(Ask::Keyrange),
            "keyrange_read" => Command::Ask(Ask::KeyrangeRead),
            "info" => Command::Ask(Ask::Info),
            _ => Command::Quit,
        };
        if self.is_at_end() { Ok(command) } else { Err(CommandError::Usage(self.topic)) }
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_none_or(|rest| rest.trim_ascii().is_empty())
    }

    /// Takes the next word, which must be there.
    fn word(&mut self) -> Result<Cow<'l, [u8]>, CommandError> {
        let rest = self.rest.unwrap_or_default().trim_ascii_start();
        if rest.is_empty() {
            return Err(CommandError::Usage(self.topic));
        }
        let split = split_word(rest).map_err(|error| self.word_error(error, rest))?;
        self.rest = split.rest;
        Ok(split.word)
    }

    fn put(mut self) -> Result<Command<'l>, CommandError> {
        let key = self.word()?;
        match self.rest {
            None => Ok(Command::Ask(Ask::Delete(key))),
            Some(rest) => {
                let value = value(rest).map_err(|error| self.word_error(error, rest))?;
                Ok(Command::Ask(Ask::Put { key, value }))
            }
        }
    }

    /// Takes `<address> <port>`, or `<address>:<port>`.
    fn connect(&mut self) -> Result<Command<'l>, CommandError> {
        let mut server = text(&self.word()?);
        if !self.is_at_end() {
            server = format!("{server}:{}", text(&self.word()?));
        }
        match crate::args::parse_server(&server) {
            Ok(server) => Ok(Command::Connect(server)),
            Err(_) => Err(CommandError::Usage(self.topic)),
        }
    }

    /// Takes all words that are left.
    fn cluster(&mut self) -> Result<Command<'l>, CommandError> {
        let mut words = Vec::new();
        while !self.is_at_end() {
            words.push(text(&self.word()?));
        }
        match cluster::parse(&words) {
            Some(args) => Ok(Command::Cluster(args)),
            None => Err(CommandError::Usage(self.topic)),
        }
    }

    /// Takes a level by any of the names that the family's servers and clients use.
    fn log_level(&mut self) -> Result<Command<'l>, CommandError> {
        let level = match text(&self.word()?).to_ascii_lowercase().as_str() {
            "off" => LevelFilter::Off,
            "error" | "fatal" => LevelFilter::Error,
            "warn" => LevelFilter::Warn,
            "info" => LevelFilter::Info,
            "debug" => LevelFilter::Debug,
            "trace" | "all" => LevelFilter::Trace,
            _ => return Err(CommandError::Usage(self.topic)),
        };
        Ok(Command::LogLevel(level))
    }

    fn help(&mut self) -> Result<Command<'l>, CommandError> {
        if self.is_at_end() {
            return Ok(Command::Help(None));
        }
        let name = self.word()?;
        match help::topic(&name) {
            Some(topic) => Ok(Command::Help(Some(topic))),
            None => Err(CommandError::Unknown(text(&name).escape_debug().to_string())),
        }
    }

    fn word_error(&self, error: WordError, rest: &[u8]) -> CommandError {
        let offset = self.line.len().saturating_sub(rest.len());
        CommandError::Word(error.moved_by(offset).in_line(self.line).to_string())
    }
}

/// Returns a word that is shown to people, or given to the operating system, as text.
fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'a>(key: &'a str, value: &'a str) -> Command<'a> {
        Command::Ask(Ask::Put { key: key.as_bytes().into(), value: value.as_bytes().into() })
    }

    #[test]
    fn every_command_is_read() {
        for (line, command) in [
            ("put k v", put("k", "v")),
            ("PUT k  two  words ", put("k", " two  words ")),
            ("put k ", put("k", "")),
            (r#"put k """#, put("k", "")),
            (r#"put "a b" "c\n""#, put("a b", "c\n")),
            ("put k", Command::Ask(Ask::Delete(b"k".into()))),
            ("get k", Command::Ask(Ask::Get(b"k".into()))),
            ("  get   k  ", Command::Ask(Ask::Get(b"k".into()))),
            ("delete k", Command::Ask(Ask::Delete(b"k".into()))),
            ("connect 127.0.0.1 5153", Command::Connect("127.0.0.1:5153".into())),
            ("connect localhost:1", Command::Connect("localhost:1".into())),
            ("disconnect", Command::Disconnect),
            ("keyrange", Command::Ask(Ask::Keyrange)),
            ("KeyRange_Read", Command::Ask(Ask::KeyrangeRead)),
            ("info", Command::Ask(Ask::Info)),
            (r#"backup "/var/a b""#, Command::Ask(Ask::Backup("/var/a b".into()))),
            ("logLevel DEBUG", Command::LogLevel(LevelFilter::Debug)),
            ("loglevel all", Command::LogLevel(LevelFilter::Trace)),
            ("help", Command::Help(None)),
            ("help PUT", Command::Help(help::topic(b"put"))),
            ("quit", Command::Quit),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(Some(command)), "{line}");
        }
    }

    #[test]
    fn blank_lines_and_comments_are_nothing() {
        for line in ["", "  ", "# put k v", "  # x"] {
            assert_eq!(parse(line.as_bytes()), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn wrong_words_are_answered_with_the_usage() {
        for line in [
            "put",
            "put ",
            "get",
            "get a b",
            "delete",
            "connect",
            "connect a b c",
            "connect a x",
            "connect a 70000",
            "connect a",
            "info now",
            "logLevel",
            "logLevel loud",
            "cluster",
            "cluster grow",
            "cluster join",
            "quit now",
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(matches!(error, CommandError::Usage(_)), "{line}: {error:?}");
            assert!(error.to_string().starts_with("usage: "), "{line}: {error}");
        }
    }

    #[test]
    fn unknown_commands_and_broken_quotes_say_what_and_where() {
        let message = |line: &str| parse(line.as_bytes()).unwrap_err().to_string();
        assert_eq!(message("gte k"), "there is no command \"gte\"; `help` lists those there are");
        assert!(message("help gte").starts_with("there is no command \"gte\""));
        assert!(message(r#"put k "abc"#).starts_with("column 7: the quotation mark"));
        assert!(message(r#"  get "a\q""#).starts_with("column 9: unknown escape"));
        assert!(message(r#"get "a"b"#).starts_with("column 8: text after"));
    }
}
