//! Execution providers by name. One that was asked for and is not to be had is an error that says what is missing;
//! nothing falls back in silence.

use ort::ep::{ArbitrarilyConfigurableExecutionProvider, CUDA, ExecutionProvider};
use ort::session::builder::SessionBuilder;

use super::super::{BackendError, OpenOptions};
use super::error::of_device;
use crate::model::config::Provider;

/// Adds the provider that `options` ask for.
///
/// # Errors
/// [`BackendError::Provider`] with what is missing, or which option was refused.
pub(super) fn add(builder: SessionBuilder, options: &OpenOptions) -> Result<SessionBuilder, BackendError> {
    match options.runtime.provider {
        Provider::Cpu if options.runtime.provider_options.is_empty() => Ok(builder),
        Provider::Cpu => Err(unusable(Provider::Cpu, "it has no provider options".to_owned())),
        Provider::Cuda => add_cuda(builder, options),
    }
}

fn add_cuda(builder: SessionBuilder, options: &OpenOptions) -> Result<SessionBuilder, BackendError> {
    let failed = |error: &ort::Error| unusable(Provider::Cuda, explain(error.message()));
    if !CUDA::is_available().map_err(|error| failed(&error))? {
        let reason = "this ONNX Runtime is built without it; pass --onnxruntime PATH of a CUDA build";
        return Err(unusable(Provider::Cuda, reason.to_owned()));
    }
    let device = options.instances.device.to_string();
    let mut provider = CUDA::default()
        .with_arbitrary_config("device_id", device)
        // ONNX Runtime's default tries every algorithm for every new shape, up to 1.3 s for ResNet-50 on an H200, and
        // ran no faster then.
        .with_arbitrary_config("cudnn_conv_algo_search", "HEURISTIC");
    for (name, value) in &options.runtime.provider_options {
        if name == "enable_cuda_graph" && !matches!(value.as_str(), "0" | "False" | "false") {
            // A graph replays the addresses that it was captured with; runs here pass theirs anew each time.
            let reason = "enable_cuda_graph needs inputs at fixed addresses, which this server does not use";
            return Err(unusable(Provider::Cuda, reason.to_owned()));
        }
        provider = provider.with_arbitrary_config(name, value);
    }
    builder.with_execution_providers([provider.build().error_on_failure()]).map_err(|error| {
        let message = error.message();
        of_device(message).unwrap_or_else(|| unusable(Provider::Cuda, explain(message)))
    })
}

fn unusable(provider: Provider, reason: String) -> BackendError {
    BackendError::Provider { provider: provider.as_str(), reason }
}

/// The runtime's text without the places in its source: the one missing library, CUDA's answer, or what it says of an
/// option.
fn explain(message: &str) -> String {
    let missing = message
        .split_once(": cannot open shared object file")
        .and_then(|(before, _)| before.rsplit([' ', ':']).next())
        .map(|path| path.rsplit('/').next().unwrap_or(path))
        .filter(|library| library.contains(".so"));
    if let Some(library) = missing {
        return format!("the shared library {library} is missing");
    }
    if let Some(answer) = message.find("CUDA failure ").and_then(|start| message.get(start..)) {
        return answer.split(" ; ").next().unwrap_or(answer).to_owned();
    }
    let of_option =
        message.split_once("provider_options_utils.h").and_then(|(_, rest)| rest.split_once(" Parse "));
    of_option.map_or(message, |(_, text)| text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        assert_eq!(explain(message), expected);
    }

    #[test]
    fn the_missing_library_is_named() {
        check(
            "Failed to load library /opt/ort/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot \
             open shared object file: No such file or directory",
            "the shared library libcublasLt.so.13 is missing",
        );
        check(
            "/opt/ort/libonnxruntime_providers_shared.so: cannot open shared object file: No such file",
            "the shared library libonnxruntime_providers_shared.so is missing",
        );
    }

    #[test]
    fn places_in_the_source_are_left_out() {
        let place = "/onnxruntime_src/x.cc:63 static X::F(const Y&) [ONNXRuntimeError] : 1 : FAIL : \
                     provider_options_utils.h:187 Parse ";
        let device = format!(
            "{place}Failed to parse provider option \"device_id\": CUDA failure 35: CUDA driver version is insufficient for \
             CUDA runtime version ; GPU=-1 ; hostname=h ; "
        );
        check(&device, "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version");
        let option = format!("{place}Unknown provider option: \"gpu_mem_limi\".\n");
        check(&option, "Unknown provider option: \"gpu_mem_limi\".");
        check("CUDA failure 100: no CUDA-capable device", "CUDA failure 100: no CUDA-capable device");
        check("something else", "something else");
    }
}
