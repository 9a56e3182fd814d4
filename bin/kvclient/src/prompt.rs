//! The prompt: line editing, history, completion and hints around a [`Session`].
//!
//! | key | does |
//! |---|---|
//! | Tab | completes a command, and the words of `help`, `logLevel` and `cluster` |
//! | arrow up, Ctrl-R | bring back earlier lines |
//! | Ctrl-C | drops the line being typed; gives up the request that waits, and lines pasted behind it |
//! | Ctrl-D | leaves |
//!
//! Several lines that are pasted at once are run one after the other, and lines typed while a command runs wait for
//! their turn.
//!
//! The history is kept in `$XDG_STATE_HOME/ringcask/history`, by default `~/.local/state/ringcask/history`, at most
//! [`HISTORY_COUNT_MAX`] lines, readable by its owner only. A prompt without a history is better than none: that it
//! cannot be read or written is not an error.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use crate::answer::Answer;
use crate::cluster::{self, Verb};
use crate::command;
use crate::help::{self, TOPICS};
use crate::session::Session;
use crate::signals::Signals;
use crate::status::Status;

/// Lines of history that are kept: some weeks of use.
const HISTORY_COUNT_MAX: usize = 2_000;

/// The levels that `logLevel` completes.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// The words that `cluster` completes.
const CLUSTER_VERBS: &[&str] = &["status", "ring", "plan", "join", "leave", "rebalance", "watch"];

/// Runs the prompt until its user leaves.
pub(crate) fn run(mut session: Session, signals: &Signals) -> io::Result<Status> {
    let is_colored = is_colored();
    let mut editor = editor(is_colored).map_err(to_io_error)?;
    let history = history_path();
    if let Some(path) = &history {
        // No history yet, or none to be had: see above.
        drop(editor.load_history(path));
    }
    let (greeting, _) = signals.during(|| session.greet());
    show(&greeting, is_colored)?;
    loop {
        match editor.readline(&session.prompt()) {
            Ok(typed) => {
                for line in typed.lines() {
                    remember(&mut editor, history.as_ref(), line);
                    match run_line(&mut session, line, is_colored, signals)? {
                        Then::GoOn => {}
                        Then::AskAgain => break,
                        Then::Leave => return Ok(Status::Done),
                    }
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(Status::Done),
            Err(error) => return Err(to_io_error(error)),
        }
    }
}

/// What follows a line.
enum Then {
    /// The next line, if several were pasted.
    GoOn,
    /// The prompt: lines behind this one are not wanted any more.
    AskAgain,
    /// Nothing.
    Leave,
}

fn run_line(
    session: &mut Session,
    line: &str,
    is_colored: bool,
    signals: &Signals,
) -> io::Result<Then> {
    let (answer, was_interrupted) = match command::parse(line.as_bytes()) {
        Ok(None) => return Ok(Then::GoOn),
        Ok(Some(command::Command::Quit)) => return Ok(Then::Leave),
        Ok(Some(command::Command::Cluster(args))) if args.verb == Verb::Watch => {
            cluster::watch(&args, session)?;
            return Ok(Then::GoOn);
        }
        Ok(Some(command)) => signals.during(|| session.run(command)),
        Err(error) => (Answer::failed(Status::Usage, error.to_string()), false),
    };
    show(&answer, is_colored)?;
    Ok(if was_interrupted { Then::AskAgain } else { Then::GoOn })
}

fn show(answer: &Answer, is_colored: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (on, off) = if is_colored { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    for (index, line) in answer.lines.iter().enumerate() {
        if answer.is_error && index == 0 {
            writeln!(out, "{on}error:{off} {line}")?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()
}

/// Returns whether colours are welcome: see no-color.org.
fn is_colored() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !is_refused && !is_dumb
}

fn editor(is_colored: bool) -> rustyline::Result<Editor<LineHelper, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_COUNT_MAX)?
        .history_ignore_dups(true)?
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(LineHelper { has_hints: is_colored }));
    Ok(editor)
}

/// Adds a line to the history, in memory and in the file, so that it outlives a prompt that is killed.
fn remember(editor: &mut Editor<LineHelper, FileHistory>, path: Option<&PathBuf>, line: &str) {
    if !matches!(editor.add_history_entry(line), Ok(true)) {
        return;
    }
    let Some(path) = path else { return };
    if let Some(folder) = path.parent() {
        // If this fails, so does the next line, which may.
        drop(std::fs::create_dir_all(folder));
    }
    drop(editor.append_history(path));
}

/// Returns where the history is kept, if there is a home for it.
fn history_path() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("ringcask/history"))
}

