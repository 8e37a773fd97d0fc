//! `weir drift` and `weir profile-data` as a user meets them: on the penguins, as they are and as they are not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use weir::drift::presets::{Column, Preset};

use crate::support::root;

struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        Rig { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, rows: &[Vec<String>]) -> String {
        let lines: Vec<String> = rows.iter().map(|row| row.join(",") + "\n").collect();
        std::fs::write(self.path(name), lines.concat()).unwrap();
        name.to_owned()
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).current_dir(self.folder.path()).env_remove("WEIR_CONFIG").env("USER", "ada");
        command.env("WEIR_REGISTRY", self.path("registry"));
        command.output().expect("the binary runs")
    }

    fn text(&self, args: &[&str], exit: i32) -> (String, String) {
        let output = self.run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {error}");
        (String::from_utf8(output.stdout).unwrap(), error)
    }

    fn json(&self, args: &[&str], exit: i32) -> Value {
        let (text, _) = self.text(&[args, &["--json"]].concat(), exit);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }
}

/// The header and the rows of the penguins, several times over so that there are enough to say something.
fn penguins(times: usize) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("models/penguins/penguins.csv")).unwrap();
    let mut rows: Vec<Vec<String>> =
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
    let data = rows.split_off(1);
    (0..times).for_each(|_| rows.extend(data.iter().cloned()));
    rows
}

/// The penguins with longer bills, a third without a sex, and a quarter from an island that nobody knows.
fn shifted(times: usize) -> Vec<Vec<String>> {
    let mut rows = penguins(times);
    for (at, row) in rows.iter_mut().enumerate().skip(1) {
        if let Ok(length) = row[2].parse::<f64>() {
            row[2] = format!("{:.1}", length + 5.0);
        }
        if at % 3 == 0 {
            row[6] = "NA".to_owned();
        }
        if at % 4 == 0 {
            row[1] = "Atlantis".to_owned();
        }
    }
    rows
}

fn states(report: &Value) -> Vec<(&str, &str)> {
    let features = report["features"].as_array().unwrap();
    features.iter().map(|f| (f["name"].as_str().unwrap(), f["state"].as_str().unwrap())).collect()
}

#[test]
fn halves_of_the_same_data_have_not_drifted() {
    let rig = Rig::new();
    let rows = penguins(4);
    let half = |odd: usize| {
        let mut half = vec![rows[0].clone()];
        // The file is sorted; which half a row is in has nothing to do with where it stands.
        let is_in = |at: usize| (at.wrapping_mul(2_654_435_761) >> 16) % 2 == odd;
        half.extend(rows.iter().skip(1).enumerate().filter(|(at, _)| is_in(*at)).map(|(_, row)| row.clone()));
        half
    };
    rig.write("a.csv", &half(0));
    rig.write("b.csv", &half(1));
    let report = rig.json(&["drift", "a.csv", "b.csv", "--fail-on", "warn"], 0);
    assert!(["ok", "insufficient"].contains(&report["state"].as_str().unwrap()), "{report}");
    assert_eq!(report["features"].as_array().unwrap().len(), 8);
    // A handful of rows says nothing, and nothing is never ok.
    rig.write("few.csv", &half(1)[..20]);
    let report = rig.json(&["drift", "a.csv", "few.csv"], 0);
    assert!(states(&report).iter().all(|(_, state)| *state != "ok"), "{:?}", states(&report));
}

#[test]
fn what_has_drifted_is_named_and_nothing_else() {
    let rig = Rig::new();
    rig.write("train.csv", &penguins(4));
    rig.write("now.csv", &shifted(4));
    let report = rig.json(&["drift", "train.csv", "now.csv", "--html", "report.html"], 0);
    let drifted: Vec<&str> =
        states(&report).into_iter().filter(|(_, state)| *state == "drift").map(|(name, _)| name).collect();
    assert_eq!(drifted, ["island", "bill_length_mm", "sex"]);
    assert!(states(&report).iter().all(|(name, state)| drifted.contains(name) || *state == "ok"), "{report}");
    assert_eq!((report["state"].as_str(), report["window"].as_str()), (Some("drift"), Some("file")));
    let page = std::fs::read_to_string(rig.path("report.html")).unwrap();
    assert!(page.contains("<em>Drift</em> in 3 of 8 features"), "{page}");
    assert!(page.contains(">Atlantis</text>") && page.contains(">0% → 25% new</text>"), "{page}");
    assert_eq!(page.matches("<article").count(), 8);

    let (table, error) = rig.text(&["drift", "train.csv", "now.csv", "--fail-on", "drift"], 5);
    assert_eq!(error, "weir: the verdict is drift\n");
    assert!(table.starts_with("now.csv against train.csv: drift ("), "{table}");
    assert!(table.contains("3 drift, 0 warn, 5 ok, 0 insufficient"), "{table}");

    let few = rig
        .json(&["drift", "train.csv", "now.csv", "--columns", "year,body_mass_g", "--fail-on", "drift"], 0);
    let names: Vec<&str> = states(&few).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["body_mass_g", "year"]);
}

