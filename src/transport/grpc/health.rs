//! `grpc.health.v1` over the engine's readiness: nothing is pushed, so a probe never sees an old answer.
//!
//! The empty name and the inference service stand for the server; any other name is a model's.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::serving::{Engine, EngineError};

/// How often a watched status is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// The health service of `engine`.
pub(super) fn server(engine: Arc<Engine>) -> HealthServer<Readiness> {
    HealthServer::new(Readiness { engine })
}

#[derive(Debug, Clone)]
pub(super) struct Readiness {
    engine: Arc<Engine>,
}

impl Readiness {
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let ready = match service {
            "" | "inference.GRPCInferenceService" => self.engine.is_ready(),
            "grpc.health.v1.Health" => true,
            model => match self.engine.find(model, "") {
                Ok(_) => true,
                Err(EngineError::NotReady { .. }) => false,
                Err(_) => return None,
            },
        };
        Some(if ready { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

#[tonic::async_trait]
impl Health for Readiness {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self
            .status(&request.get_ref().service)
            .ok_or_else(|| Status::not_found("there is no such service or model"))?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let ticks = tokio::time::interval(WATCH_INTERVAL);
        // The first tick is at once; after that only changes are told.
        let changes = stream::unfold((self.clone(), ticks, None), move |(readiness, mut ticks, last)| {
            let service = service.clone();
            async move {
                loop {
                    ticks.tick().await;
                    let status = readiness.status(&service).unwrap_or(ServingStatus::ServiceUnknown);
                    if last != Some(status) {
                        let answer = HealthCheckResponse { status: status.into() };
                        return Some((Ok(answer), (readiness, ticks, Some(status))));
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
