//! `weir infer`: one request to a running server, from files or the command line, and its answer as text or files.
//!
//! A small client over HTTP/1.1: `npy` reads and writes NumPy's file format, `request` and `answer` are pure functions
//! between tensors and the protocol, `call` is the socket.

mod answer;
mod call;
mod npy;
mod request;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use self::call::Client;
use self::npy::Array;
use super::cli::say;
use super::connect::ConnectArgs;

/// Largest input file.
const FILE_BYTES_MAX: u64 = 1 << 32;

/// What was typed after `weir infer`.
#[derive(Debug, Args)]
pub(super) struct InferArgs {
    /// The model
    model: String,
    /// An input: name=@file.npy, name=@file.json or name=JSON; once for each
    #[arg(short, long = "input", value_name = "NAME=VALUE", required = true)]
    inputs: Vec<String>,
    /// Write this output to a NumPy file (name=@file.npy), and show only outputs that are named
    #[arg(short, long = "output", value_name = "NAME[=@FILE]")]
    outputs: Vec<String>,
    /// The version; the server's choice without it
    #[arg(long, value_name = "N")]
    model_version: Option<String>,
    #[command(flatten)]
    server: ConnectArgs,
    /// Show the answer as the server's JSON
    #[arg(long)]
    json: bool,
}

/// An input as it goes to the server.
#[derive(Debug)]
enum Given {
    /// Elements in wire form.
    Array(Array),
    /// As typed, with the model's datatype.
    Json(Value),
}

/// An output that was asked for, and the file it goes to.
#[derive(Debug)]
struct Wanted {
    name: String,
    file: Option<PathBuf>,
}

/// Asks the server once.
pub(super) fn infer(args: &InferArgs) -> anyhow::Result<()> {
    let inputs: Vec<(String, Given)> =
        args.inputs.iter().map(|text| read_input(text)).collect::<Result<_, _>>()?;
    let wanted: Vec<Wanted> = args.outputs.iter().map(|text| read_output(text)).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (answer, binary) = runtime.block_on(async {
        let client = Client::new(&args.server)?;
        let mut path = format!("/v2/models/{}", call::escape(&args.model));
        if let Some(version) = &args.model_version {
            path.push_str(&format!("/versions/{}", call::escape(version)));
        }
        let metadata = client.get(&path).await?;
        let body = request::encode(&inputs, &wanted, &metadata)?;
        client.infer(&format!("{path}/infer"), body).await
    })?;
    if args.json && binary.is_empty() {
        say(&format!("{answer}\n"));
        return Ok(());
    }
    let outputs = answer::decode(&answer, &binary)?;
    for output in &outputs {
        let file =
            wanted.iter().find(|wanted| wanted.name == output.name).and_then(|wanted| wanted.file.as_deref());
        match file {
            Some(file) => {
                let bytes = npy::write(&output.array()?)?;
                std::fs::write(file, bytes).with_context(|| file.display().to_string())?;
                say(&format!("{} -> {}\n", output.title(), file.display()));
            }
            None => say(&format!("{} {}\n", output.title(), output.shown()?)),
        }
    }
    Ok(())
}

fn read_input(text: &str) -> anyhow::Result<(String, Given)> {
    let Some((name, value)) = text.split_once('=') else {
        bail!("--input {text}: expected name=@file.npy, name=@file.json or name=JSON");
    };
    let given = match value.strip_prefix('@') {
        Some(file) => read_file(Path::new(file)).with_context(|| format!("input '{name}': {file}"))?,
        None => {
            Given::Json(serde_json::from_str(value).with_context(|| format!("input '{name}' is not JSON"))?)
        }
    };
    Ok((name.to_owned(), given))
}

fn read_file(file: &Path) -> anyhow::Result<Given> {
    let len = std::fs::metadata(file)?.len();
    anyhow::ensure!(len <= FILE_BYTES_MAX, "the file has {len} bytes, at most {FILE_BYTES_MAX} are read");
    let bytes = std::fs::read(file)?;
    if bytes.starts_with(npy::MAGIC) {
        return Ok(Given::Array(npy::read(&bytes)?));
    }
    Ok(Given::Json(serde_json::from_slice(&bytes).context("neither a NumPy file nor JSON")?))
}

fn read_output(text: &str) -> anyhow::Result<Wanted> {
    match text.split_once('=') {
        None => Ok(Wanted { name: text.to_owned(), file: None }),
        Some((name, file)) => match file.strip_prefix('@') {
            Some(file) => Ok(Wanted { name: name.to_owned(), file: Some(PathBuf::from(file)) }),
            None => bail!("--output {text}: expected name or name=@file.npy"),
        },
    }
}
