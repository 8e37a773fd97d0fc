//! Every call but the two that infer: health, descriptions, statistics, the repository.
//!
//! Shared memory is left to the generated default, which answers UNIMPLEMENTED.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::describe;
use super::status::status_of;
use crate::access::{Identity, Role};
use crate::control::{ControlPlane, LoadOverrides};
use crate::protocol::grpc::pb;
use crate::protocol::grpc::pb::grpc_inference_service_server::GrpcInferenceService;
use crate::protocol::grpc::pb::model_repository_parameter::ParameterChoice;
use crate::serving::Engine;
use crate::transport::fixed::{self, Setting};

/// The calls, over the two doors.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    pub(super) engine: Arc<Engine>,
    pub(super) control: Arc<ControlPlane>,
    pub(super) version: &'static str,
}

type Answer<T> = Result<Response<T>, Status>;

/// Fails unless whoever asks may read `model`. Requests that anyone may make carry nobody.
fn check_reader<T>(request: &Request<T>, model: &str) -> Result<(), Status> {
    match request.extensions().get::<Identity>() {
        Some(who) => who.require(Role::Reader, Some(model)).map_err(|error| status_of(&error)),
        None => Ok(()),
    }
}

/// Which names of a list whoever asks may see.
fn may_read<T>(request: &Request<T>) -> impl Fn(&str) -> bool + use<T> {
    let who = request.extensions().get::<Identity>().cloned();
    move |name| who.as_ref().is_none_or(|who| who.allows(Role::Reader, Some(name)))
}

/// Who asks for a change. The service below puts it there; without it, nobody may.
fn who_of<T>(request: &Request<T>) -> Result<Identity, Status> {
    let who = request.extensions().get::<Identity>().cloned();
    who.ok_or_else(|| Status::unauthenticated("this needs credentials"))
}

#[tonic::async_trait]
impl GrpcInferenceService for Calls {
    async fn server_live(&self, _: Request<pb::ServerLiveRequest>) -> Answer<pb::ServerLiveResponse> {
        Ok(Response::new(pb::ServerLiveResponse { live: self.engine.is_live() }))
    }

    async fn server_ready(&self, _: Request<pb::ServerReadyRequest>) -> Answer<pb::ServerReadyResponse> {
        Ok(Response::new(pb::ServerReadyResponse { ready: self.engine.is_ready() }))
    }

