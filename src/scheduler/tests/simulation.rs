//! Thousands of random jobs against the state machine, with a fake clock and a fake model that fails and panics.
//!
//! Time, arrivals, run times, cancellations, shapes, priorities and deadlines come from a seed. The workers are
//! simulated; queues, policy, latency model, gather, run, bisection, scatter and answers are the real ones.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use super::fake::{FakeModel, PANIC, POISON, values, wide_job};
use super::*;
use crate::scheduler::lane::LaneKey;
use crate::scheduler::queue::Place;
use crate::scheduler::state::{Assignment, Next};
use crate::scheduler::ticket::Ticket;
use crate::scheduler::worker;

/// SplitMix64 (public domain, Sebastiano Vigna): enough for a simulation, and no dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[derive(Debug)]
enum Event {
    Arrive,
    Cancel(usize),
    Deadline(usize),
    Finish(Assignment),
    Look,
}

struct Asked {
    ticket: Arc<Ticket>,
    place: Place,
    sent: Vec<u32>,
    deadline: Option<Instant>,
    outcome: Option<&'static str>,
}

struct Simulation {
    scheduler: Arc<Scheduler>,
    random: Random,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    asked: Vec<Asked>,
    arrivals_left: usize,
    counts: BTreeMap<&'static str, usize>,
    widths: u64,
    rows_max: usize,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = Random(seed);
        let widths = 1 + random.below(3);
        let model = if widths == 1 { FakeModel::new() } else { FakeModel::of_many_lanes() };
        let max_batch_size = usize::try_from(random.below(9)).unwrap();
        let mut plan = plan(max_batch_size, 1 + usize::try_from(random.below(3)).unwrap());
        plan.queue.size = 1 + usize::try_from(random.below(40)).unwrap();
        plan.queue.priority_levels = if random.once_in(2) { 0 } else { 3 };
        plan.queue.delay = Duration::from_micros(if random.once_in(3) { random.below(2000) } else { 0 });
        // No thread is woken for inline callers, and there are none here: the simulation runs the batches. A delay
        // would turn them off.
        plan.inline_run_max = Some(Duration::ZERO);
        // The watchdog has a clock of its own, which must not matter here.
        let scheduler = start_with_grace(&model, plan, Duration::from_secs(3600));
        scheduler.shared.state.lock().threads_max = 0;
        Simulation {
            scheduler,
            random,
            now: Instant::now(),
            events: BTreeMap::new(),
            next_event: 0,
            asked: Vec::new(),
            arrivals_left: 400,
            counts: BTreeMap::new(),
            widths,
            rows_max: max_batch_size.max(1),
        }
    }

    fn at(&mut self, after_us: u64, event: Event) {
        let moment = self.now + Duration::from_micros(after_us);
        self.at_moment(moment, event);
    }

    fn at_moment(&mut self, moment: Instant, event: Event) {
        self.next_event += 1;
        self.events.insert((moment.max(self.now), self.next_event), event);
    }

    fn run(&mut self) {
        self.at(0, Event::Arrive);
        while let Some(((moment, _), event)) = self.events.pop_first() {
            self.now = moment;
            match event {
                Event::Arrive => self.arrive(),
                Event::Cancel(index) => self.give_up(index, "cancelled"),
                Event::Deadline(index) => self.give_up(index, "expired"),
                Event::Finish(assignment) => self.finish(assignment),
                Event::Look => {}
            }
            self.start_batches();
            self.collect();
            let slots = self.scheduler.load().queued;
            assert!(slots <= self.scheduler.shared.plan.queue.size, "{slots} jobs wait");
        }
        let load = self.scheduler.load();
        assert_eq!((load.queued, load.running), (0, 0), "something was left");
        for asked in &self.asked {
            assert!(asked.outcome.is_some(), "a job was not answered");
        }
    }

    fn arrive(&mut self) {
        if self.arrivals_left == 0 {
            return;
        }
        self.arrivals_left -= 1;
        let burst = self.random.once_in(4);
        let gap = if burst { 0 } else { self.random.below(400) };
        self.at(gap, Event::Arrive);

        let width = usize::try_from(1 + self.random.below(self.widths)).unwrap();
        let is_batched = self.scheduler.shared.plan.max_batch_size > 0;
        let rows = if is_batched { 1 + self.random.below(self.rows_max as u64) } else { 1 };
        let index = u32::try_from(self.asked.len()).unwrap();
        let mut sent: Vec<u32> =
            (0..u32::try_from(rows).unwrap()).flat_map(|row| vec![index * 100 + row; width]).collect();
        if self.random.once_in(40) {
            sent[0] = if self.random.once_in(2) { PANIC } else { POISON };
        }
        let priority = u32::try_from(self.random.below(4)).unwrap();
        let deadline =
            self.random.once_in(3).then(|| self.now + Duration::from_micros(self.random.below(5000)));
        let job = Job { priority, deadline, ..wide_job(&sent, width) };
        match self.scheduler.shared.enqueue(job, Admission::Slot, self.now) {
            Err(error) => self.count(refusal(&error)),
            Ok((ticket, place)) => {
                let index = self.asked.len();
                self.asked.push(Asked { ticket, place, sent, deadline, outcome: None });
                if let Some(deadline) = deadline {
                    self.at_moment(deadline, Event::Deadline(index));
                }
                if self.random.once_in(10) {
                    let after = self.random.below(3000);
                    self.at(after, Event::Cancel(index));
                }
            }
        }
    }

    fn give_up(&mut self, index: usize, why: &'static str) {
        self.collect();
        let asked = &mut self.asked[index];
        if asked.outcome.is_none() {
            asked.outcome = Some(why);
            let (ticket, place) = (Arc::clone(&asked.ticket), asked.place);
            self.scheduler.shared.take_back(&ticket, place);
            self.count(why);
        }
    }

    fn start_batches(&mut self) {
        loop {
            let mut expired = Vec::new();
            let (next, free, waiting) = {
                let mut state = self.scheduler.shared.state.lock();
                let next = state.next(self.now, &mut expired);
                (next, state.idle.len(), state.queues.len())
            };
            worker::answer_expired(&self.scheduler.shared, &mut expired);
            match next {
                Next::Run(assignment) => {
                    self.check_batch(&assignment);
                    let after = 50 + self.random.below(1500);
                    self.at(after, Event::Finish(assignment));
                }
                Next::WaitUntil(until) => {
                    assert!(!self.scheduler.shared.plan.queue.delay.is_zero(), "waits without a delay");
                    assert!(until > self.now && until <= self.now + self.scheduler.shared.plan.queue.delay);
                    self.at_moment(until, Event::Look);
                    return;
                }
                Next::Nothing => {
                    assert!(free == 0 || waiting == 0, "{free} workers are free and {waiting} jobs wait");
                    return;
                }
            }
        }
    }

    fn check_batch(&self, assignment: &Assignment) {
        let batch = &assignment.executor.batch;
        let keys: Vec<LaneKey> = batch.iter().map(|job| LaneKey::of(&job.ticket().job.inputs)).collect();
        assert!(!batch.is_empty());
        assert!(keys.iter().all(|key| *key == keys[0]), "a batch mixes lanes");
        let rows: usize = batch.iter().map(|job| job.ticket().job.rows).sum();
        assert!(batch.len() == 1 || rows <= self.rows_max, "{rows} rows");
        for job in batch {
            assert!(!job.ticket().is_abandoned(), "a job that was taken back is run");
            assert!(job.ticket().job.deadline.is_none_or(|deadline| deadline > self.now), "runs too late");
        }
    }

    fn finish(&mut self, mut assignment: Assignment) {
        let report = worker::run(&self.scheduler.shared, &mut assignment);
        let mut state = self.scheduler.shared.state.lock();
        assert!(self.scheduler.shared.finish(&mut state, assignment, &report, self.now).is_none());
    }

    /// Takes the answers that are there. Everything that waits must still have time.
    fn collect(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut counted = Vec::new();
        for asked in self.asked.iter_mut().filter(|asked| asked.outcome.is_none()) {
            match asked.ticket.poll(&mut context) {
                Poll::Pending => {
                    assert!(asked.deadline.is_none_or(|deadline| deadline >= self.now), "waits too long");
                }
                Poll::Ready(answer) => {
                    let outcome = check_answer(answer, &asked.sent);
                    asked.outcome = Some(outcome);
                    counted.push(outcome);
                }
            }
        }
        for outcome in counted {
            self.count(outcome);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

fn refusal(error: &SchedulerError) -> &'static str {
    match error {
        SchedulerError::QueueFull { .. } => "queue full",
        SchedulerError::DeadlineRefused { .. } => "deadline refused",
        other => panic!("{other}"),
    }
}

fn check_answer(answer: Result<Reply, SchedulerError>, sent: &[u32]) -> &'static str {
    match answer {
        Ok(reply) => {
            assert_eq!(values(&reply), sent, "somebody else's rows");
            assert!(!sent.contains(&POISON) && !sent.contains(&PANIC));
            "answered"
        }
        Err(SchedulerError::Backend(BackendError::Run { .. })) => {
            assert!(sent.contains(&POISON), "a bad row failed its batch mates");
            "poisoned"
        }
        Err(SchedulerError::Panicked) => "panicked",
        Err(SchedulerError::DeadlineExceeded) => "expired",
        Err(error @ SchedulerError::QueueFull { .. }) => refusal(&error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_job_is_answered_once_and_in_time() {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for seed in 0..60 {
        println!("seed {seed}");
        let mut simulation = Simulation::new(seed);
        simulation.run();
        for (what, count) in simulation.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), 60 * 400);
    let kinds =
        ["answered", "cancelled", "expired", "poisoned", "panicked", "queue full", "deadline refused"];
    for kind in kinds {
        assert!(counts.contains_key(kind), "the simulation never came to '{kind}': {counts:?}");
    }
}
