//! The trace and log settings of Triton's extensions. Both are set when the server starts, so clients can read them and
//! not change them; the extensions are not reported.

/// A setting's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    /// On or off.
    Bool(bool),
    /// A whole number.
    Number(u32),
    /// A text.
    Text(&'static str),
}

/// Traces go to OpenTelemetry by the server's own settings; Triton's recorder does not exist.
pub(super) const TRACE: [(&str, &str); 6] = [
    ("trace_file", ""),
    ("trace_level", "OFF"),
    ("trace_rate", "0"),
    ("trace_count", "-1"),
    ("log_frequency", "0"),
    ("trace_mode", "opentelemetry"),
];

/// Logs go to standard error by the server's own settings.
pub(super) const LOG: [(&str, Setting); 6] = [
    ("log_file", Setting::Text("")),
    ("log_info", Setting::Bool(true)),
    ("log_warning", Setting::Bool(true)),
    ("log_error", Setting::Bool(true)),
    ("log_verbose_level", Setting::Number(0)),
    ("log_format", Setting::Text("default")),
];

/// The answer to a client that wants to change one.
pub(super) const CHANGE_REFUSED: &str =
    "traces and logs are set up where the server is started, not by request";