    async fn model_ready(&self, request: Request<pb::ModelReadyRequest>) -> Answer<pb::ModelReadyResponse> {
        check_reader(&request, &request.get_ref().name)?;
        let request = request.into_inner();
        // A model that nobody knows is not ready; it is no error to ask.
        let ready = self.engine.find(&request.name, &request.version).is_ok();
        Ok(Response::new(pb::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<pb::ServerMetadataRequest>,
    ) -> Answer<pb::ServerMetadataResponse> {
        Ok(Response::new(describe::server_metadata(self.version)))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Answer<pb::ModelMetadataResponse> {
        check_reader(&request, &request.get_ref().name)?;
        let request = request.into_inner();
        let servable =
            self.engine.find(&request.name, &request.version).map_err(|error| status_of(&error))?;
        let versions = self.engine.versions(&request.name);
        Ok(Response::new(describe::model_metadata(&servable, &versions)))
    }

    async fn model_config(
        &self,
        request: Request<pb::ModelConfigRequest>,
    ) -> Answer<pb::ModelConfigResponse> {
        check_reader(&request, &request.get_ref().name)?;
        let request = request.into_inner();
        let servable =
            self.engine.find(&request.name, &request.version).map_err(|error| status_of(&error))?;
        let config = Some(describe::model_config(&servable));
        Ok(Response::new(pb::ModelConfigResponse { config }))
    }

    async fn model_statistics(
        &self,
        request: Request<pb::ModelStatisticsRequest>,
    ) -> Answer<pb::ModelStatisticsResponse> {
        let may_read = may_read(&request);
        let request = request.into_inner();
        let mut statistics =
            self.engine.statistics(&request.name, &request.version).map_err(|error| status_of(&error))?;
        statistics.retain(|entry| may_read(&entry.name));
        let model_stats = statistics.into_iter().map(describe::model_statistics).collect();
        Ok(Response::new(pb::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Answer<pb::RepositoryIndexResponse> {
        let may_read = may_read(&request);
        let request = request.into_inner();
        if !request.repository_name.is_empty() {
            return Err(no_repositories());
        }
        let entries = self.engine.index(request.ready).into_iter().filter(|entry| may_read(&entry.name));
        let models = entries.map(describe::index_entry).collect();
        Ok(Response::new(pb::RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Answer<pb::RepositoryModelLoadResponse> {
        let who = who_of(&request)?;
        let request = request.into_inner();
        let model_name = model_of(request.repository_name, request.model_name)?;
        let overrides = overrides_of(request.parameters)?;
        self.control.load(&who, &model_name, overrides).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Answer<pb::RepositoryModelUnloadResponse> {
        let who = who_of(&request)?;
        let request = request.into_inner();
        let model_name = model_of(request.repository_name, request.model_name)?;
        // `unload_dependents` changes nothing: no model here depends on another.
        self.control.unload(&who, &model_name).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }

    async fn trace_setting(
        &self,
        request: Request<pb::TraceSettingRequest>,
    ) -> Answer<pb::TraceSettingResponse> {
        refuse_changes(request.get_ref().settings.values().any(|setting| !setting.value.is_empty()))?;
        let value = |&(name, text): &(&str, &str)| {
            let value = pb::trace_setting_response::SettingValue { value: vec![text.to_owned()] };
            (name.to_owned(), value)
        };
        Ok(Response::new(pb::TraceSettingResponse { settings: fixed::TRACE.iter().map(value).collect() }))
    }

    async fn log_settings(
        &self,
        request: Request<pb::LogSettingsRequest>,
    ) -> Answer<pb::LogSettingsResponse> {
        use pb::log_settings_response::{SettingValue, setting_value::ParameterChoice};
        refuse_changes(!request.get_ref().settings.is_empty())?;
        let value = |&(name, setting): &(&str, Setting)| {
            let choice = match setting {
                Setting::Bool(value) => ParameterChoice::BoolParam(value),
                Setting::Number(value) => ParameterChoice::Uint32Param(value),
                Setting::Text(value) => ParameterChoice::StringParam(value.to_owned()),
            };
            (name.to_owned(), SettingValue { parameter_choice: Some(choice) })
        };
        Ok(Response::new(pb::LogSettingsResponse { settings: fixed::LOG.iter().map(value).collect() }))
    }
}

fn refuse_changes(has_changes: bool) -> Result<(), Status> {
    if has_changes { Err(Status::unimplemented(fixed::CHANGE_REFUSED)) } else { Ok(()) }
}

/// KServe's clients send the model's name in the field that is the repository's for Triton's.
fn model_of(repository_name: String, model_name: String) -> Result<String, Status> {
    match (repository_name.is_empty(), model_name.is_empty()) {
        (true, true) => Err(Status::invalid_argument("the model's name is missing")),
        (true, false) => Ok(model_name),
        (false, true) => Ok(repository_name),
        (false, false) => Err(no_repositories()),
    }
}

fn no_repositories() -> Status {
    Status::unimplemented("repositories have no names here: leave 'repository_name' empty")
}

fn overrides_of(
    parameters: std::collections::HashMap<String, pb::ModelRepositoryParameter>,
) -> Result<LoadOverrides, Status> {
    let mut overrides = LoadOverrides::default();
    for (name, parameter) in parameters {
        match (name.as_str(), parameter.parameter_choice) {
            ("config", Some(ParameterChoice::StringParam(config))) => overrides.config_json = Some(config),
            (file, Some(ParameterChoice::BytesParam(bytes))) if file.starts_with("file:") => {
                let path = file.trim_start_matches("file:").to_owned();
                overrides.files.insert(path, bytes);
            }
            _ => {
                let text =
                    "load takes the parameters 'config' (a string) and 'file:<version>/<name>' (bytes)";
                return Err(Status::invalid_argument(text));
            }
        }
    }
    Ok(overrides)
}
