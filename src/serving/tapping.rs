//! Between an answer and the taps that watch it: remembers what a request brought, and makes the observation when the
//! answer is there or has failed. Copies no tensor; what it keeps are counted references.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{EngineError, Servable, respond};
use crate::backend::Output;
use crate::error::{Code, Coded};
use crate::infer::{Acknowledgement, Attention, Choice, InferRequest, InferResponse, Observation, Timing};
use crate::tensor::Tensor;

/// A request of a version whose tap looks at requests now. Small: it lies in the future of every request.
#[derive(Debug)]
pub(super) struct Watched {
    rows: usize,
    /// `None` when the tap has no room: then only its rows are counted.
    seen: Option<Box<Seen>>,
}

/// What is known of the request so far.
#[derive(Debug)]
struct Seen {
    started: Instant,
    observation: Observation,
}

impl Watched {
    /// Begins to watch `request`, if the version has a tap that looks at anything now.
    pub(super) fn begin(servable: &Servable, request: &InferRequest, choice: Choice) -> Option<Watched> {
        let attention = servable.tap.as_ref()?.attention();
        let seen = match attention {
            Attention::None => return None,
            Attention::Full => None,
            Attention::Open => Some(Box::new(Seen {
                started: request.received.unwrap_or_else(Instant::now),
                observation: Observation {
                    id: request.id.clone(),
                    key: request.split_key.clone(),
                    attributes: request.attributes.clone(),
                    protocol: request.protocol,
                    choice,
                    ..Observation::default()
                },
            })),
        };
        Some(Watched { rows: 1, seen })
    }

    /// Remembers the inputs, which are known to fit the model.
    pub(super) fn bound(&mut self, rows: usize, inputs: &[Option<Tensor>]) {
        self.rows = rows;
        if let Some(seen) = &mut self.seen {
            seen.observation.inputs = inputs.to_vec();
        }
    }

    /// Remembers what ran gave, if the tap has room for it.
    ///
    /// # Errors
    /// When an output is not what it says it is.
    pub(super) fn ran(&mut self, servable: &Servable, outputs: &[Output]) -> Result<(), EngineError> {
        if let Some(seen) = &mut self.seen {
            seen.observation.outputs = respond::all(servable, outputs)?;
        }
        Ok(())
    }

    /// Shows what came of the request to the tap. Where the tap's promise asks for that, [`acknowledged`] waits before an
    /// answer leaves; a failure waits for nothing.
    pub(super) fn ended(
        self,
        servable: &Servable,
        answered: &Result<(InferResponse, usize), EngineError>,
    ) -> Option<Acknowledgement> {
        match answered {
            Ok((response, _)) => self.show(servable, None, response.timing),
            Err(error) => {
                drop(self.show(servable, Some(error.code()), Timing::default()));
                None
            }
        }
    }

    fn show(self, servable: &Servable, failure: Option<Code>, timing: Timing) -> Option<Acknowledgement> {
        let tap = servable.tap.as_ref()?;
        let Some(seen) = self.seen else {
            tap.skip(self.rows);
            return None;
        };
        let Seen { started, mut observation } = *seen;
        if failure.is_some() {
            observation.outputs.clear();
        }
        tap.observe(&Arc::new(Observation {
            rows: self.rows,
            failure,
            timing,
            latency: started.elapsed(),
            finished: Some(SystemTime::now()),
            ..observation
        }))
    }
}

/// Waits until the tap has kept its promise.
///
/// # Errors
/// When it cannot.
pub(super) async fn acknowledged(
    servable: &Servable,
    acknowledgement: Acknowledgement,
) -> Result<(), EngineError> {
    acknowledgement.await.map_err(|refused| EngineError::Unseen {
        model: servable.name.to_string(),
        reason: refused.to_string(),
    })
}
