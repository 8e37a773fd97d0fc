//! Which requests are written, and what each of them then counts for. Pure.
//!
//! A request is *forced* when something about itself asks for it: it failed, was slow, was a close call, lay outside what
//! the model was trained on, or came right after a load. What is forced is always written and has weight 1, whatever the
//! hash says; everything else is written when the hash of its id falls below the rate, and has weight 1/rate. Being
//! forced does not depend on the hash, so every request's weight is one over the probability with which it was written,
//! and weighted sums over what was written are unbiased for what was served (Horvitz-Thompson).

use std::time::Duration;

use twox_hash::XxHash64;

use super::settings::Effective;
use crate::infer::Observation;
use crate::tensor::{DataType, Tensor};

/// The weight of a request that is written; `None` when it is not.
///
/// `ordinal` counts the version's requests since its load, from 0. `is_outlier` is asked only when nothing else decides.
pub(super) fn weigh(
    rules: &Effective,
    id: &[u8],
    observation: &Observation,
    ordinal: u64,
    is_outlier: impl FnOnce() -> bool,
) -> Option<f64> {
    if rules.rate >= 1.0 {
        return Some(1.0);
    }
    let is_forced = observation.failure.is_some()
        || ordinal < rules.first
        || rules.slow.is_some_and(|slow: Duration| observation.latency > slow)
        || rules.low_margin.is_some_and(|least| has_margin_below(observation, least))
        || is_outlier();
    if is_forced {
        return Some(1.0);
    }
    is_sampled(id, rules.salt, rules.rate).then(|| 1.0 / rules.rate)
}

/// Whether the hash of `id` falls below `rate`: the same answer wherever it is asked.
pub(super) fn is_sampled(id: &[u8], salt: u64, rate: f64) -> bool {
    // 2^64. The hash is rounded to 53 bits, which moves no rate by more than 1e-16.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let hash = XxHash64::oneshot(salt, id) as f64;
    hash < rate * 18_446_744_073_709_551_616.0
}

/// Whether the two largest scores of any row are closer than `least`, in the first output that has scores.
fn has_margin_below(observation: &Observation, least: f64) -> bool {
    let scores = |tensor: &&Tensor| {
        matches!(tensor.dtype(), DataType::Fp32 | DataType::Fp64)
            && observation.rows > 0
            && tensor.shape().element_count() / observation.rows > 1
    };
    let Some(tensor) = observation.outputs.iter().find(scores) else { return false };
    let per_row = tensor.shape().element_count() / observation.rows;
    match tensor.dtype() {
        DataType::Fp32 => rows_have_margin_below(tensor.data(), per_row, least, |bytes: [u8; 4]| {
            f64::from(f32::from_le_bytes(bytes))
        }),
        _ => rows_have_margin_below(tensor.data(), per_row, least, f64::from_le_bytes),
    }
}

fn rows_have_margin_below<const SIZE: usize>(
    data: &[u8],
    per_row: usize,
    least: f64,
    number: impl Fn([u8; SIZE]) -> f64,
) -> bool {
    data.chunks_exact(per_row * SIZE).any(|row| {
        let (mut best, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for bytes in row.as_chunks::<SIZE>().0 {
            let score = number(*bytes);
            if score > best {
                (best, second) = (score, best);
            } else if score > second {
                second = score;
            }
        }
        best - second < least
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::tensor::Shape;

    fn rules(rate: f64) -> Effective {
        Effective {
            mode: crate::model::monitoring::CaptureMode::BestEffort,
            rate,
            slow: Some(Duration::from_millis(100)),
            low_margin: Some(0.1),
            first: 0,
            salt: 7,
        }
    }

    fn scores(rows: usize, scores: &[f32]) -> Observation {
        let shape = Shape::new(&[rows, scores.len() / rows]).unwrap();
        let data: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        let tensor = Tensor::new("p".into(), DataType::Fp32, shape, data.into()).unwrap();
        Observation { rows, outputs: [tensor].into_iter().collect(), ..Observation::default() }
    }

    #[test]
    fn what_asks_for_it_is_always_written() {
        let never = Effective { rate: 0.0, first: 3, ..rules(0.0) };
        let weigh = |observation: &Observation, ordinal| weigh(&never, b"id", observation, ordinal, || false);
        let plain = scores(1, &[0.9, 0.1]);
        assert_eq!(weigh(&plain, 2), Some(1.0));
        assert_eq!(weigh(&plain, 3), None);
        let failed = Observation { failure: Some(Code::Internal), ..Observation::default() };
        assert_eq!(weigh(&failed, 3), Some(1.0));
        let slow = Observation { latency: Duration::from_millis(101), ..plain.clone() };
        assert_eq!(weigh(&slow, 3), Some(1.0));
        assert_eq!(weigh(&scores(2, &[0.9, 0.1, 0.52, 0.48]), 3), Some(1.0));
        assert_eq!(super::weigh(&never, b"id", &plain, 3, || true), Some(1.0));
    }

    #[test]
    fn a_hash_decides_alike_everywhere_and_a_larger_rate_keeps_what_a_smaller_one_kept() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("request-{n}")).collect();
        let kept = |rate| ids.iter().filter(|id| is_sampled(id.as_bytes(), 1, rate)).count();
        assert!((1_850..2_150).contains(&kept(0.1)), "{}", kept(0.1));
        for id in &ids {
            assert!(!is_sampled(id.as_bytes(), 1, 0.1) || is_sampled(id.as_bytes(), 1, 0.3));
        }
        let other =
            ids.iter().filter(|id| is_sampled(id.as_bytes(), 2, 0.1) != is_sampled(id.as_bytes(), 1, 0.1));
        assert!(other.count() > 1_000, "another salt, another sample");
    }

    /// 300 seeded services of 2,000 requests each, of which those with a close call are forced and have larger values. The
    /// mean of the weighted estimates is the truth within four standard errors; an estimate that gives what is forced the
    /// sampled weight where the hash would have kept it, too, is far off.
    #[test]
    fn weighted_sums_are_unbiased() {
        let rate = 0.2;
        let (mut errors, mut wrong_errors) = (Vec::new(), Vec::new());
        for seed in 0..300u64 {
            let rules = Effective { salt: seed, ..rules(rate) };
            let (mut truth, mut estimate, mut wrong) = (0.0, 0.0, 0.0);
            for n in 0..2_000u32 {
                let is_close = n % 7 == 0;
                let value = if is_close { 5.0 } else { 1.0 + f64::from(n % 5) };
                let observation = if is_close { scores(1, &[0.51, 0.49]) } else { scores(1, &[0.9, 0.1]) };
                let id = format!("{seed}-{n}");
                truth += value;
                if let Some(weight) = weigh(&rules, id.as_bytes(), &observation, 9, || false) {
                    estimate += weight * value;
                    let kept = is_sampled(id.as_bytes(), seed, rate);
                    wrong += value * if kept { 1.0 / rate } else { 1.0 };
                }
            }
            errors.push((estimate - truth) / truth);
            wrong_errors.push((wrong - truth) / truth);
        }
        let count = 300.0;
        let mean = errors.iter().sum::<f64>() / count;
        let variance = errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (count - 1.0);
        assert!(mean.abs() < 4.0 * (variance / count).sqrt(), "bias {mean}");
        assert!(wrong_errors.iter().sum::<f64>() / count > 0.1);
    }
}
