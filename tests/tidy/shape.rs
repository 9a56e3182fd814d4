//! How long files and functions are, and how they open.
//!
//! | measure | unit | limit |
//! |---|---|---|
//! | a file, its tests included | lines | [`FILE_LINE_COUNT_MAX`], the median [`FILE_LINE_COUNT_MEDIAN`] |
//! | a shipped function, from `fn` to its closing brace | lines | [`FUNCTION_LINE_COUNT_MAX`] |
//! | all shipped functions | lines | median [`FUNCTION_LINE_COUNT_MEDIAN`], p95 [`FUNCTION_LINE_COUNT_P95`] |
//!
//! Blank lines and comments count: they are what a reader has to scroll past.

use crate::lex::{Kind, Token, past_matching};
use crate::source::Source;

/// Lines a file may have.
pub(crate) const FILE_LINE_COUNT_MAX: usize = 700;
/// Lines half of the files must do with.
pub(crate) const FILE_LINE_COUNT_MEDIAN: usize = 250;
/// Lines a shipped function may have.
pub(crate) const FUNCTION_LINE_COUNT_MAX: usize = 70;
/// Lines half of the shipped functions must do with.
pub(crate) const FUNCTION_LINE_COUNT_MEDIAN: usize = 10;
/// Lines 95 of 100 shipped functions must do with.
pub(crate) const FUNCTION_LINE_COUNT_P95: usize = 40;

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// Lines from `fn` to its closing brace.
    pub(crate) line_count: usize,
}

/// Returns the functions with a body in `code`, which is without comments.
pub(crate) fn functions(code: &[Token]) -> Vec<Function> {
    let begins = |at: &usize| {
        code[*at].is("fn") && code.get(at + 1).is_some_and(|name| name.kind == Kind::Word)
    };
    (0..code.len()).filter(begins).filter_map(|at| function(code, at)).collect()
}

fn function(code: &[Token], at: usize) -> Option<Function> {
    let mut open = at;
    while open < code.len() && !code[open].is("{") {
        open = match code[open].text {
            ";" => return None,
            "(" | "[" => past_matching(code, open),
            _ => open + 1,
        };
    }
    let close = code.get(past_matching(code, open) - 1)?;
    let (name, line) = (code[at + 1].text.to_owned(), code[at].line);
    Some(Function { name, line, line_count: close.line - line + 1 })
}

/// Complains of each file and each shipped function that is too long.
pub(crate) fn too_long(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let (path, line_count) = (&source.path, source.text.lines().count());
    if line_count > FILE_LINE_COUNT_MAX {
        complaints.push(format!("{path}: {line_count} lines, at most {FILE_LINE_COUNT_MAX}"));
    }
    for Function { name, line, line_count } in functions(&source.shipped_code()) {
        if line_count > FUNCTION_LINE_COUNT_MAX {
            complaints.push(format!(
                "{path}:{line}: `{name}` has {line_count} lines, at most {FUNCTION_LINE_COUNT_MAX}"
            ));
        }
    }
    complaints
}

/// Complains of a file that does not open by saying what it is.
pub(crate) fn without_head(source: &Source) -> Vec<String> {
    let head = source.text.lines().next().unwrap_or_default();
    let is_said = head.strip_prefix("//! ").is_some_and(|said| !said.trim().is_empty());
    let complaint = format!("{}: does not open with `//!` and what the file is", source.path);
    if is_said { Vec::new() } else { vec![complaint] }
}

