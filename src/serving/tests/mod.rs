//! The engine and the manager together, on a fake backend and repositories of one-word files.

mod deploy;
mod fake;
mod lifecycle;
mod requests;
mod swap;
mod taps;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use self::fake::{FakeBackend, FakeExaminer};
use super::{Engine, EngineError, LoadRequest, Manager, ManagerConfig, ModelControl, ServableState};
use crate::infer::{InferRequest, InferResponse};
use crate::metrics::Registry;
use crate::model::ModelName;
use crate::tensor::{DataType, Shape, Tensor};

/// A server without doors.
struct House {
    folder: TempDir,
    backend: Arc<FakeBackend>,
    engine: Arc<Engine>,
    manager: Arc<Manager>,
    registry: Registry,
}

impl House {
    /// Serves a repository of `files`: path and content.
    async fn open(control: ModelControl, files: &[(&str, &str)]) -> House {
        House::open_with(files, |config| config.control = control).await
    }

    async fn open_with(files: &[(&str, &str)], change: impl FnOnce(&mut ManagerConfig)) -> House {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            write(folder.path(), path, content);
        }
        let mut config = ManagerConfig {
            paths: vec![folder.path().to_owned()],
            poll_interval: std::time::Duration::from_millis(10),
            load_threads: 2,
            cores: 2,
            ..ManagerConfig::default()
        };
        change(&mut config);
        let registry = Registry::new();
        let backend = Arc::new(FakeBackend::default());
        let engine = Arc::new(Engine::new(&registry).unwrap());
        let examiner = Some(Arc::new(FakeExaminer) as _);
        let manager =
            Manager::start_examined(config, Arc::clone(&backend) as _, examiner, Arc::clone(&engine))
                .unwrap();
        manager.settled().await;
        House { folder, backend, engine, manager, registry }
    }

    fn write(&self, path: &str, content: &str) {
        write(self.folder.path(), path, content);
    }

    async fn load(&self, model: &str) -> Result<(), String> {
        self.load_with(model, LoadRequest::default()).await
    }

    async fn load_with(&self, model: &str, request: LoadRequest) -> Result<(), String> {
        self.manager.load(&name(model), request).await.map_err(|error| error.to_string())
    }

    async fn unload(&self, model: &str) -> Result<(), String> {
        self.manager.unload(&name(model)).await.map_err(|error| error.to_string())
    }

    /// What `model` answers to 0, and its version.
    async fn ask(&self, model: &str, version: &str) -> Result<(f32, u64), EngineError> {
        let response = self.engine.infer(request(model, version, &[0.0])).await?;
        Ok((values(&response)[0], response.version.get()))
    }

    /// The index: name, version, state and reason.
    fn index(&self) -> Vec<(String, u64, ServableState, String)> {
        let row = |entry: super::IndexEntry| {
            let version = entry.version.map_or(0, crate::model::Version::get);
            (entry.name.to_string(), version, entry.state, entry.reason)
        };
        self.engine.index(false).into_iter().map(row).collect()
    }

    fn metrics(&self) -> String {
        String::from_utf8(self.registry.expose().unwrap()).unwrap()
    }
}

fn name(model: &str) -> ModelName {
    model.parse().unwrap()
}

/// Writes a file at once, as a careful deployer does.
fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let hidden = path.with_extension("new");
    std::fs::write(&hidden, content).unwrap();
    std::fs::rename(hidden, path).unwrap();
}

/// One request with one row for each of `rows`.
fn request(model: &str, version: &str, rows: &[f32]) -> InferRequest {
    let data: Vec<u8> =
        rows.iter().flat_map(|row| [row.to_le_bytes(), 0f32.to_le_bytes()].concat()).collect();
    let shape = Shape::new(&[rows.len(), 2]).unwrap();
    let input = Tensor::new("x".into(), DataType::Fp32, shape, Bytes::from(data)).unwrap();
    InferRequest {
        model: model.into(),
        version: version.into(),
        id: "7".into(),
        inputs: vec![input],
        ..InferRequest::default()
    }
}

fn values(response: &InferResponse) -> Vec<f32> {
    let data = response.outputs[0].data();
    data.chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap())).collect()
}

/// The configuration that serves one version only.
fn only(version: u64) -> LoadRequest {
    let config_json = format!(r#"{{"version_policy":{{"specific":{{"versions":[{version}]}}}}}}"#);
    LoadRequest { config_json: Some(config_json), ..LoadRequest::default() }
}
