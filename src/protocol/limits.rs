//! Every limit that a client can run into, in one table, the same for both transports.

use std::time::Duration;

/// Limits on what a client may send. Documented in `docs/configuration.md`; set in `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body or gRPC message as received, and again after decompression.
    pub body_bytes_max: usize,
    /// Decompressed bytes per received byte.
    pub decompression_ratio_max: usize,
    /// Nesting of JSON.
    pub json_depth_max: usize,
    /// Input tensors in a request, and requested outputs.
    pub tensors_max: usize,
    /// Rows (first dimension) of a tensor.
    pub rows_max: usize,
    /// Request parameters, and parameters of one tensor.
    pub parameters_max: usize,
    /// Bytes of all request headers together.
    pub header_bytes_max: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub streams_max: u32,
    /// Open connections of one listener.
    pub connections_max: usize,
    /// Age at which a connection is asked to end; zero for never.
    pub connection_age_max: Duration,
    /// Requests in flight in the process, all models together.
    pub requests_in_flight_max: usize,
    /// Bytes that bodies in several parts and decompressed bodies hold in the process, all requests together.
    pub bytes_in_flight_max: usize,
    /// Time a client has to send its request's headers.
    pub header_timeout: Duration,
    /// Time a client has between two parts of its body, and for a response to make progress.
    pub stall_timeout: Duration,
    /// Longest deadline; requests without one get none, longer ones this.
    pub deadline_max: Duration,
}

/// A body that expands to no more than this is not held to the ratio: a small tensor of zeros is no attack.
const RATIO_FREE_LEN: usize = 1 << 20;

impl Limits {
    /// The most bytes that `compressed_len` received ones may become.
    pub fn decompressed_bytes_max(&self, compressed_len: usize) -> usize {
        let by_ratio = compressed_len.saturating_mul(self.decompression_ratio_max).max(RATIO_FREE_LEN);
        by_ratio.min(self.body_bytes_max)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: 256 << 20,
            decompression_ratio_max: 100,
            json_depth_max: 32,
            tensors_max: 256,
            rows_max: 1 << 20,
            parameters_max: 64,
            header_bytes_max: 16 << 10,
            streams_max: 256,
            connections_max: 4096,
            connection_age_max: Duration::ZERO,
            requests_in_flight_max: 16_384,
            bytes_in_flight_max: 2 << 30,
            header_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            deadline_max: Duration::from_secs(3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(compressed_len: usize, expected: usize) {
        let limits = Limits { body_bytes_max: 4 << 20, decompression_ratio_max: 100, ..Limits::default() };
        assert_eq!(limits.decompressed_bytes_max(compressed_len), expected);
    }

    #[test]
    fn expansion_is_bounded() {
        check(0, 1 << 20);
        check(20_000, 2_000_000);
        check(1 << 20, 4 << 20);
        check(usize::MAX, 4 << 20);
    }
}
