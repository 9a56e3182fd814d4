//! Replies into lines, in each dialect.
//!
//! | | native | toronto | tum |
//! |---|---|---|---|
//! | words | lower case | UPPER case | lower case |
//! | key, value | escaped | as they are | as they are |
//! | put, delete done | key | key and value | key |
//! | not found | `… <key> not found` | `… <key>` | `… <key> not found` |
//! | not responsible | bare | with the list of ranges | bare |
//! | `error` | `error` | `FAILED` | `error` |
//!
//! In the dialects without escapes a value that holds an LF, or ends in a CR, cannot be shown. A
//! `get` of it is answered with an error that says so; where it would only be an echo of what was
//! done, the echo is left out. A line is never broken.

use memchr::{memchr, memchr2};

use super::{InfoPair, Reply};
use crate::escape::{Place, escape_into};
use crate::{Dialect, Verb};

/// What every reply ends in.
const LINE_END: &[u8] = b"\r\n";

/// Why a value is not given in a dialect without escapes.
const CANNOT_SHOW: &str = "the value holds a line end, which this dialect cannot show";

impl Reply<'_> {
    /// Appends this reply as a line of `dialect`, its end included.
    #[inline]
    pub fn encode_into(&self, dialect: Dialect, out: &mut Vec<u8>) {
        let line = &mut Line { dialect, out };
        match self {
            Self::GetSuccess { key, value } => line.get_success(key, value),
            Self::PutSuccess { key, value } => line.word("put_success").token(key).echo(value),
            Self::PutUpdate { key, value } => line.word("put_update").token(key).echo(value),
            Self::PutError { key, reason } => line.word("put_error").token(key).text(reason),
            Self::PutUnknown { key, reason } => line.word("put_unknown").token(key).text(reason),
            Self::GetNotFound { key } => line.word("get_error").token(key).not_found(),
            Self::GetError { key, reason } => line.word("get_error").token(key).text(reason),
            Self::DeleteSuccess { key, value } => {
                line.word("delete_success").token(key).echo(value)
            }
            Self::DeleteNotFound { key } => line.word("delete_error").token(key).not_found(),
            Self::DeleteError { key, reason } => line.word("delete_error").token(key).text(reason),
            Self::DeleteUnknown { key, reason } => {
                line.word("delete_unknown").token(key).text(reason)
            }
            Self::Keyrange { ranges } => line.word("keyrange_success").text(ranges),
            Self::KeyrangeRead { ranges } => line.word("keyrange_read_success").text(ranges),
            Self::NotResponsible { ranges } => line.not_responsible(ranges),
            Self::WriteLock => line.word("server_write_lock"),
            Self::Stopped => line.word("server_stopped"),
            Self::Error { what } => line.word(error_word(dialect)).text(what),
            Self::Info { pairs } => line.info(pairs),
            Self::ScanItem { key, value } => line.word("scan_item").token(key).value(value),
            Self::ScanSuccess { next, count } => {
                let next = next.as_deref().unwrap_or(super::SCAN_END);
                line.word("scan_success").plain_token(next).text(&count.to_string())
            }
            Self::ScanError { cursor, reason } => {
                line.word("scan_error").plain_token(cursor).text(reason)
            }
            Self::BackupSuccess { path, file_count, len } => line
                .word("backup_success")
                .token(path)
                .text(&file_count.to_string())
                .text(&len.to_string()),
            Self::BackupError { path, reason } => {
                line.word("backup_error").token(path).text(reason)
            }
            Self::ReadSuccess { key, version, value } => {
                line.word("read_success").token(key).text(&version.to_string()).value(value)
            }
            Self::ReadNotFound { key } => line.word("read_error").token(key).not_found(),
            Self::ReadError { key, reason } => line.word("read_error").token(key).text(reason),
            Self::ConditionFailed { key, found } => {
                line.word("put_error").token(key).text(&super::condition_failed(*found))
            }
            Self::Forgotten => line.word("forget_success"),
            Self::EcsSuccess { address } => line.word("ecs_success").plain_token(address),
            Self::EcsError { reason } => line.word("ecs_error").text(reason),
            Self::Pong => line.word("pong"),
        };
        out.extend_from_slice(LINE_END);
    }
}

/// Appends the line that says that `verb` was refused for `reason`; `key` is as the client spelled it.
pub(crate) fn encode_refusal(
    dialect: Dialect,
    verb: Verb,
    key: &[u8],
    reason: &str,
    out: &mut Vec<u8>,
) {
    Line { dialect, out }.word(verb.name()).joined("_error").spelled(key).text(reason);
    out.extend_from_slice(LINE_END);
}

