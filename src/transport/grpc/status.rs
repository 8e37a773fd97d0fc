//! Failures as gRPC statuses, with the retry hint that gRPC clients read.

use tonic::metadata::{MetadataMap, MetadataValue};

use crate::error::Coded;
use crate::protocol::status::{Failure, grpc_code};

/// Milliseconds until a retry is worth trying: gRPC's own name, obeyed by clients with a retry policy.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// The same for clients without one.
const RETRY_AFTER: &str = "retry-after-ms";

/// The status of an error.
pub(super) fn status_of<E: Coded>(error: &E) -> tonic::Status {
    status_of_failure(&Failure::from(error))
}

/// The status of a failure.
pub(super) fn status_of_failure(failure: &Failure) -> tonic::Status {
    let mut metadata = MetadataMap::new();
    if let Some(after) = failure.retry_after {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1);
        let value = MetadataValue::from(millis);
        metadata.insert(PUSHBACK, value.clone());
        metadata.insert(RETRY_AFTER, value);
    }
    tonic::Status::with_metadata(grpc_code(failure.code), failure.message.as_str(), metadata)
}
