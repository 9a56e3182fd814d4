//! The command line: flags of its own, and those that cargo's test programs are given.

use std::path::PathBuf;

use clap::Parser;

use crate::fault::Kind;

/// Kills, pauses, cuts off and starves a cluster of real processes under load, and judges what its clients saw.
#[derive(Clone, Debug, Parser)]
#[command(name = "faults")]
pub(crate) struct Args {
    /// Decides which faults come when [default: another one each time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How long clients work under faults, in all
    #[arg(long)]
    pub(crate) minutes: Option<f64>,
    /// Servers, 3 to 5: three at least stay on the ring
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(3..=5))]
    pub(crate) servers: u8,
    /// Client threads
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) clients: u32,
    /// Operations a second that the clients ask for together at most
    #[arg(long, default_value_t = 6000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) rate: u32,
    /// Only these faults, by name
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Kind>,
    /// No joins, leaves and rebalances
    #[arg(long)]
    pub(crate) still: bool,
    /// The ECS makes the ring grow and shrink by itself in each round, not just in one of four
    #[arg(long, conflicts_with = "still")]
    pub(crate) elastic: bool,
    /// One fault at a time
    #[arg(long)]
    pub(crate) alone: bool,
    /// Keep logs and histories below target/tmp also of a run that finds nothing
    #[arg(long)]
    pub(crate) keep: bool,
    /// Set by the program itself, inside its namespaces: the folder with the binaries
    #[arg(long, hide = true)]
    pub(crate) inside: Option<PathBuf>,
    /// As cargo's test programs have it: run what takes minutes
    #[arg(long)]
    ignored: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(long, hide = true)]
    test_threads: Option<String>,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(hide = true)]
    names: Vec<String>,
}

/// Reads the command line; ends the program if it is wrong, or asks for help.
pub(crate) fn read() -> Args {
    Args::parse()
}

impl Args {
    /// Returns whether it is meant: other packages' test programs are run by the same command as this one.
    pub(crate) fn is_asked(&self) -> bool {
        let is_own = self.seed.is_some() || self.minutes.is_some() || !self.only.is_empty();
        let is_named =
            self.names.is_empty() || self.names.iter().any(|name| "faults".contains(name.as_str()));
        let is_heavy = (self.ignored || self.include_ignored) && is_named;
        !self.list && (is_heavy || is_own || self.is_inside())
    }

    /// Returns whether the namespaces are there already.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.is_some()
    }
}
