//! Lines into replies, for clients of the native dialect.

use std::borrow::Cow;

use super::{InfoPair, NOT_FOUND, Reply, SCAN_END, read_condition_failed};
use crate::escape::{Place, Refusal, unescape};
use crate::request::{offset_in, split_token};
use crate::{Error, Fault};

impl<'a> Reply<'a> {
    /// Returns the reply that `line`, a line of the native dialect without its end, is.
    ///
    /// What the native dialect does not show (the value that was put, the ranges of
    /// `server_not_responsible`) comes out empty. Lengths are not limited here: the line's is, and
    /// nothing grows when it is unescaped.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if it is no reply.
    #[inline]
    pub fn parse(line: &'a [u8]) -> Result<Self, Error<'a>> {
        let (word, rest) = split_token(line);
        Fields { line, rest }.reply(word)
    }
}

/// The fields of a line that were not taken yet.
struct Fields<'a> {
    line: &'a [u8],
    /// What follows the space behind the last field taken; `None` at the line's end.
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn reply(mut self, word: &[u8]) -> Result<Reply<'a>, Error<'a>> {
        let none = Cow::Borrowed(&[][..]);
        let reply = match word {
            b"get_success" => Reply::GetSuccess { key: self.key()?, value: self.value()? },
            b"put_success" => Reply::PutSuccess { key: self.key()?, value: none },
            b"put_update" => Reply::PutUpdate { key: self.key()?, value: none },
            b"put_error" => {
                let (key, reason) = (self.key()?, self.reason()?);
                match read_condition_failed(&reason) {
                    Some(found) => Reply::ConditionFailed { key, found },
                    None => Reply::PutError { key, reason },
                }
            }
            b"put_unknown" => Reply::PutUnknown { key: self.key()?, reason: self.reason()? },
            b"get_error" => match (self.key()?, self.reason()?) {
                (key, reason) if reason == NOT_FOUND => Reply::GetNotFound { key },
                (key, reason) => Reply::GetError { key, reason },
            },
            b"delete_success" => Reply::DeleteSuccess { key: self.key()?, value: none },
            b"delete_error" => match (self.key()?, self.reason()?) {
                (key, reason) if reason == NOT_FOUND => Reply::DeleteNotFound { key },
                (key, reason) => Reply::DeleteError { key, reason },
            },
            b"delete_unknown" => Reply::DeleteUnknown { key: self.key()?, reason: self.reason()? },
            b"keyrange_success" => Reply::Keyrange { ranges: self.reason()? },
            b"keyrange_read_success" => Reply::KeyrangeRead { ranges: self.reason()? },
            b"server_not_responsible" => Reply::NotResponsible { ranges: Cow::Borrowed("") },
            b"server_write_lock" => Reply::WriteLock,
            b"server_stopped" => Reply::Stopped,
            b"error" => Reply::Error { what: self.reason()? },
            b"info_success" => Reply::Info { pairs: self.pairs()? },
            b"scan_item" => Reply::ScanItem { key: self.key()?, value: self.value()? },
            b"scan_success" => {
                let next = self.text()?;
                let next = (next != SCAN_END).then_some(next);
                Reply::ScanSuccess { next, count: self.number()? }
            }
            b"scan_error" => Reply::ScanError { cursor: self.text()?, reason: self.reason()? },
            b"backup_success" => Reply::BackupSuccess {
                path: self.key()?,
                file_count: self.number()?,
                len: self.number()?,
            },
            b"backup_error" => Reply::BackupError { path: self.key()?, reason: self.reason()? },
            b"read_success" => Reply::ReadSuccess {
                key: self.key()?,
                version: self.number()?,
                value: self.value()?,
            },
            b"read_error" => match (self.key()?, self.reason()?) {
                (key, reason) if reason == NOT_FOUND => Reply::ReadNotFound { key },
                (key, reason) => Reply::ReadError { key, reason },
            },
            b"forget_success" => Reply::Forgotten,
            b"ecs_success" => Reply::EcsSuccess { address: self.text()? },
            b"ecs_error" => Reply::EcsError { reason: self.reason()? },
            b"pong" => Reply::Pong,
            _ => {
                let fault = if self.line.is_empty() { Fault::Empty } else { Fault::UnknownVerb };
                return Err(Error::Malformed { fault, column: 1 });
            }
        };
        self.end()?;
        Ok(reply)
    }

    /// Takes the next token.
    fn token(&mut self, fault: Fault) -> Result<&'a [u8], Error<'a>> {
        let Some(rest) = self.rest else {
            return Err(Error::Malformed { fault, column: self.line.len() + 1 });
        };
        let (token, rest) = split_token(rest);
        if token.is_empty() {
            return Err(self.malformed(fault, token));
        }
        self.rest = rest;
        Ok(token)
    }

    fn key(&mut self) -> Result<Cow<'a, [u8]>, Error<'a>> {
        let token = self.token(Fault::MissingKey)?;
        self.unescape(token, Place::Key)
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Error<'a>> {
        self.token(Fault::MissingArgument).map(String::from_utf8_lossy)
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, Error<'a>> {
        let token = self.token(Fault::MissingArgument)?;
        let number = std::str::from_utf8(token).ok().and_then(|token| token.parse().ok());
        number.ok_or_else(|| self.malformed(Fault::BadNumber, token))
    }

    /// Takes the rest of the line as a value, which may be empty but not missing.
    fn value(&mut self) -> Result<Cow<'a, [u8]>, Error<'a>> {
        match self.rest.take() {
            Some(text) => self.unescape(text, Place::Value),
            None => {
                Err(Error::Malformed { fault: Fault::MissingArgument, column: self.line.len() + 1 })
            }
        }
    }

    /// Takes the rest of the line as plain text.
    fn reason(&mut self) -> Result<Cow<'a, str>, Error<'a>> {
        Ok(String::from_utf8_lossy(self.rest.take().unwrap_or_default()))
    }

    fn pairs(&mut self) -> Result<Vec<InfoPair<'a>>, Error<'a>> {
        let mut pairs = Vec::new();
        while self.rest.is_some() {
            pairs.push((self.text()?, self.text()?));
        }
        Ok(pairs)
    }

    fn unescape(&self, text: &'a [u8], place: Place) -> Result<Cow<'a, [u8]>, Error<'a>> {
        unescape(text, place, usize::MAX).map_err(|refusal| match refusal {
            Refusal::BadEscape(offset) | Refusal::TooLong(offset) => {
                self.malformed(Fault::BadEscape, text.get(offset..).unwrap_or_default())
            }
        })
    }

    fn end(&self) -> Result<(), Error<'a>> {
        match self.rest {
            None => Ok(()),
            Some(rest) => Err(self.malformed(Fault::TrailingText, rest)),
        }
    }

    fn malformed(&self, fault: Fault, at: &[u8]) -> Error<'a> {
        Error::Malformed { fault, column: offset_in(self.line, at) + 1 }
    }
}