#[test]
fn a_profile_stands_for_its_data() {
    let rig = Rig::new();
    rig.write("train.csv", &penguins(4));
    rig.write("now.csv", &shifted(4));
    let (made, _) = rig.text(&["profile-data", "train.csv", "--out", "base.json"], 0);
    assert!(made.starts_with("base.json: 8 features of 1376 rows, "), "{made}");
    let by_data = rig.json(&["drift", "train.csv", "now.csv"], 0);
    let by_profile = rig.json(&["drift", "base.json", "now.csv"], 0);
    assert_eq!(by_data["features"], by_profile["features"]);
    let (_, error) = rig.text(&["drift", "base.json", "now.csv", "--compat", "deequ"], 2);
    assert!(error.contains("--compat needs the data"), "{error}");
}

#[test]
fn other_tools_numbers_are_those_of_their_presets() {
    let rig = Rig::new();
    let (train, now) = (penguins(4), shifted(4));
    rig.write("train.csv", &train);
    rig.write("now.csv", &now);
    let numbers = |rows: &[Vec<String>]| -> Vec<f64> {
        rows.iter().skip(1).filter_map(|row| row[2].parse().ok()).collect()
    };
    let texts =
        |rows: &[Vec<String>]| -> Vec<String> { rows.iter().skip(1).map(|row| row[1].clone()).collect() };
    let refs = |texts: &'_ [String]| texts.to_vec();
    for preset in Preset::ALL {
        let report = rig.json(&["drift", "train.csv", "now.csv", "--compat", preset.as_str()], 0);
        let told = report["compat"]["features"].as_array().unwrap();
        let of = |name: &str| {
            told.iter().find(|told| told["name"] == name).unwrap()["measures"].as_array().unwrap()
        };
        let (was, is) = (refs(&texts(&train)), refs(&texts(&now)));
        let was: Vec<&str> = was.iter().map(String::as_str).collect();
        let is: Vec<&str> = is.iter().map(String::as_str).collect();
        let expected = preset.measure(Column::Categories(&was), Column::Categories(&is));
        check(of("island"), &expected);
        let expected = preset.measure(Column::Numbers(&numbers(&train)), Column::Numbers(&numbers(&now)));
        check(of("bill_length_mm"), &expected);
        // NannyML's threshold is three deviations over ten chunks of the file, which is sorted by species: it is blind here.
        let is_seen = expected.iter().any(|measure| measure.is_drift);
        assert_eq!(is_seen, preset != Preset::NannyMl, "{preset:?}: {expected:?}");
    }
    let (text, _) = rig.text(&["drift", "train.csv", "now.csv", "--compat", "evidently"], 0);
    assert!(text.contains("as evidently has it"), "{text}");
}

fn check(found: &[Value], expected: &[weir::drift::presets::PresetMeasure]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found["name"], expected.name);
        assert_eq!(
            found["value"].as_f64(),
            Some(expected.value).filter(|value| value.is_finite()),
            "{expected:?}"
        );
        assert_eq!(found["is_drift"], expected.is_drift);
    }
}

#[test]
fn columns_are_matched_by_the_rule_and_what_is_left_out_is_told() {
    let rig = Rig::new();
    let lines = |names: [&str; 2], extra: &str| {
        let row = |at: u32| {
            format!("{{\"{}\": {}, \"{}\": {}, \"{extra}\": 1}}\n", names[0], at % 50, names[1], at % 3)
        };
        (0..600).map(row).collect::<String>()
    };
    std::fs::write(rig.path("train.jsonl"), lines(["age", "churned"], "only_there")).unwrap();
    std::fs::write(rig.path("live.jsonl"), lines(["in.age", "out.label"], "x")).unwrap();
    let args = ["drift", "train.jsonl", "live.jsonl", "--map", "churned=out.label"];
    let report = rig.json(&args, 0);
    let names: Vec<&str> = states(&report).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["age", "out.label"]);
    let (_, warning) = rig.text(&args, 0);
    assert_eq!(warning, "weir: warning: live.jsonl has no column for: only_there\n");
    let (_, error) = rig.text(&["drift", "train.jsonl", "live.jsonl", "--columns", "only_there"], 2);
    assert!(error.contains("have no column in common"), "{error}");
    let (_, error) = rig.text(&["drift", "train.jsonl", "nowhere.csv"], 3);
    assert!(error.contains("nowhere.csv: No such file"), "{error}");
}

