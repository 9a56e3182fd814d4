//! Commands from a pipe: one a line, each answered with one line, without prompt or colours.
//!
//! An answer that a person would see as a table is written as the line the server sent it in; only `help` keeps its
//! lines. Errors are answers too, and begin with `error: `. Answers are written out before the next command is
//! waited for, so that a program at both ends of the pipes can hold a conversation.

use std::io::{self, BufReader, Read, Write};

use crate::answer::Answer;
use crate::command::{self, Command};
use crate::lines::{self, LINE_LEN_MAX, Line};
use crate::session::Session;
use crate::status::Status;

/// Runs the commands that `input` holds; returns the worst outcome.
pub(crate) fn run(
    mut session: Session,
    input: &mut BufReader<impl Read>,
    output: &mut impl Write,
) -> io::Result<Status> {
    let mut worst = Status::Done;
    match converse(&mut session, input, output, &mut worst) {
        // Nobody reads on, which says nothing of what was done.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(worst),
        Err(error) => Err(error),
        Ok(()) => Ok(worst),
    }
}

fn converse(
    session: &mut Session,
    input: &mut BufReader<impl Read>,
    output: &mut impl Write,
    worst: &mut Status,
) -> io::Result<()> {
    let mut line = Vec::new();
    while let Some(found) = lines::read(input, &mut line, &mut 0)? {
        let answer = match command::parse(&line) {
            _ if found == Line::TooLong => {
                let message = format!("the line is longer than {LINE_LEN_MAX} bytes");
                Answer::failed(Status::Usage, message)
            }
            Ok(None) => continue,
            Ok(Some(Command::Quit)) => break,
            Ok(Some(command)) => session.run(command),
            Err(error) => Answer::failed(Status::Usage, error.to_string()),
        };
        *worst = answer.status.max(*worst);
        write_answer(output, &answer)?;
        if !input.buffer().contains(&b'\n') {
            output.flush()?;
        }
    }
    output.flush()
}

fn write_answer(output: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let start = if answer.is_error { "error: " } else { "" };
    match &answer.short {
        Some(short) => writeln!(output, "{start}{short}"),
        None => writeln!(output, "{start}{}", answer.lines.join("\n")),
    }
}
