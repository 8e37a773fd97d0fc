//! The commands on a registry. A file a command: what is typed, which plan it is, and how the answer is shown.
//!
//! What may be done and why not is decided by `registry::ops` and `control::register`; nothing here knows a rule.

mod annotate;
mod approve;
mod audit;
pub(super) mod change;
pub(super) mod common;
mod delete;
mod deploy;
mod deployment;
mod events;
pub(super) mod exit;
mod export;
mod fsck;
mod gc;
mod keys;
mod lineage;
mod log;
pub(super) mod program;
mod pull;
mod register;
mod search;
mod show;
mod wait;
mod webhook;

use std::process::ExitCode;

use clap::Subcommand;

/// A command on a registry.
#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Register a model's files as a new version
    Register(Box<register::RegisterArgs>),
    /// Write a version's files to a folder, verified
    Pull(pull::PullArgs),
    /// Write a version in the form of another tool
    Export(export::ExportArgs),
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
    /// Find versions and models
    Search(search::SearchArgs),
    /// List the models
    Models(show::ModelsArgs),
    /// Show a model or version
    Show(show::ShowArgs),
    /// Show what happened to a model, newest first
    Log(log::LogArgs),
    /// Show events, send them again, deliver them
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Send events to URLs
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Say what served when, who put it there and why; prove the logs
    Audit(audit::AuditArgs),
    /// Show where a version comes from and what became of it
    Lineage(lineage::LineageArgs),
    /// Check that everything that the logs name is there and right
    Fsck(fsck::FsckArgs),
    /// Delete files that nobody needs any more
    Gc(gc::GcArgs),
    /// Say whose signatures count
    #[command(subcommand)]
    Keys(keys::KeysCommand),
}

impl RegistryCommand {
    /// Runs the command.
    pub(super) fn run(self) -> ExitCode {
        match self {
            RegistryCommand::Register(args) => args.run(),
            RegistryCommand::Pull(args) => args.run(),
            RegistryCommand::Export(args) => args.run(),
            RegistryCommand::Deploy(args) => args.run(),
            RegistryCommand::Traffic(args) => args.run(),
            RegistryCommand::Rollback(args) => args.run(),
            RegistryCommand::Undeploy(args) => args.run(),
            RegistryCommand::Deployment(command) => command.run(),
            RegistryCommand::Alias(args) => args.run(),
            RegistryCommand::Tag(args) => args.run(),
            RegistryCommand::Describe(args) => args.run(),
            RegistryCommand::Baseline(args) => args.run(),
            RegistryCommand::Delete(args) => args.delete(),
            RegistryCommand::Undelete(args) => args.undelete(),
            RegistryCommand::Policy(args) => args.run(),
            RegistryCommand::Approve(args) => args.run(),
            RegistryCommand::Search(args) => args.run(),
            RegistryCommand::Models(args) => args.run(),
            RegistryCommand::Show(args) => args.run(),
            RegistryCommand::Log(args) => args.run(),
            RegistryCommand::Events(command) => command.run(),
            RegistryCommand::Webhook(command) => command.run(),
            RegistryCommand::Audit(args) => args.run(),
            RegistryCommand::Lineage(args) => args.run(),
            RegistryCommand::Fsck(args) => args.run(),
            RegistryCommand::Gc(args) => args.run(),
            RegistryCommand::Keys(command) => command.run(),
        }
    }
}