#[test]
fn a_profile_becomes_a_version_s_baseline() {
    let rig = Rig::new();
    let model = root().join("models/penguins");
    let model = if model.join("config.pbtxt").is_file() { model } else { model.join("1/model.onnx") };
    rig.text(&["register", &model.display().to_string(), "--name", "penguins"], 0);
    let train = root().join("models/penguins/penguins.csv");
    let shown = rig.json(&["show", "penguins@1"], 0);
    let inputs: Vec<&str> = shown["record"]["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["name"].as_str().unwrap())
        .collect();
    let header = &penguins(0)[0];
    let has_columns =
        |path: &Path| inputs.iter().any(|name| header.iter().any(|column| column == name)) && path.is_file();
    assert!(has_columns(&train), "{inputs:?} and {header:?}");
    let train = train.display().to_string();
    let made = rig.json(
        &["profile-data", &train, "--model", "penguins@1", "--out", "base.json", "--reason", "why not"],
        0,
    );
    assert_eq!(made["operations"][0]["op"], "set_baseline", "{made}");
    let baseline =
        weir::drift::baseline::Baseline::from_bytes(&std::fs::read(rig.path("base.json")).unwrap()).unwrap();
    assert!(baseline.features().iter().all(|feature| feature.name.starts_with("in.")), "{baseline:?}");
    std::fs::write(rig.path("other.csv"), "nothing\n1\n").unwrap();
    // Rows of a batch job go where a server will find them, and once.
    let watch = rig.path("watch").display().to_string();
    let add = ["drift", "add", &train, "--model", "penguins@1", "--monitoring-dir", &watch];
    let at = [&add[..], &["--job", "nightly", "--at", "2026-01-01T00:03:00Z"]].concat();
    let added = rig.json(&at, 0);
    assert_eq!((&added["rows"], &added["added"]), (&344.0.into(), &true.into()), "{added}");
    assert_eq!(added["from_us"], 1_767_225_600_000_000_i64, "a pane of five minutes");
    assert_eq!(rig.json(&at, 0)["added"], false);
    let lane = rig.path("watch/drift/penguins/1/main");
    let panes = std::fs::read_dir(std::fs::read_dir(lane).unwrap().next().unwrap().unwrap().path()).unwrap();
    let names: Vec<_> = panes.map(|pane| pane.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["1767225600000000-300000000-job.nightly.json"]);
    let (_, error) = rig.text(&["profile-data", "other.csv", "--model", "penguins@1"], 2);
    assert!(error.contains("has no column for a feature of the model"), "{error}");
}

/// Two clouds in three coordinates: each coordinate alone looks the same, their relation does not.
#[test]
fn rows_are_compared_as_points_where_that_is_asked_for() {
    let rig = Rig::new();
    let cloud = |sign: i32| {
        let head = ["e[0]", "e[1]", "e[2]", "x"].map(str::to_owned).to_vec();
        let rows = (0..600).map(|row: i32| {
            let (a, b) = ((row * 37) % 101 - 50, (row * 59) % 103 - 51);
            let third = sign * a + b / 10;
            [a, b, third, row % 7].iter().map(ToString::to_string).collect()
        });
        std::iter::once(head).chain(rows).collect::<Vec<_>>()
    };
    let (base, same, turned) = (
        rig.write("base.csv", &cloud(1)),
        rig.write("same.csv", &cloud(1)),
        rig.write("turned.csv", &cloud(-1)),
    );
    let alone = rig.json(&["drift", &base, &turned], 0);
    assert_eq!(alone["state"], "ok", "{alone}");
    assert_eq!(alone["features"].as_array().unwrap().len(), 4);
    let quiet = rig.json(&["drift", &base, &same, "--embedding", "e"], 0);
    assert_eq!((&quiet["state"], states(&quiet)), (&"ok".into(), vec![("x", "ok")]), "{quiet}");
    let loud = rig.json(&["drift", &base, &turned, "--embedding", "e", "--fail-on", "drift"], 5);
    let found = &loud["embeddings"][0];
    assert_eq!((&found["name"], &found["width"], &found["state"]), (&"e".into(), &3.into(), &"drift".into()));
    assert!(found["mmd2"].as_f64().unwrap() > 0.05 && found["p"].as_f64().unwrap() < 0.01, "{found}");
    let (_, error) = rig.text(&["drift", &base, &same, "--embedding", "x"], 2);
    assert!(error.contains("no list column x"), "{error}");

    // A profile that has kept some of the rows stands for them.
    let made = rig.json(&["profile-data", &base, "--embedding", "e", "--out", "base.json"], 0);
    assert_eq!((&made["features"], &made["embeddings"]), (&json!(["x"]), &json!(["e"])), "{made}");
    let by_profile = rig.json(&["drift", "base.json", &turned, "--embedding", "e"], 0);
    assert_eq!(by_profile["embeddings"][0]["mmd2"], found["mmd2"], "{by_profile}");
    let (_, error) = rig.text(&["drift", "base.json", &turned, "--embedding", "other"], 2);
    assert!(error.contains("base.json has no list column other"), "{error}");
}
