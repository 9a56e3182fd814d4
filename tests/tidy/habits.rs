//! Habits of code that no lint knows: how often it may give up, and what a test must not rely on.
//!
//! * Shipped code gives up (`unwrap`, `expect`) at most once in 2,000 lines.
//! * A test's name is a sentence: at least [`NAME_WORD_COUNT_MIN`] words.
//! * Each of the design's numbered rules that hold today ([`RULES`]) ends the name of some test: `…_r8`.
//! * A test waits for a condition, never for a time: `sleep` stands only in functions that poll for something
//!   until a deadline, and these are called `eventually…` or `wait_…`.
//! * A test never binds or connects to a fixed port, for another process may have it. Port 1 may be
//!   named: nobody listens there.

use crate::lex::{Kind, Token, past_matching};
use crate::shape::functions;
use crate::source::Source;

/// Calls that give up, in a thousand times as many shipped lines as this is tenths.
pub(crate) const GIVING_UP_MAX_PER_10_000_LINES: usize = 5;
/// Words in a test's name.
pub(crate) const NAME_WORD_COUNT_MIN: usize = 3;
/// The numbers of the design's rules that hold today: those of the store, and of one server alone.
const RULES: [usize; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 11, 19];
/// What a function that may sleep is called, at its beginning.
const POLLING_NAMES: [&str; 2] = ["eventually", "wait_"];
/// Calls whose arguments are addresses.
const ADDRESS_CALLS: [&str; 3] = ["bind", "connect", "connect_timeout"];
/// Flags whose value is a port, where processes are started: in files that are tests as a whole.
const PORT_FLAGS: [&str; 2] = ["\"--port\"", "\"-p\""];

/// Complains if shipped code gives up too often; names each place.
pub(crate) fn giving_up(sources: &[Source]) -> Vec<String> {
    let shipped = || sources.iter().filter(|source| !source.is_test);
    let places: Vec<_> = shipped().flat_map(places_giving_up).collect();
    let line_count: usize = shipped().map(shipped_line_count).sum();
    let is_too_often = places.len() * 10_000 > GIVING_UP_MAX_PER_10_000_LINES * line_count;
    if is_too_often { places } else { Vec::new() }
}

fn places_giving_up(source: &Source) -> Vec<String> {
    let code = source.shipped_code();
    let is_call = |three: &&[Token]| {
        three[0].is(".") && (three[1].is("unwrap") || three[1].is("expect")) && three[2].is("(")
    };
    let calls = code.windows(3).filter(is_call);
    calls.map(|call| format!("{}:{}: `{}`", source.path, call[1].line, call[1].text)).collect()
}

/// Lines with shipped code on them.
fn shipped_line_count(source: &Source) -> usize {
    let mut lines: Vec<_> = source.shipped_code().iter().map(|token| token.line).collect();
    lines.dedup();
    lines.len()
}

/// Complains of each test whose name is not a sentence.
pub(crate) fn names_that_say_nothing(source: &Source) -> Vec<String> {
    let is_sentence =
        |name: &str| name.split('_').filter(|word| !word.is_empty()).count() >= NAME_WORD_COUNT_MIN;
    let names = test_names(source).into_iter().filter(|(name, _)| !is_sentence(name));
    names
        .map(|(name, line)| format!("{}:{line}: `{name}` is not a sentence", source.path))
        .collect()
}

/// Complains of each numbered rule that no test names.
pub(crate) fn rules_without_a_test(sources: &[Source]) -> Vec<String> {
    let names: Vec<_> = sources.iter().flat_map(test_names).map(|(name, _)| name).collect();
    let is_named = |rule: &usize| names.iter().any(|name| name.ends_with(&format!("_r{rule}")));
    let unnamed = RULES.into_iter().filter(|rule| !is_named(rule));
    unnamed.map(|rule| format!("no test's name ends in `_r{rule}`")).collect()
}

/// Returns the name and the line of each test.
fn test_names(source: &Source) -> Vec<(String, usize)> {
    let code = source.test_code();
    let tests = (0..code.len())
        .filter(|&at| code[at].is("#") && texts(&code[at + 1..], 3) == ["[", "test", "]"]);
    let names = tests.filter_map(|at| name_after(&code[at..]));
    names.map(|name| (name.text.to_owned(), name.line)).collect()
}

fn texts<'a>(code: &[Token<'a>], count: usize) -> Vec<&'a str> {
    code.iter().take(count).map(|token| token.text).collect()
}

fn name_after<'a, 'b>(code: &'b [Token<'a>]) -> Option<&'b Token<'a>> {
    let at = code.iter().position(|token| token.is("fn"))?;
    code.get(at + 1)
}

/// Complains of each `sleep` in a test that is not in a polling helper.
pub(crate) fn sleeping_tests(source: &Source) -> Vec<String> {
    let code = source.test_code();
    let helpers: Vec<_> = functions(&code)
        .into_iter()
        .filter(|f| POLLING_NAMES.iter().any(|name| f.name.starts_with(name)))
        .map(|f| f.line..f.line + f.line_count)
        .collect();
    let sleeps = code.windows(2).filter(|two| two[0].is("sleep") && two[1].is("("));
    sleeps
        .filter(|two| !helpers.iter().any(|lines| lines.contains(&two[0].line)))
        .map(|two| format!("{}:{}: sleeps; wait for a condition instead", source.path, two[0].line))
        .collect()
}

