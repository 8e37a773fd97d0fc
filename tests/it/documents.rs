//! The configuration's reference is made of the same tables as the program: each line of them stands in the document.

use weir::app::KEYS;
use weir::model::settings::MODEL_KEYS;

fn check(rows: &[String], section: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();
    let missing: Vec<&String> =
        rows.iter().filter(|row| !document.lines().any(|line| line == row.as_str())).collect();
    assert!(
        missing.is_empty(),
        "docs/configuration.md differs from the program; {section} should have these lines:\n{}",
        rows.join("\n")
    );
}

#[test]
fn every_setting_is_documented() {
    let rows: Vec<String> = KEYS
        .iter()
        .map(|key| {
            let default =
                if key.default.is_empty() { "empty".to_owned() } else { format!("`{}`", key.default) };
            let flag = match key.path {
                "repository.paths" => "PATH...".to_owned(),
                _ => key.flag(),
            };
            format!("| `{}` | `{flag}` | `{}` | {default} | {} |", key.path, key.variable(), key.help)
        })
        .collect();
    check(&rows, "the table of settings");
}

#[test]
fn every_setting_of_a_model_is_documented() {
    let rows: Vec<String> = MODEL_KEYS
        .iter()
        .zip(weir::model::settings::ParsedModelConfig::default().rows())
        .map(|(key, (_, default, _))| format!("| `{}` | `{default}` | {} |", key.path, key.help))
        .collect();
    check(&rows, "the table of a model's settings");
}

#[test]
fn no_removed_setting_is_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| `") && line.contains("` | `--"));
    for row in rows {
        let path = row.split('`').nth(1).unwrap_or_default();
        assert!(KEYS.iter().any(|key| key.path == path), "{path} is not a setting");
    }
}
