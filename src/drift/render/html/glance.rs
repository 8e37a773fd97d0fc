//! All features on one scale: how far the strongest measure of each goes towards its alarm threshold.

use std::fmt::Write;

use super::escape;
use crate::drift::render::numbers::number_with;
use crate::drift::render::strongest;
use crate::drift::report::FeatureReport;

/// Most features in the picture; cards follow for all.
const ROWS_MAX: usize = 40;
/// The right end of the scale, in alarm thresholds: what is there is beyond doubt.
const SCALE_MAX: f64 = 30.0;

/// The picture.
pub(super) fn glance(features: &[&FeatureReport], out: &mut String) {
    let left_out = features.len().saturating_sub(ROWS_MAX);
    let more = if left_out > 0 { format!(", {left_out} more below") } else { String::new() };
    // Writing to a string cannot fail.
    write!(
        out,
        "<section class=\"glance\">\n<div class=\"glance-head\"><h2>At a glance</h2>\
         <span class=\"note\">strongest measure of each feature; the mark is its alarm threshold{more}</span></div>\n\
         <div class=\"rows\" style=\"--mark:{:.2}%\">\n",
        100.0 * height(1.0)
    )
    .ok();
    for (at, feature) in features.iter().take(ROWS_MAX).enumerate() {
        let strongest = strongest(feature);
        let (width, why) = match strongest {
            None => (0.0, "too few rows".to_owned()),
            Some((measure, ratio)) => (
                100.0 * height(ratio),
                format!("{} {}{}", title(measure.name), number_with(measure.value, 3), times(ratio)),
            ),
        };
        writeln!(
            out,
            "<a href=\"#f{at}\" class=\"{}\"><span class=\"name\">{}</span><span class=\"bar\">\
             <i style=\"width:{width:.2}%\"></i><u></u></span><span class=\"why\">{}</span></a>",
            feature.state.as_str(),
            escape(&feature.name),
            escape(&why),
        )
        .ok();
    }
    out.push_str("</div>\n</section>\n");
}

/// Where a number of alarm thresholds stands on the scale, 0 to 1. Near the threshold is where differences matter, so the
/// scale is a logarithm: half of it is for what is well beyond.
fn height(ratio: f64) -> f64 {
    (ratio.max(0.0).ln_1p() / SCALE_MAX.ln_1p()).min(1.0)
}

/// How many times the threshold, where it is more than once.
fn times(ratio: f64) -> String {
    if ratio >= 1.05 { format!(", {}× its alarm", number_with(ratio, 2)) } else { String::new() }
}

/// A measure's name for people.
pub(super) fn title(name: &str) -> String {
    let known = match name {
        "psi" => "PSI",
        "js" => "Jensen–Shannon",
        "ks" => "Kolmogorov–Smirnov",
        "linf" => "L-infinity",
        "chi2" => "Chi-squared",
        "w1n" | "wasserstein" => "Wasserstein",
        "hellinger" => "Hellinger",
        "mean_shift" => "Mean shift, σ",
        _ => "",
    };
    match known {
        "" => {
            let mut characters = name.chars();
            let first = characters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            format!("{first}{}", characters.as_str().replace('_', " "))
        }
        known => known.to_owned(),
    }
}
