//! `weir keys`: who signs revisions.

use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::common::{ChangeArgs, RegistryArgs, block, show};
use super::exit::Failure;
use crate::model::ModelName;
use crate::registry::keys::{KeyChange, KeyRing, accepted, append};
use crate::registry::ops::check::shown;
use crate::registry::sign::{Signer, check_public};
use crate::registry::verify::heads;

/// `weir keys`.
#[derive(Debug, Subcommand)]
pub(in crate::app) enum KeysCommand {
    /// Make a key pair; prints the public key
    New(NewArgs),
    /// Let a key's signatures count; from the first one on, revisions must be signed
    Add(AddArgs),
    /// List the keys
    Ls(LsArgs),
    /// Let a key's signatures count no more, but for what there is
    Revoke(RevokeArgs),
    /// Take revisions as they are, signed or not
    Accept(AcceptArgs),
}

#[derive(Debug, Args)]
pub(in crate::app) struct NewArgs {
    /// Where the private key goes; the file must not be there
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::app) struct AddArgs {
    /// The public key, in base64; without it that of registry.signing_key
    public: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(in crate::app) struct LsArgs {
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub(in crate::app) struct RevokeArgs {
    /// The key's id
    key: String,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(in crate::app) struct AcceptArgs {
    /// The model
    model: ModelName,
    /// The last revision that is taken as it is
    #[arg(long, value_name = "REVISION")]
    up_to: u64,
    #[command(flatten)]
    change: ChangeArgs,
}

impl KeysCommand {
    pub(super) fn run(self) -> ExitCode {
        match self {
            KeysCommand::New(args) => block(false, async { new(&args) }),
            KeysCommand::Ls(args) => block(args.registry.json, async {
                let registry = args.registry.open().await?;
                let mut ring = KeyRing::default();
                ring.refresh(registry.store()).await?;
                tell(args.registry.json, &ring);
                Ok(())
            }),
            KeysCommand::Add(args) => block(args.change.registry.json, async {
                let signer = args.change.registry.signer()?;
                let own = signer.as_ref().map(|signer| signer.public().to_owned());
                let missing =
                    || Failure::usage("name the public key, or set registry.signing_key".to_owned());
                let ed25519 = args.public.clone().or(own).ok_or_else(missing)?;
                let key = check_public(&ed25519).map_err(|error| Failure::usage(error.to_string()))?;
                let change = KeyChange::Add { key, ed25519: ed25519.trim().to_owned() };
                write(&args.change, change, None).await
            }),
            KeysCommand::Revoke(args) => block(args.change.registry.json, async {
                write(&args.change, KeyChange::Revoke { key: args.key.clone() }, None).await
            }),
            KeysCommand::Accept(args) => block(args.change.registry.json, async {
                write(&args.change, KeyChange::Accept {}, Some((&args.model, args.up_to))).await
            }),
        }
    }
}

fn new(args: &NewArgs) -> Result<(), Failure> {
    let (signer, text) = Signer::generate().map_err(anyhow::Error::from)?;
    let shown = args.file.display();
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    let mut file = made.with_context(|| format!("cannot make '{shown}'"))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write '{shown}'"))?;
    crate::app::cli::say(&format!("key {}\npublic {}\n", signer.id(), signer.public()));
    Ok(())
}

/// Writes a record, and shows what the keys are then.
async fn write(
    args: &ChangeArgs,
    change: KeyChange,
    up_to: Option<(&ModelName, u64)>,
) -> Result<(), Failure> {
    let intent = args.intent();
    let signer = args.registry.signer()?;
    let registry = args.registry.open_or_make().await?;
    let heads = match up_to {
        Some((model, rev)) => accepted(registry.store(), model, rev).await?,
        None => heads(&registry).await?,
    };
    let ring = append(registry.store(), &intent, change, heads, signer.as_deref()).await?;
    tell(args.registry.json, &ring);
    Ok(())
}

fn tell(as_json: bool, ring: &KeyRing) {
    let value = json!({ "records": ring.number, "required": ring.is_required(), "keys": ring.shown() });
    show(as_json, &value, || {
        let mut out = String::new();
        for (id, key) in &ring.keys {
            let state = if key.revoked.is_some() { "revoked" } else { "counts" };
            let time = key.added.format("%Y-%m-%d %H:%M:%SZ");
            let (by, reason) = (shown(&key.by.sub), key.reason.escape_debug());
            // Writing to a string cannot fail.
            writeln!(out, "{id}  {state:<7}  {}  {time}  {by}  \"{reason}\"", key.ed25519).ok();
        }
        if ring.keys.is_empty() {
            out.push_str("there are no keys: revisions need no signature\n");
        }
        out
    });
}
