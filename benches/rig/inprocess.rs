//! The baseline of compute-bound benchmarks: `session.run` in process, through `ort`'s safe interface, without a server.
//!
//! `inprocess LIBRARY MODEL SECONDS THREADS BATCH...` prints rows per second for each batch size as one JSON object.
//! One FP32 or INT64 input with a leading dynamic axis; random data; the output is read, as a caller would.

#![allow(clippy::print_stdout, clippy::cast_possible_truncation)]

use std::time::{Duration, Instant};

use ort::session::Session;
use ort::value::{TensorElementType, TensorRef};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or_else(|| anyhow::anyhow!("missing argument: {what}"));
    let (library, model) = (next("library")?, next("model")?);
    let seconds: f64 = next("seconds")?.parse()?;
    let threads: usize = next("threads")?.parse()?;
    let batches: Vec<usize> = args.map(|batch| batch.parse()).collect::<Result<_, _>>()?;

    let environment = ort::init_from(&library)?.with_telemetry(false).build()?;
    let builder = Session::builder(&environment)?;
    let mut session = builder
        .with_intra_threads(threads)
        .map_err(|error| anyhow::anyhow!("{error}"))?
        .commit_from_file(&model)?;
    let input = session.inputs()[0].name().to_owned();
    let output = session.outputs()[0].name().to_owned();
    let dims: Vec<i64> =
        session.inputs()[0].dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    let row: Vec<usize> = dims.iter().skip(1).map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>()?;
    let is_whole = session.inputs()[0].dtype().tensor_type() == Some(TensorElementType::Int64);
    let mut results = Vec::new();
    for batch in batches {
        let mut shape = vec![batch];
        shape.extend(&row);
        let count: usize = shape.iter().product();
        let mut seed = 1u32;
        let data: Vec<f32> = (0..count)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) as f32 / (1 << 24) as f32
            })
            .collect();
        let tokens: Vec<i64> = data.iter().map(|value| (value * 1000.0) as i64).collect();
        let mut run = || -> anyhow::Result<f32> {
            let outputs = if is_whole {
                let tensor = TensorRef::from_array_view((shape.clone(), &*tokens))?;
                session.run(ort::inputs![input.as_str() => tensor])?
            } else {
                let tensor = TensorRef::from_array_view((shape.clone(), &*data))?;
                session.run(ort::inputs![input.as_str() => tensor])?
            };
            let (_, values) = outputs[output.as_str()].try_extract_tensor::<f32>()?;
            Ok(values.iter().sum())
        };
        run()?;
        let (start, mut runs) = (Instant::now(), 0u32);
        while start.elapsed() < Duration::from_secs_f64(seconds) {
            std::hint::black_box(run()?);
            runs += 1;
        }
        let rate = f64::from(runs) * batch as f64 / start.elapsed().as_secs_f64();
        results.push(format!("\"{batch}\":{rate:.2}"));
    }
    println!("{{{}}}", results.join(","));
    Ok(())
}
