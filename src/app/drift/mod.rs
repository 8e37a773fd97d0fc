//! The commands on data: `weir drift` compares two tables, `weir profile-data` makes a baseline of one.
//!
//! What drift is, is decided by `drift::decide`; how a report looks, by `drift::render`. Here files are opened, columns are
//! found for features, and what was left out is told.

mod add;
mod columns;
mod compare;
mod compat;
mod profile;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

/// A command on data.
#[derive(Debug, Subcommand)]
pub(super) enum DriftCommand {
    /// Compare data with a baseline or with other data, and say which features have drifted
    Drift(compare::DriftArgs),
    /// Make a baseline of data: a profile that traffic and other data are compared with
    ProfileData(Box<profile::ProfileArgs>),
}

impl DriftCommand {
    /// Runs the command.
    pub(super) fn run(self) -> ExitCode {
        match self {
            DriftCommand::Drift(args) => args.run(),
            DriftCommand::ProfileData(args) => args.run(),
        }
    }
}
