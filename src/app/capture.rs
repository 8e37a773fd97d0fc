//! `weir capture`: what was captured, its rows, exports of it, and deleting what belongs to a key.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand, ValueEnum};
use object_store::ObjectStore;

use super::cli::{complain, say};
use super::registry::common::store_options;
use crate::capture::{ExportForm, Filter, Reader, delete_key, json_row, key_hash, lines};
use crate::registry::Store;

/// See the module.
#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    #[command(subcommand)]
    command: CaptureCommand,
}

#[derive(Debug, Subcommand)]
enum CaptureCommand {
    /// List the files
    Ls(Where),
    /// Print the first rows, a JSON object a line
    Head {
        /// How many
        #[arg(short = 'n', long, default_value_t = 10)]
        rows: usize,
        #[command(flatten)]
        place: Where,
    },
    /// Print all rows as lines of JSON
    Export {
        /// In which shape
        #[arg(long, value_enum, default_value_t = Form::Rows)]
        form: Form,
        #[command(flatten)]
        place: Where,
    },
    /// Delete the rows of a key from every file
    Delete {
        /// The key, as clients send it in the header that decides the traffic split
        #[arg(long)]
        key: String,
        /// The server's key of hashes; without it, hmac.key beside the folder
        #[arg(long, value_name = "FILE")]
        hmac_key: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
}

/// The shapes of lines.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// Each row with all its columns
    Rows,
    /// CloudEvents as Azure Machine Learning's data collector writes them
    Azure,
    /// CloudEvents as KServe's logger writes them
    Kserve,
}

#[derive(Debug, Args)]
struct Where {
    /// The folder or URL that capture writes files to
    #[arg(value_name = "STORE")]
    store: String,
    /// Only of this model
    #[arg(long)]
    model: Option<String>,
    /// Only of this version
    #[arg(long)]
    version: Option<u64>,
    /// Only rows answered at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// Only rows answered before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
}

impl Where {
    fn open(&self) -> anyhow::Result<(Arc<dyn ObjectStore>, Filter)> {
        let is_url = self.store.contains("://");
        let is_folder = PathBuf::from(&self.store).is_dir();
        anyhow::ensure!(is_url || is_folder, "{}: there is no such folder", self.store);
        let store = Store::open(&self.store, &store_options())?;
        let filter =
            Filter { model: self.model.clone(), version: self.version, from: self.from, until: self.until };
        Ok((Arc::clone(store.raw()), filter))
    }
}

/// Runs the command.
pub(super) fn capture(args: CaptureArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            CaptureCommand::Ls(place) => ls(&place).await,
            CaptureCommand::Head { rows, place } => head(&place, rows).await,
            CaptureCommand::Export { form, place } => export(&place, form).await,
            CaptureCommand::Delete { key, hmac_key, place } => delete(&place, &key, hmac_key).await,
        }
    })
}

async fn ls(place: &Where) -> anyhow::Result<()> {
    let (store, filter) = place.open()?;
    let files = Reader::new(store).files(&filter).await?;
    if files.is_empty() {
        complain(&format!("{}: no captured files there that match", place.store));
    }
    for file in files {
        let hour = file.hour.to_rfc3339_opts(SecondsFormat::Secs, true);
        say(&format!("{hour}  {}@{}  {:>10}  {}\n", file.model, file.version, file.bytes, file.key));
    }
    Ok(())
}

async fn head(place: &Where, rows: usize) -> anyhow::Result<()> {
    let (store, filter) = place.open()?;
    let mut left = rows;
    let each = |_: &_, batch: arrow_array::RecordBatch| {
        for at in 0..batch.num_rows().min(left) {
            say(&format!("{}\n", serde_json::Value::Object(json_row(&batch, at))));
        }
        left = left.saturating_sub(batch.num_rows());
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    Ok(Reader::new(store).read(&filter, each).await?)
}

async fn export(place: &Where, form: Form) -> anyhow::Result<()> {
    let (store, filter) = place.open()?;
    let form = match form {
        Form::Rows => ExportForm::Rows,
        Form::Azure => ExportForm::Azure,
        Form::Kserve => ExportForm::Kserve,
    };
    let each = |file: &crate::capture::CapturedFile, batch: arrow_array::RecordBatch| {
        for line in lines(form, &file.model, &batch) {
            say(&format!("{line}\n"));
        }
        Ok(ControlFlow::Continue(()))
    };
    Ok(Reader::new(store).read(&filter, each).await?)
}

async fn delete(place: &Where, key: &str, hmac_key: Option<PathBuf>) -> anyhow::Result<()> {
    let (store, filter) = place.open()?;
    let beside = || PathBuf::from(&place.store).parent().map(|folder| folder.join("hmac.key"));
    let file = hmac_key.or_else(beside).context("name the key of hashes with --hmac-key")?;
    let deleted = delete_key(&store, &filter, &key_hash(&file, key)?).await?;
    say(&format!("deleted {} rows from {} files\n", deleted.rows, deleted.files));
    Ok(())
}
