//! The command line: what was typed, which command it is, and every word that goes to the terminal.
//!
//! The only module that prints. A reader that has gone away (`weir config | head -1`) ends nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::auth::AuthArgs;
use super::capture::CaptureArgs;
use super::check::Form;
use super::config::Config;
use super::dataset::{DatasetCommand, PerformanceArgs};
use super::drift::DriftCommand;
use super::infer::InferArgs;
use super::registry::RegistryCommand;
use super::registry::exit::{FAILED as EXIT_FAILURE, USAGE as EXIT_USAGE};
use super::settings::{Given, KEYS, Key, Kind, Origin, Settings, SettingsProblem, Typed};
use crate::backend::onnx::{TELEMETRY_SWITCH, switch_telemetry_off};

/// Serves ONNX models over gRPC and REST.
#[derive(Debug, Parser)]
#[command(name = "weir", disable_version_flag = true, arg_required_else_help = true)]
struct Cli {
    /// Print the version and the ONNX Runtime build
    #[arg(short = 'V', long)]
    version: bool,
    /// The ONNX Runtime library whose build --version prints
    #[arg(long, value_name = "PATH", requires = "version", hide = true)]
    onnxruntime: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the models at PATH: repositories, folders of one model, or .onnx files
    Serve(ServeArgs),
    /// Print the effective configuration as TOML, with where each value came from
    Config(ServeArgs),
    /// Say what would be served from PATH and how: signature, operators, batching, memory, settings
    Check(CheckArgs),
    /// Ask a running server for one inference
    Infer(InferArgs),
    /// Make API keys
    Auth(AuthArgs),
    /// Make training sets of what was captured
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Show how good the answers were, by version and day, from captured rows and labels
    Performance(PerformanceArgs),
    #[command(flatten)]
    Drift(DriftCommand),
    /// List, show, export and delete captured rows
    Capture(CaptureArgs),
    #[command(flatten)]
    Registry(RegistryCommand),
    /// Try models in a child process, for `serve`
    #[command(hide = true)]
    Probe,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Show the findings as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Repositories, folders of one model, or .onnx files
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// The configuration file; WEIR_CONFIG names it too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// A flag for each key of the settings, made from their table.
#[derive(Debug)]
struct Flags(Vec<(&'static Key, Vec<String>)>);

impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        KEYS.iter().filter(|key| key.path != "repository.paths").fold(command, |command, key| {
            let flag = key.flag().trim_start_matches('-').to_owned();
            let help = match key.default {
                "" => key.help.to_owned(),
                default => format!("{} [default: {default}]", key.help),
            };
            let arg = clap::Arg::new(key.path).long(flag).help(help);
            command.arg(match key.kind {
                Kind::Switch => {
                    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
                }
                Kind::List(_) => arg.action(clap::ArgAction::Append).value_name("NAME"),
                _ => arg.value_name(key.name().to_uppercase()),
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Flags, clap::Error> {
        let mut flags = Vec::new();
        for key in KEYS.iter().filter(|key| key.path != "repository.paths") {
            if let Some(values) = matches.get_many::<String>(key.path) {
                flags.push((key, values.cloned().collect()));
            }
        }
        Ok(Flags(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ServeArgs {
    fn settings(self) -> Result<Settings, SettingsProblem> {
        let mut flags = self.flags.0;
        if let Some(key) = KEYS.iter().find(|key| key.path == "repository.paths")
            && !self.paths.is_empty()
        {
            flags.push((key, self.paths));
        }
        let given = Given { file: self.config, environment: environment(), flags };
        let mut settings = Settings::collect(&given)?;
        add_conventions(&mut settings, &given.environment);
        Ok(settings)
    }
}

/// Values that other programs' variables give when nothing of ours does.
fn add_conventions(settings: &mut Settings, environment: &BTreeMap<String, String>) {
    let given = |name: &str| environment.get(name).filter(|text| !text.is_empty());
    if let Some(path) = given("ORT_DYLIB_PATH") {
        let origin = Origin::Environment("ORT_DYLIB_PATH".to_owned());
        settings.set_default("runtime.onnxruntime", Typed::Text(path.clone()), origin);
    }
    let folders = [("XDG_CACHE_HOME", "weir"), ("HOME", ".cache/weir")];
    for (name, below) in folders {
        if let Some(folder) = given(name).filter(|folder| folder.starts_with('/')) {
            let path = format!("{}/{below}", folder.trim_end_matches('/'));
            settings.set_default(
                "runtime.cache_dir",
                Typed::Text(path),
                Origin::Environment(name.to_owned()),
            );
        }
    }
}

/// The variables of the process that are text.
pub(super) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    // First, while there is one thread. A user's own switch counts where this cannot be done.
    let is_off =
        switch_telemetry_off() || std::env::var_os(TELEMETRY_SWITCH).is_some_and(|value| value == "1");
    if !is_off {
        complain(&format!("ONNX Runtime may report to its maker: set {TELEMETRY_SWITCH}=1"));
    }
    run(std::env::args_os())
}

fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    // For every client of TLS in the process: buckets, webhooks, traces, `weir infer`. It fails when it is done already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Prints help to standard output and mistakes to standard error; a closed one changes nothing.
        Err(error) => return error.print().map_or(ExitCode::from(EXIT_FAILURE), |()| exit_of(&error)),
    };
    match cli.command {
        None => finish(super::run::version(cli.onnxruntime).map(|text| say(&text))),
        Some(Command::Config(args)) => match args.settings().and_then(|s| Config::new(&s).map(|_| s)) {
            Ok(settings) => {
                say(&settings.to_toml());
                ExitCode::SUCCESS
            }
            Err(problem) => usage(&problem),
        },
        Some(Command::Serve(args)) => match args.settings().and_then(|settings| Config::new(&settings)) {
            Ok(config) => finish(super::run::serve(config)),
            Err(problem) => usage(&problem),
        },
        Some(Command::Check(args)) => check(args),
        Some(Command::Infer(args)) => finish(super::infer::infer(&args)),
        Some(Command::Auth(args)) => finish(super::auth::auth(args)),
        Some(Command::Dataset(command)) => command.run(),
        Some(Command::Performance(args)) => args.run(),
        Some(Command::Drift(command)) => command.run(),
        Some(Command::Capture(args)) => finish(super::capture::capture(args)),
        Some(Command::Registry(command)) => command.run(),
        Some(Command::Probe) => crate::backend::probe::child_main(),
    }
}

fn check(args: CheckArgs) -> ExitCode {
    let form = if args.json { Form::Json } else { Form::Text };
    match args.serve.settings().and_then(|settings| Config::new(&settings)) {
        Ok(config) => match super::check::check(config, form) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(EXIT_FAILURE),
            Err(error) => finish(Err(error)),
        },
        Err(problem) => usage(&problem),
    }
}

fn exit_of(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
}

fn usage(problem: &SettingsProblem) -> ExitCode {
    complain(&problem.to_string());
    ExitCode::from(EXIT_USAGE)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Writes to standard output, at once.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that is gone wants no more; there is nobody to tell.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes one line to standard error.
pub(super) fn complain(text: &str) {
    let line = format!("weir: {}\n", text.replace('\n', " "));
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_agrees_with_itself() {
        Cli::command().debug_assert();
    }
}
