//! The bins of a numeric feature: fixed by its baseline, so that counts of any two profiles add up and compare.
//!
//! Every bin is half-open, `[low, high)`. A value that takes up whole quantiles (an atom: many rows of exactly 0) gets a
//! bin of its own, `[v, the next double)`. Two open bins hold what is below the baseline's minimum and above its maximum.

use super::ProfileError;

/// Quantile bins of a feature, before equal edges are joined. 60 can be grouped to 10, 12, 15, 20 or 30.
pub const QUANTILE_BINS: usize = 60;
/// Most bins: each of 61 edges can be an atom.
pub const BINS_MAX: usize = 2 * QUANTILE_BINS + 1;

/// Ascending edges. Counts over `Bins` have two more places than there are bins: the first for what is below, the last
/// for what is above.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    edges: Vec<f64>,
}

impl Bins {
    /// The bins between quantiles (ascending, the minimum first and the maximum last). Without any, there is one open bin.
    pub fn of_quantiles(quantiles: &[f64]) -> Bins {
        let mut edges: Vec<f64> = Vec::with_capacity(quantiles.len() + 1);
        let mut at = 0;
        while let Some(&value) = quantiles.get(at) {
            let equal = quantiles[at..].iter().take_while(|other| **other == value).count();
            at += equal;
            // The maximum is inside, so the last edge is the double behind it.
            let is_maximum = at == quantiles.len();
            if (!is_maximum || equal > 1 || edges.is_empty()) && edges.last().is_none_or(|last| *last < value)
            {
                edges.push(value);
            }
            let behind = value.next_up();
            if (is_maximum || equal > 1) && behind.is_finite() {
                edges.push(behind);
            }
        }
        Bins { edges }
    }

    /// Bins of stored edges.
    pub fn of_edges(edges: Vec<f64>) -> Result<Bins, ProfileError> {
        let is_ascending = edges.windows(2).all(|pair| pair[0] < pair[1]);
        if edges.len() > BINS_MAX + 1 || edges.iter().any(|edge| edge.is_nan()) || !is_ascending {
            return Err(ProfileError::Bins);
        }
        Ok(Bins { edges })
    }

    /// The same bins for values that were rounded to 32-bit floats, as a model is sent them: a value of the training data, 32.1
    /// say, comes as 32.099998474 and belongs where it was counted. `None` where rounding makes edges meet.
    pub fn for_floats(&self) -> Option<Bins> {
        #[allow(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
        let round = |value: f64| value as f32;
        let last = self.edges.len().checked_sub(1);
        let edge = |(at, edge): (usize, &f64)| {
            let before = at.checked_sub(1).and_then(|at| self.edges.get(at));
            // The edge behind an atom or the maximum: what stands before it is inside.
            let is_behind = Some(at) == last || before.is_some_and(|before| before.next_up() == *edge);
            f64::from(if is_behind { round(edge.next_down()).next_up() } else { round(*edge) })
        };
        Bins::of_edges(self.edges.iter().enumerate().map(edge).collect()).ok()
    }

    /// The edges, ascending.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// How many places counts over these bins have.
    pub fn places(&self) -> usize {
        self.edges.len() + 1
    }

    /// The place of a value; infinities are below or above.
    #[inline]
    pub fn place(&self, value: f64) -> usize {
        // Branch-free within a step: what a random value does to a branch predictor costs more than the comparison.
        let (mut low, mut size) = (0, self.edges.len());
        while size > 0 {
            let half = size / 2;
            let is_right = self.edges[low + half] <= value;
            low = if is_right { low + half + 1 } else { low };
            size = if is_right { size - half - 1 } else { half };
        }
        low
    }

    /// The interval of a place; open ends are infinite.
    pub fn interval(&self, place: usize) -> (f64, f64) {
        let low = place.checked_sub(1).and_then(|at| self.edges.get(at));
        (low.copied().unwrap_or(f64::NEG_INFINITY), self.edges.get(place).copied().unwrap_or(f64::INFINITY))
    }

    /// Whether a place holds one value only.
    pub fn is_atom(&self, place: usize) -> bool {
        let (low, high) = self.interval(place);
        low.is_finite()
            && (low.next_up() == high || floats(low).is_some_and(|low| f64::from(low.next_up()) == high))
    }

    /// Words for a place.
    pub fn label(&self, place: usize) -> String {
        let (low, high) = self.interval(place);
        match (low.is_finite(), high.is_finite()) {
            _ if self.is_atom(place) => show(low),
            (false, false) => "any".to_owned(),
            (false, true) => format!("< {}", show(high)),
            (true, false) => format!("> {}", show_before(low)),
            (true, true) if place + 1 == self.edges.len() => {
                format!("{} to {}", show(low), show_before(high))
            }
            (true, true) => format!("{} to {}", show(low), show(high)),
        }
    }
}

/// The number as a 32-bit float, if it is one.
#[allow(clippy::cast_possible_truncation, reason = "what rounding changes is no 32-bit float")]
fn floats(number: f64) -> Option<f32> {
    Some(number as f32).filter(|float| f64::from(*float) == number)
}

