//! The story of a run: a line for each thing that happened, the last ones of it or all.
//!
//! Lines are made only while the trace is on; a failing seed is run again with it.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use crate::queue::Nanos;

/// Lines kept of a story that is not told whole.
const LINE_COUNT_MAX: usize = 400;

/// The story.
#[derive(Debug)]
pub struct Trace {
    /// Whether lines are made at all.
    pub is_on: bool,
    /// Whether every line is kept.
    pub is_whole: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// Returns a story that nobody reads, or all of it.
    pub fn new(is_whole: bool) -> Self {
        Self { is_on: is_whole, is_whole, lines: VecDeque::new() }
    }

    /// Adds a line.
    pub fn line(&mut self, at: Nanos, what: fmt::Arguments<'_>) {
        if !self.is_on {
            return;
        }
        if !self.is_whole && self.lines.len() >= LINE_COUNT_MAX {
            self.lines.pop_front();
        }
        let mut line = String::new();
        let (seconds, micros) = (at / 1_000_000_000, at / 1_000 % 1_000_000);
        write!(line, "{seconds:3}.{micros:06} s  {what}").expect("a String takes all");
        self.lines.push_back(line);
    }

    /// Returns the lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// Adds a line to the world's story, made only if somebody reads it.
#[macro_export]
macro_rules! tell {
    ($world:expr, $($words:tt)*) => {
        if $world.trace.is_on {
            let now = $world.now;
            $world.trace.line(now, format_args!($($words)*));
        }
    };
}
