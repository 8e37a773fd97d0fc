//! The README's walk through a registry, pasted: what it says is run as it stands there, by bash, against a new registry and
//! a real server on free ports.

use std::process::Command;

use crate::support::{root, run, target_dir};

/// The commands of the first `sh` block after the heading `heading`.
fn block(text: &str, heading: &str) -> String {
    let after = text.split_once(heading).unwrap_or_else(|| panic!("no '{heading}'")).1;
    let block = after.split_once("```sh\n").and_then(|(_, rest)| rest.split_once("```"));
    block.unwrap_or_else(|| panic!("'{heading}' has no commands")).0.to_owned()
}

#[test]
fn the_walk_through_a_registry_works_when_pasted() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = block(&readme, "\n## A registry\n");
    let words = ["register", "search", "deploy", "serve", "traffic", "rollback", "audit", "events tail"];
    for word in words {
        assert!(commands.contains(&format!("weir {word}")), "the walk-through has no 'weir {word}'");
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("models"), folder.path().join("models")).unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_weir")).parent().unwrap().display().to_string();
    // What was started in the background ends with the script.
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p)' EXIT\n{commands}\n\
         echo ---\nweir deployment show digits --json\nweir log digits --json\n"
    );
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).current_dir(folder.path()).env("PATH", path);
    bash.env_remove("WEIR_CONFIG").env("WEIR_REGISTRY_CACHE_DIR", folder.path().join("cache"));
    bash.env("WEIR_RUNTIME_CACHE_DIR", target_dir().join("probe-cache"));
    for port in ["HTTP", "GRPC", "METRICS"] {
        bash.env(format!("WEIR_SERVER_{port}_PORT"), "0");
    }
    let printed = run(&mut bash);
    let (before, after) = printed.split_once("\n---\n").unwrap_or_else(|| panic!("{printed}"));
    for expected in [
        "digits@1 registered",
        "digits@2 registered",
        "digits@2  (revision 2",
        "digits at ",
        "0 problems",
        "version.registered ",
        "rollout.rolledback ",
    ] {
        assert!(before.contains(expected), "expected {expected:?} in:\n{before}");
    }
    let shown: serde_json::Value =
        serde_json::from_str(after.lines().next().unwrap_or_default()).unwrap_or_else(|_| panic!("{after}"));
    assert_eq!(shown["traffic"], serde_json::json!({ "1": 90, "2": 10 }), "{shown}");
}
