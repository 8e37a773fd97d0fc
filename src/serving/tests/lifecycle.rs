//! Loading, failing, reloading, unloading, polling: what is served, and what the index says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::swap::freed;
use super::*;
use crate::access::Identity;
use crate::control::{ControlPlane, LoadOverrides};
use crate::error::{Code, Coded};
use crate::events::Event;
use crate::model::Version;

#[tokio::test]
async fn a_version_that_does_not_load_leaves_the_old_one() {
    let house = House::open(ModelControl::Explicit, &[("m/1/model.onnx", "10")]).await;
    house.write("m/2/model.onnx", "broken");
    let error = house.load("m").await.unwrap_err();
    assert!(error.contains("version 2") && error.contains("not a number"), "{error}");
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1));
    let index = house.index();
    assert_eq!(index[0], ("m".to_owned(), 1, ServableState::Available, String::new()));
    assert_eq!((index[1].1, index[1].2), (2, ServableState::End));
    assert!(index[1].3.contains("not a number"), "{}", index[1].3);
    assert!(house.metrics().contains(r#"weir_model_loads_total{model="m",outcome="failed"} 1"#));
    assert!(house.engine.is_ready(), "the model is served");
    house.write("m/2/model.onnx", "20");
    house.load("m").await.unwrap();
    assert_eq!(house.ask("m", "").await.unwrap(), (20.0, 2));
    freed(&house, 1).await;
}

#[tokio::test]
async fn what_failed_for_a_reason_of_the_moment_is_tried_again() {
    let files = [("b/1/model.onnx", "broken"), ("m/1/model.onnx", "1"), ("m/2/model.onnx", "full 2")];
    let pauses = (Duration::from_millis(5), Duration::from_millis(20));
    let house = House::open_with(&files, |config| {
        config.control = ModelControl::None;
        config.retry_pauses = pauses;
    })
    .await;
    assert_eq!(house.ask("m", "").await.unwrap(), (1.0, 1));
    let tries = |house: &House, model: &str| {
        let metrics = house.metrics();
        let series = format!(r#"weir_model_loads_total{{model="{model}",outcome="failed"}} "#);
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok())
    };
    while tries(&house, "m") < Some(3) {
        tokio::time::sleep(pauses.0).await;
    }
    assert_eq!(house.ask("m", "").await.unwrap(), (1.0, 1));
    house.backend.make_room();
    while house.ask("m", "").await.unwrap() != (2.0, 2) {
        tokio::time::sleep(pauses.0).await;
    }
    assert_eq!(tries(&house, "b"), Some(1), "its file is why it failed");
    freed(&house, 1).await;
    let opened = house.backend.opened();
    tokio::time::sleep(pauses.1 * 3).await;
    assert_eq!(house.backend.opened(), opened, "nothing is left to try");
}

#[tokio::test]
async fn what_a_client_orders_is_tried_once() {
    let house = House::open_with(&[("m/1/model.onnx", "1")], |config| {
        config.control = ModelControl::Explicit;
        config.retry_pauses = (Duration::ZERO, Duration::ZERO);
    })
    .await;
    house.load("m").await.unwrap();
    house.write("m/2/model.onnx", "full 2");
    let error = house.load("m").await.unwrap_err();
    assert!(error.contains("no memory left"), "{error}");
    let opened = house.backend.opened();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(house.backend.opened(), opened);
}

#[tokio::test]
async fn at_the_start_an_older_version_stands_in_and_the_hopeless_are_not_ready() {
    let house = House::open(
        ModelControl::None,
        &[
            ("a/1/model.onnx", "1"),
            ("a/2/model.onnx", "broken"),
            ("b/1/model.onnx", "broken"),
            ("c/1/readme", ""),
        ],
    )
    .await;
    assert_eq!(house.ask("a", "").await.unwrap(), (1.0, 1));
    assert!(!house.engine.is_ready());
    let error = house.ask("b", "").await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.to_string().contains("not a number"), "{error}");
    let error = house.ask("c", "1").await.unwrap_err();
    assert!(error.to_string().contains("has no model.onnx"), "{error}");
}

