//! How long runs take: a moving average per lane and batch size, learnt from the runs themselves.
//!
//! It drives early refusal, the size of a batch that holds deadlines, and the retry hint of a shed request. With no
//! data it says nothing, and whoever asks admits.

use std::time::Duration;

/// Batch sizes are kept by powers of two; the last bucket holds everything larger.
const BUCKETS: usize = 16;

/// The most lanes with averages of their own; others share the overall ones.
const LANES_MAX: usize = 32;

/// A new run moves the average by this part of the difference.
const WEIGHT: f64 = 0.125;

/// A run counts for at most this many times the average, so that one stall does not shed a second's requests.
const OUTLIER: f64 = 4.0;

/// Moving averages in seconds; 0 where there is no data.
#[derive(Debug, Clone, Default)]
struct Averages {
    seconds: [f64; BUCKETS],
}

/// Moving averages of run times.
#[derive(Debug, Clone, Default)]
pub(super) struct LatencyModel {
    overall: Averages,
    lanes: Vec<(u64, Averages)>,
}

fn bucket(rows: usize) -> usize {
    // The position of a bit is below 64.
    (rows.max(1).next_power_of_two().trailing_zeros() as usize).min(BUCKETS - 1)
}

impl Averages {
    fn record(&mut self, rows: usize, took: Duration) {
        let average = &mut self.seconds[bucket(rows)];
        let seconds = took.as_secs_f64().max(1e-9);
        if *average == 0.0 {
            *average = seconds;
        } else {
            *average += WEIGHT * (seconds.min(*average * OUTLIER) - *average);
        }
    }

    /// The average for `rows`; where there is none, a guess that is rather too low than too high: the largest smaller
    /// batch's, else the smallest larger one's in proportion.
    fn estimate(&self, rows: usize) -> Option<Duration> {
        let own = bucket(rows);
        let smaller = self.seconds.iter().take(own + 1).rev().find(|&&seconds| seconds > 0.0);
        let seconds = match smaller {
            Some(&seconds) => seconds,
            None => {
                let larger = self.seconds.iter().position(|&seconds| seconds > 0.0)?;
                self.seconds[larger] / f64::from(1u32 << (larger - own))
            }
        };
        Some(Duration::from_secs_f64(seconds))
    }
}

impl LatencyModel {
    /// Learns that a batch of `rows` rows took `took` from taking to replies.
    pub(super) fn record(&mut self, lane: u64, rows: usize, took: Duration) {
        self.overall.record(rows, took);
        if lane == 0 {
            return;
        }
        if let Some((_, averages)) = self.lanes.iter_mut().find(|(hash, _)| *hash == lane) {
            averages.record(rows, took);
        } else if self.lanes.len() < LANES_MAX {
            let mut averages = Averages::default();
            averages.record(rows, took);
            self.lanes.push((lane, averages));
        }
    }

    /// How long a batch of `rows` rows is likely to take, or `None` when nothing is known.
    pub(super) fn estimate(&self, lane: u64, rows: usize) -> Option<Duration> {
        let own = match lane {
            0 => None,
            _ => self.lanes.iter().find(|(hash, _)| *hash == lane).map(|(_, averages)| averages),
        };
        own.unwrap_or(&self.overall).estimate(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seen: &[(usize, u64)], rows: usize, expected_us: Option<u64>) {
        let mut model = LatencyModel::default();
        for &(rows, us) in seen {
            model.record(0, rows, Duration::from_micros(us));
        }
        let found = model.estimate(0, rows).map(|took| took.as_micros());
        assert_eq!(found, expected_us.map(u128::from), "{seen:?} {rows}");
    }

    #[test]
    fn guesses_are_rather_low() {
        check(&[], 8, None);
        check(&[(8, 100)], 8, Some(100));
        check(&[(8, 100)], 64, Some(100));
        check(&[(8, 100)], 1, Some(12));
        check(&[(1, 10), (8, 100)], 4, Some(10));
        check(&[(8, 100); 50], 7, Some(100));
    }

    #[test]
    fn one_stall_moves_the_average_little() {
        let mut model = LatencyModel::default();
        for _ in 0..20 {
            model.record(7, 4, Duration::from_millis(1));
        }
        model.record(7, 4, Duration::from_secs(30));
        assert!(model.estimate(7, 4).unwrap() < Duration::from_millis(2));
    }

    #[test]
    fn lanes_are_bounded() {
        let mut model = LatencyModel::default();
        for lane in 1..1000 {
            model.record(lane, 1, Duration::from_micros(lane));
        }
        assert_eq!(model.lanes.len(), LANES_MAX);
        assert!(model.estimate(999, 1).is_some());
    }
}
