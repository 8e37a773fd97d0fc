//! What the scheduler adds to a model that runs in 6 us: requests a second through `Scheduler::submit` at concurrency
//! 1 and 64, with worker threads and inline, on both kinds of tokio runtime. Pin it to one core: `taskset -c 0`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use smallvec::smallvec;
use tokio::runtime::{Builder, Runtime};
use weir::backend::{BackendError, Input, InputData, Instance, Interrupt, Model, Output};
use weir::model::config::QueueConfig;
use weir::model::{Dim, Signature, TensorSpec};
use weir::scheduler::{Job, Plan, Scheduler, SchedulerMetrics};
use weir::tensor::{DataType, Shape, Tensor};

const RUN: Duration = Duration::from_micros(6);
const ROW: Duration = Duration::from_nanos(40);
const WIDTH: usize = 16;

#[derive(Debug)]
struct Tiny(Signature);

struct TinyInstance;

struct Never;

impl Interrupt for Never {
    fn interrupt(&self, _run: u64) {}
}

impl Model for Tiny {
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn instance(&self) -> Result<Box<dyn Instance>, BackendError> {
        Ok(Box::new(TinyInstance))
    }
}

impl Instance for TinyInstance {
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> {
        let started = Instant::now();
        let Some(Some(Input { shape, data: InputData::Fixed(data), .. })) = inputs.first() else {
            return Err(BackendError::Interrupted);
        };
        let rows = shape.rows().unwrap_or(0);
        let data = Bytes::copy_from_slice(data.get(..rows * 12).unwrap_or(data));
        let shape = Shape::new(&[rows, 3]).map_err(|error| BackendError::Runtime(error.to_string()))?;
        while started.elapsed() < RUN + ROW * u32::try_from(rows).unwrap_or(u32::MAX) {
            std::hint::spin_loop();
        }
        Ok(vec![Output { dtype: DataType::Fp32, shape, data }])
    }
    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Never)
    }
}

fn scheduler(inline: bool) -> Arc<Scheduler> {
    let spec = |name: &str, width| TensorSpec {
        name: name.into(),
        dtype: DataType::Fp32,
        shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(width)]),
        optional: false,
    };
    let model = Tiny(Signature { inputs: vec![spec("x", WIDTH)], outputs: vec![spec("y", 3)] });
    let plan = Plan {
        label: "tiny/1".to_owned(),
        max_batch_size: 64,
        queue: QueueConfig::default(),
        workers: 1,
        fills_batches: false,
        inline_run_max: inline.then_some(RUN),
    };
    Arc::new(Scheduler::start(Arc::new(Tiny(model.0)), plan, SchedulerMetrics::detached()).expect("starts"))
}

fn job(data: &Bytes) -> Job {
    let shape = Shape::new(&[1, WIDTH]).expect("a shape");
    let tensor = Tensor::new("x".into(), DataType::Fp32, shape, data.clone()).expect("a tensor");
    Job { inputs: smallvec![Some(tensor)], rows: 1, priority: 0, deadline: None }
}

async fn drive(scheduler: Arc<Scheduler>, concurrency: usize, requests: u64) -> Duration {
    let data = Bytes::from(vec![0; WIDTH * 4]);
    let started = Instant::now();
    let tasks: Vec<_> = (0..concurrency as u64)
        .map(|index| {
            let (scheduler, data) = (Arc::clone(&scheduler), data.clone());
            let own = requests / concurrency as u64 + u64::from(index < requests % concurrency as u64);
            tokio::spawn(async move {
                for _ in 0..own {
                    scheduler.submit(job(&data)).await.expect("answered");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    started.elapsed()
}

fn runtime(kind: &str) -> Runtime {
    let mut builder = match kind {
        "current" => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(1).enable_all().build().expect("a runtime")
}

fn benches(criterion: &mut Criterion) {
    for kind in ["current", "multi1"] {
        let runtime = runtime(kind);
        for inline in [false, true] {
            let mode = if inline { "inline" } else { "worker" };
            let mut group = criterion.benchmark_group(format!("submit/{kind}/{mode}"));
            group.throughput(Throughput::Elements(1));
            group
                .sample_size(10)
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(1));
            for concurrency in [1, 64] {
                let scheduler = scheduler(inline);
                group.bench_function(format!("c{concurrency}"), |bencher| {
                    bencher.iter_custom(|requests| {
                        let task = runtime.spawn(drive(Arc::clone(&scheduler), concurrency, requests));
                        runtime.block_on(task).expect("no panic")
                    });
                });
            }
        }
    }
}

criterion_group!(all, benches);
criterion_main!(all);
