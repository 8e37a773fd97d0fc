//! Log lines on standard error, as text or JSON, panics among them, and spans to an OpenTelemetry collector when asked for.

mod otlp;
mod panics;
mod writer;

pub(super) use self::panics::report_panics;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use self::writer::LogWriter;
use super::config::LogConfig;

/// Keeps logs and spans going; dropping it writes what is left.
#[derive(Debug)]
pub(super) struct Logs {
    spans: Option<otlp::Spans>,
    writer: LogWriter,
}

/// Reads a filter such as `info` or `info,weir::serving=debug`.
pub(super) fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let error = |defect: &dyn std::fmt::Display| format!("expected a level or a filter ({defect})");
    let known = ["error", "warn", "info", "debug", "trace", "off"];
    if let Some(word) = text.split(',').find(|word| !word.contains(['=', ':', '[']) && !known.contains(word))
    {
        return Err(error(&format!("unknown level \"{}\"", crate::model::settings::values::shorten(word))));
    }
    EnvFilter::try_new(text).map_err(|defect| error(&defect))
}

impl Logs {
    /// Starts logging for the process. Must be called inside the async runtime.
    pub(super) fn start(config: &LogConfig) -> anyhow::Result<Logs> {
        let filter = parse_filter(&config.filter).map_err(anyhow::Error::msg)?;
        let writer = LogWriter::start()?;
        let spans =
            config.otlp_endpoint.as_deref().map(|endpoint| otlp::Spans::start(endpoint, config.sampling));
        let spans = spans.transpose()?;
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.json {
            true => fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(writer.clone())
                .with_filter(filter)
                .boxed(),
            false => fmt::layer().with_ansi(false).with_writer(writer.clone()).with_filter(filter).boxed(),
        };
        let spans_layer = spans.as_ref().map(otlp::Spans::layer);
        tracing_subscriber::registry().with(lines).with(spans_layer).try_init()?;
        Ok(Logs { spans, writer })
    }

    /// Whether requests are to be traced.
    pub(super) fn traces(&self) -> bool {
        self.spans.is_some()
    }
}

impl Drop for Logs {
    /// Sends and writes what is left, for at most a few seconds.
    fn drop(&mut self) {
        if let Some(spans) = self.spans.take() {
            spans.finish();
        }
        self.writer.finish();
    }
}
