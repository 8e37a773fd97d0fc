//! The bounds on requests in flight in the process, all doors and models together: how many there are, and how many
//! bytes of them are held. A request's permit is taken before its body is read and held until the answer is handed to
//! the socket; its bytes count until the last slice of them is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::error::Code;
use crate::protocol::status::Failure;

/// The least that a buffer grows by, so that small parts do not each touch the shared count.
const GROWTH_MIN: usize = 16 << 10;

/// Counts requests in flight and the bytes they hold; clones share the counts.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    requests: AtomicUsize,
    requests_max: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// Room for one request; gives it back when dropped.
#[derive(Debug)]
pub struct InFlightPermit(Arc<Counts>);

impl InFlight {
    /// Room for `requests_max` requests that hold `bytes_max` bytes together.
    pub fn new(requests_max: usize, bytes_max: usize) -> InFlight {
        let (requests, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        InFlight(Arc::new(Counts { requests, requests_max, bytes, bytes_max }))
    }

    /// Room for one request, or the failure that its client sees.
    pub fn try_acquire(&self) -> Result<InFlightPermit, Failure> {
        // Made before the check, so that a refusal gives the place back as well.
        let permit = InFlightPermit(Arc::clone(&self.0));
        let before = self.0.requests.fetch_add(1, Ordering::Relaxed);
        if before < self.0.requests_max {
            return Ok(permit);
        }
        Err(full(format!("{} requests are in flight", self.0.requests_max)))
    }

    /// How many requests are in flight.
    pub fn count(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// How many bytes their buffers hold.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// A buffer for a body that comes in parts or is decompressed.
    pub(super) fn buffer(&self) -> BodyBuffer {
        BodyBuffer { data: Vec::new(), reserved: Reserved { counts: Arc::clone(&self.0), bytes: 0 } }
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A growing body whose memory is counted before it is allocated, and until its last slice is dropped.
#[derive(Debug)]
pub(super) struct BodyBuffer {
    // Before the reservation, so that memory is freed before it stops counting.
    data: Vec<u8>,
    reserved: Reserved,
}

impl BodyBuffer {
    /// Bytes written.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// Makes room for `len` bytes in all.
    pub(super) fn reserve_total(&mut self, len: usize) -> Result<(), Failure> {
        if len > self.data.capacity() {
            self.reserved.grow_to(len)?;
            self.data.reserve_exact(len - self.data.len());
        }
        Ok(())
    }

    /// Appends `part`, or fails when the process holds too many bytes.
    pub(super) fn extend(&mut self, part: &[u8]) -> Result<(), Failure> {
        let needed = self.data.len() + part.len();
        if needed > self.data.capacity() {
            let roomy = needed.max(self.data.capacity() * 2).max(GROWTH_MIN);
            // Near the bound a body may still grow by what it needs.
            self.reserve_total(roomy).or_else(|_| self.reserve_total(needed))?;
        }
        self.data.extend_from_slice(part);
        Ok(())
    }

    /// The bytes; they count until the last slice of them is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for BodyBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Bytes that count; given back when dropped.
#[derive(Debug)]
struct Reserved {
    counts: Arc<Counts>,
    bytes: usize,
}

impl Reserved {
    fn grow_to(&mut self, bytes: usize) -> Result<(), Failure> {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.counts.bytes.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.counts.bytes_max {
            self.counts.bytes.fetch_sub(more, Ordering::Relaxed);
            return Err(full(format!("its requests hold {} bytes", self.counts.bytes_max)));
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.counts.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn full(why: String) -> Failure {
    let failure = Failure::new(Code::ResourceExhausted, format!("the server is full ({why})"));
    Failure { retry_after: Some(Duration::from_secs(1)), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let in_flight = InFlight::new(1, 0);
        let first = in_flight.try_acquire().unwrap();
        let refused = in_flight.try_acquire().unwrap_err();
        assert_eq!((refused.code, in_flight.count()), (Code::ResourceExhausted, 1));
        drop(first);
        assert!(in_flight.try_acquire().is_ok());
        assert_eq!(in_flight.count(), 0);
    }

    #[test]
    fn bytes_count_until_their_last_slice_is_dropped() {
        let in_flight = InFlight::new(1, 100_000);
        let mut first = in_flight.buffer();
        first.extend(&[1; 60_000]).unwrap();
        first.extend(&[2; 10]).unwrap();
        let slice = first.freeze().slice(60_009..);
        assert_eq!((in_flight.bytes(), slice.len()), (60_010, 1));
        let mut second = in_flight.buffer();
        let refused = second.extend(&[0; 50_000]).unwrap_err();
        assert_eq!(refused.message, "the server is full (its requests hold 100000 bytes)");
        drop(slice);
        second.extend(&[0; 50_000]).unwrap();
        assert_eq!((in_flight.bytes(), second.len()), (50_000, 50_000));
        drop(second);
        assert_eq!(in_flight.bytes(), 0);
    }
}
