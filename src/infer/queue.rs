//! A bounded queue of observations between the request's path and a thread that works on them.
//!
//! Pushing takes a few atomic operations: it never waits, never allocates and wakes nobody (the consumer looks every few
//! milliseconds). Rows and bytes are bounded, so that what waits here cannot keep more memory of requests alive than
//! configured. The queue counts nothing that it refuses: its owner does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;

use super::Observation;

/// Rows of a narrow queue: each keeps alive the buffer that its request was read into, which the connection would use again.
const NARROW_ROWS: usize = 64;

/// Why an observation was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As many observations or rows wait as may.
    Rows,
    /// As many bytes wait as may.
    Bytes,
}

impl Full {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Full::Rows => "queue_rows",
            Full::Bytes => "queue_bytes",
        }
    }
}

/// The queue. Any number of threads push; one or more pop.
#[derive(Debug)]
pub struct ObservationQueue<T> {
    /// Each with its bytes, which are summed up once.
    ring: ArrayQueue<(T, usize, Arc<Observation>)>,
    rows: AtomicUsize,
    bytes: AtomicUsize,
    rows_max: usize,
    /// What `rows` may be now.
    rows_now: AtomicUsize,
    bytes_max: usize,
}

impl<T> ObservationQueue<T> {
    /// A queue for at most `rows_max` rows (and as many observations) of at most `bytes_max` bytes together. `T` goes with
    /// each observation: whose it is.
    pub fn new(rows_max: usize, bytes_max: usize) -> ObservationQueue<T> {
        ObservationQueue {
            ring: ArrayQueue::new(rows_max.max(1)),
            rows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            rows_max: rows_max.max(1),
            rows_now: AtomicUsize::new(rows_max.max(1)),
            bytes_max,
        }
    }

    /// Takes an observation, or says what there is no room for. One that is larger than the bounds is taken when nothing
    /// else waits, so that no request is too large to be seen.
    pub fn push(&self, owner: T, observation: &Arc<Observation>) -> Result<(), Full> {
        let (rows, bytes) = (observation.rows, observation.bytes());
        let rows_before = self.rows.fetch_add(rows, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let full =
            if rows_before > 0 && rows_before.saturating_add(rows) > self.rows_now.load(Ordering::Relaxed) {
                Some(Full::Rows)
            } else if bytes_before > 0 && bytes_before.saturating_add(bytes) > self.bytes_max {
                Some(Full::Bytes)
            } else {
                self.ring.push((owner, bytes, Arc::clone(observation))).err().map(|_| Full::Rows)
            };
        match full {
            None => Ok(()),
            Some(full) => {
                self.release(rows, bytes);
                Err(full)
            }
        }
    }

    /// Why one more row would not be taken now, if it would not.
    pub fn full(&self) -> Option<Full> {
        if self.rows.load(Ordering::Relaxed) >= self.rows_now.load(Ordering::Relaxed) {
            return Some(Full::Rows);
        }
        (self.bytes.load(Ordering::Relaxed) >= self.bytes_max.max(1)).then_some(Full::Bytes)
    }

    /// Bounds the queue to a few rows, or to as many as it was made for. For a consumer that is slow on purpose: what
    /// waited long would be old, and requests would miss its memory.
    pub fn narrow(&self, is_narrow: bool) {
        let rows = if is_narrow { NARROW_ROWS.min(self.rows_max) } else { self.rows_max };
        self.rows_now.store(rows, Ordering::Relaxed);
    }

    /// The oldest observation. Its room is free as soon as it is taken.
    pub fn pop(&self) -> Option<(T, Arc<Observation>)> {
        let (owner, bytes, observation) = self.ring.pop()?;
        self.release(observation.rows, bytes);
        Some((owner, observation))
    }

    /// The oldest observation, while more rows wait than may since the queue became narrow: for its owner to drop and count.
    pub fn excess(&self) -> Option<(T, Arc<Observation>)> {
        let is_excess = self.rows.load(Ordering::Relaxed) > self.rows_now.load(Ordering::Relaxed);
        is_excess.then(|| self.pop()).flatten()
    }

    /// Observations that wait.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn release(&self, rows: usize, bytes: usize) {
        self.rows.fetch_sub(rows, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tensor::{DataType, Shape, Tensor};

    fn observation(rows: usize, bytes: usize) -> Arc<Observation> {
        let shape = Shape::new(&[bytes]).unwrap();
        let tensor = Tensor::new("x".into(), DataType::Uint8, shape, Bytes::from(vec![0; bytes])).unwrap();
        Arc::new(Observation { rows, inputs: [Some(tensor)].into_iter().collect(), ..Observation::default() })
    }

    #[test]
    fn rows_and_bytes_are_bounded_and_room_comes_back() {
        let queue = ObservationQueue::new(10, 100);
        assert_eq!(queue.push(1, &observation(6, 10)), Ok(()));
        assert_eq!(queue.push(2, &observation(5, 10)), Err(Full::Rows));
        assert_eq!(queue.push(3, &observation(4, 91)), Err(Full::Bytes));
        assert_eq!(queue.full(), None);
        assert_eq!(queue.push(4, &observation(4, 90)), Ok(()));
        assert_eq!(queue.full(), Some(Full::Rows));
        assert_eq!(queue.bytes(), 100);
        assert_eq!(queue.pop().map(|(owner, _)| owner), Some(1));
        assert_eq!(queue.push(5, &observation(6, 10)), Ok(()));
        assert_eq!(queue.pop().map(|(owner, _)| owner), Some(4));
        assert_eq!(queue.pop().map(|(owner, _)| owner), Some(5));
        assert!(queue.pop().is_none());
        assert_eq!(queue.full(), None);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_narrow_queue_takes_a_few_rows() {
        let queue = ObservationQueue::new(10_000, 100);
        queue.push((), &observation(600, 1)).unwrap();
        assert!(queue.excess().is_none());
        queue.narrow(true);
        assert_eq!(queue.full(), Some(Full::Rows));
        assert_eq!(queue.push((), &observation(1, 1)), Err(Full::Rows));
        assert_eq!(queue.excess().map(|(_, observation)| observation.rows), Some(600));
        assert!(queue.excess().is_none());
        assert_eq!(queue.push((), &observation(60, 1)), Ok(()));
        assert!(queue.excess().is_none());
        queue.narrow(false);
        assert_eq!(queue.push((), &observation(1, 1)), Ok(()));
    }

    #[test]
    fn one_that_is_too_large_is_taken_alone() {
        let queue = ObservationQueue::new(10, 100);
        assert_eq!(queue.push((), &observation(50, 500)), Ok(()));
        assert_eq!(queue.push((), &observation(1, 1)), Err(Full::Rows));
        assert!(queue.pop().is_some());
        assert_eq!(queue.push((), &observation(1, 100)), Ok(()));
        assert_eq!(queue.full(), Some(Full::Bytes));
        assert!(queue.pop().is_some());
        assert_eq!(queue.push((), &observation(1, 1)), Ok(()));
    }
}
