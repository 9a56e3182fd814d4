//! The workspace's source files, and which parts of them are tests.
//!
//! Code is *shipped* unless it is a test: a file below one of [`TEST_FOLDERS`], a file whose module is declared
//! under `#[cfg(test)]`, or an item under `#[test]` or `#[cfg(test)]`. Files are found by walking the folders
//! that hold packages, so a file needs no entry anywhere to be looked at.

use crate::lex::{Kind, Token, lex, past_matching};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders in which nothing is shipped; `peers` holds what measures other people's programs beside ours.
const TEST_FOLDERS: [&str; 4] = ["tests", "benches", "examples", "peers"];
/// Words that begin an item; whatever else follows an attribute is a field, a variant or a statement.
const ITEM_WORDS: [&str; 14] = [
    "fn",
    "mod",
    "struct",
    "enum",
    "trait",
    "impl",
    "use",
    "const",
    "static",
    "type",
    "union",
    "macro_rules",
    "extern",
    "async",
];

/// One file as text, with its place in the workspace.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path from the top of the workspace, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
    /// Whether nothing in it is shipped.
    pub(crate) is_test: bool,
}

impl Source {
    /// A file for the checks' own tests.
    pub(crate) fn planted(path: &str, text: &str) -> Self {
        let is_test = is_test_path(path) || lex_says_test(text);
        Self { path: path.to_owned(), text: text.to_owned(), is_test }
    }

    /// Returns its tokens with a mark on those that belong to a test.
    pub(crate) fn tokens(&self) -> Vec<(Token<'_>, bool)> {
        let tokens = lex(&self.text);
        let mut marks = vec![self.is_test; tokens.len()];
        let mut at = 0;
        while at < tokens.len() {
            let Some(end) = test_item_end(&tokens, at) else {
                at += 1;
                continue;
            };
            marks[at..end].fill(true);
            at = end;
        }
        tokens.into_iter().zip(marks).collect()
    }

    /// Returns its shipped tokens, comments left out.
    pub(crate) fn shipped_code(&self) -> Vec<Token<'_>> {
        let tokens = self.tokens().into_iter();
        tokens.filter(|(token, is_test)| !is_test && !token.is_comment()).map(|(t, _)| t).collect()
    }

    /// Returns its test tokens, comments left out.
    pub(crate) fn test_code(&self) -> Vec<Token<'_>> {
        let tokens = self.tokens().into_iter();
        tokens.filter(|(token, is_test)| *is_test && !token.is_comment()).map(|(t, _)| t).collect()
    }
}

/// Reads every Rust file of the workspace at `top`.
pub(crate) fn read_workspace(top: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["crates", "bin", "tests"] {
        find(&top.join(folder), "rs", &mut paths);
    }
    let mut sources: Vec<_> = paths.iter().map(|path| read(top, path)).collect();
    mark_declared_tests(&mut sources);
    sources
}

/// Adds the files below `folder` that end in `.extension`, build products left out.
pub(crate) fn find(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            find(&path, extension, found);
        } else if path.is_file() && path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn read(top: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let inside = path.strip_prefix(top).unwrap();
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    Source::planted(&parts.join("/"), &text)
}

fn is_test_path(path: &str) -> bool {
    path.split('/').rev().skip(1).any(|part| TEST_FOLDERS.contains(&part))
}

/// Whether the file opens with `#![cfg(test)]`.
fn lex_says_test(text: &str) -> bool {
    let tokens: Vec<_> = lex(text).into_iter().filter(|t| !t.is_comment()).collect();
    let is_inner = |at: usize| tokens[at].is("#") && tokens.get(at + 1).is_some_and(|t| t.is("!"));
    let mut at = 0;
    while at < tokens.len() && is_inner(at) {
        let end = past_matching(&tokens, at + 2);
        if is_test_attribute(&tokens[at + 2..end]) {
            return true;
        }
        at = end;
    }
    false
}

/// Whether `#[…]`, given from its bracket on, says that what follows is only for tests.
fn is_test_attribute(attribute: &[Token]) -> bool {
    let words: Vec<_> = attribute.iter().filter(|t| t.kind == Kind::Word).map(|t| t.text).collect();
    match words.first() {
        Some(&"test") => true,
        Some(&"cfg") => words.contains(&"test") && !words.contains(&"not"),
        _ => false,
    }
}

/// If a test item begins at `at`, returns the index past its end.
fn test_item_end(tokens: &[Token], at: usize) -> Option<usize> {
    let is_attribute =
        |at: usize| tokens[at].is("#") && tokens.get(at + 1).is_some_and(|t| t.is("["));
    if !is_attribute(at) {
        return None;
    }
    let mut end = past_matching(tokens, at + 1);
    let mut is_test = is_test_attribute(&tokens[at + 1..end]);
    while end < tokens.len() && (is_attribute(end) || tokens[end].is_comment()) {
        let next = if tokens[end].is_comment() { end + 1 } else { past_matching(tokens, end + 1) };
        is_test |= is_test_attribute(&tokens[end..next]);
        end = next;
    }
    is_test.then(|| item_end(tokens, end))
}

