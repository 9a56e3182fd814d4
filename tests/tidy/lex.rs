//! Rust source as a row of tokens, well enough to tell code from text.
//!
//! A check that looks for `unwrap` must not stumble over the word in a comment or in a string, and one that
//! matches braces must not count those in `'{'`. That is all this lexer is for: it knows line and block
//! comments (nested), doc comments, strings with and without `r#`, `b` and `c`, characters, lifetimes, words
//! and numbers; whatever remains is a mark of one character. It accepts everything: a file that does not
//! parse is the compiler's to report.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier or keyword.
    Word,
    /// A number, with its suffix.
    Number,
    /// A string literal of any sort, quotes included.
    Text,
    /// A character or byte literal, quotes included.
    Char,
    /// A lifetime or label.
    Lifetime,
    /// One character of punctuation.
    Mark,
    /// A comment for those who read the source.
    Comment,
    /// A comment for those who read the documentation: `///`, `//!`, `/**`, `/*!`.
    Doc,
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub(crate) kind: Kind,
    /// As it stands in the source.
    pub(crate) text: &'a str,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    /// Whether it is this word or mark.
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Mark) && self.text == text
    }

    /// Whether it is a comment of either sort.
    pub(crate) fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::Comment | Kind::Doc)
    }
}

/// Returns the tokens of `source` in order.
pub(crate) fn lex(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    loop {
        let blank = rest.len() - rest.trim_start().len();
        line += newlines(&rest[..blank]);
        rest = &rest[blank..];
        let Some(first) = rest.chars().next() else { return tokens };
        let (kind, len) = measure(rest, first);
        tokens.push(Token { kind, text: &rest[..len], line });
        line += newlines(&rest[..len]);
        rest = &rest[len..];
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|&b| b == b'\n').count()
}

/// Returns the kind and the length in bytes of the token `rest` begins with.
fn measure(rest: &str, first: char) -> (Kind, usize) {
    if rest.starts_with("//") {
        return line_comment(rest);
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(literal) = prefixed_literal(rest) {
        return literal;
    }
    match first {
        '"' => (Kind::Text, quoted(rest, 1, '"')),
        '\'' => char_or_lifetime(rest),
        c if c.is_alphabetic() || c == '_' => (Kind::Word, word_len(rest)),
        c if c.is_ascii_digit() => (Kind::Number, number_len(rest)),
        c => (Kind::Mark, c.len_utf8()),
    }
}

fn line_comment(rest: &str) -> (Kind, usize) {
    let len = rest.find('\n').unwrap_or(rest.len());
    let is_outer = rest.starts_with("///") && !rest.starts_with("////");
    let is_doc = is_outer || rest.starts_with("//!");
    (if is_doc { Kind::Doc } else { Kind::Comment }, len)
}

fn block_comment(rest: &str) -> (Kind, usize) {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    let is_outer =
        rest.starts_with("/**") && !rest.starts_with("/***") && !rest.starts_with("/**/");
    let is_doc = is_outer || rest.starts_with("/*!");
    (if is_doc { Kind::Doc } else { Kind::Comment }, at)
}

/// A literal that begins with letters: `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`, `b'…'`; or a raw word.
fn prefixed_literal(rest: &str) -> Option<(Kind, usize)> {
    let letters_len = rest.bytes().take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
    let (letters, tail) = rest.split_at(letters_len);
    match letters {
        "r" | "br" | "cr" => {
            let hash_count = tail.bytes().take_while(|&b| b == b'#').count();
            let open = letters_len + hash_count;
            if rest[open..].starts_with('"') {
                let close = format!("\"{}", "#".repeat(hash_count));
                let body = &rest[open + 1..];
                let len = body.find(&close).map_or(body.len(), |at| at + close.len());
                return Some((Kind::Text, open + 1 + len));
            }
            let is_raw_word = letters == "r" && hash_count == 1;
            is_raw_word.then(|| (Kind::Word, open + word_len(&rest[open..])))
        }
        "b" | "c" if tail.starts_with('"') => Some((Kind::Text, quoted(rest, 2, '"'))),
        "b" if tail.starts_with('\'') => Some((Kind::Char, quoted(rest, 2, '\''))),
        _ => None,
    }
}

/// Returns the length up to and with the closing quote; `at` is where the body begins.
fn quoted(rest: &str, mut at: usize, quote: char) -> usize {
    let bytes = rest.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if char::from(b) == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn char_or_lifetime(rest: &str) -> (Kind, usize) {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => (Kind::Char, quoted(rest, 1, '\'')),
        _ => (Kind::Lifetime, 1 + word_len(&rest[1..])),
    }
}

fn word_len(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// A number takes its point with it only before a digit, so that `0..9` is two numbers.
fn number_len(rest: &str) -> usize {
    let len = word_len(rest);
    let is_decimal = rest[len..].strip_prefix('.').is_some_and(|r| r.starts_with(digit));
    if is_decimal { len + 1 + word_len(&rest[len + 1..]) } else { len }
}

fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Returns the index just past the bracket that closes the one at `open`, or the end.
pub(crate) fn past_matching(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        lex(source).into_iter().map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn comments_and_strings_hide_what_they_contain() {
        let source = "a // b \"c\n/* d /* e */ f */ \"g // \\\" h\" r#\"i \" j\"# b\"k\" 'l'";
        let words: Vec<_> =
            lex(source).into_iter().filter(|t| t.kind == Kind::Word).map(|t| t.text).collect();
        assert_eq!(words, ["a"]);
    }

    #[test]
    fn quotes_open_characters_or_lifetimes() {
        use Kind::{Char, Lifetime, Mark, Word};
        assert_eq!(
            kinds("'a' '\\'' '{' 'a &'static b'x' r#fn"),
            [
                (Char, "'a'"),
                (Char, "'\\''"),
                (Char, "'{'"),
                (Lifetime, "'a"),
                (Mark, "&"),
                (Lifetime, "'static"),
                (Char, "b'x'"),
                (Word, "r#fn"),
            ]
        );
    }

    #[test]
    fn a_range_is_two_numbers_and_a_decimal_is_one() {
        let numbers: Vec<_> = kinds("0..9 1.5 0x1f_u8 2.max(3)")
            .into_iter()
            .filter(|(kind, _)| *kind == Kind::Number)
            .map(|(_, text)| text)
            .collect();
        assert_eq!(numbers, ["0", "9", "1.5", "0x1f_u8", "2", "3"]);
    }

    #[test]
    fn documentation_is_told_from_comments() {
        let source = "//! a\n/// b\n// c\n//// d\n/** e */ /*! f */ /* g */ /*** h */ /**/";
        let docs: Vec<_> = lex(source).iter().map(|t| t.kind == Kind::Doc).collect();
        assert_eq!(docs, [true, true, false, false, true, true, false, false, false]);
    }

    #[test]
    fn lines_are_counted_through_long_tokens() {
        let lines: Vec<_> = lex("a\n\"b\n\n\" c\n/*\n*/ d").iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 2, 4, 5, 6]);
    }

    #[test]
    fn a_file_cut_off_anywhere_is_still_read() {
        let source = "fn f() { \"é\\n\" 'é' r#\"x\"# b'\\x00' /* y */ // z\n}";
        for len in (0..source.len()).filter(|&len| source.is_char_boundary(len)) {
            let total: usize = lex(&source[..len]).iter().map(|t| t.text.len()).sum();
            assert!(total <= len);
        }
    }
}
