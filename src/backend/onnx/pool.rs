//! The sessions of a model on a device, and which of them runs a batch of some shapes.
//!
//! A session of ONNX Runtime's CUDA provider may have one run at a time. Convolutions there keep a cuDNN plan for the shape
//! that they saw last and build it anew for any other (microsoft/onnxruntime issue 23006): 150 ms for ResNet-50 on an H200,
//! whose run of 32 rows takes 4. So a run takes the session whose last run had its shapes, else one that has run nothing,
//! else a new one while there may be more, and else the one that has waited longest.

use std::sync::Arc;

use parking_lot::Mutex;

use super::super::{BackendError, Input};
use crate::tensor::Shape;

/// The shapes of all inputs of a run.
type Shapes = Vec<Option<Shape>>;

/// Opens another session of the same model.
type Open<S> = dyn Fn() -> Result<S, BackendError> + Send + Sync;

/// Sessions that run one batch at a time.
pub(super) struct SessionPool<S> {
    open: Box<Open<S>>,
    /// Whether a session should keep to its shapes.
    by_shapes: bool,
    state: Mutex<State<S>>,
}

struct State<S> {
    /// Those that run nothing, the one used last at the end.
    idle: Vec<Idle<S>>,
    /// Those that run and those that do not.
    count: usize,
    count_max: usize,
}

struct Idle<S> {
    session: Arc<S>,
    shapes: Option<Shapes>,
}

/// A session out of its pool, for one run.
pub(super) struct Lease<'a, S> {
    pool: &'a SessionPool<S>,
    session: Arc<S>,
    shapes: Shapes,
}

impl<S> SessionPool<S> {
    /// A pool of `first` and of as many more as runs at the same time need.
    pub(super) fn new(
        first: S,
        by_shapes: bool,
        open: impl Fn() -> Result<S, BackendError> + Send + Sync + 'static,
    ) -> SessionPool<S> {
        let idle = vec![Idle { session: Arc::new(first), shapes: None }];
        let state = Mutex::new(State { idle, count: 1, count_max: 1 });
        SessionPool { open: Box::new(open), by_shapes, state }
    }

    /// Whether a session should keep to its shapes.
    pub(super) fn is_by_shapes(&self) -> bool {
        self.by_shapes
    }

    /// Allows `count` sessions, and opens them, so that no run has to. Where that fails, those that there are must do.
    pub(super) fn keep(&self, count: usize) {
        let mut state = self.state.lock();
        state.count_max = state.count_max.max(count);
        while state.count < state.count_max {
            state.count += 1;
            drop(state);
            let opened = (self.open)();
            state = self.state.lock();
            match opened {
                Ok(session) => state.idle.push(Idle { session: Arc::new(session), shapes: None }),
                Err(error) => state.give_up(&error),
            }
        }
    }

    /// A session for a run of `inputs`.
    ///
    /// # Errors
    /// What opening another session gave, when none is free.
    pub(super) fn take(&self, inputs: &[Option<Input<'_>>]) -> Result<Lease<'_, S>, BackendError> {
        let shapes: Shapes = if self.by_shapes {
            inputs.iter().map(|input| input.map(|input| input.shape.clone())).collect()
        } else {
            Shapes::new()
        };
        let lease = |session| Lease { pool: self, session, shapes: shapes.clone() };
        {
            let mut state = self.state.lock();
            if let Some(session) = state.fitting(&shapes) {
                return Ok(lease(session));
            }
            if state.count >= state.count_max
                && let Some(session) = state.longest_idle()
            {
                return Ok(lease(session));
            }
            // One more than allowed rather than a run that waits: there are as many runs as there are workers.
            state.count += 1;
        }
        match (self.open)() {
            Ok(session) => Ok(lease(Arc::new(session))),
            Err(error) => {
                let mut state = self.state.lock();
                state.give_up(&error);
                state.longest_idle().map(lease).ok_or(error)
            }
        }
    }
}

impl<S> State<S> {
    /// Counts a session out that could not be opened, and asks for no other.
    fn give_up(&mut self, error: &BackendError) {
        self.count -= 1;
        self.count_max = self.count.max(1);
        tracing::warn!(%error, sessions = self.count, "no further session; runs of new shapes will be slower");
    }

    fn fitting(&mut self, shapes: &Shapes) -> Option<Arc<S>> {
        let same = |idle: &Idle<S>| idle.shapes.as_ref() == Some(shapes);
        let position = self
            .idle
            .iter()
            .rposition(same)
            .or_else(|| self.idle.iter().position(|idle| idle.shapes.is_none()))?;
        Some(self.idle.remove(position).session)
    }

    fn longest_idle(&mut self) -> Option<Arc<S>> {
        (!self.idle.is_empty()).then(|| self.idle.remove(0).session)
    }
}

impl<S> Lease<'_, S> {
    pub(super) fn session(&self) -> &Arc<S> {
        &self.session
    }
}

impl<S> Drop for Lease<'_, S> {
    fn drop(&mut self) {
        let session = Arc::clone(&self.session);
        let shapes = Some(std::mem::take(&mut self.shapes));
        self.pool.state.lock().idle.push(Idle { session, shapes });
    }
}

