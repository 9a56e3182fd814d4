//! What comments must not be: notes to self, banners, and code that was switched off.
//!
//! Documentation (`///`, `//!`) may draw lines and show code; it is only looked through for notes to self.
//! Whether a comment is code is guessed from how its lines end and begin, on the safe side: prose is never
//! taken for code because of one word, some code may be taken for prose.

use crate::lex::{Kind, Token, lex};
use crate::source::Source;

/// Words that say that something was left undone.
const LEFTOVER_WORDS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];
/// Macros that say the same to the compiler.
const LEFTOVER_MACROS: [&str; 3] = ["dbg", "todo", "unimplemented"];
/// Characters that banners are drawn with.
const BANNER_MARKS: [char; 7] = ['-', '=', '*', '#', '~', '_', '/'];
/// How many such characters in a row, at the start of a comment, are a banner.
const BANNER_LEN: usize = 3;
/// What a line of code that stands in a comment tends to begin with.
const CODE_BEGINNINGS: [&str; 10] =
    ["let ", "use ", "pub ", "fn ", "mod ", "return ", "#[", "assert", "self.", "}"];

/// Complains of each leftover in `source`.
pub(crate) fn leftovers(source: &Source) -> Vec<String> {
    let tokens = lex(&source.text);
    let mut complaints = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if let Some(what) = complaint(token, tokens.get(index + 1)) {
            complaints.push(format!("{}:{}: {what}", source.path, token.line));
        }
    }
    complaints
}

fn complaint(token: &Token, next: Option<&Token>) -> Option<String> {
    match token.kind {
        Kind::Word => {
            let is_macro = LEFTOVER_MACROS.contains(&token.text);
            let is_called = next.is_some_and(|next| next.is("!"));
            (is_macro && is_called).then(|| format!("`{}!` is left over", token.text))
        }
        Kind::Doc => leftover_word(token.text),
        Kind::Comment => leftover_word(token.text).or_else(|| drawn_or_code(token.text)),
        _ => None,
    }
}

fn leftover_word(comment: &str) -> Option<String> {
    let mut words = comment.split(|c: char| !c.is_alphanumeric() && c != '_');
    words
        .find(|word| LEFTOVER_WORDS.contains(word))
        .map(|word| format!("`{word}`: do it, or say in the document what is left out and why"))
}

fn drawn_or_code(comment: &str) -> Option<String> {
    let body = comment.get(2..).unwrap_or_default().trim();
    if is_banner(body) {
        return Some("a banner: a module is the way to part things".to_owned());
    }
    is_code(body).then(|| format!("code that is switched off: `{body}`"))
}

fn is_banner(body: &str) -> bool {
    BANNER_MARKS.iter().any(|&mark| body.chars().take_while(|&c| c == mark).count() >= BANNER_LEN)
}

/// Whether a comment's line ends as code does, and looks like it besides.
fn is_code(body: &str) -> bool {
    let ends_as_code = body.ends_with([';', '{']) || matches!(body, "}" | "})" | "},");
    let begins_as_code = CODE_BEGINNINGS.iter().any(|beginning| body.starts_with(beginning));
    let is_call = body.ends_with(");") && !body.contains(' ');
    let is_assignment = body.ends_with(';') && body.contains(" = ");
    ends_as_code && (begins_as_code || is_call || is_assignment) || body.starts_with("#[")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        leftovers(&Source::planted("crates/x/src/lib.rs", text)).len()
    }

    #[test]
    fn notes_to_self_are_found_in_comments_and_documents() {
        let planted = [
            "// TODO: later",
            "//! FIXME",
            "/* XXX */",
            "fn f() { dbg!(1); }",
            "fn f() { todo!() }",
            "#[cfg(test)] mod t { fn f() { unimplemented!() } }",
        ];
        for text in planted {
            assert_eq!(found(text), 1, "{text:?}");
        }
    }

    #[test]
    fn the_same_letters_elsewhere_are_no_leftovers() {
        let text = "// TODOS and xxx\nconst A: &str = \"TODO dbg!()\"; fn todo() { dbg() }";
        assert_eq!(found(text), 0);
    }

    #[test]
    fn banners_are_found_and_pictures_in_documents_are_not() {
        for text in ["// --------", "//////////", "// === Parsing ===", "/*****\n * a\n */"] {
            assert_eq!(found(text), 1, "{text:?}");
        }
        for text in ["//! ------+-----", "/// | a | b |\n/// |---|---|", "// -- or a dash", "// a"]
        {
            assert_eq!(found(text), 0, "{text:?}");
        }
    }

    #[test]
    fn code_that_is_switched_off_is_found_and_prose_is_not() {
        let code = ["// let a = 1;", "// return x;", "// }", "//foo(bar);", "// a.b = c;"];
        for text in code.into_iter().chain(["// #[test]", "// pub fn a() {"]) {
            assert_eq!(found(text), 1, "{text:?}");
        }
        let prose = [
            "// A lock is held here; see below.",
            "// first the record, then the commit point;",
            "// let the caller decide",
            "// the peer may have called sync();",
            "// {header, body}",
        ];
        for text in prose {
            assert_eq!(found(text), 0, "{text:?}");
        }
    }
}
