//! The threaded shell with real threads and a fake model, and the state machine with a fake clock.

mod fake;
mod simulation;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::fake::{FakeModel, HANG, HOLD, KILL, LOSE, PANIC, POISON, WIDE, job, values, wide_job};
use super::*;
use crate::backend::BackendError;
use crate::error::Coded;

fn plan(max_batch_size: usize, workers: usize) -> Plan {
    Plan {
        label: "fake/1".to_owned(),
        max_batch_size,
        queue: QueueConfig::default(),
        workers,
        fills_batches: false,
        inline_run_max: None,
    }
}

fn start(model: &Arc<FakeModel>, plan: Plan) -> Arc<Scheduler> {
    start_with_grace(model, plan, Duration::from_millis(1))
}

fn start_with_grace(model: &Arc<FakeModel>, plan: Plan, grace: Duration) -> Arc<Scheduler> {
    let model: Arc<dyn Model> = Arc::clone(model) as Arc<dyn Model>;
    Arc::new(Scheduler::start_with(model, plan, SchedulerMetrics::detached(), grace).unwrap())
}

type Answer = tokio::task::JoinHandle<Result<Reply, SchedulerError>>;

fn ask(scheduler: &Arc<Scheduler>, job: Job) -> Answer {
    let scheduler = Arc::clone(scheduler);
    tokio::spawn(async move { scheduler.submit(job).await })
}

/// Asks, and waits until so many jobs are queued.
async fn ask_queued(scheduler: &Arc<Scheduler>, job: Job, queued: usize) -> Answer {
    let answer = ask(scheduler, job);
    while scheduler.load().queued != queued {
        tokio::task::yield_now().await;
    }
    answer
}

/// A scheduler with one worker, which is held by the returned job.
async fn held(max_batch_size: usize) -> (Arc<FakeModel>, Arc<Scheduler>, Answer) {
    held_by(HOLD, plan(max_batch_size, 1)).await
}

async fn held_by(row: u32, plan: Plan) -> (Arc<FakeModel>, Arc<Scheduler>, Answer) {
    let model = FakeModel::new();
    let scheduler = start(&model, plan);
    let holder = ask(&scheduler, job(&[row]));
    while model.held() == 0 {
        tokio::task::yield_now().await;
    }
    (model, scheduler, holder)
}