/// A measure of all shipped sources: what is measured, what was found, and what it may be.
pub(crate) type Measure = (&'static str, usize, usize);

/// Measures the shipped sources as a whole.
pub(crate) fn measures(sources: &[Source]) -> [Measure; 3] {
    let shipped = || sources.iter().filter(|source| !source.is_test);
    let files: Vec<_> = shipped().map(|source| source.text.lines().count()).collect();
    let functions: Vec<_> = shipped()
        .flat_map(|source| functions(&source.shipped_code()))
        .map(|function| function.line_count)
        .collect();
    [
        ("file length, median", percentile(files, 50), FILE_LINE_COUNT_MEDIAN),
        ("function length, median", percentile(functions.clone(), 50), FUNCTION_LINE_COUNT_MEDIAN),
        ("function length, p95", percentile(functions, 95), FUNCTION_LINE_COUNT_P95),
    ]
}

/// Complains of each measure that is over what it may be.
pub(crate) fn over(measures: [Measure; 3]) -> Vec<String> {
    let over = measures.into_iter().filter(|(_, found, most)| found > most);
    over.map(|(what, found, most)| format!("{what}: {found} lines, at most {most}")).collect()
}

/// Returns the smallest of `counts` that `percent` of them do not exceed; 0 of none.
pub(crate) fn percentile(mut counts: Vec<usize>, percent: usize) -> usize {
    counts.sort_unstable();
    let rank = (counts.len() * percent).div_ceil(100).max(1);
    counts.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(text: &str) -> Source {
        Source::planted("crates/x/src/lib.rs", text)
    }

    fn function_of(line_count: usize) -> String {
        format!("fn long() {{{}}}\n", "\n".repeat(line_count - 1))
    }

    #[test]
    fn a_function_runs_from_its_fn_to_its_closing_brace() {
        let text = "trait A { fn none(&self) -> [u8; 2]; }\n\
                    /// Text.\n#[inline]\npub fn b<T>(t: impl Fn(u8) -> T)\nwhere\n T: X,\n{\n \
                    // }\n fn c() {}\n let d: fn(u8) = '}';\n}\n";
        let found = functions(&shipped(text).shipped_code());
        let found: Vec<_> = found.iter().map(|f| (&*f.name, f.line, f.line_count)).collect();
        assert_eq!(found, [("b", 4, 8), ("c", 9, 1)]);
    }

    #[test]
    fn a_function_at_the_limit_passes_and_one_line_more_does_not() {
        assert!(too_long(&shipped(&function_of(FUNCTION_LINE_COUNT_MAX))).is_empty());
        let complaints = too_long(&shipped(&function_of(FUNCTION_LINE_COUNT_MAX + 1)));
        assert_eq!(complaints, ["crates/x/src/lib.rs:1: `long` has 71 lines, at most 70"]);
        let in_test = format!("#[cfg(test)]\nmod tests {{\n{}}}", function_of(99));
        assert!(too_long(&shipped(&in_test)).is_empty());
    }

    #[test]
    fn a_file_at_the_limit_passes_and_one_line_more_does_not() {
        assert!(too_long(&shipped(&"//! a\n".repeat(FILE_LINE_COUNT_MAX))).is_empty());
        assert_eq!(too_long(&shipped(&"//! a\n".repeat(FILE_LINE_COUNT_MAX + 1))).len(), 1);
    }

    #[test]
    fn a_file_must_open_by_saying_what_it_is() {
        assert!(without_head(&shipped("//! A thing.\n")).is_empty());
        for text in ["", "use a;\n//! b", "// a\n", "//!\n", "//!  \n"] {
            assert_eq!(without_head(&shipped(text)).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn percentiles_are_taken_by_nearest_rank() {
        let counts: Vec<_> = (1..=20).collect();
        assert_eq!(percentile(counts.clone(), 50), 10);
        assert_eq!(percentile(counts, 95), 19);
        assert_eq!(percentile(Vec::new(), 95), 0);
    }

    #[test]
    fn long_functions_everywhere_are_seen_in_the_whole() {
        let short: String = (0..9).map(|_| function_of(10)).collect();
        assert!(over(measures(&[shipped(&short)])).is_empty());
        let median: String = (0..9).map(|_| function_of(11)).collect();
        assert_eq!(over(measures(&[shipped(&median)])).len(), 1);
        let tail = short + &function_of(41);
        assert_eq!(
            over(measures(&[shipped(&tail)])),
            ["function length, p95: 41 lines, at most 40"]
        );
    }
}
