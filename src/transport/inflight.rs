//! The bound on requests in flight in the process, all doors and models together. The permit is taken before the
//! body is read and held until the answer is handed to the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::Code;
use crate::protocol::status::Failure;

/// Counts requests in flight; clones share the count.
#[derive(Debug, Clone)]
pub struct InFlight {
    count: Arc<AtomicUsize>,
    max: usize,
}

/// Room for one request; gives it back when dropped.
#[derive(Debug)]
pub struct InFlightPermit(Arc<AtomicUsize>);

impl InFlight {
    /// Room for `max` requests.
    pub fn new(max: usize) -> InFlight {
        InFlight { count: Arc::new(AtomicUsize::new(0)), max }
    }

    /// Room for one request, or the failure that its client sees.
    pub fn try_acquire(&self) -> Result<InFlightPermit, Failure> {
        // Made before the check, so that a refusal gives the place back as well.
        let permit = InFlightPermit(Arc::clone(&self.count));
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before < self.max {
            return Ok(permit);
        }
        Err(Failure {
            retry_after: Some(Duration::from_secs(1)),
            ..Failure::new(
                Code::ResourceExhausted,
                format!("the server is full ({} requests are in flight)", self.max),
            )
        })
    }

    /// How many requests are in flight.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let in_flight = InFlight::new(1);
        let first = in_flight.try_acquire().unwrap();
        let refused = in_flight.try_acquire().unwrap_err();
        assert_eq!((refused.code, in_flight.count()), (Code::ResourceExhausted, 1));
        drop(first);
        assert!(in_flight.try_acquire().is_ok());
        assert_eq!(in_flight.count(), 0);
    }
}
