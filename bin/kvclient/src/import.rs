//! `import`: stores every record of a file of `put` lines, as `export` writes it.
//!
//! Lines are sent without waiting for the answer to each. Blank lines are skipped. A line that is no `put`, or that
//! the server refuses, is reported with its number and ends the import, or with `--keep-going` is passed over. A
//! lost connection is made again, until the time-out of the records that wait; a record whose fate is open always
//! ends it. To import a file again is harmless where nobody else has written since: a
//! record is stored under its key, however often.

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use client::{Answer, Client, Error, Outcome, Pipeline};
use protocol::{Dialect, Limits, Request};

use crate::answer;
use crate::lines::{self, LINE_LEN_MAX, Line};
use crate::progress::Progress;
use crate::show;
use crate::status::{Status, complain};

/// Bytes read from the file at once.
const READ_LEN: usize = 1024 * 1024;

/// Stores the records of the file `path`, or of standard input if it is `-`.
pub(crate) fn run(client: &mut Client, path: &Path, keep_going: bool) -> io::Result<Status> {
    let is_stdin = path == Path::new("-");
    let opened = if is_stdin {
        Ok((Box::new(io::stdin().lock()) as Box<dyn BufRead>, None))
    } else {
        open(path)
    };
    let (input, len) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            complain(&format!("cannot read {}: {error}", path.display()));
            return Ok(Status::Refused);
        }
    };
    let pipeline = match client.pipeline() {
        Ok(pipeline) => pipeline,
        Err(error) => {
            complain(&answer::explain(&error));
            return Ok(Status::Refused);
        }
    };
    let mut import = Import {
        pipeline,
        progress: Progress::bytes("importing", len),
        keep_going,
        line_numbers: VecDeque::new(),
        counts: Counts::default(),
        status: Status::Done,
        has_ended: false,
    };
    let read = import.feed(input);
    import.finish(path, read)
}

fn open(path: &Path) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let len = metadata.is_file().then_some(metadata.len());
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((Box::new(BufReader::with_capacity(READ_LEN, file)), len))
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Counts {
    stored: u64,
    refused: u64,
    unknown: u64,
}

/// An import under way.
struct Import<'c> {
    pipeline: Pipeline<'c>,
    progress: Progress,
    keep_going: bool,
    /// The line of each request that waits for its answer.
    line_numbers: VecDeque<u64>,
    counts: Counts,
    status: Status,
    /// Whether no more lines are to be sent.
    has_ended: bool,
}

impl Import<'_> {
    /// Sends the lines of `input` until it ends, or the import does, and takes all answers.
    fn feed(&mut self, mut input: Box<dyn BufRead>) -> io::Result<()> {
        let (mut line, mut taken_len, mut number) = (Vec::new(), 0, 0_u64);
        let mut read = Ok(Some(Line::Whole));
        while !self.has_ended {
            number = number.saturating_add(1);
            read = lines::read(&mut input, &mut line, &mut taken_len);
            match &read {
                Ok(Some(found)) => self.line(number, *found, &line),
                Ok(None) | Err(_) => break,
            }
            self.progress.set(taken_len);
        }
        while !self.line_numbers.is_empty() {
            self.take();
        }
        read.map(drop)
    }

    /// Sends one line, once there is room for it.
    fn line(&mut self, number: u64, found: Line, line: &[u8]) {
        if found == Line::TooLong {
            return self.refused(number, &format!("longer than {LINE_LEN_MAX} bytes"), false);
        }
        if line.trim_ascii().is_empty() {
            return;
        }
        while !self.pipeline.has_room() {
            self.take();
        }
        if self.has_ended {
            return;
        }
        match Request::parse(line, Dialect::Native, &Limits::default()) {
            Ok(Request::Put { key, value }) => match self.pipeline.put(&key, &value) {
                Ok(()) => self.line_numbers.push_back(number),
                Err(error) => self.refused(number, &error, false),
            },
            Ok(_) => self.refused(number, &"not a put with a value", false),
            Err(error) => self.refused(number, &error, false),
        }
    }

    /// Takes the answer to the oldest line under way.
    fn take(&mut self) {
        let number = self.line_numbers.pop_front().unwrap_or_default();
        match self.pipeline.next() {
            Some(Answer::Put(Outcome::Done(_))) => {
                self.counts.stored = self.counts.stored.saturating_add(1);
            }
            Some(Answer::Put(Outcome::Refused(error))) => {
                let is_lost = matches!(error, Error::Broken { .. });
                self.refused(number, &answer::explain(&error), is_lost);
            }
            Some(Answer::Put(Outcome::Unknown(error))) => self.unknown(number, &error),
            Some(Answer::Get(_) | Answer::Delete(_)) | None => {}
        }
    }

    /// Reports a line that was definitely not stored. Of the lines that are refused because the connection `is_lost`,
    /// the first report stands for all.
    fn refused(&mut self, number: u64, what: &dyn Display, is_lost: bool) {
        self.counts.refused = self.counts.refused.saturating_add(1);
        self.status = self.status.max(Status::Refused);
        let is_repeated = is_lost && self.has_ended;
        self.has_ended |= is_lost || !self.keep_going;
        if !is_repeated {
            self.report(number, what);
        }
    }

    /// Reports a line of which nothing is known; of several, the first report stands for all.
    fn unknown(&mut self, number: u64, error: &Error) {
        self.counts.unknown = self.counts.unknown.saturating_add(1);
        let is_first = self.status < Status::Unknown;
        self.status = Status::Unknown;
        self.has_ended |= !matches!(error, Error::Doubt { .. }) || !self.keep_going;
        if is_first {
            self.report(number, error);
        }
    }

    fn report(&self, number: u64, what: &dyn Display) {
        self.progress.aside(|| complain(&format!("line {number}: {what}")));
    }

    /// Says how it went.
    fn finish(self, path: &Path, read: io::Result<()>) -> io::Result<Status> {
        let Self { progress, counts, mut status, has_ended, .. } = self;
        drop(progress);
        let mut summary = format!("stored {}", show::count(counts.stored, "record"));
        if counts.refused > 0 {
            summary += &format!(", {} bad or refused", show::count(counts.refused, "line"));
        }
        if counts.unknown > 0 {
            let count = show::count(counts.unknown, "record");
            summary += &format!(", {count} may or may not be; to import the file again is safe");
        }
        if has_ended {
            summary += "; the rest was not tried";
        }
        if let Err(error) = read {
            complain(&format!("cannot read on in {}: {error}", path.display()));
            status = status.max(Status::Refused);
        }
        if status == Status::Done {
            writeln!(io::stdout(), "{summary}")?;
        } else {
            complain(&summary);
        }
        Ok(status)
    }
}
