//! `weir audit`: what served when and why; whether the logs are whole; what to keep elsewhere.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use super::common::{RegistryArgs, block, show};
use super::exit::Failure;
use crate::model::ModelName;
use crate::registry::audit::{Change, Evidence, Named, Timeline, parse_time, timeline};
use crate::registry::verify::{Anchor, Blobs, VerifyOptions, VerifyReport, anchors, verify};
use crate::registry::{Refusal, history};

/// Most bytes of an anchor file.
const ANCHOR_LEN_MAX: u64 = 64 << 20;

/// `weir audit`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::app) struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// The model
    #[arg(value_name = "NAME", required = true)]
    model: Option<ModelName>,
    /// Only what counted then: 2026-01-31T12:00:00Z, now, or that long ago like -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    /// Only this deployment
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Prove chains, signatures and snapshots; name the first bad revision of each log
    Verify(VerifyArgs),
    /// Print the ends of all logs as JSON lines, to be kept where nobody can change them
    Anchor(AnchorArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Only this model
    #[arg(value_name = "NAME")]
    model: Option<ModelName>,
    /// What `weir audit anchor` printed before; may be given several times
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Read every file of every version, too
    #[arg(long)]
    blobs: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Args)]
struct AnchorArgs {
    #[command(flatten)]
    registry: RegistryArgs,
}

impl AuditArgs {
    pub(super) fn run(self) -> ExitCode {
        match self.command {
            Some(AuditCommand::Verify(args)) => args.run(),
            Some(AuditCommand::Anchor(args)) => args.run(),
            None => self.timeline(),
        }
    }

    fn timeline(self) -> ExitCode {
        block(self.registry.json, async {
            let now = Utc::now();
            let at = self.at.as_deref().map(|text| parse_time(text, now)).transpose();
            let at = at.map_err(|problem| Failure::usage(format!("--at: {problem}")))?;
            let model = self.model.ok_or_else(|| Failure::usage("name the model".to_owned()))?;
            let registry = self.registry.open().await?;
            let (state, entries) = history::read(&registry, &model).await?;
            if state.created.is_none() {
                return Err(Refusal::NotFound(format!("there is no model '{model}'")).into());
            }
            let told = timeline(&model, &entries).map_err(anyhow::Error::from)?;
            let told = told.narrowed(at, self.deployment.as_deref());
            show(self.registry.json, &json!({ "at": at, "audit": told }), || match at {
                Some(time) => tell_at(&told, time),
                None => tell(&told),
            });
            Ok(())
        })
    }
}