#[tokio::test]
async fn with_a_lost_device_the_others_are_served_until_the_process_ends() {
    let files = [("a/1/model.onnx", "1"), ("b/1/model.onnx", "2")];
    let house = House::open(ModelControl::Explicit, &files).await;
    house.load("a").await.unwrap();
    assert!(house.engine.is_live() && house.engine.is_ready());
    house.write("a/2/model.onnx", "fatal");
    house.load("a").await.unwrap_err();
    house.engine.device_lost().await;
    assert!(!house.engine.is_live() && !house.engine.is_ready());
    assert_eq!(house.ask("a", "").await.unwrap(), (1.0, 1));
}

#[tokio::test]
async fn a_version_changed_in_place_is_swapped_and_the_unchanged_is_not() {
    let house = House::open(ModelControl::Explicit, &[("m/1/model.onnx", "10")]).await;
    house.load("m").await.unwrap();
    assert_eq!(house.backend.opened(), 1, "nothing has changed");
    house.write("m/1/model.onnx", "11");
    house.load("m").await.unwrap();
    assert_eq!(house.ask("m", "").await.unwrap(), (11.0, 1));
    house.write("m/1/model.onnx", "broken");
    house.load("m").await.unwrap_err();
    assert_eq!(house.ask("m", "").await.unwrap(), (11.0, 1));
    let (_, _, state, reason) = house.index().remove(0);
    assert_eq!(state, ServableState::Available);
    assert!(reason.contains("older load is served"), "{reason}");
    freed(&house, 1).await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_change_nothing() {
    let house = House::open(ModelControl::Explicit, &[("m/1/model.onnx", "10")]).await;
    house.write("m/model.toml", "max_batch_sise = 4\n");
    let error = house.load("m").await.unwrap_err();
    assert!(error.contains("model.toml:1") && error.contains("max_batch_size"), "{error}");
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1));
    house.write("m/model.toml", "name = \"other\"\n");
    let error = house.load("m").await.unwrap_err();
    assert!(error.contains("the model's folder is called 'm'"), "{error}");
    house.write("m/model.toml", "max_batch_size = 4\n");
    house.load("m").await.unwrap();
    assert_eq!(house.engine.find("m", "").unwrap().max_batch_size, 4);
}

#[tokio::test]
async fn unloading_frees_when_the_last_request_ends() {
    let house = House::open(ModelControl::Explicit, &[("m/1/model.onnx", "10")]).await;
    let mut events = house.engine.events().subscribe();
    house.backend.hold(true);
    let engine = Arc::clone(&house.engine);
    let inside = tokio::spawn(async move { engine.infer(request("m", "", &[0.0])).await });
    while house.engine.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    house.unload("m").await.unwrap();
    assert_eq!(house.index()[0].2, ServableState::Draining);
    let error = house.ask("m", "").await.unwrap_err();
    assert!(error.to_string().contains("unloaded"), "{error}");
    assert_eq!(house.backend.live(), 1, "a request holds it");
    house.backend.hold(false);
    assert_eq!(values(&inside.await.unwrap().unwrap()), [10.0]);
    freed(&house, 0).await;
    assert_eq!(house.index()[0].2, ServableState::End);
    let id = house.manager.load(&name("m"), LoadRequest::default()).await.map(|()| 1);
    assert_eq!(id, Ok(1), "it can be loaded again");
    assert!(matches!(events.recv().await, Ok(Event::Unloaded { .. })));
}

