//! Between an answer and the taps that watch it: remembers what a request brought, and makes the observation when the
//! answer is there or has failed. Copies no tensor; what it keeps are counted references.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;

use super::{EngineError, Servable};
use crate::error::{Code, Coded};
use crate::infer::{InferRequest, Observation, Protocol, Route, Tap, Timing};
use crate::tensor::{Name, Tensor};

/// A request that a tap will see.
#[derive(Debug)]
pub(super) struct Watched {
    tap: Arc<dyn Tap>,
    started: Instant,
    id: Name,
    key: Name,
    protocol: Protocol,
    route: Route,
    rows: usize,
    inputs: SmallVec<[Option<Tensor>; 4]>,
}

impl Watched {
    /// Begins to watch `request`, if the version has a tap that looks at anything now.
    pub(super) fn begin(servable: &Servable, request: &InferRequest, route: Route) -> Option<Watched> {
        let tap = servable.tap.as_ref().filter(|tap| tap.is_active())?;
        Some(Watched {
            tap: Arc::clone(tap),
            started: request.timing.received.unwrap_or_else(Instant::now),
            id: request.id.clone(),
            key: request.split_key.clone(),
            protocol: request.protocol,
            route,
            rows: 1,
            inputs: SmallVec::new(),
        })
    }

    /// Remembers the inputs, which are known to fit the model.
    pub(super) fn bound(&mut self, rows: usize, inputs: &SmallVec<[Option<Tensor>; 4]>) {
        self.rows = rows;
        self.inputs.clone_from(inputs);
    }

    /// Shows the answer to the tap, and waits where its promise asks for that.
    ///
    /// # Errors
    /// When the tap cannot keep its promise.
    pub(super) async fn answered(
        self,
        servable: &Servable,
        outputs: SmallVec<[Tensor; 4]>,
        timing: Timing,
    ) -> Result<(), EngineError> {
        let tap = Arc::clone(&self.tap);
        let observation = Arc::new(self.finish(outputs, None, timing));
        match tap.observe(&observation) {
            None => Ok(()),
            Some(acknowledged) => acknowledged.await.map_err(|refused| EngineError::Unseen {
                model: servable.name.to_string(),
                reason: refused.to_string(),
            }),
        }
    }

    /// Shows a failure to the tap. Nothing is waited for: there is no answer that could leave too early.
    pub(super) fn failed(self, error: &EngineError) {
        let tap = Arc::clone(&self.tap);
        let observation = self.finish(SmallVec::new(), Some(error.code()), Timing::default());
        drop(tap.observe(&Arc::new(observation)));
    }

    fn finish(self, outputs: SmallVec<[Tensor; 4]>, failure: Option<Code>, timing: Timing) -> Observation {
        Observation {
            id: self.id,
            key: self.key,
            protocol: self.protocol,
            route: self.route,
            rows: self.rows,
            inputs: self.inputs,
            outputs,
            failure,
            timing,
            latency: self.started.elapsed(),
            finished: Some(SystemTime::now()),
        }
    }
}