fn to_io_error(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Completes and hints at commands.
struct LineHelper {
    /// Hints are told from what was typed by their colour alone, so there are none without.
    has_hints: bool,
}

impl Helper for LineHelper {}
impl Validator for LineHelper {}

impl Completer for LineHelper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line.get(..pos).unwrap_or(line)))
    }
}

/// Returns where the word being typed begins, and what it may become.
fn complete(typed: &str) -> (usize, Vec<String>) {
    let start = typed.rfind(' ').map_or(0, |space| space.saturating_add(1));
    let (before, word) = typed.split_at_checked(start).unwrap_or(("", typed));
    let names = TOPICS.iter().map(|topic| topic.name);
    let candidates: Vec<&str> = match before.trim() {
        "" | "help" => names.collect(),
        verb if verb.eq_ignore_ascii_case("logLevel") => LEVELS.to_vec(),
        verb if verb.eq_ignore_ascii_case("cluster") => CLUSTER_VERBS.to_vec(),
        _ => Vec::new(),
    };
    let is_match =
        |name: &&str| name.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    // A space behind a command spares its user from typing it, unless it takes no words.
    let finished = |name: &str| {
        let takes_words = before.trim().is_empty()
            && help::topic(name.as_bytes()).is_some_and(|topic| topic.usage != topic.name);
        if takes_words { format!("{name} ") } else { name.to_owned() }
    };
    (start, candidates.into_iter().filter(is_match).map(finished).collect())
}

/// A hint that is shown and never taken over: it names the words, it is not them.
struct Usage(&'static str);

impl Hint for Usage {
    fn display(&self) -> &str {
        self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for LineHelper {
    type Hint = Usage;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Usage> {
        if self.has_hints && pos == line.len() { hint(line).map(Usage) } else { None }
    }
}

/// Returns the words that a verb takes, once the verb and a space are typed.
fn hint(line: &str) -> Option<&'static str> {
    let verb = line.trim_start().strip_suffix(' ')?;
    help::topic(verb.as_bytes())?.usage.split_once(' ').map(|(_, words)| words)
}

impl Highlighter for LineHelper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_complete_at_the_first_word_only() {
        for (typed, start, candidates) in [
            ("pu", 0, &["put "][..]),
            ("K", 0, &["keyrange", "keyrange_read"]),
            ("inf", 0, &["info"]),
            ("help g", 5, &["get"]),
            ("loglevel d", 9, &["debug"]),
            ("cluster re", 8, &["rebalance"]),
            ("get pu", 4, &[]),
            ("put k pu", 6, &[]),
            ("x", 0, &[]),
            ("ö", 0, &[]),
        ] {
            let expected = candidates.iter().map(ToString::to_string).collect();
            assert_eq!(complete(typed), (start, expected), "{typed}");
        }
        assert_eq!(complete("").1.len(), TOPICS.len());
    }

    #[test]
    fn a_hint_names_the_words_that_are_missing() {
        assert_eq!(hint("put "), Some("<key> <value>"));
        assert_eq!(hint("GET "), Some("<key>"));
        for line in ["put", "put k ", "info ", "", " ", "x "] {
            assert_eq!(hint(line), None, "{line:?}");
        }
    }
}
