//! The commands on a registry. A file a command: what is typed, which plan it is, and how the answer is shown.
//!
//! What may be done and why not is decided by `registry::ops`; nothing here knows a rule.

mod annotate;
mod approve;
mod change;
mod common;
mod delete;
mod deploy;
mod deployment;
pub(super) mod exit;
mod log;
mod show;
mod wait;

use std::process::ExitCode;

use clap::Subcommand;

pub(super) use self::common::Environment;

/// A command on a registry.
#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Serve a version: give it all of a deployment's traffic
    Deploy(deploy::DeployArgs),
    /// Split a deployment's traffic between versions
    Traffic(deploy::TrafficArgs),
    /// Serve what was served before
    Rollback(deploy::RollbackArgs),
    /// End a deployment
    Undeploy(deploy::UndeployArgs),
    /// List, show, clone or compare deployments
    #[command(subcommand)]
    Deployment(deployment::DeploymentCommand),
    /// Point names at versions
    Alias(annotate::AliasArgs),
    /// Set and remove tags of a model or version
    Tag(annotate::TagArgs),
    /// Set the description of a model or version, and metrics and properties of a version
    Describe(annotate::DescribeArgs),
    /// Set the profile that a version's traffic is compared with
    Baseline(annotate::BaselineArgs),
    /// Delete a version or model that nobody uses
    Delete(delete::DeleteArgs),
    /// Take a deletion back
    Undelete(delete::DeleteArgs),
    /// Say whether a second person approves what is served
    Policy(approve::PolicyArgs),
    /// Approve, withdraw or list what waits for a second person
    Approve(approve::ApproveArgs),
    /// List the models
    Models(show::ModelsArgs),
    /// Show a model or version
    Show(show::ShowArgs),
    /// Show what happened to a model, newest first
    Log(log::LogArgs),
}

impl RegistryCommand {
    /// Runs the command.
    pub(super) fn run(self, environment: &Environment) -> ExitCode {
        match self {
            RegistryCommand::Deploy(args) => args.run(environment),
            RegistryCommand::Traffic(args) => args.run(environment),
            RegistryCommand::Rollback(args) => args.run(environment),
            RegistryCommand::Undeploy(args) => args.run(environment),
            RegistryCommand::Deployment(command) => command.run(environment),
            RegistryCommand::Alias(args) => args.run(environment),
            RegistryCommand::Tag(args) => args.run(environment),
            RegistryCommand::Describe(args) => args.run(environment),
            RegistryCommand::Baseline(args) => args.run(environment),
            RegistryCommand::Delete(args) => args.delete(environment),
            RegistryCommand::Undelete(args) => args.undelete(environment),
            RegistryCommand::Policy(args) => args.run(environment),
            RegistryCommand::Approve(args) => args.run(environment),
            RegistryCommand::Models(args) => args.run(environment),
            RegistryCommand::Show(args) => args.run(environment),
            RegistryCommand::Log(args) => args.run(environment),
        }
    }
}
