//! What ONNX Runtime's status codes mean here.

use ort::error::ErrorCode;

use super::super::BackendError;

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
