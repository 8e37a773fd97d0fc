//! The house's rules that a compiler does not know: who may import whom, how long a file may be, where `unsafe` stands,
//! and that documents and code name the same things.
#![allow(clippy::string_slice, reason = "every offset was found in the same text")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules it may import. A new row or edge is a change of its own, with its reason.
const IMPORTS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("tensor", &["error"]),
    ("metrics", &["error"]),
    ("model", &["error", "tensor"]),
    ("infer", &["error", "tensor", "model"]),
    ("events", &["error", "model"]),
    ("access", &["error", "metrics"]),
    ("protocol", &["error", "tensor", "model", "infer"]),
    ("backend", &["error", "tensor", "model"]),
    ("scheduler", &["error", "tensor", "model", "infer", "metrics", "backend"]),
    ("serving", &["error", "tensor", "model", "infer", "events", "metrics", "backend", "scheduler"]),
    ("registry", &["error", "model", "events", "metrics"]),
    ("capture", &["error", "tensor", "model", "infer", "metrics"]),
    ("drift", &["error", "tensor", "model", "infer", "events", "metrics"]),
    (
        "control",
        &[
            "error", "tensor", "model", "infer", "events", "metrics", "access", "serving", "registry",
            "capture", "drift",
        ],
    ),
    (
        "transport",
        &[
            "error", "tensor", "model", "infer", "metrics", "access", "protocol", "serving", "registry",
            "control",
        ],
    ),
    (
        "app",
        &[
            "error",
            "tensor",
            "metrics",
            "model",
            "infer",
            "events",
            "access",
            "protocol",
            "backend",
            "scheduler",
            "serving",
            "registry",
            "capture",
            "drift",
            "control",
            "transport",
        ],
    ),
];

/// The files that may hold `unsafe`, and no others.
const UNSAFE_FILES: &[&str] = &[
    "src/backend/onnx/arena.rs",
    "src/backend/onnx/process.rs",
    "src/backend/onnx/run.rs",
    "src/backend/onnx/value.rs",
];

/// Longest file, in lines without tests.
const FILE_LINES_MAX: usize = 400;

/// A source file of the crate.
struct Source {
    /// Relative to the project, for example `src/tensor/mod.rs`.
    name: String,
    /// Everything.
    text: String,
    /// The code without its tests and comment lines; empty for files of tests.
    code: String,
    /// Lines without tests.
    lines: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every `.rs` file under `folder`.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    rust_files("src").iter().map(|path| Source::read(path)).collect()
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
        let production = if is_test { "" } else { without_tests(&text) };
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = production.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        let lines = production.lines().count();
        Source { name, code, lines, text }
    }

    /// The module on the first floor that the file belongs to; `None` for `lib.rs` and `main.rs`.
    fn module(&self) -> Option<&str> {
        let rest = self.name.strip_prefix("src/")?;
        let module = rest.split('/').next()?.trim_end_matches(".rs");
        (!matches!(module, "lib" | "main")).then_some(module)
    }
}

/// The text up to the inline test module, which stands last.
fn without_tests(text: &str) -> &str {
    let inline = text.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
        let line = text[at + "#[cfg(test)]\n".len()..].lines().next().unwrap_or_default();
        line.ends_with('{')
    });
    inline.map_or(text, |(at, _)| &text[..at])
}

/// The modules that code names by `crate::…`, alone or in a group.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, matched) in code.match_indices("crate::") {
        let rest = &code[at + matched.len()..];
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 1;
        let mut at_start = true;
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => at_start = true,
                c if c.is_alphanumeric() && at_start => {
                    found.insert(word(&group[index..]));
                    at_start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn the_scanner_sees_groups_and_ignores_tests() {
    let text = "use crate::{error::Code, model::{Dim, id}};\nlet x = crate::tensor::Shape::new();\n$crate::no;\n\
        #[cfg(test)]\nmod tests {\n use crate::serving;\n}\n";
    let expected = ["error", "model", "tensor"].map(str::to_owned);
    assert_eq!(imports(without_tests(text)), BTreeSet::from(expected));
    assert_eq!(without_tests("#[cfg(test)]\nmod tests;\nfn f() {}"), "#[cfg(test)]\nmod tests;\nfn f() {}");
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut defects = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            defects.push(format!("{}: module '{module}' is not in the table", source.name));
            continue;
        };
        for import in imports(&source.code) {
            let is_module = IMPORTS.iter().any(|(name, _)| *name == import);
            if is_module && import != module && !allowed.contains(&import.as_str()) {
                defects.push(format!("{}: '{module}' must not import '{import}'", source.name));
            }
        }
    }
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut defects = Vec::new();
    for source in sources() {
        if source.lines > FILE_LINES_MAX {
            defects.push(format!("{}: {} lines, at most {FILE_LINES_MAX}", source.name, source.lines));
        }
        if !source.text.starts_with("//!") {
            defects.push(format!("{}: does not start with //!", source.name));
        }
    }
    for path in rust_files("tests").iter().chain(&rust_files("benches")) {
        if !fs::read_to_string(path).unwrap().starts_with("//!") {
            defects.push(format!("{}: does not start with //!", path.display()));
        }
    }
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

#[test]
fn unsafe_stands_in_its_files_only() {
    let mut defects = Vec::new();
    for source in sources() {
        let allowed = UNSAFE_FILES.contains(&source.name.as_str());
        let uses = source.code.lines().any(|line| {
            // A policy for browsers has a word of its own that begins so.
            let line = line.replace("'unsafe-inline'", "");
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            words.any(|word| matches!(word, "unsafe" | "unsafe_code"))
        });
        if uses && !allowed {
            defects.push(format!("{}: holds unsafe code", source.name));
        }
    }
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

#[test]
fn nothing_is_left_to_do() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["X", "XX"].concat()];
    let mut defects = Vec::new();
    let files = ["src", "tests", "benches", "build"].into_iter().flat_map(rust_files);
    for path in files.chain([root().join("build.rs")]) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            if words.any(|word| marks.iter().any(|mark| word == mark)) {
                defects.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

/// Texts of the program that look like metrics: the prefix of keys, and the claims of tokens.
const NO_METRICS: &[&str] = &["weir_", "weir_roles", "weir_models"];

/// Names of metrics in a text: `weir_…` between these marks.
fn metric_names(text: &str, mark: char) -> BTreeSet<String> {
    let is_name = |name: &&str| {
        name.starts_with("weir_")
            && !NO_METRICS.contains(name)
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.split(mark).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn the_metrics_document_and_the_code_agree() {
    let registered: BTreeSet<String> =
        sources().iter().flat_map(|source| metric_names(&source.code, '"')).collect();
    let document = if registered.is_empty() { String::new() } else { read("docs/metrics.md") };
    let documented = metric_names(&document, '`');
    let missing: Vec<_> = registered.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&registered).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    assert!(unknown.is_empty(), "only in docs/metrics.md: {unknown:?}");
}

#[test]
fn the_readme_s_commands_are_run_by_the_gate() {
    let readme = read("README.md");
    let gate: String = fs::read_dir(root().join(".ci"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let commands: Vec<&str> = readme
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("cargo run") || line.starts_with("cargo test"))
        .collect();
    assert!(!commands.is_empty(), "README.md names no command");
    for command in commands {
        let command = command.split(" #").next().unwrap_or_default().trim();
        assert!(gate.contains(command), ".ci does not run `{command}`");
    }
}
