//! What runs next: pure functions of ages, deadlines, rows and latency estimates. No clock, no lock, no thread.
//!
//! A batch is a run of whole jobs from the front of one lane. A job that does not fit ends it, so that nothing
//! overtakes; a job that would make the batch too slow for a deadline already in it ends it too. For a model that pays for
//! every new shape, batches are filled up to a power of two, and cut where that would waste more than a quarter of a run.

use std::time::{Duration, Instant};

/// A job that has waited this long ranks like one whose deadline is now, so that jobs without a deadline are not
/// starved by those with one.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the policy knows of a waiting job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Rows it brings; 1 when requests run one by one.
    pub(super) rows: usize,
    /// Smaller is more important.
    pub(super) priority: u32,
    /// When nobody wants the answer any more.
    pub(super) deadline: Option<Instant>,
    /// When it was queued.
    pub(super) queued_at: Instant,
}

/// What bounds a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most rows, at least 1.
    pub(super) rows_max: usize,
    /// How long a batch may wait to grow.
    pub(super) delay: Duration,
    /// Whether jobs may share a batch at all.
    pub(super) batched: bool,
    /// Whether batches are filled up to [`filled`] rows.
    pub(super) fills: bool,
}

/// The rows that batches of at most `rows_max` rows are filled up to, ascending: powers of two, and the most itself.
pub fn filled_sizes(rows_max: usize) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(1usize), |rows| rows.checked_mul(2));
    powers.take_while(move |rows| *rows < rows_max).chain([rows_max])
}

/// The rows that a batch of `rows` rows is filled up to. One of more than the most stays as it is.
pub(super) fn filled(rows: usize, rows_max: usize) -> usize {
    filled_sizes(rows_max).find(|size| *size >= rows).unwrap_or(rows)
}

/// Whether filling up leaves at most a quarter of the run to rows that nobody asked for.
fn fills_well(rows: usize, rows_max: usize) -> bool {
    rows.saturating_mul(4) >= filled(rows, rows_max).saturating_mul(3)
}

/// What to do with a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Run the first `jobs` jobs, `rows` rows together.
    Run { jobs: usize, rows: usize },
    /// Nothing before this moment, unless more jobs come.
    WaitUntil(Instant),
}

/// How urgent a lane is; the smallest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: u32,
    due: Instant,
}

/// The rank of a lane that starts with `waiting`, looking no further than one batch reaches.
pub(super) fn rank<'a>(waiting: impl Iterator<Item = &'a Waiting>, limits: &Limits) -> Option<Rank> {
    let mut rank: Option<Rank> = None;
    let mut rows = 0;
    for (index, job) in waiting.enumerate() {
        rows += job.rows;
        if index > 0 && (rows > limits.rows_max || !limits.batched) {
            break;
        }
        let patience = job.queued_at + PATIENCE;
        let due = job.deadline.map_or(patience, |deadline| deadline.min(patience));
        let own = Rank { priority: job.priority, due };
        rank = Some(rank.map_or(own, |rank| rank.min(own)));
    }
    rank
}