/// Returns the index past the item, field or statement that begins at `at`.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let words = tokens[at..].iter().take_while(|t| t.kind == Kind::Word || t.is("(") || t.is(")"));
    let is_item = words.into_iter().any(|t| ITEM_WORDS.contains(&t.text));
    while at < tokens.len() {
        match tokens[at].text {
            "{" => return past_matching(tokens, at),
            "(" | "[" => at = past_matching(tokens, at),
            "}" => return at,
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Marks the files that `#[cfg(test)] mod name;` brings in, and those below them.
fn mark_declared_tests(sources: &mut [Source]) {
    let mut stems = BTreeSet::new();
    for source in sources.iter() {
        let code = source.test_code();
        for at in 0..code.len().saturating_sub(2) {
            if code[at].is("mod") && code[at + 1].kind == Kind::Word && code[at + 2].is(";") {
                let named = named_path(&source.path, &code[..at]);
                let usual = || format!("{}/{}", module_folder(&source.path), code[at + 1].text);
                stems.insert(named.unwrap_or_else(usual));
            }
        }
    }
    for source in sources {
        let stem = source.path.trim_end_matches(".rs");
        source.is_test |= stems.iter().any(|test| is_at_or_below(stem, test));
    }
}

fn is_at_or_below(stem: &str, module: &str) -> bool {
    stem.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the path without `.rs` that `#[path = "…"]`, if `before` ends in it, gives a module of `path`.
fn named_path(path: &str, before: &[Token]) -> Option<String> {
    let [.., word, equals, name, close] = before else { return None };
    let (folder, _) = path.rsplit_once('/')?;
    let is_named = word.is("path") && equals.is("=") && close.is("]");
    is_named.then(|| format!("{folder}/{}", name.text.trim_matches('"').trim_end_matches(".rs")))
}

/// Returns the folder in which the modules that `path` declares live.
fn module_folder(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped_words(text: &str) -> Vec<String> {
        let source = Source::planted("crates/x/src/lib.rs", text);
        let code = source.shipped_code();
        code.iter().filter(|t| t.kind == Kind::Word).map(|t| t.text.to_owned()).collect()
    }

    #[test]
    fn what_is_under_a_test_attribute_is_not_shipped() {
        let text = "fn a() {} #[cfg(test)] mod t { fn b() {} } #[test] #[ignore] fn c() { x(); } \
                    #[cfg(all(test, unix))] use d::{e, f}; struct G { #[cfg(test)] h: I, j: K } \
                    #[allow(dead_code)] /* l */ #[cfg(test)] const M: N = [0; 2]; fn z() {}";
        assert_eq!(shipped_words(text), ["fn", "a", "struct", "G", "j", "K", "fn", "z"]);
    }

    #[test]
    fn what_is_left_out_of_tests_is_shipped() {
        assert_eq!(shipped_words("#[cfg(not(test))] fn a() {}").last().unwrap(), "a");
        assert_eq!(shipped_words("#[cfg_attr(test, derive(B))] fn a() {}").last().unwrap(), "a");
    }

    #[test]
    fn a_module_declared_for_tests_takes_its_files_along() {
        let mut sources = vec![
            Source::planted("crates/x/src/disk.rs", "#[cfg(test)] mod sim; mod real;"),
            Source::planted(
                "crates/x/src/outer.rs",
                "#[cfg(test)] #[path = \"outer_tests.rs\"] mod tests;",
            ),
            Source::planted("crates/x/src/outer_tests.rs", ""),
            Source::planted("crates/x/src/disk/sim.rs", ""),
            Source::planted("crates/x/src/disk/sim/image.rs", ""),
            Source::planted("crates/x/src/disk/simple.rs", ""),
            Source::planted("crates/x/src/disk/real.rs", ""),
            Source::planted("crates/x/src/inner.rs", "//! Text.\n#![cfg(test)]\nfn f() {}"),
        ];
        mark_declared_tests(&mut sources);
        let marks: Vec<_> = sources.iter().map(|s| s.is_test).collect();
        assert_eq!(marks, [false, false, true, true, true, false, false, true]);
    }

    #[test]
    fn files_below_a_tests_folder_are_tests() {
        for path in ["tests/main.rs", "bin/kvserver/tests/cli.rs", "crates/x/benches/b.rs"] {
            assert!(is_test_path(path), "{path}");
        }
        assert!(!is_test_path("crates/x/src/tests_of_faith.rs"));
    }
}
