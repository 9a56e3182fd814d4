//! `export`: every record as a `put` line, ready for `import`, for `nc`, or for a reader's eyes.
//!
//! Records are fetched in pages; the next page's size follows from the last one's, so that a page holds about
//! [`PAGE_LEN_GOAL`] whatever the length of the values. It is no snapshot: a record that is written meanwhile may be met
//! in its old or its new state; one that is not touched is there exactly once. A file gets its name only when
//! it is complete and synced.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use client::{Client, Error, Page};
use protocol::Request;

use crate::answer;
use crate::new_file::NewFile;
use crate::progress::Progress;
use crate::show;
use crate::status::{Status, complain};

/// Bytes that a page should hold: enough that a round trip is small beside it.
const PAGE_LEN_GOAL: usize = 4 * 1024 * 1024;

/// Records of the first page: if all have the longest value, it still fits into memory.
const PAGE_COUNT_FIRST: u32 = 16;

/// Records of any page: as many as a server gives.
const PAGE_COUNT_MAX: u32 = protocol::SCAN_COUNT_MAX;

/// Bytes gathered for one write.
const WRITE_LEN: usize = 1024 * 1024;

/// Why an export ended early.
enum Failure {
    Server(Error),
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Writes every record to the file `path`, or to standard output if it is `-`.
pub(crate) fn run(client: &mut Client, path: &Path) -> io::Result<Status> {
    let is_stdout = path == Path::new("-");
    let result =
        if is_stdout { export(client, io::stdout().lock()) } else { to_file(client, path) };
    let name = if is_stdout { "standard output".into() } else { path.display().to_string() };
    match result {
        Ok(count) => {
            // Standard output may be the export itself.
            drop(writeln!(io::stderr(), "exported {} to {name}", show::count(count, "record")));
            Ok(Status::Done)
        }
        Err(Failure::Server(error)) => {
            complain(&format!("{}; nothing was exported", answer::explain(&error)));
            Ok(Status::Refused)
        }
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
        Err(Failure::Output(error)) => {
            complain(&format!("cannot write {name}: {error}"));
            Ok(Status::Refused)
        }
    }
}

fn to_file(client: &mut Client, path: &Path) -> Result<u64, Failure> {
    let mut file = NewFile::create(path)?;
    let count = export(client, &mut file)?;
    file.finish()?;
    Ok(count)
}

/// Writes every record to `output`; returns how many.
fn export(client: &mut Client, output: impl Write) -> Result<u64, Failure> {
    let mut output = BufWriter::with_capacity(WRITE_LEN, output);
    let progress = Progress::records("exporting", key_count(client)?);
    let (mut line, mut count, mut page_count) = (Vec::new(), 0_u64, PAGE_COUNT_FIRST);
    let mut cursor = None;
    loop {
        let page = client.scan(cursor.as_deref(), page_count)?;
        let mut page_len = 0_usize;
        for (key, value) in &page.entries {
            line.clear();
            let request = Request::Put { key: key.into(), value: value.into() };
            request.encode_into(&mut line);
            output.write_all(&line)?;
            page_len = page_len.saturating_add(line.len());
        }
        count = count.saturating_add(u64::try_from(page.entries.len()).unwrap_or(u64::MAX));
        progress.set(count);
        page_count = next_count(page_count, &page, page_len);
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    output.flush()?;
    Ok(count)
}

/// Returns how many records the next page should have: as many as make the goal at this page's mean length.
fn next_count(count: u32, page: &Page, page_len: usize) -> u32 {
    if page.entries.is_empty() {
        return count;
    }
    let mean_len = page_len.div_ceil(page.entries.len()).max(1);
    let goal = u32::try_from(PAGE_LEN_GOAL.div_ceil(mean_len)).unwrap_or(u32::MAX);
    // Growing step by step: short records may be followed by long ones.
    goal.min(count.saturating_mul(4)).clamp(1, PAGE_COUNT_MAX)
}

/// Returns how many keys the server says it has, for the bar's length.
fn key_count(client: &mut Client) -> Result<u64, Error> {
    let info = client.info()?;
    let keys = info.iter().find(|(name, _)| name == "keys");
    Ok(keys.and_then(|(_, count)| count.parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_step_by_step_to_the_goal_and_shrink_at_once() {
        let page = |count: usize| Page { entries: vec![Default::default(); count], next: None };
        assert_eq!(next_count(16, &page(16), 16 * 100), 64);
        assert_eq!(next_count(10_000, &page(10_000), 10_000 * 10), PAGE_COUNT_MAX);
        assert_eq!(next_count(10_000, &page(100), 100 * PAGE_LEN_GOAL), 1);
        assert_eq!(next_count(64, &page(0), 0), 64);
    }
}
