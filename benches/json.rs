//! Decoding and encoding of REST bodies, against serde_json with a tree of values and with a typed structure.
//!
//! Bodies: an image (1x3x224x224 FP32) with numbers as Python prints them (17 digits) and as Rust does (up to 9), and
//! the 16 numbers of the `tiny` model.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use weir::infer::InferResponse;
use weir::model::Version;
use weir::protocol::binary::{decode_infer, encode_infer};
use weir::protocol::{Limits, OutputForms};
use weir::tensor::{DataType, Shape, Tensor};

#[derive(Deserialize)]
struct TypedRequest {
    inputs: Vec<TypedInput>,
}

#[derive(Deserialize)]
struct TypedInput {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "shape")]
    _shape: Vec<i64>,
    #[serde(rename = "datatype")]
    _datatype: String,
    data: Vec<f32>,
}

/// Numbers between -2 and 2, as normalised pixels are.
fn values(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(u32::MAX) * 4.0 - 2.0
    };
    #[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
    (0..count).map(|_| next() as f32).collect()
}

fn body(shape: &[usize], number: impl Fn(f32) -> String) -> Bytes {
    let data: Vec<String> = values(shape.iter().product()).into_iter().map(number).collect();
    let data = data.join(",");
    Bytes::from(format!(
        r#"{{"inputs":[{{"name":"x","shape":{shape:?},"datatype":"FP32","data":[{data}]}}]}}"#
    ))
}

fn decode(criterion: &mut Criterion) {
    let limits = Limits::default();
    let image = [1, 3, 224, 224];
    let bodies = [
        ("image_17_digits", body(&image, |value| f64::from(value).to_string())),
        ("image_9_digits", body(&image, |value| value.to_string())),
        ("tiny", body(&[1, 16], |value| value.to_string())),
    ];
    for (name, body) in bodies {
        let mut group = criterion.benchmark_group(format!("json_decode/{name}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("weir", |bencher| {
            bencher.iter(|| decode_infer(black_box(&body), body.len(), &limits).expect("the body is good"));
        });
        group.bench_function("serde_typed", |bencher| {
            bencher.iter(|| {
                let request: TypedRequest =
                    serde_json::from_slice(black_box(&body)).expect("the body is good");
                request.inputs.into_iter().map(|input| input.data.len()).sum::<usize>()
            });
        });
        group.bench_function("serde_value", |bencher| {
            bencher.iter(|| {
                serde_json::from_slice::<serde_json::Value>(black_box(&body)).expect("the body is good")
            });
        });
        group.finish();
    }
}

fn encode(criterion: &mut Criterion) {
    for (name, count) in [("logits_1000", 1000), ("tiny", 3)] {
        let data: Vec<u8> = values(count).into_iter().flat_map(f32::to_le_bytes).collect();
        let shape = Shape::new(&[1, count]).expect("a small shape");
        let tensor =
            Tensor::new("y".into(), DataType::Fp32, shape, data.into()).expect("the data fill the shape");
        let response = InferResponse {
            model: "tiny".into(),
            version: Version::new(1).expect("not 0"),
            version_text: "1".into(),
            id: "".into(),
            outputs: vec![tensor],
            timing: Default::default(),
            observer: None,
        };
        let mut group = criterion.benchmark_group(format!("json_encode/{name}"));
        group.throughput(Throughput::Elements(count as u64));
        let forms = OutputForms::default();
        group.bench_function("weir", |bencher| {
            bencher.iter(|| encode_infer(black_box(&response), &forms).expect("numbers"));
        });
        let numbers = values(count);
        group.bench_function("serde_typed", |bencher| {
            bencher.iter(|| serde_json::to_vec(black_box(&numbers)).expect("numbers"));
        });
        group.finish();
    }
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