fn second(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// Every change in a few lines.
fn tell(told: &Timeline) -> String {
    let mut out = String::new();
    for change in &told.changes {
        let until = change.until.map_or("now".to_owned(), |(_, until)| second(until));
        let name = of(change);
        // Writing to a string cannot fail.
        writeln!(out, "revision {}  {} to {until}", change.rev, second(change.counts_from)).ok();
        writeln!(out, "  {name}: {}  ({})", traffic(change), change.what).ok();
        writeln!(out, "  {}", author(change)).ok();
    }
    if told.changes.is_empty() {
        out.push_str("nothing was ever deployed, and no alias set\n");
    }
    clock(told, &mut out);
    out
}

/// What counted at one time, with everything that is known of it.
fn tell_at(told: &Timeline, time: DateTime<Utc>) -> String {
    let mut out = format!("{} at {}\n", told.model, second(time));
    for change in &told.changes {
        let until = match change.until {
            Some((rev, until)) => format!("until {} (revision {rev})", second(until)),
            None => "until now".to_owned(),
        };
        writeln!(out, "{}: {}", of(change), traffic(change)).ok();
        writeln!(out, "  since {} (revision {}) {until}", second(change.counts_from), change.rev).ok();
        writeln!(out, "  {} by {}", change.what, author(change)).ok();
        if let Some(approval) = &change.approval {
            let (asked, agreed) = (&approval.proposed, &approval.approved_by);
            let (asked_by, agreed_by) = (plain(&asked.actor.sub), plain(&agreed.sub));
            writeln!(out, "  asked for by {asked_by} at {}, approved by {agreed_by}", second(asked.time))
                .ok();
        }
        change.evidence.iter().for_each(|evidence| known(evidence, &mut out));
    }
    if told.changes.is_empty() {
        out.push_str("nothing was deployed then, and no alias set\n");
    }
    clock(told, &mut out);
    out
}

fn of(change: &Change) -> String {
    match change.of {
        Named::Deployment => format!("deployment {}", plain(&change.name)),
        Named::Alias => format!("alias {}", plain(&change.name)),
    }
}

fn traffic(change: &Change) -> String {
    let share = |share: &crate::registry::audit::Share| match change.of {
        Named::Alias => format!("version {}", share.version),
        Named::Deployment => {
            format!("version {} {:.4} %", share.version, share.percent).replace(".0000 %", " %")
        }
    };
    match change.traffic.is_empty() {
        true => "nothing".to_owned(),
        false => change.traffic.iter().map(share).collect::<Vec<_>>().join(", "),
    }
}

fn author(change: &Change) -> String {
    let signed =
        change.signed_by.as_ref().map_or(String::new(), |key| format!(", signed by key {}", plain(key)));
    let request = match change.request_id.as_str() {
        "" => String::new(),
        id => format!(", request {}", plain(id)),
    };
    let (sub, method) = (plain(&change.actor.sub), plain(&change.actor.method));
    format!("{sub} ({method}{signed}{request})  \"{}\"", change.reason.escape_debug())
}

fn known(evidence: &Evidence, out: &mut String) {
    let registered = &evidence.registered;
    let mut lines = vec![
        format!(
            "registered {} by {} (revision {}) from {}",
            second(registered.time),
            plain(&registered.actor.sub),
            registered.rev,
            plain(&evidence.source)
        ),
        format!("content sha256 {}", evidence.digest),
    ];
    let metrics: Vec<String> = evidence.metrics.iter().map(|(k, v)| format!("{} {v}", plain(k))).collect();
    if !metrics.is_empty() {
        lines.push(format!("metrics {}", metrics.join(", ")));
    }
    let validation = &evidence.validation;
    if !validation.onnxruntime.is_empty() {
        let (build, ms) = (plain(&validation.onnxruntime), validation.load_us / 1000);
        lines.push(format!(
            "validated with ONNX Runtime {build}: loaded in {ms} ms, {}",
            plain(&validation.batching)
        ));
    }
    if let Some(git) = &evidence.git {
        let dirty = if git.dirty { ", changed files" } else { "" };
        let code =
            format!("code {} ({}{dirty}) {}", plain(&git.commit), plain(&git.branch), plain(&git.remote));
        // A repository may have no remote.
        lines.push(code.trim_end().to_owned());
    }
    lines.extend(evidence.run.iter().map(|run| format!("run {}", plain(run))));
    lines.extend(evidence.datasets.iter().map(|(role, uri)| format!("data {} {}", plain(role), plain(uri))));
    lines.extend(evidence.baseline.iter().map(|file| format!("baseline {}", plain(&file.path))));
    writeln!(out, "  version {}", evidence.version).ok();
    for line in &lines {
        writeln!(out, "    {line}").ok();
    }
}

fn clock(told: &Timeline, out: &mut String) {
    for step in &told.clock_went_back {
        let seconds = step.back_ms.div_euclid(1000);
        writeln!(out, "note: the clock of revision {}'s author was {seconds} s behind; the order is that of the revisions", step.rev)
            .ok();
    }
}

impl VerifyArgs {
    fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let mut kept = Vec::new();
            for file in &self.anchor {
                kept.extend(read_anchors(file)?);
            }
            let store = self.registry.open_store()?;
            let blobs = if self.blobs { Blobs::Content } else { Blobs::No };
            let options = VerifyOptions { model: self.model.clone(), anchors: kept, blobs, holds: false };
            let report = verify(&store, &options).await?;
            show(self.registry.json, &json!(report), || summary(&report));
            if report.findings.is_empty() { Ok(()) } else { Err(Failure::found()) }
        })
    }
}

/// What was proved, and what is wrong.
pub(super) fn summary(report: &VerifyReport) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let model = match finding.model.as_str() {
            "" => String::new(),
            model => format!("model '{model}': "),
        };
        let rev = finding.rev.map_or(String::new(), |rev| match finding.kind {
            "keys" => format!("record {rev} of the keys: "),
            _ => format!("revision {rev}: "),
        });
        writeln!(out, "BAD  {model}{rev}{}  [{}]", plain(&finding.problem), finding.kind).ok();
    }
    let VerifyReport { models, revisions, signed, snapshots, key_records, anchors, blobs, .. } = report;
    writeln!(
        out,
        "{models} models, {revisions} revisions ({signed} signed), {snapshots} snapshots, {key_records} key records, \
         {anchors} anchors, {blobs} files are right; {} problems",
        report.findings.len()
    )
    .ok();
    out
}

fn read_anchors(file: &PathBuf) -> Result<Vec<Anchor>, Failure> {
    use std::io::Read;
    let shown = file.display();
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read '{shown}'"))?;
    let read = opened.take(ANCHOR_LEN_MAX).read_to_string(&mut text);
    read.with_context(|| format!("cannot read '{shown}'"))?;
    let mut anchors = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let anchor = serde_json::from_str(line);
        anchors.push(anchor.with_context(|| format!("'{shown}', line {number}, is no anchor"))?);
    }
    if anchors.is_empty() {
        return Err(Failure::usage(format!("there is no anchor in '{shown}'")));
    }
    Ok(anchors)
}

impl AnchorArgs {
    fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let registry = self.registry.open().await?;
            let lines = anchors(&registry).await?;
            let text = lines.iter().map(|anchor| format!("{}\n", json!(anchor))).collect::<String>();
            crate::app::cli::say(&text);
            Ok(())
        })
    }
}

/// Text that does nothing to a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
