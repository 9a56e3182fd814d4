//! Ctrl-C while a request waits: the request is given up, and its outcome told as far as it is known.
//!
//! | when | Ctrl-C |
//! |---|---|
//! | a line is being typed at the prompt | is a key, which the line editor takes |
//! | a request waits | gives the request up; once more, before that is done, ends the program |
//! | otherwise | ends the program, as without this module |
//!
//! A program that is ended by Ctrl-C ends *by the signal*: a shell calls that status 130, and its loop ends too, which it would
//! not if the program came to an end by itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::Interrupt;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

/// Where Ctrl-C goes from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Interrupt,
    /// No request waits.
    is_at_rest: Arc<AtomicBool>,
}

impl Signals {
    /// Has Ctrl-C raise `interrupt` while a request waits.
    pub(crate) fn take(interrupt: Interrupt) -> io::Result<Self> {
        let is_at_rest = Arc::new(AtomicBool::new(true));
        // In this order, so that the first one of a request does not find itself.
        flag::register_conditional_default(SIGINT, Arc::clone(&is_at_rest))?;
        flag::register_conditional_default(SIGINT, interrupt.flag())?;
        flag::register(SIGINT, interrupt.flag())?;
        Ok(Self { interrupt, is_at_rest })
    }

    /// Does what may wait for a server; returns what comes of it, and whether it was interrupted.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> (T, bool) {
        self.is_at_rest.store(false, Ordering::SeqCst);
        let outcome = work();
        self.is_at_rest.store(true, Ordering::SeqCst);
        let was_interrupted = self.interrupt.is_raised();
        self.interrupt.clear();
        (outcome, was_interrupted)
    }
}

/// Ends the program by the signal of Ctrl-C.
pub(crate) fn end_by_interrupt() -> io::Result<()> {
    emulate_default_handler(SIGINT)
}