/// In as few digits as tell it from its neighbours.
fn show(number: f64) -> String {
    floats(number).map_or_else(|| number.to_string(), |float| float.to_string())
}

/// The last edge is the number behind the maximum: shows the maximum.
fn show_before(edge: f64) -> String {
    floats(edge).map_or_else(|| edge.next_down().to_string(), |float| float.next_down().to_string())
}

/// Groups neighbouring places into at most `groups` of about equal shares of the baseline: for each place, its group.
///
/// The open ends belong to the first and the last group. Bins of equal shares are grouped evenly: 60 to 10 by sixes.
pub fn group_places(baseline: &[f64], groups: usize) -> Vec<usize> {
    let total: f64 = baseline.iter().sum();
    let places = baseline.len();
    let mut starts = vec![0; places];
    if total > 0.0 && places > 2 {
        // shares[i]: what lies before place i.
        let mut before = Vec::with_capacity(places);
        let mut sum = 0.0;
        for count in baseline {
            before.push(sum / total);
            sum += count;
        }
        for cut in 1..groups {
            let wanted = cut as f64 / groups as f64;
            // Between the first and the last bin, so that the open ends stay where they belong.
            let nearest = (2..places - 1)
                .min_by(|a, b| (before[*a] - wanted).abs().total_cmp(&(before[*b] - wanted).abs()));
            if let Some(place) = nearest.filter(|place| before[*place] > 0.0 && before[*place] < 1.0) {
                starts[place] = 1;
            }
        }
    }
    let mut group = 0;
    starts
        .into_iter()
        .map(|start| {
            group += start;
            group
        })
        .collect()
}

/// Sums `counts` by group.
pub fn grouped(counts: &[f64], groups: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; groups.last().map_or(0, |last| last + 1)];
    for (count, group) in counts.iter().zip(groups) {
        sums[*group] += count;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(bins: &Bins, values: &[f64]) -> Vec<f64> {
        let mut counts = vec![0.0; bins.places()];
        values.iter().for_each(|value| counts[bins.place(*value)] += 1.0);
        counts
    }

    #[test]
    fn every_edge_belongs_to_the_bin_above_it_and_the_maximum_inside() {
        let bins = Bins::of_quantiles(&[0.0, 1.0, 2.0]);
        assert_eq!(counts(&bins, &[-0.1, 0.0, 0.5, 1.0, 2.0, 2.1]), [1.0, 2.0, 2.0, 1.0]);
        assert_eq!((bins.place(f64::NEG_INFINITY), bins.place(f64::INFINITY)), (0, 3));
        assert_eq!(
            (bins.label(0), bins.label(2), bins.label(3)),
            ("< 0".into(), "1 to 2".into(), "> 2".into())
        );
    }

    #[test]
    fn atoms_have_bins_of_their_own() {
        let bins = Bins::of_quantiles(&[0.0, 0.0, 0.0, 1.0, 3.0, 3.0]);
        assert_eq!(counts(&bins, &[0.0, 1e-300, 0.5, 1.0, 2.9, 3.0]), [0.0, 1.0, 2.0, 2.0, 1.0, 0.0]);
        assert!(bins.is_atom(1) && !bins.is_atom(2) && bins.is_atom(4));
        let constant = Bins::of_quantiles(&[5.0; 61]);
        assert_eq!(counts(&constant, &[4.0, 5.0, 5.1]), [1.0, 1.0, 1.0]);
        assert_eq!(Bins::of_quantiles(&[]).places(), 1);
    }

    #[test]
    fn the_place_is_found_as_by_a_plain_search() {
        let edges: Vec<f64> = (0..61).map(|i| f64::from(i * i)).collect();
        let bins = Bins::of_edges(edges.clone()).unwrap();
        for value in (-10..3700).map(f64::from) {
            assert_eq!(bins.place(value), edges.partition_point(|edge| *edge <= value));
        }
        assert!(Bins::of_edges(vec![1.0, 1.0]).is_err());
        assert!(Bins::of_edges(vec![f64::NAN]).is_err());
    }

    #[test]
    fn sixty_equal_bins_are_grouped_by_sixes() {
        let mut baseline = vec![100.0; 62];
        (baseline[0], baseline[61]) = (0.0, 0.0);
        let groups = group_places(&baseline, 10);
        assert_eq!(grouped(&baseline, &groups), [600.0; 10]);
        assert_eq!((groups[0], groups[6], groups[7], groups[61]), (0, 0, 1, 9));
        // Half of all rows are one value: they stay together.
        baseline[30] = 6_000.0;
        let sums = grouped(&baseline, &group_places(&baseline, 10));
        assert!(sums.iter().any(|sum| *sum >= 6_000.0) && sums.iter().sum::<f64>() == 11_900.0);
        assert_eq!(group_places(&[0.0, 5.0, 0.0], 10), [0, 0, 0]);
    }
}
