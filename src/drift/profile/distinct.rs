//! About how many different values a feature has: HyperLogLog of the crate `datasketches`.
//!
//! Values are hashed by their bytes (numbers by the bytes of the double), so sketches of several processes merge.

use std::hash::{Hash, Hasher};

use datasketches::hll::{HllSketch, HllType, HllUnion};

use super::ProfileError;

/// 2^12 registers: 1.6 % of error, about 2 KiB.
const LG_K: u8 = 12;
/// Most bytes of a sketch that is read.
const BYTES_MAX: usize = 16 << 10;

/// A mergeable estimate of the number of different values.
#[derive(Debug, Clone, PartialEq)]
pub struct Distinct(HllSketch);

struct Raw<'a>(&'a [u8]);

impl Hash for Raw<'_> {
    // Without the length or the terminator that `[u8]` and `str` add, as the other DataSketches libraries hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct(HllSketch::new(LG_K, HllType::Hll4).expect("12 is a valid size"))
    }
}

impl Distinct {
    /// Adds a number. The two zeros are one value.
    pub fn push_number(&mut self, number: f64) {
        self.0.update(Raw(&(number + 0.0).to_le_bytes()));
    }

    /// Adds a text.
    pub fn push_text(&mut self, text: &[u8]) {
        self.0.update(Raw(text));
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Distinct) {
        if other.0.is_empty() {
            return;
        }
        let mut union = HllUnion::new(LG_K).expect("12 is a valid size");
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll4);
    }

    /// The estimate.
    pub fn estimate(&self) -> f64 {
        self.0.estimate()
    }

    /// Bytes of DataSketches' `hll_sketch`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.serialize()
    }

    /// Reads what [`Distinct::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Distinct, ProfileError> {
        if bytes.len() > BYTES_MAX || bytes.get(3) != Some(&LG_K) {
            return Err(ProfileError::Sketch("the HLL has another size".to_owned()));
        }
        let sketch =
            HllSketch::deserialize(bytes).map_err(|error| ProfileError::Sketch(error.to_string()))?;
        Ok(Distinct(sketch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_estimates_are_within_bounds_and_bytes_come_back() {
        let mut parts = [Distinct::default(), Distinct::default()];
        for number in 0..20_000u32 {
            parts[usize::from(number % 3 == 0)].push_number(f64::from(number % 12_000));
        }
        let [mut left, right] = parts;
        let mut other_way = right.clone();
        other_way.merge(&left);
        left.merge(&right);
        assert!((left.estimate() / 12_000.0 - 1.0).abs() < 0.05, "{}", left.estimate());
        assert!((left.estimate() / other_way.estimate() - 1.0).abs() < 1e-9);
        let back = Distinct::from_bytes(&left.to_bytes()).unwrap();
        assert_eq!(back.to_bytes(), left.to_bytes());
        assert!(Distinct::from_bytes(&[1, 2, 3]).is_err());
    }
}
