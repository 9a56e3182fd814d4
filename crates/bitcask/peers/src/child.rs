//! Runs in processes of their own: a fresh heap and no other engine's threads for every measurement.

use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;

/// Runs this program with `args` and returns what it [answers](answer).
pub(crate) fn ask<T: DeserializeOwned>(args: &[String]) -> Result<T> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(args).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`{}` ended with {}", args.join(" "), output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Prints the answer for the process that asked.
pub(crate) fn answer(answer: &impl Serialize) -> Result<()> {
    Ok(serde_json::to_writer(std::io::stdout(), answer)?)
}