async fn check_everyone_gets_own_rows(plan: Plan, dims: impl Fn(u32) -> usize, model: Arc<FakeModel>) {
    let scheduler = start(&model, plan);
    let tasks: Vec<_> = (0..300u32)
        .map(|index| {
            let width = dims(index);
            let sent: Vec<u32> = (0..index % 5 + 1).flat_map(|row| vec![index * 10 + row; width]).collect();
            (sent.clone(), ask(&scheduler, wide_job(&sent, width)))
        })
        .collect();
    for (sent, task) in tasks {
        let reply = task.await.unwrap().unwrap();
        assert_eq!(values(&reply), sent);
        assert!(reply.timing.batch_rows > 0);
    }
    scheduler.wait_idle().await;
    assert_eq!((scheduler.load().inflight, scheduler.load().queued), (0, 0));
    let rows: u64 = scheduler.batch_statistics().iter().map(|s| s.batches * s.rows as u64).sum();
    assert_eq!(rows, 900);
    drop(scheduler);
    model.wait_for_instances(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_job_gets_its_own_rows() {
    let inline = |max, workers| Plan { inline_run_max: Some(Duration::ZERO), ..plan(max, workers) };
    let delayed = |max, workers| Plan {
        queue: QueueConfig { delay: Duration::from_micros(50), ..QueueConfig::default() },
        ..plan(max, workers)
    };
    for workers in [1, 3] {
        check_everyone_gets_own_rows(plan(8, workers), |_| 1, FakeModel::new()).await;
        check_everyone_gets_own_rows(inline(8, workers), |_| 1, FakeModel::new()).await;
        check_everyone_gets_own_rows(delayed(8, workers), |_| 1, FakeModel::new()).await;
        let width = |index| index as usize % 7 + 1;
        check_everyone_gets_own_rows(plan(8, workers), width, FakeModel::of_many_lanes()).await;
        check_everyone_gets_own_rows(inline(8, workers), width, FakeModel::of_many_lanes()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn batches_are_filled_up_for_models_that_pay_for_new_shapes() {
    for (max_batch_size, sizes) in [(8, &[1, 2, 4, 8][..]), (6, &[1, 2, 4, 6])] {
        let filled = Plan { fills_batches: true, ..plan(max_batch_size, 3) };
        let model = FakeModel::new();
        check_everyone_gets_own_rows(filled.clone(), |_| 1, Arc::clone(&model)).await;
        assert!(model.sizes().iter().all(|size| sizes.contains(size)), "{:?}", model.sizes());
        let model = FakeModel::of_many_lanes();
        check_everyone_gets_own_rows(filled, |index| index as usize % 7 + 1, model).await;
    }
    let (model, scheduler, holder) = held_by(HOLD, Plan { fills_batches: true, ..plan(8, 1) }).await;
    let mut answers = Vec::new();
    for (index, rows) in [&[1, 2][..], &[], &[POISON], &[4]].into_iter().enumerate() {
        answers.push(ask_queued(&scheduler, job(rows), index + 1).await);
    }
    model.open_gate();
    holder.await.unwrap().unwrap();
    for (answer, expected) in answers.into_iter().zip([Some(&[1, 2][..]), Some(&[]), None, Some(&[4])]) {
        let reply = answer.await.unwrap();
        assert_eq!(reply.ok().map(|reply| values(&reply)).as_deref(), expected);
    }
}

#[tokio::test]
async fn requests_run_one_by_one_when_unbatched() {
    let (model, scheduler, holder) = held(0).await;
    let answers = [ask_queued(&scheduler, job(&[1]), 1).await, ask_queued(&scheduler, job(&[2]), 2).await];
    model.open_gate();
    holder.await.unwrap().unwrap();
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap().timing.batch_rows, 1);
    }
    assert_eq!(model.shared.runs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn large_jobs_are_divided_and_rejoined_in_order() {
    for workers in [1, 3] {
        let model = FakeModel::new();
        let scheduler = start(&model, plan(4, workers));
        let rows: Vec<u32> = (0..1001).collect();
        let reply = scheduler.submit(job(&rows)).await.unwrap();
        assert_eq!(values(&reply), rows);
        assert_eq!(reply.outputs[0].shape.dims(), [1001, 1]);
        assert!(model.largest() <= 4);
        let mut poisoned = rows.clone();
        poisoned[500] = POISON;
        assert!(matches!(scheduler.submit(job(&poisoned)).await, Err(SchedulerError::Backend(_))));
        poisoned[500] = LOSE;
        assert!(matches!(scheduler.submit(job(&poisoned)).await, Err(SchedulerError::OutputRows { .. })));
        scheduler.wait_idle().await;
        assert_eq!((scheduler.load().inflight, scheduler.load().queued), (0, 0));
    }
}

#[tokio::test]
async fn a_bad_row_fails_alone_and_cheaply() {
    for position in 0..32 {
        let (model, scheduler, holder) = held(32).await;
        let mut answers = Vec::new();
        for index in 0..32 {
            let row = if index == position { POISON } else { index };
            answers.push(ask_queued(&scheduler, job(&[row]), index as usize + 1).await);
        }
        let before = model.shared.runs.load(Ordering::SeqCst);
        model.open_gate();
        holder.await.unwrap().unwrap();
        for (index, answer) in (0u32..).zip(answers) {
            let answer = answer.await.unwrap();
            match answer {
                Ok(reply) => assert_eq!(values(&reply), [index]),
                Err(error) => {
                    assert_eq!((index, error.code()), (position, crate::error::Code::InvalidArgument))
                }
            }
            assert_eq!(model.largest(), 32);
        }
        let runs = model.shared.runs.load(Ordering::SeqCst) - before;
        assert!(runs <= 1 + 1 + 2 * 5, "{runs} runs for poison at {position}");
    }
}

#[tokio::test]
async fn a_panic_costs_one_batch_and_the_instance() {
    let model = FakeModel::new();
    let scheduler = start(&model, plan(8, 1));
    assert!(matches!(scheduler.submit(job(&[PANIC])).await, Err(SchedulerError::Panicked)));
    assert_eq!(values(&scheduler.submit(job(&[5])).await.unwrap()), [5]);
    drop(scheduler);
    model.wait_for_instances(0);
}

#[tokio::test]
async fn a_row_that_is_lost_fails_its_own_job() {
    let (model, scheduler, holder) = held(8).await;
    let first = ask_queued(&scheduler, job(&[LOSE]), 1).await;
    let second = ask_queued(&scheduler, job(&[2]), 2).await;
    model.open_gate();
    holder.await.unwrap().unwrap();
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "output 'y' has 0 rows for 1 rows of input");
    assert_eq!(values(&second.await.unwrap().unwrap()), [2]);
}

#[tokio::test]
async fn a_full_device_gets_less_at_a_time_and_a_lost_one_nothing_more() {
    for (row, runs) in [(WIDE, 3), (KILL, 1)] {
        let (model, scheduler, holder) = held(8).await;
        let first = ask_queued(&scheduler, job(&[row]), 1).await;
        let second = ask_queued(&scheduler, job(&[2]), 2).await;
        let before = model.shared.runs.load(Ordering::SeqCst);
        model.open_gate();
        holder.await.unwrap().unwrap();
        for (answer, row) in [(first.await.unwrap(), row), (second.await.unwrap(), 2)] {
            match answer {
                Ok(reply) => assert_eq!((values(&reply), runs), (vec![row], 3)),
                Err(error) => assert_eq!((error.code(), runs), (crate::error::Code::Unavailable, 1)),
            }
        }
        assert_eq!(model.shared.runs.load(Ordering::SeqCst) - before, runs);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_with_a_hint() {
    let mut plan = plan(8, 1);
    plan.queue.size = 2;
    let (model, scheduler, holder) = held_by(HOLD, plan).await;
    let answers = [ask_queued(&scheduler, job(&[1]), 1).await, ask_queued(&scheduler, job(&[2]), 2).await];
    let error = scheduler.submit(job(&[3])).await.unwrap_err();
    assert!(matches!(error, SchedulerError::QueueFull { size: 2, .. }));
    assert!(error.retry_after().unwrap() > Duration::ZERO);
    let large = scheduler.submit(job(&[3; 20])).await;
    assert!(matches!(large, Err(SchedulerError::QueueFull { .. })));
    model.open_gate();
    holder.await.unwrap().unwrap();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_important_job_takes_the_place_of_the_least_important() {
    let mut plan = plan(1, 1);
    plan.queue.size = 2;
    plan.queue.priority_levels = 3;
    let (model, scheduler, holder) = held_by(HOLD, plan).await;
    let with = |row, priority| Job { priority, ..job(&[row]) };
    let older = ask_queued(&scheduler, with(1, 2), 1).await;
    let newer = ask_queued(&scheduler, with(2, 2), 2).await;
    assert!(matches!(scheduler.submit(with(3, 2)).await, Err(SchedulerError::QueueFull { .. })));
    let important = ask(&scheduler, with(4, 1));
    assert!(matches!(newer.await.unwrap(), Err(SchedulerError::QueueFull { .. })));
    model.open_gate();
    holder.await.unwrap().unwrap();
    assert_eq!(values(&important.await.unwrap().unwrap()), [4]);
    assert_eq!(values(&older.await.unwrap().unwrap()), [1]);
}

#[tokio::test]
async fn a_caller_that_goes_frees_its_slot_at_once() {
    let (model, scheduler, holder) = held(8).await;
    let queued = ask_queued(&scheduler, job(&[PANIC]), 1).await;
    queued.abort();
    assert!(queued.await.unwrap_err().is_cancelled());
    assert_eq!(scheduler.load().queued, 0);
    model.open_gate();
    holder.await.unwrap().unwrap();
    assert_eq!(scheduler.shared.metrics.cancelled.get(), 1);
    assert_eq!(scheduler.load().inflight, 0);
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_stopped() {
    let (model, scheduler, holder) = held(8).await;
    holder.abort();
    assert!(holder.await.unwrap_err().is_cancelled());
    scheduler.wait_idle().await;
    assert_eq!(model.held(), 0);
    assert!(model.shared.interrupts.load(Ordering::SeqCst) > 0);
    assert_eq!(values(&scheduler.submit(job(&[7])).await.unwrap()), [7]);
}

#[tokio::test]
async fn a_run_with_others_in_it_goes_on() {
    let (model, scheduler, holder) = held(8).await;
    let leaver = ask_queued(&scheduler, job(&[HOLD]), 1).await;
    let stayer = ask_queued(&scheduler, job(&[2]), 2).await;
    holder.abort();
    while model.largest() < 2 {
        tokio::task::yield_now().await;
    }
    let before = model.shared.interrupts.load(Ordering::SeqCst);
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    assert_eq!(model.shared.interrupts.load(Ordering::SeqCst), before);
    model.open_gate();
    assert_eq!(values(&stayer.await.unwrap().unwrap()), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_answered_at_the_deadline() {
    let model = FakeModel::new();
    let scheduler = start(&model, plan(8, 1));
    let deadline = Some(Instant::now() + Duration::from_secs(60));
    let error = scheduler.submit(Job { deadline, ..job(&[HANG]) }).await.unwrap_err();
    assert!(matches!(error, SchedulerError::DeadlineExceeded));
    assert_eq!(scheduler.shared.metrics.expired.get(), 1);
    let passed = Some(Instant::now());
    let error = scheduler.submit(Job { deadline: passed, ..job(&[1]) }).await.unwrap_err();
    assert!(matches!(error, SchedulerError::DeadlineRefused { .. }));
    model.open_gate();
}

#[tokio::test]
async fn a_deadline_that_cannot_be_met_is_refused() {
    let model = FakeModel::new();
    let scheduler = start(&model, plan(8, 1));
    scheduler.shared.state.lock().latency.record(0, 1, Duration::from_secs(100));
    let deadline = Some(Instant::now() + Duration::from_secs(10));
    for _ in 1..state::TRIAL_EVERY {
        let error = scheduler.submit(Job { deadline, ..job(&[1]) }).await.unwrap_err();
        assert!(
            matches!(error, SchedulerError::DeadlineRefused { retry_after } if retry_after.as_secs() == 100)
        );
    }
    assert_eq!(values(&scheduler.submit(Job { deadline, ..job(&[2]) }).await.unwrap()), [2]);
    let deadline = Some(Instant::now() + Duration::from_secs(1000));
    assert_eq!(values(&scheduler.submit(Job { deadline, ..job(&[1]) }).await.unwrap()), [1]);
}

#[tokio::test]
async fn stuck_workers_are_replaced_up_to_a_bound() {
    let (model, scheduler, mut holder) = held_by(HANG, plan(1, 1)).await;
    for stuck in 1..=3 {
        holder.abort();
        while scheduler.load().stuck < stuck {
            tokio::task::yield_now().await;
        }
        if stuck < 3 {
            while scheduler.load().free == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(values(&scheduler.submit(job(&[7])).await.unwrap()), [7]);
            holder = ask(&scheduler, job(&[HANG]));
            while model.held() <= stuck {
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(matches!(scheduler.submit(job(&[7])).await, Err(SchedulerError::Unavailable)));
    scheduler.wait_idle().await;
    model.open_gate();
    while scheduler.load().stuck > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(values(&scheduler.submit(job(&[8])).await.unwrap()), [8]);
    assert_eq!(scheduler.load().free + scheduler.load().running, 1);
    drop(scheduler);
    model.wait_for_instances(0);
}

#[tokio::test]
async fn a_watchdog_that_panics_watches_on() {
    let model = FakeModel::new();
    // Long enough that it is asked to stop before it counts as stuck.
    let scheduler = start_with_grace(&model, plan(1, 1), Duration::from_secs(1));
    let holder = ask(&scheduler, job(&[HANG]));
    while model.held() == 0 {
        tokio::task::yield_now().await;
    }
    model.shared.breaks_watchdog.store(true, Ordering::SeqCst);
    holder.abort();
    while scheduler.load().stuck == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!model.shared.breaks_watchdog.load(Ordering::SeqCst), "it panicked before");
    while scheduler.load().free == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(values(&scheduler.submit(job(&[7])).await.unwrap()), [7], "the stuck worker was replaced");
    model.open_gate();
    while scheduler.load().stuck > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn errors_that_are_not_the_inputs_are_not_tried_again() {
    let (model, scheduler, holder) = held(8).await;
    let answers = [ask_queued(&scheduler, job(&[HOLD]), 1).await, ask_queued(&scheduler, job(&[2]), 2).await];
    holder.abort();
    while model.largest() < 2 {
        tokio::task::yield_now().await;
    }
    let stop = scheduler.shared.state.lock().running[0].interrupt();
    stop();
    for answer in answers {
        let error = answer.await.unwrap().unwrap_err();
        assert!(matches!(error, SchedulerError::Backend(BackendError::Interrupted)));
    }
    assert_eq!(model.shared.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn workers_end_with_the_last_handle() {
    for used in [false, true] {
        let model = FakeModel::new();
        let scheduler = start(&model, plan(8, 2));
        if used {
            scheduler.submit(job(&[1])).await.unwrap();
        }
        drop(scheduler);
        model.wait_for_instances(0);
    }
}

/// Callers come and go on several threads while runs fail and panic. A wake-up that is lost hangs this test.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nobody_is_forgotten() {
    for round in 0..12u32 {
        let model = FakeModel::of_many_lanes();
        let mut plan = plan(round as usize % 5, 1 + round as usize % 3);
        plan.queue.size = 64;
        plan.queue.delay = Duration::from_micros(if round % 4 == 3 { 30 } else { 0 });
        plan.inline_run_max = (round % 2 == 0).then_some(Duration::ZERO);
        let is_batched = plan.max_batch_size > 0;
        let scheduler = start(&model, plan);
        let callers: Vec<_> = (0..48u32)
            .map(|caller| {
                let scheduler = Arc::clone(&scheduler);
                tokio::spawn(async move {
                    for step in 0..60u32 {
                        let number = caller * 1000 + step;
                        let rows = if is_batched { number % 11 + 1 } else { 1 };
                        let width = 1 + (number % 3) as usize;
                        let mut sent = vec![number; rows as usize * width];
                        match number % 37 {
                            5 => sent[0] = POISON,
                            6 => sent[0] = PANIC,
                            _ => {}
                        }
                        let deadline = (number % 5 == 0).then(|| Instant::now() + Duration::from_micros(200));
                        let asked = scheduler.submit(Job { deadline, ..wide_job(&sent, width) });
                        if number % 7 == 0 {
                            // The caller goes as soon as it has to wait.
                            tokio::select! { biased; _ = asked => {}, () = std::future::ready(()) => {} }
                        } else if let Ok(reply) = asked.await {
                            assert_eq!(values(&reply), sent);
                        }
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        scheduler.wait_idle().await;
        let load = scheduler.load();
        assert_eq!((load.queued, load.inflight, load.running), (0, 0, 0));
        assert_eq!(scheduler.shared.metrics.queue_length.get(), 0);
        assert_eq!(scheduler.shared.metrics.inflight.get(), 0);
        drop(scheduler);
        model.wait_for_instances(0);
    }
}
