//! Progress bars on standard error, for a person who waits; hidden when that is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The bar of something whose length in bytes is known.
const KNOWN: &str = "{msg} [{bar:24}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";

/// The bar of something whose end is not known.
const OPEN: &str = "{msg} {spinner} {bytes}  {bytes_per_sec}";

/// The bar of something that is counted in records.
const RECORDS: &str = "{msg} [{bar:30}] {human_pos}/{human_len} records  {eta} left";

/// The sign of something whose progress cannot be seen.
const WAIT: &str = "{msg} {spinner} {elapsed}";

/// How often that sign moves.
const TICK: Duration = Duration::from_millis(100);

/// A progress bar; it is cleared away when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Returns a bar of `len` bytes, or of an unknown number of them.
    pub(crate) fn bytes(what: &'static str, len: Option<u64>) -> Self {
        let bar = len.map_or_else(ProgressBar::no_length, ProgressBar::new);
        Self::styled(bar, what, if len.is_some() { KNOWN } else { OPEN })
    }

    /// Returns a bar of about `count` records.
    pub(crate) fn records(what: &'static str, count: u64) -> Self {
        Self::styled(ProgressBar::new(count), what, RECORDS)
    }

    /// Returns a sign that something goes on.
    pub(crate) fn wait(what: &'static str) -> Self {
        let progress = Self::styled(ProgressBar::no_length(), what, WAIT);
        progress.0.enable_steady_tick(TICK);
        progress
    }

    fn styled(bar: ProgressBar, what: &'static str, template: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self(bar)
    }

    /// Shows that `done` of the whole are done.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Corrects the length of the whole.
    pub(crate) fn set_len(&self, len: u64) {
        if self.0.length() != Some(len) {
            self.0.set_length(len);
        }
    }

    /// Lets `write` write to the terminal without mixing its lines with the bar.
    pub(crate) fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        self.0.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