#[tokio::test]
async fn polling_follows_the_repository() {
    let house = House::open(ModelControl::Poll, &[("m/1/model.onnx", "10")]).await;
    let mut events = house.engine.events().subscribe();
    let mut swapped_to = async |to: u64| {
        loop {
            if let Event::Swapped { to: now, .. } = events.recv().await.unwrap()
                && now == Version::new(to)
            {
                return;
            }
        }
    };
    house.write("m/2/model.onnx", "20");
    swapped_to(2).await;
    assert_eq!(house.ask("m", "").await.unwrap(), (20.0, 2));
    std::fs::remove_dir_all(house.folder.path().join("m/2")).unwrap();
    swapped_to(1).await;
    std::fs::remove_dir_all(house.folder.path().join("m")).unwrap();
    swapped_to(0).await;
    freed(&house, 0).await;
    house.manager.settled().await;
    assert_eq!(house.ask("m", "").await.unwrap_err().code(), Code::NotFound);
    assert!(house.index().is_empty());
    assert!(house.engine.is_ready(), "what is gone is not required");
}

#[tokio::test]
async fn requests_control_models_in_explicit_mode_only() {
    let who = Identity::local();
    let house = House::open(ModelControl::Poll, &[("m/1/model.onnx", "10")]).await;
    let control = ControlPlane::new(Arc::clone(&house.manager));
    let refused = control.load(&who, "m", LoadOverrides::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let house = House::open_with(&[("m/1/model.onnx", "10"), ("n/1/model.onnx", "1")], |config| {
        config.control = ModelControl::Explicit;
        config.startup_models = vec!["n".to_owned()];
    })
    .await;
    let control = ControlPlane::new(Arc::clone(&house.manager));
    assert_eq!(house.index()[0], ("m".to_owned(), 1, ServableState::End, "not loaded".to_owned()));
    assert!(house.engine.is_ready());
    for unknown in ["x", "../m", ""] {
        let error = control.load(&who, unknown, LoadOverrides::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        assert_eq!(control.unload(&who, unknown).await.unwrap_err().code(), Code::NotFound);
    }
    control.load(&who, "m", LoadOverrides::default()).await.unwrap();
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1));
    control.unload(&who, "m").await.unwrap();
    assert!(house.ask("m", "").await.is_err());
}

#[tokio::test]
async fn uploads_are_served_and_removed() {
    let who = Identity::local();
    let files = [("file:3/model.onnx".to_owned(), Bytes::from("33"))];
    let overrides = || LoadOverrides { config_json: None, files: files.clone().into() };
    let house = House::open(ModelControl::Explicit, &[("m/1/model.onnx", "10")]).await;
    let control = ControlPlane::new(Arc::clone(&house.manager));
    let refused = control.load(&who, "m", overrides()).await.unwrap_err();
    assert!(refused.to_string().contains("takes no model files"), "{refused}");
    let uploads = tempfile::tempdir().unwrap();
    let root = uploads.path().join("uploads");
    let house = House::open_with(&[("m/1/model.onnx", "10")], |config| {
        config.control = ModelControl::Explicit;
        config.upload_folder = Some(root.clone());
        config.upload_bytes_max = 2;
    })
    .await;
    let control = ControlPlane::new(Arc::clone(&house.manager));
    control.load(&who, "m", overrides()).await.unwrap();
    assert_eq!(house.ask("m", "").await.unwrap(), (33.0, 3));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1);
    let large = BTreeMap::from([("file:4/model.onnx".to_owned(), Bytes::from("333"))]);
    let refused =
        control.load(&who, "m", LoadOverrides { config_json: None, files: large }).await.unwrap_err();
    assert!(refused.to_string().contains("at most 2"), "{refused}");
    control.load(&who, "m", LoadOverrides::default()).await.unwrap();
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_orders_end_in_the_last() {
    let house = Arc::new(
        House::open(ModelControl::Explicit, &[("m/1/model.onnx", "10"), ("m/2/model.onnx", "20")]).await,
    );
    let orders: Vec<_> = (0..32u64)
        .map(|index| {
            let house = Arc::clone(&house);
            tokio::spawn(async move {
                match index % 3 {
                    0 => house.unload("m").await,
                    version => house.load_with("m", only(version)).await,
                }
            })
        })
        .collect();
    for order in orders {
        order.await.unwrap().unwrap();
    }
    house.load_with("m", only(1)).await.unwrap();
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1));
    freed(&house, 1).await;
}
