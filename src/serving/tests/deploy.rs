//! Models of a registry: splits, aliases, rollbacks, failures, and whose name it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::swap::freed;
use super::*;
use crate::error::{Code, Coded};
use crate::model::Version;
use crate::serving::{
    DeployedModel, DeployedVersion, GoldenFile, Judge, Routing, RunOnce, SplitKey, SplitKeys,
};

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

impl House {
    fn deployed_version(&self, number: u64) -> DeployedVersion {
        DeployedVersion {
            folder: self.folder.path().join(format!(".cache/{number}")),
            digest: number.to_string(),
            model_file: "model.onnx".to_owned(),
            settings: BTreeMap::new(),
            golden: None,
        }
    }

    /// Orders `traffic` and `aliases` of model `m`, with `keep` kept.
    fn deploy(&self, rev: u64, traffic: &[(u64, u32)], aliases: &[(&str, u64)], keep: &[u64]) {
        self.manager.deploy(&name("m"), self.target(rev, traffic, aliases, keep)).unwrap();
    }

    fn target(
        &self,
        rev: u64,
        traffic: &[(u64, u32)],
        aliases: &[(&str, u64)],
        keep: &[u64],
    ) -> DeployedModel {
        let reachable =
            traffic.iter().map(|(number, _)| *number).chain(aliases.iter().map(|(_, number)| *number));
        DeployedModel {
            rev,
            origin: format!("deployment default@rev {rev}"),
            versions: reachable.map(|number| (v(number), self.deployed_version(number))).collect(),
            keep: keep.iter().map(|&number| (v(number), self.deployed_version(number))).collect(),
            routing: Routing {
                traffic: traffic.iter().map(|&(number, weight)| (v(number), weight)).collect(),
                key: SplitKey::RequestId,
                aliases: aliases.iter().map(|&(alias, number)| (alias.to_owned(), v(number))).collect(),
                revision: rev,
            },
            attempt: 0,
            required: false,
        }
    }

    async fn deployed(&self, rev: u64, traffic: &[(u64, u32)], aliases: &[(&str, u64)], keep: &[u64]) {
        self.deploy(rev, traffic, aliases, keep);
        self.manager.settled().await;
    }
}

async fn house() -> House {
    let house = House::open(ModelControl::Poll, &[]).await;
    for number in [1u64, 2, 3] {
        house.write(&format!(".cache/{number}/model.onnx"), &(number * 10).to_string());
    }
    house.write(".cache/4/model.onnx", "broken");
    house
}

