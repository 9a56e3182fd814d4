//! What the prompt and a pipe have in common: a connection, and commands that are answered with lines of text.
//!
//! The connection is made when it is first needed. A server that cannot be reached then is reported at once, since a
//! person waits; one that is lost later is tried again until the operation's deadline, by the library.

use std::time::Instant;

use client::{Client, Config};

use crate::answer::Answer;
use crate::cluster;
use crate::command::Command;
use crate::help;
use crate::status::Status;

/// A client with its servers, connected or not.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// Whether commands may connect by themselves: not after `disconnect`.
    may_connect: bool,
}

impl Session {
    /// Returns a session with the first of `servers` that can be reached, once it is needed.
    pub(crate) fn new(servers: Vec<String>, config: Config) -> Self {
        Self { client: Client::new(servers, config), may_connect: true }
    }

    /// Returns the settings.
    pub(crate) fn config(&self) -> &Config {
        self.client.config()
    }

    /// Connects, and says to whom.
    pub(crate) fn greet(&mut self) -> Answer {
        match self.client.connect() {
            Ok(server) => Answer::done(format!("connected to {server}; `help` lists the commands")),
            Err(error) => Answer::refused(&error),
        }
    }

    /// Returns what to show before a line is typed.
    pub(crate) fn prompt(&self) -> String {
        match self.client.server() {
            Some(server) => format!("{server}> "),
            None => "not connected> ".to_owned(),
        }
    }

    /// Carries out one command.
    pub(crate) fn run(&mut self, command: Command<'_>) -> Answer {
        let began_at = Instant::now();
        let answer = self.answer(command);
        log::debug!("took {:.3} ms", began_at.elapsed().as_secs_f64() * 1e3);
        answer
    }

    fn answer(&mut self, command: Command<'_>) -> Answer {
        match command {
            Command::Connect(server) => self.connect(server),
            Command::Disconnect => self.disconnect(),
            Command::LogLevel(level) => {
                log::set_max_level(level);
                Answer::done(format!("log level {}", level.as_str().to_ascii_lowercase()))
            }
            Command::Help(topic) => {
                Answer::table(help::text(topic).lines().map(str::to_owned).collect(), None)
            }
            Command::Quit => Answer::done("bye"),
            Command::Cluster(args) => cluster::answer(&args, self),
            Command::Ask(ask) => match self.client() {
                Ok(client) => ask.answer(client),
                Err(answer) => answer,
            },
        }
    }

    /// Returns the client, connected.
    pub(crate) fn client(&mut self) -> Result<&mut Client, Answer> {
        if !self.may_connect {
            let message = "not connected; `connect <address> <port>` connects";
            return Err(Answer::failed(Status::Refused, message));
        }
        if self.client.server().is_none() {
            self.client.connect().map_err(|error| Answer::refused(&error))?;
        }
        Ok(&mut self.client)
    }

    fn connect(&mut self, server: String) -> Answer {
        self.may_connect = true;
        self.client.set_servers(vec![server]);
        self.greet()
    }

    fn disconnect(&mut self) -> Answer {
        self.may_connect = false;
        match self.client.disconnect() {
            Some(server) => Answer::done(format!("disconnected from {server}")),
            None => Answer::done("was not connected"),
        }
    }
}
