//! Deleting against deploying and naming, by many at once, on a store that fails: nothing that is in use is ever deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::memory::InMemory;
use serde_json::json;
use weir::model::{ModelName, Version};
use weir::registry::ops::deploy::{self, SpecChange};
use weir::registry::ops::{alias, change, delete};
use weir::registry::{Actor, Intent, ModelState, Op, Registry, RegistryError, Store};

use crate::faulty_store::FaultyStore;

const VERSIONS: u64 = 4;
const TASKS: u64 = 12;
const CHANGES: u64 = 25;

fn version(number: u64) -> Version {
    Version::new(number % VERSIONS + 1).unwrap()
}

fn intent(task: u64) -> Intent {
    let actor = Actor { sub: format!("task-{task}"), method: "cli".to_owned() };
    Intent { actor, reason: "a race".to_owned(), request_id: String::new(), if_match: None }
}

fn create(number: u64) -> Op {
    let digest = "0".repeat(64);
    let record = json!({
        "files": [{ "path": "model.onnx", "sha256": digest, "size": 1 }], "model_file": "model.onnx",
        "digest": digest, "source": "model.onnx", "inputs": [], "outputs": [],
        "onnx": { "ir_version": 9, "opsets": { "": 17 }, "producer": "", "operators": {}, "parameters": 0 },
        "validation": { "onnxruntime": "", "load_us": 0, "memory_bytes": 0, "batching": "" },
    });
    Op::CreateVersion {
        version: Version::new(number).unwrap(),
        record: serde_json::from_value(record).unwrap(),
    }
}

/// What a state must never say: that something in use is deleted.
fn dangling(state: &ModelState) -> Vec<String> {
    let is_gone = |version: &Version| state.live(*version).is_err();
    let used: BTreeSet<Version> = state
        .deployments
        .values()
        .flat_map(|deployment| deployment.spec.traffic.keys().copied())
        .chain(state.aliases.values().map(|alias| alias.version))
        .collect();
    used.iter()
        .filter(|version| is_gone(version))
        .map(|version| format!("revision {}: {version}", state.rev))
        .collect()
}

async fn one_change(
    registry: &Registry,
    model: &ModelName,
    task: u64,
    at: u64,
) -> Result<u64, RegistryError> {
    let wanted = version(task * 7 + at * 3);
    let name = wanted.to_string();
    let spec = SpecChange::default();
    let made = match (task + at) % 6 {
        0 | 1 => change(registry, model, &intent(task), |state| delete::version(state, wanted)).await?,
        2 => change(registry, model, &intent(task), |state| delete::undelete_version(state, wanted)).await?,
        3 => {
            change(registry, model, &intent(task), |state| deploy::deploy(state, "default", &name, &spec))
                .await?
        }
        4 => change(registry, model, &intent(task), |state| alias::set(state, "champion", &name)).await?,
        _ => change(registry, model, &intent(task), |state| deploy::undeploy(state, "default")).await?,
    };
    Ok(made.rev)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_use_is_deleted_whoever_is_first() {
    let memory = Arc::new(InMemory::new());
    let model: ModelName = "m".parse().unwrap();
    let first = Registry::open(Store::over(Arc::clone(&memory) as _, "memory")).await.unwrap();
    let plan = |_: &ModelState| {
        let mut ops = vec![Op::CreateModel { description: String::new() }];
        ops.extend((1..=VERSIONS).map(create));
        Ok(ops)
    };
    first.commit(&model, &intent(0), plan).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        // Every writer has a registry of its own, as another process would.
        let faulty = FaultyStore::new(Arc::clone(&memory) as _, 17 + task, 10);
        let registry = Registry::open(Store::over(Arc::new(faulty), "faulty")).await;
        let model = model.clone();
        tasks.spawn(async move {
            let Ok(registry) = registry else { return (0, 0) };
            let (mut made, mut refused) = (0, 0);
            for at in 0..CHANGES {
                match one_change(&registry, &model, task, at).await {
                    Ok(_) => made += 1,
                    Err(_) => refused += 1,
                }
            }
            (made, refused)
        });
    }
    let (mut made, mut refused) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (more_made, more_refused) = done.unwrap();
        made += more_made;
        refused += more_refused;
    }
    assert!(made > 0 && refused > 0, "made {made}, refused {refused}: there was no race");
    // Every state on the way, read again from the log by somebody who saw none of it.
    let reader = Registry::open(Store::over(memory, "memory")).await.unwrap();
    let (_, entries) = weir::registry::history::read(&reader, &model).await.unwrap();
    let mut state = ModelState::new(model);
    for entry in &entries {
        state.apply(&entry.revision, &entry.hash).unwrap();
        assert_eq!(dangling(&state), [""; 0]);
    }
    let deletions = entries.iter().flat_map(|entry| &entry.revision.ops);
    let deletions = deletions.filter(|op| matches!(op, Op::Tombstone { .. })).count();
    assert!(deletions > 0, "nothing was deleted");
}