/// Complains of each fixed port that a test binds or connects to.
pub(crate) fn fixed_ports(source: &Source) -> Vec<String> {
    let code = source.test_code();
    let mut complaints = Vec::new();
    for at in 0..code.len().saturating_sub(2) {
        let is_call = ADDRESS_CALLS.contains(&code[at].text) && code[at + 1].is("(");
        let is_flag = source.is_test && PORT_FLAGS.contains(&code[at].text) && code[at + 1].is(",");
        let is_fixed = if is_call {
            has_fixed_address(&code[at + 2..past_matching(&code, at + 1)])
        } else {
            is_flag && is_port(code[at + 2].text.trim_matches('"'))
        };
        if is_fixed {
            complaints.push(format!("{}:{}: a fixed port", source.path, code[at].line));
        }
    }
    complaints
}

/// Whether a call's arguments hold `"host:port"` or `("host", port)` with a port that is not 0 or 1.
fn has_fixed_address(arguments: &[Token]) -> bool {
    let has_joined = arguments.iter().any(|token| {
        let text = token.text.trim_matches('"');
        token.kind == Kind::Text && text.rsplit_once(':').is_some_and(|(_, port)| is_port(port))
    });
    let is_pair = |three: &[Token]| three[1].is(",") && is_port(three[2].text);
    has_joined || arguments.windows(3).any(is_pair)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_file(text: &str) -> Source {
        Source::planted("crates/x/tests/a.rs", text)
    }

    fn shipped(text: &str) -> Source {
        Source::planted("crates/x/src/lib.rs", text)
    }

    #[test]
    fn giving_up_is_counted_against_shipped_lines() {
        let calm = "f();\n".repeat(1_998);
        let once = shipped(&format!("a.unwrap();\n{calm}g.unwrap_or(h);\n"));
        assert!(giving_up(&[once]).is_empty());
        let twice = shipped(&format!("a.unwrap();\n{calm}b.expect(\"c\");\n"));
        assert_eq!(
            giving_up(&[twice]),
            ["crates/x/src/lib.rs:1: `unwrap`", "crates/x/src/lib.rs:2000: `expect`"]
        );
        let hidden =
            "// a.unwrap()\nconst A: &str = \"b.unwrap()\";\n#[test] fn c() { d.unwrap() }";
        assert!(giving_up(&[shipped(hidden), test_file("a.unwrap()")]).is_empty());
    }

    #[test]
    fn comments_and_tests_do_not_water_the_count_down() {
        let padded = format!("a.unwrap();\n{}", "// text\n\n".repeat(2_000));
        assert_eq!(giving_up(&[shipped(&padded)]).len(), 1);
    }

    #[test]
    fn a_name_of_two_words_is_no_sentence() {
        assert_eq!(names_that_say_nothing(&test_file("#[test] fn put_works() {}")).len(), 1);
        assert_eq!(
            names_that_say_nothing(&shipped("#[cfg(test)] mod t { #[test]\nfn a_() {} }")),
            ["crates/x/src/lib.rs:2: `a_` is not a sentence"]
        );
        let fine = "#[test] #[ignore] fn a_put_is_seen() {} fn helper() {}";
        assert!(names_that_say_nothing(&test_file(fine)).is_empty());
    }

    #[test]
    fn a_rule_that_no_test_names_is_found() {
        let naming = |rules: &[usize]| {
            let test = |rule| format!("#[test] fn what_it_says_r{rule}() {{}}\n");
            vec![test_file(&rules.iter().map(test).collect::<String>())]
        };
        assert!(rules_without_a_test(&naming(&RULES)).is_empty());
        assert_eq!(rules_without_a_test(&naming(&RULES[1..])), ["no test's name ends in `_r1`"]);
    }

    #[test]
    fn only_polling_helpers_may_sleep() {
        assert_eq!(sleeping_tests(&test_file("fn a() { thread::sleep(b); }")).len(), 1);
        assert_eq!(sleeping_tests(&test_file("fn a() { sleep(b); }\nfn wait_c() {}")).len(), 1);
        assert!(sleeping_tests(&test_file("fn eventually(x: X) {\n sleep(b);\n}")).is_empty());
        assert!(sleeping_tests(&shipped("fn a() { thread::sleep(b); }")).is_empty());
    }

    #[test]
    fn fixed_ports_are_found_where_they_are_used() {
        let planted = [
            "TcpListener::bind(\"127.0.0.1:5153\")",
            "TcpStream::connect((\"localhost\", 5153))",
            "start(&[\"--port\", \"5153\"])",
            "start(&[\"-p\", 5153])",
        ];
        for text in planted {
            assert_eq!(fixed_ports(&test_file(text)).len(), 1, "{text:?}");
        }
        let fine = [
            "TcpListener::bind(\"127.0.0.1:0\")",
            "TcpStream::connect(\"127.0.0.1:1\")",
            "TcpStream::connect(server.address())",
            "start(&[\"--port\", \"0\"])",
            "start(&[\"--port\", \"70000\"])",
            "assert_eq!(line, \"127.0.0.1:5153\")",
        ];
        for text in fine {
            assert!(fixed_ports(&test_file(text)).is_empty(), "{text:?}");
        }
        let parsed = shipped("#[test] fn a() { parse(&[\"-p\", \"5153\"]) }");
        assert!(fixed_ports(&parsed).is_empty());
    }
}
