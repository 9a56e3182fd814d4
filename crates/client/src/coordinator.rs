//! A connection to a cluster's coordinator, the ECS, for operators: lines of text out, lines of text in.
//!
//! What the lines say is between the operator and the ECS. Each question has one line, and one line in answer; nothing is
//! asked a second time by itself, except on a connection that the ECS closed while it was idle.

use crate::core::Core;
use crate::{Config, Error};

/// A client of an ECS.
#[derive(Debug)]
pub struct Coordinator {
    core: Core,
}

impl Coordinator {
    /// Returns a client of the ECS at `address` (`<address>:<port>`). Connects when it is first needed.
    #[must_use]
    pub fn new(address: String, config: Config) -> Self {
        Self { core: Core::new(vec![address], config) }
    }

    /// Returns the address of the ECS.
    #[must_use]
    pub fn address(&self) -> &str {
        self.core.router.address(0)
    }

    /// Asks one line, which holds no line end, and returns the line in answer.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if no connection could be made, [`Error::Broken`] or [`Error::Late`] if no answer came: then what
    /// was asked for may have been done.
    pub fn ask(&mut self, line: &str) -> Result<String, Error> {
        let deadline = self.core.deadline(self.core.config.timeout);
        self.core.connect(0, &deadline)?;
        let link = self.core.link(0);
        let Some(mut connection) = link.connection.take() else {
            unreachable!("it was connected above")
        };
        connection.queue(|out| {
            // A line end in it would make two questions of one.
            out.extend(line.bytes().map(|byte| if b"\r\n".contains(&byte) { b' ' } else { byte }));
            out.push(b'\n');
        });
        let answer = match connection.line(&deadline) {
            Ok(line) => String::from_utf8_lossy(line).into_owned(),
            Err(fault) => return Err(self.core.error(0, fault, deadline.limit())),
        };
        self.core.link(0).connection = Some(connection);
        Ok(answer)
    }
}
