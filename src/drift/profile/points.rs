//! A sample of whole rows of a tensor, as points: what the elements of an embedding say together and none alone.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ProfileError;
use super::reservoir::{Reservoir, Sampled};

/// Points of a baseline: with as many of a window a test takes a quarter of a second.
pub const BASELINE_POINTS: usize = 500;
/// Points of a window, which is a sum of panes.
pub const WINDOW_POINTS: usize = 256;
/// Points of a pane.
pub const PANE_POINTS: usize = 128;

/// The coordinates of a row, all finite.
pub type Point = Arc<[f32]>;

impl Sampled for Point {
    fn order(&self, other: &Point) -> Ordering {
        let pairs = self.iter().zip(other.iter());
        pairs.map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// A uniform sample of points of the same width. Samples of other panes and replicas merge.
#[derive(Debug, Clone, PartialEq)]
pub struct PointSample {
    width: usize,
    points: Reservoir<Point>,
}

impl PointSample {
    /// An empty sample of at most `capacity` points of `width` coordinates.
    pub fn new(width: usize, capacity: usize, seed: u64) -> PointSample {
        PointSample { width, points: Reservoir::new(capacity, seed) }
    }

    /// What was stored; `None` when points have other widths or coordinates that are not finite.
    pub(crate) fn restored(width: usize, points: Reservoir<Point>) -> Option<PointSample> {
        let is_point = |point: &Point| point.len() == width && point.iter().all(|x| x.is_finite());
        points.items().iter().all(|(_, point)| is_point(point)).then_some(PointSample { width, points })
    }

    /// Offers a row that stands for `weight` rows. Its coordinates are asked for only when it is drawn; a row that has
    /// other than `width` of them, or one that is no finite number, is no point.
    pub fn push<I: Iterator<Item = f64>>(&mut self, weight: f64, coordinates: impl FnOnce() -> I) {
        let width = self.width;
        self.points.push_with(weight, || {
            #[allow(clippy::cast_possible_truncation, reason = "embeddings are floats of 32 bits at most")]
            let point: Point = coordinates().map(|x| x as f32).collect();
            (point.len() == width && point.iter().all(|x| x.is_finite())).then_some(point)
        });
    }

    /// Adds what another has sampled.
    ///
    /// # Errors
    /// [`ProfileError::Unlike`] for points of another width.
    pub fn merge(&mut self, other: &PointSample) -> Result<(), ProfileError> {
        if self.width != other.width {
            return Err(ProfileError::Unlike);
        }
        self.points.merge(&other.points);
        Ok(())
    }

    /// Coordinates of a point.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The points with their keys.
    pub fn reservoir(&self) -> &Reservoir<Point> {
        &self.points
    }

    /// The points, in a random order.
    pub fn points(&self) -> Vec<Point> {
        self.points.values()
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        self.points.capacity().min(usize::try_from(self.points.rows()).unwrap_or(usize::MAX))
            * (4 * self.width + 48)
    }

    /// Drops the points, to save memory.
    pub fn thin(&mut self) {
        self.points = Reservoir::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_of_all_rows_that_are_points() {
        let mut sample = PointSample::new(2, 500, 1);
        for row in 0..100_000 {
            sample.push(1.0, || [f64::from(row), 1.0].into_iter());
            sample.push(1.0, || [f64::from(row), f64::NAN].into_iter());
            sample.push(1.0, || [1e300, 1.0].into_iter());
            sample.push(1.0, || [1.0].into_iter());
        }
        let points = sample.points();
        let mean = points.iter().map(|point| f64::from(point[0])).sum::<f64>() / points.len() as f64;
        // Four standard errors of a mean of 500 uniform numbers.
        assert!((mean - 50_000.0).abs() < 4.0 * 28_868.0 / 500f64.sqrt(), "{mean}");
        assert_eq!(sample.merge(&PointSample::new(3, 500, 1)), Err(ProfileError::Unlike));
    }
}