impl<S> std::fmt::Debug for SessionPool<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SessionPool").field("idle", &state.idle.len()).field("count", &state.count).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::backend::InputData;
    use crate::tensor::DataType;

    /// A pool of numbers, of which there are `number_max`.
    fn pool(by_shapes: bool, number_max: usize) -> SessionPool<usize> {
        let next = AtomicUsize::new(1);
        SessionPool::new(0, by_shapes, move || match next.fetch_add(1, Ordering::Relaxed) {
            number if number < number_max => Ok(number),
            _ => Err(BackendError::Runtime("no memory".to_owned())),
        })
    }

    fn take(pool: &SessionPool<usize>, rows: usize) -> Result<Lease<'_, usize>, BackendError> {
        let shape = Shape::new(&[rows, 2]).unwrap();
        pool.take(&[Some(Input { dtype: DataType::Fp32, shape: &shape, data: InputData::Fixed(&[]) }), None])
    }

    fn run(pool: &SessionPool<usize>, rows: usize) -> usize {
        **take(pool, rows).unwrap().session()
    }

    #[test]
    fn a_session_keeps_to_its_shape_as_long_as_there_may_be_another() {
        let pool = pool(true, 9);
        pool.keep(3);
        assert_eq!([1, 2, 4, 1, 2, 4].map(|rows| run(&pool, rows)), [0, 1, 2, 0, 1, 2]);
        // A fourth shape takes the one that has waited longest.
        assert_eq!([1, 8, 1, 8].map(|rows| run(&pool, rows)), [0, 1, 0, 1]);
        assert_eq!(run(&pool, 2), 2);
    }

    #[test]
    fn what_is_kept_is_opened_at_once() {
        let pool = pool(true, 9);
        pool.keep(3);
        assert_eq!(pool.state.lock().idle.iter().map(|idle| *idle.session).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn runs_at_the_same_time_have_a_session_each() {
        for by_shapes in [true, false] {
            let pool = pool(by_shapes, 9);
            let (first, second) = (take(&pool, 1).unwrap(), take(&pool, 1).unwrap());
            assert_ne!(first.session(), second.session());
            drop((first, second));
            assert!(run(&pool, 1) < 2);
        }
    }

    #[test]
    fn without_shapes_one_session_is_enough() {
        let pool = pool(false, 9);
        pool.keep(3);
        assert_eq!([1, 2, 4].map(|rows| run(&pool, rows)), [0; 3]);
    }

    #[test]
    fn what_cannot_be_opened_is_done_without() {
        let pool = pool(true, 2);
        pool.keep(5);
        assert_eq!([1, 2, 4, 8].map(|rows| run(&pool, rows)), [0, 1, 0, 1]);
        let (_first, _second) = (take(&pool, 4).unwrap(), take(&pool, 8).unwrap());
        assert_eq!(take(&pool, 1).map(|_| ()).unwrap_err().to_string(), "ONNX Runtime: no memory");
    }
}
