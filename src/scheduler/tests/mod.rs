//! The threaded shell with real threads and a fake model.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use self::fake::{FakeModel, job, values};
use super::*;

fn plan(max_batch_size: usize, workers: usize) -> Plan {
    Plan {
        label: "fake/1".to_owned(),
        max_batch_size,
        queue: QueueConfig::default(),
        workers,
        inline_run_max: None,
    }
}

fn start(model: &Arc<FakeModel>, plan: Plan) -> Scheduler {
    let model: Arc<dyn Model> = Arc::clone(model) as Arc<dyn Model>;
    Scheduler::start(model, plan, SchedulerMetrics::detached()).unwrap()
}

#[tokio::test]
async fn every_job_gets_its_own_rows() {
    let model = FakeModel::new();
    let scheduler = Arc::new(start(&model, plan(8, 2)));
    let mut tasks = Vec::new();
    for index in 0..100u32 {
        let scheduler = Arc::clone(&scheduler);
        tasks.push(tokio::spawn(async move {
            let rows: Vec<u32> = (0..index % 5 + 1).map(|row| index * 10 + row).collect();
            let reply = scheduler.submit(job(&rows)).await.unwrap();
            assert_eq!(values(&reply), rows);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    scheduler.wait_idle().await;
    assert_eq!(scheduler.load().inflight, 0);
    let rows: u64 = scheduler.batch_statistics().iter().map(|s| s.batches * s.rows as u64).sum();
    assert_eq!(rows, 300);
}

#[tokio::test]
async fn workers_end_with_the_last_handle() {
    let model = FakeModel::new();
    let scheduler = start(&model, plan(8, 2));
    scheduler.submit(job(&[1])).await.unwrap();
    drop(scheduler);
    model.wait_for_instances(0);
    let unused = start(&model, plan(8, 2));
    drop(unused);
    model.wait_for_instances(0);
    let _ = Duration::ZERO;
}
