//! Habits of code that no lint knows: how often it may give up, and what a test must not rely on.
//!
//! * Shipped code gives up (`unwrap`, `expect`) at most once in 2,000 lines.
//! * A test's name is a sentence: at least [`NAME_WORD_COUNT_MIN`] words.
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
    let code = source.test_code();
    let mut complaints = Vec::new();
    for at in 0..code.len() {
        let is_test = code[at].is("#") && texts(&code[at + 1..], 3) == ["[", "test", "]"];
        let Some(name) = is_test.then(|| name_after(&code[at..])).flatten() else { continue };
        if name.text.split('_').filter(|word| !word.is_empty()).count() < NAME_WORD_COUNT_MIN {
            let place = format!("{}:{}", source.path, name.line);
            complaints.push(format!("{place}: `{}` is not a sentence", name.text));
        }
    }
    complaints
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
