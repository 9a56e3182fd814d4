//! The command that starts a server: a line that is cut into words here, and run without a shell.
//!
//! Blanks part words; what stands between `'…'` or `"…"` belongs together, and nothing in it is special. The first
//! word is the program, searched on the `PATH` if it has no slash. Then, in each word:
//!
//! | placeholder | becomes |
//! |---|---|
//! | `{ecs}` | the ECS's address, `ip:port`; by loopback where it listens everywhere |
//! | `{n}` | the process' number, from 1 |
//! | `{dir}` | the folder of that number, an absolute path; kept from start to start |
//!
//! Words are cut first, so what a placeholder becomes never makes a word more, whatever blanks or quotes the folder's name
//! has. `$`, `;`, `|`, `*` and backslashes are letters like any other; whoever wants a shell names one: `sh -c '…'`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Placeholders.
const PLACEHOLDERS: [&str; 3] = ["{ecs}", "{n}", "{dir}"];

/// A command with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    program: String,
    words: Vec<String>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = words(text)?.into_iter();
        let program = words.next().filter(|word| !word.is_empty());
        let program = program.ok_or("expected a command".to_owned())?;
        let template = Self { program, words: words.collect() };
        let unknown = unknown(&template.program)
            .or_else(|| template.words.iter().find_map(|word| unknown(word)));
        if let Some(unknown) = unknown {
            let known = PLACEHOLDERS.join(", ");
            return Err(format!("unknown placeholder {unknown}; there are {known}"));
        }
        Ok(template)
    }

    /// Returns why the program can probably not be run.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.program.contains('{') {
            return Ok(());
        }
        let is_program = |path: &Path| {
            path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let is_there = match self.program.contains('/') {
            true => is_program(Path::new(&self.program)),
            false => {
                std::env::split_paths(&folders).any(|dir| is_program(&dir.join(&self.program)))
            }
        };
        is_there.then_some(()).ok_or_else(|| format!("there is no program {}", self.program))
    }

    /// Returns the command for one process.
    pub(crate) fn command(&self, number: u16, ecs: SocketAddr, dir: &str) -> Command {
        let filled = |word: &String| filled(word, &ecs.to_string(), &number.to_string(), dir);
        let mut command = Command::new(filled(&self.program));
        command.args(self.words.iter().map(filled));
        command
    }

    /// Returns the program as it was written.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }
}

/// Cuts a line into words.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in text.chars() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(letter),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, None) if letter.is_whitespace() => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    match quote {
        Some(open) => Err(format!("a {open} has no end")),
        None => Ok(words),
    }
}

/// Returns the first thing in a word that looks like a placeholder and is none.
fn unknown(word: &str) -> Option<String> {
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
    let names = word.split('{').skip(1).filter_map(|from| Some(from.split_once('}')?.0));
    let mut found = names.filter(is_name).map(|name| format!("{{{name}}}"));
    found.find(|found| !PLACEHOLDERS.contains(&found.as_str()))
}

/// Puts values in the place of placeholders, in one pass: a value is not looked into again.
fn filled(word: &str, ecs: &str, number: &str, dir: &str) -> String {
    let (mut out, mut rest) = (String::new(), word);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let values = PLACEHOLDERS.into_iter().zip([ecs, number, dir]);
        let mut found = values.filter_map(|(name, value)| Some((value, from.strip_prefix(name)?)));
        let found = found.next();
        let (value, after) = found.unwrap_or(("{", from.get(1..).unwrap_or_default()));
        out.push_str(value);
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let template = Template::parse(text)?;
        let command = template.command(3, "127.0.0.1:5152".parse().unwrap(), "/a b/{n}/'3");
        let words = [command.get_program()].into_iter().chain(command.get_args());
        Ok(words.map(|word| word.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn a_template_is_cut_into_words_before_anything_is_put_in() {
        for (text, expected) in [
            ("kvserver -b {ecs}", &["kvserver", "-b", "127.0.0.1:5152"][..]),
            (" x\t--dir  {dir}/data ", &["x", "--dir", "/a b/{n}/'3/data"]),
            ("x '' 'a  b'c\"d 'e\"", &["x", "", "a  bcd 'e"]),
            (
                "sh -c 'exec x {n} $1; y' - {dir}",
                &["sh", "-c", "exec x 3 $1; y", "-", "/a b/{n}/'3"],
            ),
            ("x-{n} ${HOME} {} {A} } { {n", &["x-3", "${HOME}", "{}", "{A}", "}", "{", "{n"]),
            ("x {n}{n}{{n}", &["x", "33{3"]),
        ] {
            assert_eq!(shown(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_makes_no_command_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "expected a command"),
            ("  ", "expected a command"),
            ("'' x", "expected a command"),
            ("x 'y", "a ' has no end"),
            ("x \"y", "a \" has no end"),
            ("x {port}", "unknown placeholder {port}; there are {ecs}, {n}, {dir}"),
            ("x{a}", "unknown placeholder {a}; there are {ecs}, {n}, {dir}"),
            ("x {n}{{who}", "unknown placeholder {who}; there are {ecs}, {n}, {dir}"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_before_it_is_wanted() {
        let check = |text| Template::parse(text).unwrap().check();
        assert_eq!(check("sh -c x"), Ok(()));
        assert_eq!(check("/bin/sh"), Ok(()));
        assert_eq!(check("{dir}/run"), Ok(()), "nobody knows yet");
        for text in ["no-such-program x", "/bin", "/dev/null"] {
            assert!(check(text).unwrap_err().starts_with("there is no program"), "{text}");
        }
    }
}
