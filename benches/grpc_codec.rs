//! Reading `ModelInferRequest` and writing `ModelInferResponse` by hand against the generated messages (prost), which
//! would also have to be converted.
//!
//! Messages: the 16 numbers of the `tiny` model, raw and typed, and an image (1x3x224x224 FP32), raw and typed.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use weir::infer::InferResponse;
use weir::model::Version;
use weir::protocol::Limits;
use weir::protocol::grpc::{ResponseEncoder, decode_request, pb};
use weir::tensor::{DataType, Shape, Tensor};

fn request(shape: &[i64], raw: bool) -> Bytes {
    let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or_default();
    let contents = pb::InferTensorContents { fp32_contents: vec![0.5; count], ..Default::default() };
    let input = pb::model_infer_request::InferInputTensor {
        name: "x".to_owned(),
        datatype: "FP32".to_owned(),
        shape: shape.to_vec(),
        contents: (!raw).then_some(contents),
        ..Default::default()
    };
    let message = pb::ModelInferRequest {
        model_name: "tiny".to_owned(),
        inputs: vec![input],
        raw_input_contents: if raw { vec![Bytes::from(vec![0; count * 4])] } else { Vec::new() },
        ..Default::default()
    };
    message.encode_to_vec().into()
}

fn decode(criterion: &mut Criterion) {
    let limits = Limits::default();
    let now = Instant::now();
    let cases = [
        ("tiny_raw", request(&[1, 16], true)),
        ("tiny_typed", request(&[1, 16], false)),
        ("image_raw", request(&[1, 3, 224, 224], true)),
        ("image_typed", request(&[1, 3, 224, 224], false)),
    ];
    for (name, frame) in cases {
        let mut group = criterion.benchmark_group(format!("grpc_decode/{name}"));
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function("weir", |bencher| {
            bencher.iter(|| decode_request(black_box(&frame), &limits, now).is_ok());
        });
        group.bench_function("prost", |bencher| {
            bencher.iter(|| pb::ModelInferRequest::decode(black_box(frame.clone())).is_ok());
        });
        group.finish();
    }
}

fn response(columns: usize) -> InferResponse {
    let tensor = Shape::new(&[1, columns])
        .ok()
        .and_then(|shape| Tensor::new("y".into(), DataType::Fp32, shape, vec![0; columns * 4].into()).ok());
    InferResponse {
        model: Arc::from("tiny"),
        version: Version::new(1).unwrap_or_else(|| unreachable!("1 is a version")),
        version_text: Arc::from("1"),
        id: "".into(),
        outputs: tensor.into_iter().collect(),
        timing: Default::default(),
        observer: None,
    }
}

fn generated(response: &InferResponse) -> pb::ModelInferResponse {
    let output = |tensor: &Tensor| pb::model_infer_response::InferOutputTensor {
        name: tensor.name().to_string(),
        datatype: tensor.dtype().to_string(),
        shape: tensor.shape().to_wire(),
        ..Default::default()
    };
    pb::ModelInferResponse {
        model_name: response.model.to_string(),
        model_version: response.version_text.to_string(),
        id: response.id.to_string(),
        outputs: response.outputs.iter().map(output).collect(),
        raw_output_contents: response.outputs.iter().map(|tensor| tensor.data().clone()).collect(),
        ..Default::default()
    }
}

fn encode(criterion: &mut Criterion) {
    for (name, columns) in [("tiny", 3), ("thousand_classes", 1000)] {
        let response = response(columns);
        let mut group = criterion.benchmark_group(format!("grpc_encode/{name}"));
        group.bench_function("weir", |bencher| {
            bencher.iter(|| {
                let encoder = ResponseEncoder::new(black_box(&response));
                let mut buf = BytesMut::with_capacity(encoder.encoded_len());
                encoder.write(&mut buf);
                buf.freeze()
            });
        });
        group.bench_function("prost_with_conversion", |bencher| {
            bencher.iter(|| generated(black_box(&response)).encode_to_vec());
        });
        group.finish();
    }
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
