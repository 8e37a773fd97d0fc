//! Properties of the measures, and values from reference implementations.

use super::*;

#[test]
fn null_of_ks_is_deequ_s_factor() {
    assert!((null::ks_quantile(1.0, 1.0, 0.003) / 2.0_f64.sqrt() - 1.8).abs() < 0.01);
}
