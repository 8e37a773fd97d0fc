//! Warming up: an opened model is run on the inputs that its probe survived, and on no others.

use super::super::{Input, Instance};
use super::exercise::has_free_dim;
use super::synthetic::{Plan, SIZES, Style};
use crate::model::Signature;

/// Runs `instance` `runs` times at each of `rows`, on made-up inputs, and once more at the first to find them. What a model
/// refuses is passed over: it has been probed, and warming up is no test.
pub fn warm_up(signature: &Signature, instance: &mut dyn Instance, rows: &[usize], runs: usize) {
    let batched = signature.has_batch_candidate();
    let sizes = if has_free_dim(signature, batched) { &SIZES[..] } else { &SIZES[..1] };
    let mut attempts = Style::ALL.into_iter().flat_map(|style| sizes.iter().map(move |&size| (style, size)));
    // The same attempts in the same order as the probe's, so the first that works is the probe's.
    let accepted = attempts.find_map(|(style, size)| {
        let plan = Plan { signature, batched, size, style, zero: None };
        run(&plan, instance, rows.first().copied().unwrap_or(1)).then_some(plan)
    });
    let Some(plan) = accepted else { return };
    for &rows in rows {
        for _ in 0..runs {
            if !run(&plan, instance, rows) {
                break;
            }
        }
    }
}

fn run(plan: &Plan<'_>, instance: &mut dyn Instance, rows: usize) -> bool {
    let seeds: Vec<u64> = (1..=rows as u64).collect();
    let Some(made) = plan.make(&seeds) else { return false };
    let inputs: Vec<Option<Input<'_>>> = made.iter().map(|input| Some(input.as_input())).collect();
    instance.run(&inputs).is_ok()
}
