//! `weir auth`: keys for the keys file.

use anyhow::Context;
use clap::{Args, Subcommand};

use super::cli::say;
use crate::access::Role;
use crate::access::keys::NewKey;

/// What was typed after `weir auth`.
#[derive(Debug, Args)]
pub(super) struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    /// Make an API key: prints it once, and the entry for the keys file, which holds only its hash
    NewKey(NewKeyArgs),
}

#[derive(Debug, Args)]
struct NewKeyArgs {
    /// What it may do: reader, publisher, promoter or admin
    #[arg(long)]
    role: Role,
    /// A model, or a pattern such as 'fraud-*'; once for each; all models without it
    #[arg(long = "models", value_name = "PATTERN")]
    models: Vec<String>,
    /// Who will hold it, as the log names them; the id without it
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Its name in the keys file; random without it
    #[arg(long)]
    id: Option<String>,
    /// When it ends, for example 2027-01-01T00:00:00Z; never without it
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
}

/// Runs the command.
pub(super) fn auth(args: AuthArgs) -> anyhow::Result<()> {
    let AuthCommand::NewKey(args) = args.command;
    let key = NewKey {
        id: args.id,
        subject: args.subject,
        role: args.role,
        models: args.models,
        not_after: args.not_after,
    };
    let (key, entry) = key.make().context("no key was made")?;
    say(&format!("# The key, shown this once; the server keeps only its hash.\n{key}\n\n"));
    say(&format!("# For the keys file (auth.keys_file):\n{entry}"));
    Ok(())
}
