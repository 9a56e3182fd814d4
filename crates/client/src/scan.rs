//! Scans: of one server its entries, of a cluster those of one primary after the other.
//!
//! The cursor of a cluster's scan is `<address> <cursor>`: the server that is being read, and its own cursor. Servers are
//! read by rising address; entries of keys that the map gives to another primary are passed over, so that each comes
//! once. A slot that changes its primary meanwhile may be missed or come twice.

use std::time::Duration;

use hashring::Token;
use protocol::Request;

use crate::answer;
use crate::backoff::Backoff;
use crate::core::Core;
use crate::plain::Kind;
use crate::{Client, Error, Page};

impl Client {
    /// Returns a page; see [`Client::scan`].
    pub(crate) fn scan_all(&mut self, cursor: Option<&str>, count: u32) -> Result<Page, Error> {
        let servers = self.primaries()?;
        if servers.len() <= 1 && cursor.is_none_or(|cursor| !cursor.contains(' ')) {
            let request = Request::Scan { cursor: cursor.map(str::as_bytes), count };
            let timeout = self.core.config.timeout;
            let begin = || {
                let mut page = Page::default();
                move |server: &str, reply: &mut protocol::Reply<'_>| {
                    let end = answer::scan(server, &mut page, reply)?;
                    Some(end.map(|()| std::mem::take(&mut page)))
                }
            };
            let attempt = self.core.ask(&request, Kind::Read, timeout, begin);
            return attempt.map_err(|miss| miss.error);
        }
        let (address, cursor) = match cursor.and_then(|cursor| cursor.split_once(' ')) {
            Some((address, cursor)) => (address.to_owned(), Some(cursor)),
            None => (servers.first().map(|(address, _)| address.clone()).unwrap_or_default(), None),
        };
        // A server that has gone since is passed over: its slots are another's.
        let cursor = cursor.filter(|cursor| !cursor.is_empty());
        let Some(index) = servers.iter().position(|(other, _)| *other >= address) else {
            return Ok(Page::default());
        };
        let Some((found, server)) = servers.get(index) else { return Ok(Page::default()) };
        let cursor = cursor.filter(|_| *found == address);
        let mut page = self.core.scan_one(*server, cursor, count)?;
        let next = servers.get(index.saturating_add(1)).map(|(address, _)| address);
        page.next = match page.next {
            Some(cursor) => Some(format!("{found} {cursor}")),
            None => next.map(|address| format!("{address} ")),
        };
        if let Some(map) = self.core.router.map() {
            page.entries.retain(|(key, _)| map.primary(Token::of_key(key)) == Some(*server));
        }
        Ok(page)
    }

    /// Returns the servers that are primary of anything, by rising address.
    fn primaries(&mut self) -> Result<Vec<(String, usize)>, Error> {
        if self.core.router.map().is_none() {
            let ranges = self.keyrange_read()?;
            let home = self.core.home;
            let now = std::time::Instant::now();
            self.core.router.learned(home, &ranges, Duration::ZERO, now);
        }
        let router = &self.core.router;
        let primaries = router.map().map(crate::map::Map::primaries).unwrap_or_default();
        let mut servers: Vec<(String, usize)> = primaries
            .into_iter()
            .map(|server| (router.address(server).to_owned(), server))
            .collect();
        servers.sort();
        Ok(servers)
    }
}

impl Core {
    /// Reads a page of one server.
    fn scan_one(&mut self, server: usize, cursor: Option<&str>, count: u32) -> Result<Page, Error> {
        let request = Request::Scan { cursor: cursor.map(str::as_bytes), count };
        let deadline = self.deadline(self.config.timeout);
        let mut backoff = Backoff::new();
        self.tidy();
        self.stop_learning();
        loop {
            let mut page = Page::default();
            let attempt = self.connect(server, &deadline).and_then(|()| {
                let take = |server: &str, reply: &mut protocol::Reply<'_>| {
                    answer::scan(server, &mut page, reply)
                };
                self.exchange(server, &request, &deadline, take).map_err(|miss| miss.error)
            });
            let error = match attempt {
                Ok(()) => return Ok(page),
                Err(error) => error,
            };
            let pause = backoff.next_pause();
            let has_time =
                deadline.remaining().is_some_and(|left| left > pause + Duration::from_millis(100));
            if !(error.is_retryable() && has_time) {
                return Err(error);
            }
            std::thread::sleep(pause);
        }
    }
}