/// Returns the word that begins the answer to a line without sense.
const fn error_word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Native | Dialect::Tum => "error",
        Dialect::Toronto => "failed",
    }
}

/// A line at the end of `out` that is being written; its parts put their own spaces before them.
struct Line<'o> {
    dialect: Dialect,
    out: &'o mut Vec<u8>,
}

impl Line<'_> {
    /// Appends a word of the format itself, in the dialect's case.
    fn word(&mut self, word: &'static str) -> &mut Self {
        let begin = self.out.len();
        self.out.extend_from_slice(word.as_bytes());
        if self.dialect == Dialect::Toronto
            && let Some(written) = self.out.get_mut(begin..)
        {
            written.make_ascii_uppercase();
        }
        self
    }

    /// Appends the rest of a word.
    fn joined(&mut self, word: &'static str) -> &mut Self {
        self.word(word)
    }

    /// Appends a key or path.
    fn token(&mut self, token: &[u8]) -> &mut Self {
        self.out.push(b' ');
        if self.dialect.has_escapes() {
            escape_into(token, Place::Key, self.out);
        } else {
            self.on_one_line(token, b'?');
        }
        self
    }

    /// Appends a key as the client spelled it; what a client may leave raw, the writer escapes.
    fn spelled(&mut self, token: &[u8]) -> &mut Self {
        self.out.push(b' ');
        let mut rest = token;
        while let Some(at) = memchr2(b'\r', 0, rest)
            && self.dialect.has_escapes()
        {
            let (plain, special) = rest.split_at(at);
            self.out.extend_from_slice(plain);
            let (special, behind) = special.split_at(1);
            escape_into(special, Place::Key, self.out);
            rest = behind;
        }
        self.on_one_line(rest, b'?');
        self
    }

    /// Appends a value.
    fn value(&mut self, value: &[u8]) -> &mut Self {
        self.out.push(b' ');
        if self.dialect.has_escapes() {
            escape_into(value, Place::Value, self.out);
        } else if is_showable(value) {
            self.out.extend_from_slice(value);
        } else {
            // Items of a scan only, which these dialects do not speak; the line must hold all the same.
            self.on_one_line(value, b'?');
        }
        self
    }

    /// Appends the value that was put or removed, where the dialect shows it and can.
    fn echo(&mut self, value: &[u8]) -> &mut Self {
        if self.dialect == Dialect::Toronto && is_showable(value) {
            return self.value(value);
        }
        self
    }

    fn get_success(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        if self.dialect.has_escapes() || is_showable(value) {
            return self.word("get_success").token(key).value(value);
        }
        self.word("get_error").token(key).text(CANNOT_SHOW)
    }

    fn not_found(&mut self) -> &mut Self {
        match self.dialect {
            Dialect::Native | Dialect::Tum => self.text(super::NOT_FOUND),
            Dialect::Toronto => self,
        }
    }

    fn not_responsible(&mut self, ranges: &str) -> &mut Self {
        match self.dialect {
            Dialect::Native | Dialect::Tum => self.word("server_not_responsible"),
            Dialect::Toronto => self.word("server_not_responsible").text(ranges),
        }
    }

    fn info(&mut self, pairs: &[InfoPair<'_>]) -> &mut Self {
        self.word("info_success");
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            self.plain_token(text);
        }
        self
    }

    /// Appends a token that is not escaped, a cursor or a name, with `_` for what would end it.
    fn plain_token(&mut self, token: &str) -> &mut Self {
        let token = token.replace(|c: char| c.is_whitespace() || c.is_control(), "_");
        self.text(if token.is_empty() { "-" } else { &token })
    }

    /// Appends text that is not escaped: a reason, a number, a list.
    fn text(&mut self, text: &str) -> &mut Self {
        self.out.push(b' ');
        self.on_one_line(text.as_bytes(), b' ');
        self
    }

    /// Appends `bytes` with `instead` for every LF and CR.
    fn on_one_line(&mut self, bytes: &[u8], instead: u8) {
        let begin = self.out.len();
        self.out.extend_from_slice(bytes);
        if memchr2(b'\n', b'\r', bytes).is_some() {
            for byte in self.out.iter_mut().skip(begin).filter(|byte| b"\r\n".contains(byte)) {
                *byte = instead;
            }
        }
    }
}

/// Returns whether `value` can end a line of a dialect without escapes and be read back.
fn is_showable(value: &[u8]) -> bool {
    !value.ends_with(b"\r") && memchr(b'\n', value).is_none()
}
