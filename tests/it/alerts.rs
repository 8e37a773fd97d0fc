//! The shipped alerts and dashboard: promtool takes the rules and their tests, and every metric and runbook that they name is
//! there.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{promtool, root, run};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn promtool_passes_the_rules_and_their_tests() {
    let Some(promtool) = promtool() else { return };
    let folder = root().join("monitoring");
    run(Command::new(&promtool).args(["check", "rules", "weir.rules.yml"]).current_dir(&folder));
    let said =
        run(Command::new(&promtool).args(["test", "rules", "weir.rules.test.yml"]).current_dir(&folder));
    assert!(said.contains("SUCCESS"), "{said}");
}

/// Words that begin like our metrics, without what histograms put behind them.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("weir_"))
        .map(|word| {
            let ends = ["_bucket", "_sum", "_count"];
            ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let documented = metrics_in(&read("docs/metrics.md"));
    for file in ["monitoring/weir.rules.yml", "monitoring/grafana.json"] {
        let used = metrics_in(&read(file));
        assert!(used.len() > 10, "{file} uses {used:?}");
        let unknown: Vec<_> = used.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file} uses metrics that docs/metrics.md does not have: {unknown:?}");
    }
}

#[test]
fn every_alert_has_a_test_and_a_runbook() {
    let (rules, tests, runbook) =
        (read("monitoring/weir.rules.yml"), read("monitoring/weir.rules.test.yml"), read("docs/alerts.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
        assert!(runbook.contains(&format!("\n## {alert}\n")), "{alert} has no section in docs/alerts.md");
        let anchor = format!("docs/alerts.md#{}\"", alert.to_lowercase());
        assert!(rules.contains(&anchor), "{alert} does not lead to its section");
    }
}
