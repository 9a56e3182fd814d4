//! `cluster …`: what operators see of a cluster and ask of its coordinator, the ECS.
//!
//! The ECS is found by asking any server where it is, or named with `--ecs`. Its answers are one line of JSON each, which `--json`
//! passes on as it came; otherwise [`status`], [`plan`] and [`ring`] make tables of it, and [`watch()`] shows the first again
//! and again.

mod members;
mod plan;
mod ring;
mod status;
mod table;
mod watch;

use clap::{Args, Parser, Subcommand};
use client::{Client, Config, Coordinator, Error};
use serde::de::DeserializeOwned;

use crate::answer::{Answer, explain};
use crate::args::parse_server;
use crate::session::Session;
use crate::status::Status;

pub(crate) use watch::run as watch;

/// What is asked of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct ClusterArgs {
    /// The coordinator (ECS) to ask [default: the one that the servers name].
    #[arg(long, value_name = "IP:PORT", value_parser = parse_server, global = true)]
    ecs: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// A command of operators.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Show servers, shares, states, moves, and whether all copies are there.
    Status {
        /// As one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show how one server sees the others, by gossip: what can be seen while the ECS is away.
    Members {
        /// As one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the arcs of the ring and their owners.
    Ring {
        /// As one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what would move, without a command or by one.
    Plan {
        /// As one line of JSON.
        #[arg(long)]
        json: bool,
        /// The command to plan: join, leave or rebalance; none for what happens by itself.
        #[arg(value_name = "COMMAND", value_parser = ["join", "leave", "rebalance"])]
        wish: Option<String>,
        /// The server that would join or leave.
        #[arg(required_if_eq_any = [("wish", "join"), ("wish", "leave")])]
        server: Option<String>,
        /// With rebalance: what shares are of.
        #[arg(long, value_name = "WHAT", value_parser = ["bytes", "ops"])]
        by: Option<String>,
    },
    /// Give a server its share of the ring.
    Join {
        /// Its id, the beginning of it, or its ip:port.
        server: String,
    },
    /// Take a server off the ring; its data goes to the others first.
    Leave {
        /// Its id, the beginning of it, or its ip:port.
        server: String,
    },
    /// Make all shares level.
    Rebalance {
        /// What shares are of: stored bytes, or operations [default: bytes]
        #[arg(long, value_name = "WHAT", value_parser = ["bytes", "ops"])]
        by: Option<String>,
    },
    /// Show the status until Ctrl-C or q.
    Watch,
}

/// The words of the prompt, read like those of the command line.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Typed {
    #[command(flatten)]
    args: ClusterArgs,
}

/// Reads the words behind `cluster` at the prompt; none if they make no command.
pub(crate) fn parse(words: &[String]) -> Option<ClusterArgs> {
    Typed::try_parse_from(words).ok().map(|typed| typed.args)
}

/// Carries out one command.
pub(crate) fn answer(args: &ClusterArgs, session: &mut Session) -> Answer {
    if let Verb::Members { json } = args.verb {
        return members(json, session);
    }
    let mut coordinator = match find(args, session) {
        Ok(coordinator) => coordinator,
        Err(answer) => return answer,
    };
    match &args.verb {
        // Watching is not answered once: see `watch`.
        Verb::Status { json: false } | Verb::Watch => {
            match coordinator.ask("ping") {
                // Nobody else knows of moves and shares, but who lives can be seen without it.
                Err(error @ Error::Interrupted { .. }) => Answer::refused(&error),
                Err(error) if args.ecs.is_none() => without_ecs(&error, session),
                _ => show(&mut coordinator, "status", status::lines),
            }
        }
        Verb::Members { .. } => unreachable!("answered above"),
        Verb::Ring { json: false } => show(&mut coordinator, "ring", ring::lines),
        Verb::Status { json: true } => raw(&mut coordinator, "status"),
        Verb::Ring { json: true } => raw(&mut coordinator, "ring"),
        Verb::Plan { json, wish, server, by } => {
            let words = [wish.as_deref(), server.as_deref(), by.as_deref()];
            let words = ["plan"].into_iter().chain(words.into_iter().flatten());
            let line = words.collect::<Vec<_>>().join(" ");
            if *json { raw(&mut coordinator, &line) } else { planned(&mut coordinator, &line) }
        }
        Verb::Join { server } => {
            let done = "joins the ring; `cluster watch` shows how its copies are made";
            order(&mut coordinator, &format!("join {server}"), done)
        }
        Verb::Leave { server } => {
            let done =
                "leaves the ring; it may be stopped when `cluster status` shows no slots of it";
            order(&mut coordinator, &format!("leave {server}"), done)
        }
        Verb::Rebalance { by } => {
            let done = "shares become level; `cluster watch` shows how";
            let words = ["rebalance"].into_iter().chain(by.as_deref());
            order(&mut coordinator, &words.collect::<Vec<_>>().join(" "), done)
        }
    }
}

/// Asks a server how it sees the others.
fn members(json: bool, session: &mut Session) -> Answer {
    match seen_by_one(session) {
        Ok((_, text)) if json => Answer::done(plain(&text)),
        Ok((by, text)) => match serde_json::from_str::<Vec<members::Member>>(&text) {
            Ok(seen) => Answer::table(members::lines(&by, &seen), Some(plain(&text))),
            Err(error) => {
                let message = format!("{by} answered with other JSON than expected: {error}");
                Answer::failed(Status::Refused, message)
            }
        },
        Err(answer) => answer,
    }
}

/// Returns a server's address, and how it sees the others, as JSON.
fn seen_by_one(session: &mut Session) -> Result<(String, String), Answer> {
    let config = session.config().clone();
    let client = session.client()?;
    let by = client.connect().map_err(|error| Answer::refused(&error))?.to_owned();
    let mut server = Coordinator::new(by.clone(), config);
    let text = ask(&mut server, "members")?;
    Ok((by, text))
}

/// Shows what can be seen without the ECS, which cannot be reached.
fn without_ecs(error: &Error, session: &mut Session) -> Answer {
    let Ok((by, text)) = seen_by_one(session) else { return unreachable_ecs(error) };
    let Ok(seen) = serde_json::from_str::<Vec<members::Member>>(&text) else {
        return unreachable_ecs(error);
    };
    let lines = members::lines(&by, &seen).join("\n");
    let message = format!("{error}; reads and writes need no ECS and go on\n\n{lines}");
    Answer::failed(Status::Refused, message)
}

/// Returns the ECS: the one named, or the one that a server knows.
fn find(args: &ClusterArgs, session: &mut Session) -> Result<Coordinator, Answer> {
    let config = session.config().clone();
    if let Some(address) = &args.ecs {
        return Ok(Coordinator::new(address.clone(), config));
    }
    let address =
        address_of(session.client()?).map_err(|why| Answer::failed(Status::Refused, why))?;
    Ok(Coordinator::new(address, config))
}

/// Asks the servers where the ECS is.
fn address_of(client: &mut Client) -> Result<String, String> {
    client.ecs().map_err(|error| match error {
        Error::Rejected { server, .. } => {
            format!("{server} is a server by itself, without a cluster; `kvserver -b ECS` starts one that is part of one")
        }
        other => explain(&other),
    })
}

/// Asks the ECS, and returns what follows `<verb>_success`; or why there is nothing.
fn ask(coordinator: &mut Coordinator, line: &str) -> Result<String, Answer> {
    let verb = line.split(' ').next().unwrap_or_default();
    let reply = coordinator.ask(line).map_err(|error| match error {
        Error::Interrupted { .. } if matches!(verb, "join" | "leave" | "rebalance") => {
            Answer::unknown(&error, "`cluster status` shows whether it did")
        }
        Error::Interrupted { .. } => Answer::refused(&error),
        other => unreachable_ecs(&other),
    })?;
    let rest = reply.strip_prefix(verb).unwrap_or_default();
    if let Some(found) = rest.strip_prefix("_success") {
        return Ok(found.trim_start().to_owned());
    }
    let why = rest.strip_prefix("_error ").or_else(|| reply.strip_prefix("error "));
    let why = why.unwrap_or("its answer makes no sense here; is it an ECS?");
    Err(Answer::failed(Status::Refused, format!("{}: {}", coordinator.address(), plain(why))))
}

fn unreachable_ecs(error: &Error) -> Answer {
    let message = format!("{error}; reads and writes need no ECS and go on");
    Answer::failed(Status::Refused, message)
}

/// Asks for JSON of a type.
fn told<T: DeserializeOwned>(coordinator: &mut Coordinator, line: &str) -> Result<T, Answer> {
    let text = ask(coordinator, line)?;
    read(coordinator, &text)
}

/// Reads JSON of a type.
fn read<T: DeserializeOwned>(coordinator: &Coordinator, text: &str) -> Result<T, Answer> {
    serde_json::from_str(text).map_err(|error| {
        let message =
            format!("{} answered with other JSON than expected: {error}", coordinator.address());
        Answer::failed(Status::Refused, message)
    })
}

/// Answers with a table; where an answer is one line, with the JSON itself.
fn show<T: DeserializeOwned>(
    coordinator: &mut Coordinator,
    line: &str,
    lines: impl FnOnce(&T) -> Vec<String>,
) -> Answer {
    let text = ask(coordinator, line);
    let shown = text.and_then(|text| {
        let value = read(coordinator, &text)?;
        Ok(Answer::table(lines(&value), Some(plain(&text))))
    });
    shown.unwrap_or_else(|answer| answer)
}

/// Answers with a plan, in which servers are called by the addresses that the status gives.
fn planned(coordinator: &mut Coordinator, line: &str) -> Answer {
    match told(coordinator, "status") {
        Ok(status) => show(coordinator, line, |plan| plan::lines(plan, &status)),
        Err(answer) => answer,
    }
}

fn raw(coordinator: &mut Coordinator, line: &str) -> Answer {
    match ask(coordinator, line) {
        Ok(json) => Answer::done(plain(&json)),
        Err(answer) => answer,
    }
}

/// Gives an order; `done` says what happens now.
fn order(coordinator: &mut Coordinator, line: &str, done: &str) -> Answer {
    match ask(coordinator, line) {
        Ok(server) if server.is_empty() => Answer::done(done),
        Ok(server) => Answer::done(format!("{} {done}", plain(&server))),
        Err(answer) => answer,
    }
}

/// Returns text from elsewhere as a terminal may be given it.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Returns the settings with which a watcher asks: a person waits for less than a command does.
fn watch_config(config: &Config) -> Config {
    Config { timeout: config.timeout.min(watch::PERIOD * 4), ..config.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Option<Verb> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map(|args| args.verb)
    }

    fn plan(json: bool, wish: Option<&str>, server: Option<&str>, by: Option<&str>) -> Verb {
        let [wish, server, by] = [wish, server, by].map(|word| word.map(str::to_owned));
        Verb::Plan { json, wish, server, by }
    }

    #[test]
    fn the_words_of_the_prompt_are_those_of_the_command_line() {
        for (line, verb) in [
            ("status", Verb::Status { json: false }),
            ("status --json", Verb::Status { json: true }),
            ("ring", Verb::Ring { json: false }),
            ("members --json", Verb::Members { json: true }),
            ("plan", plan(false, None, None, None)),
            ("plan join ab12 --json", plan(true, Some("join"), Some("ab12"), None)),
            ("join 127.0.0.1:5", Verb::Join { server: "127.0.0.1:5".into() }),
            ("leave ab", Verb::Leave { server: "ab".into() }),
            ("plan rebalance --by ops", plan(false, Some("rebalance"), None, Some("ops"))),
            ("rebalance", Verb::Rebalance { by: None }),
            ("rebalance --by ops", Verb::Rebalance { by: Some("ops".into()) }),
            ("watch --ecs 127.0.0.1:9", Verb::Watch),
        ] {
            assert_eq!(typed(line), Some(verb), "{line}");
        }
        for line in [
            "",
            "join",
            "leave",
            "plan grow",
            "plan join",
            "status now",
            "help",
            "rebalance x",
            "rebalance --by keys",
        ] {
            assert_eq!(typed(line), None, "{line}");
        }
    }
}
