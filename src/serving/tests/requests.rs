//! Routing, selection and refusals of the engine.

use super::*;
use crate::error::{Code, Coded};
use crate::infer::RequestedOutput;

const TWO: &[(&str, &str)] =
    &[("m/1/model.onnx", "10"), ("m/2/model.onnx", "20"), ("m/model.toml", "versions = \"all\"\n")];

#[tokio::test]
async fn requests_go_to_the_version_they_name() {
    let house = House::open(ModelControl::None, TWO).await;
    assert!(house.engine.is_ready());
    assert_eq!(house.ask("m", "").await.unwrap(), (20.0, 2), "the default is the highest");
    assert_eq!(house.ask("m", "1").await.unwrap(), (10.0, 1));
    for (model, version, code) in [
        ("m", "3", Code::NotFound),
        ("m", "x", Code::NotFound),
        ("m", "01", Code::NotFound),
        ("n", "", Code::NotFound),
    ] {
        let error = house.ask(model, version).await.unwrap_err();
        assert_eq!(error.code(), code, "{model} {version}: {error}");
    }
    let response = house.engine.infer(request("m", "", &[1.0, 2.0, 3.0])).await.unwrap();
    assert_eq!(values(&response), [21.0, 22.0, 23.0]);
    assert_eq!((&*response.model, &*response.version_text, &*response.id), ("m", "2", "7"));
}

#[tokio::test]
async fn a_single_file_is_version_1_of_its_stem() {
    let house = House::open_with(&[("net.v2.onnx", "5")], |config| {
        config.paths[0].push("net.v2.onnx");
    })
    .await;
    assert_eq!(house.ask("net.v2", "1").await.unwrap(), (5.0, 1));
}

#[tokio::test]
async fn outputs_are_chosen_and_classified() {
    let house = House::open(
        ModelControl::None,
        &[
            ("m/1/model.onnx", "1"),
            ("m/model.toml", "[labels]\ny = \"names.txt\"\n"),
            ("m/names.txt", "only\n"),
        ],
    )
    .await;
    assert_eq!(house.index()[0].3, "");
    let mut wanted = request("m", "", &[1.5, 2.0]);
    wanted.outputs = vec![RequestedOutput { name: "y".into(), classification: 3 }];
    let response = house.engine.infer(wanted).await.unwrap();
    let output = &response.outputs[0];
    assert_eq!((output.dtype(), output.shape().dims()), (DataType::Bytes, &[2, 1][..]));
    assert_eq!(&output.data()[4..], b"2.500000:0:only\x0f\0\0\x003.000000:0:only");
    let mut wanted = request("m", "", &[1.0]);
    wanted.outputs = vec![RequestedOutput { name: "z\n".into(), classification: 0 }];
    let error = house.engine.infer(wanted).await.unwrap_err();
    assert_eq!(error.to_string(), "model 'm' has no output 'z\\n'; it gives y");
    let mut wanted = request("m", "", &[1.0]);
    wanted.outputs = vec![RequestedOutput { name: "y".into(), classification: 0 }; 2];
    let error = house.engine.infer(wanted).await.unwrap_err();
    assert_eq!((error.code(), &*error.to_string()), (Code::InvalidArgument, "output 'y' is requested twice"));
}

#[tokio::test]
async fn statistics_and_metrics_count_what_happened() {
    let house = House::open(ModelControl::Explicit, TWO).await;
    let mut marked = request("m", "", &[1.0, 2.0]);
    marked.received = Some(std::time::Instant::now());
    let response = house.engine.infer(marked).await.unwrap();
    response.encoded(std::time::Instant::now());
    let mut wrong = request("m", "2", &[1.0]);
    wrong.inputs.clear();
    house.engine.infer(wrong).await.unwrap_err();
    for index in 0..50 {
        house.ask(&format!("unknown{index}"), "").await.unwrap_err();
    }
    // A batch is counted just after its callers are answered.
    let counted = async {
        loop {
            let statistics = house.engine.statistics("m", "2").unwrap().remove(0);
            if statistics.execution_count > 0 {
                break statistics;
            }
            tokio::task::yield_now().await;
        }
    };
    let statistics = tokio::time::timeout(std::time::Duration::from_secs(20), counted).await.unwrap();
    assert_eq!((statistics.inference_count, statistics.execution_count), (2, 1));
    assert_eq!(
        (statistics.success.count, statistics.fail.count, statistics.batches[0].batch_size),
        (1, 1, 2)
    );
    assert_eq!(house.engine.statistics("", "").unwrap().len(), 2);
    assert!(house.engine.statistics("n", "").is_err());
    let text = house.metrics();
    for line in [
        r#"weir_requests_total{model="m",outcome="ok",protocol="grpc",version="2"} 1"#,
        r#"weir_requests_total{model="m",outcome="invalid_argument",protocol="grpc",version="2"} 1"#,
        r#"weir_requests_unrouted_total{outcome="not_found",protocol="grpc"} 50"#,
        r#"weir_request_stage_duration_seconds_count{model="m",stage="total",version="2"} 1"#,
        r#"weir_model_ready{model="m",version="1"} 1"#,
        "weir_server_ready 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("unknown4"));
    house.unload("m").await.unwrap();
    let text = house.metrics();
    assert!(!text.contains("version=\"2\""), "{text}");
}

#[tokio::test]
async fn draining_lets_nobody_in_and_waits_for_those_inside() {
    let house = Arc::new(House::open(ModelControl::None, TWO).await);
    house.backend.hold(true);
    let engine = Arc::clone(&house.engine);
    let inside = tokio::spawn(async move { engine.infer(request("m", "", &[0.0])).await });
    while house.engine.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    house.engine.begin_drain();
    assert!(!house.engine.is_ready());
    let error = house.ask("m", "").await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let mut idle = std::pin::pin!(house.engine.idle());
    assert!(futures_util::poll!(idle.as_mut()).is_pending());
    house.backend.hold(false);
    idle.await;
    assert_eq!(values(&inside.await.unwrap().unwrap()), [20.0]);
}

#[tokio::test]
async fn a_caller_that_goes_is_counted() {
    let house = House::open(ModelControl::None, TWO).await;
    house.backend.hold(true);
    {
        let mut asked = std::pin::pin!(house.engine.infer(request("m", "", &[0.0])));
        assert!(futures_util::poll!(asked.as_mut()).is_pending());
    }
    house.backend.hold(false);
    assert_eq!(house.engine.in_flight(), 0);
    let line = r#"weir_requests_total{model="m",outcome="cancelled",protocol="grpc",version="2"} 1"#;
    assert!(house.metrics().contains(line));
}

#[tokio::test]
async fn requests_without_rows_are_answered_where_the_model_takes_them() {
    let files = [("m/1/model.onnx", "1"), ("m/model.toml", "allow_empty = true\n"), ("n/1/model.onnx", "1")];
    let house = House::open(ModelControl::None, &files).await;
    let response = house.engine.infer(request("m", "", &[])).await.unwrap();
    assert_eq!(response.outputs[0].shape().dims(), [0, 1]);
    let error = house.engine.infer(request("n", "", &[])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}

/// It lies in the future of every request, with what the transports add: large ones are moved, and push what computes out of
/// the processor's caches.
#[tokio::test]
async fn what_waits_for_an_answer_is_small() {
    let house = House::open(ModelControl::None, TWO).await;
    let size = std::mem::size_of_val(&house.engine.infer(request("m", "", &[0.0])));
    assert!(size <= 1600, "{size} bytes");
}