#[tokio::test]
async fn splits_aliases_and_numbers_lead_to_versions() {
    let house = house().await;
    house.deployed(1, &[(1, 90), (2, 10), (3, 0)], &[("champion", 1), ("challenger", 2)], &[]).await;
    assert_eq!(house.ask("m", "champion").await.unwrap(), (10.0, 1));
    assert_eq!(house.ask("m", "challenger").await.unwrap(), (20.0, 2));
    assert_eq!(house.ask("m", "3").await.unwrap(), (30.0, 3));
    assert_eq!(house.ask("m", "nobody").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(house.engine.find("m", "").unwrap().id.version, v(1), "the largest share describes the model");
    let mut counts = BTreeMap::new();
    for key in 0..2000 {
        let mut request = request("m", "", &[0.0]);
        request.id = format!("request-{key}").into();
        let response = house.engine.infer(request.clone()).await.unwrap();
        let again = house.engine.infer(request).await.unwrap();
        assert_eq!(response.version, again.version);
        assert_eq!(values(&response), [response.version.get() as f32 * 10.0]);
        *counts.entry(response.version.get()).or_insert(0u32) += 1;
    }
    // Five standard deviations of 2000 draws with a share of 0.1.
    assert!(counts[&2].abs_diff(200) < 68 && !counts.contains_key(&3), "{counts:?}");
}

#[tokio::test]
async fn a_header_decides_a_split_only_when_one_says_so() {
    let house = house().await;
    house.deployed(1, &[(1, 1), (2, 1)], &[], &[]).await;
    assert_eq!(house.engine.split_header("m", ""), None);
    let target = DeployedModel {
        rev: 2,
        origin: String::new(),
        versions: [1, 2].map(|number| (v(number), house.deployed_version(number))).into(),
        keep: Vec::new(),
        routing: Routing {
            traffic: [(v(1), 1), (v(2), 1)].into(),
            key: SplitKey::Header("x-user".into()),
            aliases: BTreeMap::new(),
            revision: 2,
        },
        attempt: 0,
        required: false,
    };
    house.manager.deploy(&name("m"), target).unwrap();
    assert_eq!(house.engine.split_header("m", "").as_deref(), Some("x-user"));
    assert_eq!(house.engine.split_header("m", "1"), None, "who names a version needs no key");
    let version = |header: &str| {
        let keys = SplitKeys { id: "7", header };
        house.engine.route("m", "", keys).unwrap().0.id.version
    };
    let found: BTreeSet<Version> = (0..64).map(|user| version(&format!("user-{user}"))).collect();
    assert_eq!(found.len(), 2);
    assert!((0..64).all(|_| version("user-1") == version("user-1")));
    house.manager.undeploy(&name("m"));
    assert_eq!(house.engine.split_header("m", ""), None);
}

#[tokio::test]
async fn a_rollback_needs_no_load() {
    let house = house().await;
    house.deployed(1, &[(1, 1)], &[], &[]).await;
    house.deployed(2, &[(2, 1)], &[], &[1]).await;
    assert_eq!(house.ask("m", "").await.unwrap(), (20.0, 2));
    let status = house.manager.deployed(&name("m")).unwrap();
    assert_eq!((status.served, status.kept.len(), status.is_current), (Some(2), 1, true));
    let opened = house.backend.opened();
    house.deploy(3, &[(1, 1)], &[], &[2]);
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1), "before deploy returned");
    assert_eq!(house.backend.opened(), opened);
    house.deployed(3, &[(1, 1)], &[], &[]).await;
    freed(&house, 1).await;
    assert_eq!(house.ask("m", "2").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_does_not_load_leaves_what_was_served() {
    let house = house().await;
    house.deployed(1, &[(1, 1)], &[("champion", 1)], &[]).await;
    house.deployed(2, &[(4, 1)], &[("champion", 4)], &[1]).await;
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1));
    assert_eq!(house.ask("m", "champion").await.unwrap(), (10.0, 1));
    let status = house.manager.deployed(&name("m")).unwrap();
    assert!(!status.is_current && status.settled, "{status:?}");
    assert!(
        status.errors[0].contains("version 4") && status.errors[0].contains("not a number"),
        "{status:?}"
    );
    let failed = house.index().into_iter().find(|row| row.1 == 4).unwrap();
    assert_eq!(failed.2, ServableState::End);
    assert!(house.metrics().contains(r#"weir_model_loads_total{model="m",outcome="failed"} 1"#));
    // An alias that leads nowhere does not hold up the traffic.
    house.deployed(3, &[(2, 1)], &[("champion", 4)], &[]).await;
    assert_eq!(house.ask("m", "").await.unwrap(), (20.0, 2));
    assert_eq!(house.ask("m", "champion").await.unwrap(), (10.0, 1), "as it was");
    house.deployed(4, &[(2, 1)], &[], &[]).await;
    freed(&house, 1).await;
    assert!(house.manager.deployed(&name("m")).unwrap().errors.is_empty());
}

#[tokio::test]
async fn a_failure_of_the_moment_says_so_and_another_attempt_finds_room() {
    let house = house().await;
    house.write(".cache/3/model.onnx", "full 30");
    let status = || house.manager.deployed(&name("m")).unwrap();
    house.deployed(1, &[(1, 1)], &[], &[]).await;
    house.deployed(2, &[(4, 1)], &[], &[1]).await;
    assert!(!status().may_pass, "its file is why it failed: {:?}", status());
    house.deployed(3, &[(3, 1)], &[], &[1]).await;
    assert!(status().may_pass && status().errors[0].contains("no memory left"), "{:?}", status());
    house.backend.make_room();
    house.deployed(3, &[(3, 1)], &[], &[1]).await;
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1), "the same order is no attempt");
    let again = DeployedModel { attempt: 1, ..house.target(3, &[(3, 1)], &[], &[1]) };
    house.manager.deploy(&name("m"), again).unwrap();
    house.manager.settled().await;
    assert_eq!(house.ask("m", "").await.unwrap(), (30.0, 3));
    assert!(status().errors.is_empty() && !status().may_pass, "{:?}", status());
}

/// Knows what versions answer: the text of the golden file is what they add.
#[derive(Debug)]
struct Adds;

impl Judge for Adds {
    fn judge(&self, golden: &Path, tolerance: Option<f64>, run: &mut RunOnce<'_>) -> Result<(), String> {
        let expected: f32 = std::fs::read_to_string(golden).unwrap().parse().unwrap();
        let outputs = run(&request("m", "", &[0.0]).inputs)?;
        let found = f32::from_le_bytes(outputs[0].data()[..].try_into().unwrap());
        let is_close = f64::from((found - expected).abs()) <= tolerance.unwrap_or(0.0);
        is_close.then_some(()).ok_or_else(|| format!("{found} instead of {expected}"))
    }
}