/// How much of a lane to run at `now`. `waiting` starts at the lane's front and is not empty; `estimate` is how long a
/// batch of so many rows is likely to take.
pub(super) fn fill<'a>(
    waiting: impl Iterator<Item = &'a Waiting>,
    limits: &Limits,
    now: Instant,
    estimate: impl Fn(usize) -> Option<Duration>,
) -> Decision {
    let mut jobs = 0;
    let mut rows = 0;
    let mut deadline: Option<Instant> = None;
    let mut oldest: Option<Instant> = None;
    let mut is_full = false;
    // The longest prefix that fills up well.
    let mut tight = (0, 0);
    for job in waiting {
        let grown = rows + job.rows;
        if jobs > 0
            && (grown > limits.rows_max
                || !limits.batched
                || would_miss(deadline, rows, grown, now, &estimate))
        {
            is_full = true;
            break;
        }
        jobs += 1;
        rows = grown;
        if limits.fills && fills_well(rows, limits.rows_max) {
            tight = (jobs, rows);
        }
        oldest = Some(oldest.map_or(job.queued_at, |oldest| oldest.min(job.queued_at)));
        deadline = match (deadline, job.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    if !is_full
        && limits.batched
        && rows < limits.rows_max
        && let Some(until) = may_wait_until(limits, oldest, deadline, estimate(rows))
        && until > now
    {
        return Decision::WaitUntil(until);
    }
    // The rest makes the next batch; but a small part of this one would waste more than it saves.
    if limits.fills && tight.0 < jobs && tight.1 * 2 >= rows && tight.0 > 0 {
        (jobs, rows) = tight;
    }
    Decision::Run { jobs, rows }
}

/// Whether growing a batch from `rows` to `grown` rows makes it miss a deadline that it would have met.
fn would_miss(
    deadline: Option<Instant>,
    rows: usize,
    grown: usize,
    now: Instant,
    estimate: &impl Fn(usize) -> Option<Duration>,
) -> bool {
    let Some(deadline) = deadline else { return false };
    let (Some(small), Some(large)) = (estimate(rows), estimate(grown)) else { return false };
    now + small <= deadline && now + large > deadline
}

/// Until when a batch that is not full may wait for more jobs.
fn may_wait_until(
    limits: &Limits,
    oldest: Option<Instant>,
    deadline: Option<Instant>,
    run: Option<Duration>,
) -> Option<Instant> {
    if limits.delay.is_zero() {
        return None;
    }
    let until = oldest? + limits.delay;
    match deadline {
        None => Some(until),
        // The run must fit between the wait and the deadline, with as much again to spare.
        Some(deadline) => Some(until.min(deadline.checked_sub(run.unwrap_or(limits.delay) * 2)?)),
    }
}

/// What stands before a new job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    /// Rows waiting that would go first.
    pub(super) rows_ahead: usize,
    /// Rows of the job itself.
    pub(super) rows: usize,
    /// The most rows of a batch, at least 1.
    pub(super) rows_max: usize,
    /// Workers that can run batches, at least 1.
    pub(super) workers: usize,
    /// When the first worker is likely to be free; zero when one is.
    pub(super) free_in: Duration,
    /// How long a full batch is likely to take.
    pub(super) run_full: Duration,
    /// How long the job's own batch is likely to take.
    pub(super) run_own: Duration,
}

/// How long until a new job is likely to be answered: rather too short than too long, because it is used to refuse.
pub(super) fn predict(backlog: &Backlog) -> Duration {
    let full_batches_ahead = backlog.rows_ahead / backlog.rows_max;
    let rounds_ahead = full_batches_ahead / backlog.workers;
    let own_batches = backlog.rows.div_ceil(backlog.rows_max).max(1);
    let own_rounds = own_batches.div_ceil(backlog.workers);
    let own = match own_batches {
        1 => backlog.run_own,
        _ => times(backlog.run_full, own_rounds),
    };
    backlog.free_in.saturating_add(times(backlog.run_full, rounds_ahead)).saturating_add(own)
}

fn times(duration: Duration, factor: usize) -> Duration {
    duration.saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows, age in microseconds, deadline in microseconds from now.
    type Row = (usize, u64, Option<u64>);

    fn us(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    fn waiting(rows: &[Row], now: Instant) -> Vec<Waiting> {
        let one = |&(rows, age, deadline): &Row| Waiting {
            rows,
            priority: 0,
            deadline: deadline.map(|after| now + us(after)),
            queued_at: now.checked_sub(us(age)).unwrap(),
        };
        rows.iter().map(one).collect()
    }

    fn limits(rows_max: usize, delay: u64) -> Limits {
        Limits { rows_max, delay: us(delay), batched: true, fills: false }
    }

    /// `Ok` for jobs and rows to run, `Err` for microseconds to wait. A run takes 10 us and 10 us a row.
    fn check(rows: &[Row], limits: Limits, expected: Result<(usize, usize), u64>) {
        let now = Instant::now();
        let waiting = waiting(rows, now);
        let found = fill(waiting.iter(), &limits, now, |rows| Some(us(10 + 10 * rows as u64)));
        let expected = match expected {
            Ok((jobs, rows)) => Decision::Run { jobs, rows },
            Err(after) => Decision::WaitUntil(now + us(after)),
        };
        assert_eq!(found, expected, "{rows:?} {limits:?}");
    }

    #[test]
    fn a_batch_takes_whole_jobs_from_the_front() {
        check(&[(1, 0, None)], limits(4, 0), Ok((1, 1)));
        check(&[(1, 0, None), (2, 0, None), (1, 0, None), (1, 0, None)], limits(4, 0), Ok((3, 4)));
        check(&[(3, 0, None), (2, 0, None), (1, 0, None)], limits(4, 0), Ok((1, 3)));
        check(&[(9, 0, None), (1, 0, None)], limits(4, 0), Ok((1, 9)));
        check(&[(0, 0, None), (0, 0, None)], limits(4, 0), Ok((2, 0)));
        let unbatched = Limits { batched: false, ..limits(1, 0) };
        check(&[(0, 0, None), (1, 0, None)], unbatched, Ok((1, 0)));
    }

    #[test]
    fn batches_that_are_filled_up_waste_little() {
        let check_filled = |rows: &[usize], rows_max, expected| {
            let rows: Vec<Row> = rows.iter().map(|&rows| (rows, 0, None)).collect();
            check(&rows, Limits { fills: true, ..limits(rows_max, 0) }, Ok(expected));
        };
        check_filled(&[1; 17], 64, (16, 16));
        check_filled(&[1; 23], 64, (16, 16));
        check_filled(&[1; 24], 64, (24, 24));
        check_filled(&[1; 64], 48, (48, 48));
        check_filled(&[1; 3], 64, (3, 3));
        check_filled(&[1; 5], 64, (4, 4));
        check_filled(&[5], 64, (1, 5));
        check_filled(&[1, 4], 64, (2, 5));
        check_filled(&[4, 1], 64, (1, 4));
        check_filled(&[0, 0], 64, (2, 0));
        let sizes = [0, 1, 2, 3, 5, 33, 64].map(|rows| filled(rows, 48));
        assert_eq!(sizes, [1, 1, 2, 4, 8, 48, 64]);
    }

    #[test]
    fn a_batch_waits_only_when_asked_to() {
        check(&[(1, 30, None)], limits(4, 100), Err(70));
        check(&[(1, 100, None)], limits(4, 100), Ok((1, 1)));
        check(&[(4, 0, None)], limits(4, 100), Ok((1, 4)));
        check(&[(3, 0, None), (2, 0, None)], limits(4, 100), Ok((1, 3)));
        check(&[(1, 0, Some(60))], limits(4, 100), Err(20));
        check(&[(1, 0, Some(40))], limits(4, 100), Ok((1, 1)));
    }

    #[test]
    fn a_batch_stays_small_for_a_deadline() {
        check(&[(1, 0, Some(35)), (1, 0, None), (1, 0, None)], limits(4, 0), Ok((2, 2)));
        check(&[(1, 0, Some(5)), (1, 0, None), (1, 0, None)], limits(4, 0), Ok((3, 3)));
    }

    #[test]
    fn the_urgent_lane_goes_first() {
        let now = Instant::now();
        let rank_of = |rows: &[Row]| rank(waiting(rows, now).iter(), &limits(2, 0)).unwrap();
        assert!(rank_of(&[(1, 0, Some(50))]) < rank_of(&[(1, 500, None)]));
        assert!(rank_of(&[(1, 999_990, None)]) < rank_of(&[(1, 0, Some(50))]));
        assert!(rank_of(&[(1, 0, None), (1, 0, Some(50))]) < rank_of(&[(1, 0, Some(60))]));
        assert!(rank_of(&[(1, 0, None), (2, 0, Some(50))]) > rank_of(&[(1, 0, Some(60))]));
    }

    fn check_prediction(rows_ahead: usize, rows: usize, workers: usize, free_in: u64, expected: u64) {
        let (run_full, run_own) = (us(100), us(20));
        let backlog =
            Backlog { rows_ahead, rows, rows_max: 8, workers, free_in: us(free_in), run_full, run_own };
        assert_eq!(predict(&backlog), us(expected), "{backlog:?}");
    }

    #[test]
    fn predictions_are_rather_short() {
        check_prediction(0, 1, 1, 0, 20);
        check_prediction(7, 1, 1, 30, 50);
        check_prediction(8, 1, 1, 30, 150);
        check_prediction(40, 1, 2, 0, 220);
        check_prediction(0, 33, 2, 0, 300);
    }

    proptest! {
        #[test]
        fn batches_fit(
            rows in proptest::collection::vec((0usize..6, 0u64..2000, proptest::option::of(0u64..2000)), 1..40),
            rows_max in 1usize..10,
            delay in 0u64..500,
            cost in 0u64..100,
            fills in any::<bool>(),
        ) {
            let now = Instant::now();
            let waiting = waiting(&rows, now);
            let limits = Limits { fills, ..limits(rows_max, delay) };
            match fill(waiting.iter(), &limits, now, |rows| Some(us(cost * rows as u64))) {
                Decision::Run { jobs, rows } => {
                    prop_assert!(jobs >= 1);
                    prop_assert!(jobs == 1 || rows <= rows_max);
                    prop_assert_eq!(rows, waiting.iter().take(jobs).map(|job| job.rows).sum::<usize>());
                }
                Decision::WaitUntil(until) => {
                    prop_assert!(until > now && until <= now + us(delay));
                    for job in &waiting {
                        prop_assert!(until <= job.queued_at + us(delay));
                        prop_assert!(job.deadline.is_none_or(|deadline| until <= deadline));
                    }
                }
            }
        }
    }
}
