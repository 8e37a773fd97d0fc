//! Triton's trace and log settings. They are shown; a request that would change one is refused, because logs and traces
//! are set where the server is started.

use std::collections::HashMap;

use tonic::Status;

use crate::protocol::grpc::pb;

const TRACE: [(&str, &str); 6] = [
    ("trace_level", "OFF"),
    ("trace_rate", "1000"),
    ("trace_count", "-1"),
    ("log_frequency", "0"),
    ("trace_file", ""),
    ("trace_mode", "opentelemetry"),
];

/// Answers a trace setting request. Stating what holds already, or nothing, is no change.
pub(super) fn trace(request: &pb::TraceSettingRequest) -> Result<pb::TraceSettingResponse, Status> {
    for (name, setting) in &request.settings {
        let current = TRACE.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let stated: Vec<&str> = setting.value.iter().map(String::as_str).collect();
        match (current, stated.as_slice()) {
            (None, _) => return Err(unknown("trace", name)),
            (Some(_), []) => {}
            (Some(value), [stated]) if *stated == value => {}
            (Some(_), _) => return Err(fixed("trace")),
        }
    }
    let value = |value: &str| pb::trace_setting_response::SettingValue { value: vec![value.to_owned()] };
    let settings = TRACE.map(|(name, text)| (name.to_owned(), value(text)));
    Ok(pb::TraceSettingResponse { settings: HashMap::from(settings) })
}

/// Answers a log settings request, by the same rule.
pub(super) fn log(request: &pb::LogSettingsRequest) -> Result<pb::LogSettingsResponse, Status> {
    use pb::log_settings_request::setting_value::ParameterChoice as Stated;
    use pb::log_settings_response::{SettingValue, setting_value::ParameterChoice as Shown};
    let current = [
        ("log_file", Shown::StringParam(String::new())),
        ("log_info", Shown::BoolParam(true)),
        ("log_warning", Shown::BoolParam(true)),
        ("log_error", Shown::BoolParam(true)),
        ("log_verbose_level", Shown::Uint32Param(0)),
        ("log_format", Shown::StringParam("default".to_owned())),
    ];
    for (name, setting) in &request.settings {
        let Some((_, value)) = current.iter().find(|(known, _)| known == name) else {
            return Err(unknown("log", name));
        };
        let same = match (&setting.parameter_choice, value) {
            (None, _) => true,
            (Some(Stated::BoolParam(stated)), Shown::BoolParam(value)) => stated == value,
            (Some(Stated::Uint32Param(stated)), Shown::Uint32Param(value)) => stated == value,
            (Some(Stated::StringParam(stated)), Shown::StringParam(value)) => stated == value,
            _ => false,
        };
        if !same {
            return Err(fixed("log"));
        }
    }
    let settings =
        current.map(|(name, value)| (name.to_owned(), SettingValue { parameter_choice: Some(value) }));
    Ok(pb::LogSettingsResponse { settings: HashMap::from(settings) })
}

fn unknown(kind: &str, name: &str) -> Status {
    let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    Status::invalid_argument(format!("there is no {kind} setting '{name}'"))
}

fn fixed(kind: &str) -> Status {
    Status::failed_precondition(format!("{kind} settings are fixed when the server starts"))
}
