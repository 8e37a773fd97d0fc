//! What finding a request's version costs, without a registry and with one: `Engine::split_header` and `Engine::route`, as
//! every door calls them, on a table of 1 and of 200 models. Nothing is run: `lookup [ROUNDS]`.
//!
//! The cases take turns, so that a machine that slows down slows all; the median of the rounds is shown.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for the console, not for users")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use weir::backend::fake::{FakeBackend, FakeModel};
use weir::metrics::Registry;
use weir::model::{ModelName, Version};
use weir::serving::{
    DeployedModel, DeployedVersion, Engine, Manager, ManagerConfig, ModelControl, Routing, SplitKey,
    SplitKeys,
};

/// Look-ups of a round.
const LOOKUPS: u32 = 200_000;

/// A server without doors.
struct House {
    engine: Arc<Engine>,
    manager: Arc<Manager>,
    folder: tempfile::TempDir,
}

/// How a request is asked.
struct Case {
    name: &'static str,
    house: usize,
    version: &'static str,
    id: &'static str,
    /// The value of the split's header, if one is asked for.
    header: &'static str,
}

#[tokio::main]
async fn main() {
    let rounds = std::env::args().nth(1).map_or(31, |text| text.parse().unwrap());
    for models in [1, 200] {
        let plain = House::open(models).await;
        let by_id = House::open(0).await;
        by_id.deploy(models, &[(1, 1)], SplitKey::RequestId).await;
        let split = House::open(0).await;
        split.deploy(models, &[(1, 90), (2, 10)], SplitKey::RequestId).await;
        let by_header = House::open(0).await;
        by_header.deploy(models, &[(1, 90), (2, 10)], SplitKey::Header("x-user".into())).await;
        let houses = [plain, by_id, split, by_header];
        let case = |name, house, version, id, header| Case { name, house, version, id, header };
        let cases = [
            case("plain repository, no version", 0, "", "request-1", ""),
            case("plain repository, a number", 0, "1", "request-1", ""),
            case("registry, one version and 3 aliases, no version", 1, "", "request-1", ""),
            case("registry, a number", 1, "1", "request-1", ""),
            case("registry, an alias", 1, "champion", "request-1", ""),
            case("registry, a split by request id", 2, "", "request-1", ""),
            case("registry, a split, a request without id", 2, "", "", ""),
            case("registry, a split by header", 3, "", "request-1", "user-1"),
            case("registry with splits by header, a number", 3, "1", "request-1", "user-1"),
        ];
        let mut took: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (case, took) in cases.iter().zip(&mut took) {
                took.push(round(&houses[case.house].engine, case));
            }
        }
        println!("{models} models, {rounds} rounds of {LOOKUPS}:");
        for (case, took) in cases.iter().zip(&mut took) {
            took.sort_by(f64::total_cmp);
            println!("{:6.1} ns (least {:.1})  {}", took[took.len() / 2], took[0], case.name);
        }
    }
}

/// The time of a look-up, in nanoseconds.
fn round(engine: &Engine, case: &Case) -> f64 {
    let begun = Instant::now();
    for _ in 0..LOOKUPS {
        let (model, version) = (black_box("model-0"), black_box(case.version));
        let header = match engine.split_header(model, version) {
            Some(name) => {
                black_box(name);
                case.header
            }
            None => "",
        };
        let keys = SplitKeys { id: black_box(case.id), header };
        black_box(engine.route(model, version, keys).unwrap());
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}

fn write(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("model.onnx"), "").unwrap();
}

impl House {
    /// A server with a plain repository of so many models.
    async fn open(models: usize) -> House {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..models {
            write(&folder.path().join(format!("models/model-{index}/1")));
        }
        std::fs::create_dir_all(folder.path().join("models")).unwrap();
        let config = ManagerConfig {
            paths: vec![folder.path().join("models")],
            control: ModelControl::None,
            ..ManagerConfig::default()
        };
        let backend = FakeBackend::new().with_model("model.onnx", FakeModel::elementwise(1, |value| value));
        let engine = Arc::new(Engine::new(&Registry::new()).unwrap());
        let manager = Manager::start(config, Arc::new(backend), Arc::clone(&engine)).unwrap();
        manager.settled().await;
        House { engine, manager, folder }
    }

    /// As many models of a registry, each with three aliases.
    async fn deploy(&self, models: usize, traffic: &[(u64, u32)], key: SplitKey) {
        let version = |number: u64| Version::new(number).unwrap();
        for number in [1, 2] {
            write(&self.folder.path().join(format!("cache/{number}")));
        }
        let deployed = |number: u64| DeployedVersion {
            folder: self.folder.path().join(format!("cache/{number}")),
            digest: String::new(),
            model_file: "model.onnx".to_owned(),
            settings: BTreeMap::new(),
            golden: None,
        };
        let main = traffic[0].0;
        for index in 0..models {
            let name: ModelName = format!("model-{index}").parse().unwrap();
            let target = DeployedModel {
                rev: 1,
                origin: String::new(),
                versions: traffic.iter().map(|(number, _)| (version(*number), deployed(*number))).collect(),
                keep: Vec::new(),
                routing: Routing {
                    traffic: traffic.iter().map(|(number, weight)| (version(*number), *weight)).collect(),
                    key: key.clone(),
                    aliases: ["candidate", "challenger", "champion"]
                        .map(|alias| (alias.to_owned(), version(main)))
                        .into(),
                    revision: 1,
                },
                attempt: 0,
                required: false,
            };
            self.manager.deploy(&name, target).unwrap();
        }
        self.manager.settled().await;
        assert_eq!(self.engine.served().len(), models * traffic.len());
    }
}