#[tokio::test]
async fn golden_outputs_are_replayed_before_a_switch() {
    let house = house().await;
    house.deployed(1, &[(1, 1)], &[], &[]).await;
    let target = |rev: u64, answer: &str, settings: &[(&str, serde_json::Value)]| {
        house.write(".cache/2.golden.json", answer);
        let mut version = house.deployed_version(2);
        let path = house.folder.path().join(".cache/2.golden.json");
        version.golden = Some(GoldenFile { path, runtime: "build 1".to_owned() });
        version.settings = settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        DeployedModel {
            rev,
            origin: String::new(),
            versions: [(v(2), version)].into(),
            keep: vec![(v(1), house.deployed_version(1))],
            routing: Routing { traffic: [(v(2), 1)].into(), ..Routing::default() },
            attempt: rev,
            required: false,
        }
    };
    let deployed = async |target: DeployedModel| {
        house.manager.deploy(&name("m"), target).unwrap();
        house.manager.settled().await;
        (house.ask("m", "").await.unwrap().1, house.manager.deployed(&name("m")).unwrap().errors.join("; "))
    };
    let (served, errors) = deployed(target(2, "20", &[])).await;
    assert_eq!(served, 1, "nobody can judge it: {errors}");
    house.manager.judge_by(Arc::new(Adds));
    let (served, errors) = deployed(target(3, "21", &[])).await;
    assert_eq!(served, 1);
    assert!(errors.contains("version 2") && errors.contains("20 instead of 21"), "{errors}");
    assert!(errors.contains("by build 1") && errors.contains("golden_tolerance"), "{errors}");
    freed(&house, 1).await;
    assert_eq!(deployed(target(4, "21", &[("golden_tolerance", 2.0.into())])).await, (2, String::new()));
    house.deployed(5, &[(1, 1)], &[], &[]).await;
    assert_eq!(deployed(target(6, "21", &[("golden_check", false.into())])).await, (2, String::new()));
    house.deployed(7, &[(1, 1)], &[], &[]).await;
    assert_eq!(deployed(target(8, "20", &[])).await, (2, String::new()));
}

#[tokio::test]
async fn settings_of_the_deployment_are_named() {
    let house = house().await;
    house.write(".cache/1/model.toml", "name = \"other\"\nmax_batch_size = 4\n");
    let mut version = house.deployed_version(1);
    version.settings.insert("instances.count".to_owned(), 3.into());
    let target = |version: &DeployedVersion| DeployedModel {
        rev: 12,
        origin: "deployment default@rev 12".to_owned(),
        versions: [(v(1), version.clone())].into(),
        keep: Vec::new(),
        routing: Routing { traffic: [(v(1), 1)].into(), ..Routing::default() },
        attempt: 0,
        required: false,
    };
    house.manager.deploy(&name("m"), target(&version)).unwrap();
    house.manager.settled().await;
    let servable = house.engine.find("m", "1").unwrap();
    assert_eq!((servable.max_batch_size, servable.workers), (4, 3));
    assert_eq!(servable.settings.source("instances.count").to_string(), "deployment default@rev 12");
    version.settings.insert("instances.cuont".to_owned(), 3.into());
    house.manager.deploy(&name("m"), target(&version)).unwrap();
    house.manager.settled().await;
    let status = house.manager.deployed(&name("m")).unwrap();
    assert!(status.errors[0].contains("instances.count"), "{status:?}");
    assert_eq!(house.engine.find("m", "1").unwrap().workers, 3);
}

#[tokio::test]
async fn a_name_belongs_to_who_had_it_first() {
    let house = House::open(ModelControl::Explicit, &[("m/1/model.onnx", "7")]).await;
    let version = house.deployed_version(1);
    let target = DeployedModel {
        rev: 1,
        origin: String::new(),
        versions: [(v(1), version)].into(),
        keep: Vec::new(),
        routing: Routing { traffic: [(v(1), 1)].into(), ..Routing::default() },
        attempt: 0,
        required: false,
    };
    house.write(".cache/1/model.onnx", "10");
    house.manager.deploy(&name("m"), target.clone()).unwrap_err();
    assert_eq!(house.ask("m", "").await.unwrap(), (7.0, 1));
    house.manager.deploy(&name("n"), target).unwrap();
    house.manager.settled().await;
    let refused = house.load("n").await.unwrap_err();
    assert!(refused.contains("from the registry"), "{refused}");
    house.unload("n").await.unwrap_err();
    assert_eq!(house.ask("n", "").await.unwrap(), (10.0, 1));
    house.manager.undeploy(&name("n"));
    assert_eq!(house.ask("n", "").await.unwrap_err().code(), Code::NotFound);
    freed(&house, 1).await;
}
