//! What an operator decides about drift.

use std::path::PathBuf;
use std::time::Duration;

use super::decide::Rules;

/// A stretch of time that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The last pane alone: sudden shifts show within two of them.
    Pane,
    /// Panes that began within this time.
    Last(Duration),
    /// Everything that is kept of the version against its baseline.
    Deploy,
}

impl Window {
    /// Its name in reports: `pane`, `1h`, `24h`, `deploy`.
    pub fn name(self) -> String {
        let seconds = match self {
            Window::Pane => return "pane".to_owned(),
            Window::Deploy => return "deploy".to_owned(),
            Window::Last(duration) => duration.as_secs(),
        };
        match seconds {
            _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
            _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
            _ => format!("{seconds}s"),
        }
    }
}

/// Settings of the monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftConfig {
    /// Whether versions are watched whose own settings do not say.
    pub enabled: bool,
    /// Where panes, decisions and learned baselines are kept; `None` keeps them in memory only.
    pub folder: Option<PathBuf>,
    /// The name of this process in files; different for every replica that shares the folder.
    pub replica: String,
    /// Length of a pane.
    pub pane: Duration,
    /// What is judged at the end of each pane.
    pub windows: Vec<Window>,
    /// Alarms without drift that are accepted in a week, for one version with all its features.
    pub false_alarms_per_week: f64,
    /// Rows that may wait to be profiled.
    pub queue_rows: usize,
    /// Bytes of tensors that may wait.
    pub queue_bytes: usize,
    /// The share of a core that profiling takes at most while requests want all of it.
    pub busy_share: f64,
    /// Memory of the panes of one version and route.
    pub pane_bytes: usize,
    /// Memory for rows from which a baseline is learned.
    pub learn_bytes: usize,
    /// How long panes are kept.
    pub retention: Duration,
    /// Features whose scores are metrics even while they are `ok`.
    pub always_scored: Vec<String>,
}

impl Default for DriftConfig {
    fn default() -> DriftConfig {
        let hour = Duration::from_secs(3_600);
        DriftConfig {
            enabled: true,
            folder: None,
            replica: "local".to_owned(),
            pane: Duration::from_secs(300),
            windows: vec![Window::Pane, Window::Last(hour), Window::Last(24 * hour), Window::Deploy],
            false_alarms_per_week: 0.07,
            queue_rows: 16_384,
            queue_bytes: 64 << 20,
            busy_share: 0.001,
            pane_bytes: 256 << 20,
            learn_bytes: 256 << 20,
            retention: 8 * 24 * hour,
            always_scored: Vec::new(),
        }
    }
}

impl DriftConfig {
    /// The rules of decisions that follow.
    pub fn rules(&self) -> Rules {
        let panes_per_day = 86_400.0 / self.pane.as_secs_f64().max(1e-3);
        Rules {
            false_alarms_per_week: self.false_alarms_per_week,
            evaluations_per_day: panes_per_day * self.windows.len().max(1) as f64,
            ..Rules::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_short_names_and_rules_follow_the_settings() {
        let config = DriftConfig::default();
        let names: Vec<String> = config.windows.iter().map(|window| window.name()).collect();
        assert_eq!(names, ["pane", "1h", "24h", "deploy"]);
        assert_eq!(config.rules(), Rules::default());
        assert_eq!(Window::Last(Duration::from_secs(90)).name(), "90s");
    }
}
