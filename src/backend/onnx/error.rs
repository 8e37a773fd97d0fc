//! What ONNX Runtime's errors mean here.

use ort::error::ErrorCode;

use super::super::{BackendError, DeviceFault};

/// CUDA's codes after which every call fails until the process ends. The documentation of `cudaError_t` says so of all but the
/// first two, which are of memory and links that cannot be relied on any more.
const LOST: [u32; 13] = [214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721];
/// CUDA's code for memory that is not to be had.
const OUT_OF_MEMORY: u32 = 2;
/// What ONNX Runtime's arena says when it may not, or cannot, grow.
const ARENA_FULL: [&str; 2] =
    ["Failed to allocate memory for requested buffer", "is smaller than requested bytes"];

/// The meaning of an error that a run returned.
pub(super) fn of_run(error: &ort::Error) -> BackendError {
    let invalid_input = matches!(error.code(), ErrorCode::InvalidArgument);
    BackendError::Run { message: error.message().to_owned(), invalid_input }
}

/// An input that cannot be given to the model as it is.
pub(super) fn invalid_input(message: String) -> BackendError {
    BackendError::Run { message, invalid_input: true }
}

/// An output that cannot be given on as it is.
pub(super) fn invalid_output(message: String) -> BackendError {
    BackendError::Run { message, invalid_input: false }
}

/// The error of a session on a CUDA device, if `message` blames the device.
pub(super) fn of_device(message: &str) -> Option<BackendError> {
    let code = message.split_once("CUDA failure ").and_then(|(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits)?.parse::<u32>().ok()
    });
    let fault = match code {
        Some(OUT_OF_MEMORY) => DeviceFault::Full,
        Some(code) if LOST.contains(&code) => DeviceFault::Lost,
        _ if ARENA_FULL.iter().any(|text| message.contains(text)) => DeviceFault::Full,
        _ => return None,
    };
    Some(BackendError::Device { fault, message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: Option<DeviceFault>) {
        let fault = of_device(message).map(|error| match error {
            BackendError::Device { fault, .. } => fault,
            other => panic!("{other:?}"),
        });
        assert_eq!(fault, expected, "{message}");
    }

    #[test]
    fn the_device_is_blamed_for_what_it_does() {
        check(
            "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h ; \
             expr=cudaStreamSynchronize(static_cast<cudaStream_t>(stream_));",
            Some(DeviceFault::Lost),
        );
        check("CUDA failure 2: out of memory ; GPU=0", Some(DeviceFault::Full));
        check(
            "bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t) Failed to allocate memory for \
             requested buffer of size 16000000",
            Some(DeviceFault::Full),
        );
        check(
            "Available memory of 1048576 is smaller than requested bytes of 16000000",
            Some(DeviceFault::Full),
        );
        check("CUDA failure 801: operation not supported", None);
        check("CUDA failure 7000: no such code", None);
        check("CUDA failure ", None);
        check("Non-zero status code returned while running Gather node", None);
    }
}
