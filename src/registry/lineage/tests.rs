//! Graphs of small registries, and what is drawn of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;

use super::super::op::Op;
use super::super::record::{DeploymentSpec, FileRef, GitRecord, ModelRef, StickyKey, VersionRecord};
use super::super::revision::{FORMAT, Revision, sha256_hex};
use super::super::sample;
use super::super::state::ModelState;
use super::layout::layout;
use super::*;
use crate::model::{ModelName, Version};

type States = BTreeMap<ModelName, Arc<ModelState>>;

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn at(model: &str, number: u64) -> ModelRef {
    ModelRef { model: model.parse().unwrap(), version: version(number) }
}

fn record(data: &[(&str, &str)], commit: &str, from: &[ModelRef]) -> VersionRecord {
    let file = FileRef { path: "m.onnx".to_owned(), sha256: sha256_hex(commit.as_bytes()), size: 1 };
    let mut record = sample::record(vec![file]);
    record.datasets = data.iter().map(|(role, uri)| ((*role).to_owned(), (*uri).to_owned())).collect();
    record.git = Some(GitRecord {
        remote: "https://git.example/team/digits".to_owned(),
        branch: "main".to_owned(),
        commit: commit.to_owned(),
        dirty: false,
    });
    record.run = Some(format!("run-{commit}"));
    record.derived_from = from.to_vec();
    record
}

fn state(model: &str, records: Vec<VersionRecord>, more: Vec<Op>) -> (ModelName, Arc<ModelState>) {
    let name: ModelName = model.parse().unwrap();
    let mut ops = vec![Op::CreateModel { description: String::new() }];
    for (number, record) in (1..).zip(records) {
        ops.push(Op::CreateVersion { version: version(number), record: Box::new(record) });
    }
    ops.extend(more);
    let mut state = ModelState::new(name.clone());
    let revision = Revision {
        format: FORMAT,
        model: name.clone(),
        rev: 1,
        prev: state.head.clone(),
        commit_id: uuid::Uuid::nil(),
        time: DateTime::UNIX_EPOCH,
        actor: sample::intent().actor,
        reason: "r".to_owned(),
        request_id: String::new(),
        ops,
        sig: None,
    };
    state.apply(&revision, "").unwrap();
    (name, Arc::new(state))
}

fn deploy(weights: &[(u64, u32)]) -> Op {
    let spec = DeploymentSpec {
        traffic: weights.iter().map(|(number, weight)| (version(*number), *weight)).collect(),
        sticky: StickyKey::default(),
        settings: BTreeMap::new(),
        rollback_window_s: 0,
    };
    Op::Deploy { deployment: "default".to_owned(), spec, rollback_to: None }
}

/// `base@1` leads to `digits@1` and on to `digits@2`, `digits@3`, and `ensemble@1`.
fn states() -> States {
    let data =
        [("train", "s3://lake/digits/train.parquet@v41"), ("test", "s3://lake/digits/test.parquet@v7")];
    let metrics = BTreeMap::from([("auc".to_owned(), 0.93), ("f1".to_owned(), 0.88)]);
    let annotate = Op::Annotate { version: Some(version(3)), metrics, description: None };
    let alias = Op::SetAlias { alias: "champion".to_owned(), version: version(3) };
    let pretrained =
        [("pretrain", "https://data.example/corpus/2025-11/very/long/path/to/the/shards.tar.zst")];
    [
        state("base", vec![record(&pretrained, "aaaaaaaaaaaa", &[])], vec![]),
        state(
            "digits",
            vec![
                record(&data, "bbbbbbbbbbbb", &[at("base", 1)]),
                record(&data[..1], "cccccccccccc", &[at("digits", 1)]),
                record(&data, "dddddddddddd", &[at("digits", 1), at("base", 1)]),
            ],
            vec![annotate, alias, deploy(&[(2, 10), (3, 90)])],
        ),
        state(
            "ensemble",
            vec![record(&[], "eeeeeeeeeeee", &[at("digits", 3), at("digits", 2)])],
            vec![deploy(&[(1, 1)])],
        ),
        state("other", vec![record(&data, "ffffffffffff", &[])], vec![]),
    ]
    .into()
}

fn titles(graph: &Graph, kind: Kind) -> Vec<&str> {
    graph.nodes.iter().filter(|node| node.kind == kind).map(|node| node.title.as_str()).collect()
}

#[test]
fn ancestors_and_descendants_are_found_across_models() {
    let graph = build(&at("digits", 3), &states()).unwrap();
    assert_eq!(titles(&graph, Kind::Version), ["base@1", "digits@1", "digits@3", "ensemble@1"]);
    assert_eq!(titles(&graph, Kind::Alias), ["digits@champion"]);
    assert_eq!(titles(&graph, Kind::Deployment), ["digits in default", "ensemble in default"]);
    assert_eq!(titles(&graph, Kind::Data).len(), 3, "shared data is one node");
    assert_eq!(graph.nodes.iter().filter(|node| node.root).count(), 1);
    let text = text(&graph);
    for expected in [
        "digits@3  1970-01-01 by ada@desk, auc 0.93, f1 0.88\n",
        "  made from   base@1\n",
        "  data        train  s3://lake/digits/train.parquet@v41\n",
        "  used by     ensemble@1\n",
        "  alias       digits@champion\n",
        "  deployment  digits in default  90 %\n",
        "  run         run-dddddddddddd\n",
        "  code        dddddddddd  main  https://git.example/team/digits\n",
    ] {
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
    assert!(text.starts_with("digits@3"), "{text}");
    let error = build(&at("digits", 4), &states()).unwrap_err();
    assert_eq!(error.to_string(), "model 'digits' has no version 4");
}

#[test]
fn a_picture_has_no_overlaps_and_flows_to_the_right() {
    for root in [at("base", 1), at("digits", 2), at("digits", 3), at("ensemble", 1), at("other", 1)] {
        let graph = build(&root, &states()).unwrap();
        let sizes: Vec<(f64, f64)> =
            graph.nodes.iter().map(|node| (100.0, 40.0 + node.lines.len() as f64)).collect();
        let places = layout(&graph, &sizes);
        for (at, one) in places.nodes.iter().enumerate() {
            assert!(one.x >= 0.0 && one.x + one.width <= places.width, "{one:?}");
            assert!(one.y >= 0.0 && one.y + one.height <= places.height, "{one:?}");
            for other in &places.nodes[at + 1..] {
                let apart = one.x + one.width <= other.x
                    || other.x + other.width <= one.x
                    || one.y + one.height <= other.y
                    || other.y + other.height <= one.y;
                assert!(apart, "{one:?} and {other:?} overlap");
            }
        }
        for path in &places.edges {
            assert!(path.windows(2).all(|pair| pair[0].x + pair[0].width < pair[1].x), "{path:?}");
        }
    }
}

#[test]
fn a_cycle_that_was_forged_ends() {
    let states: States = [
        state("a", vec![record(&[], "aaaaaaaaaaaa", &[at("b", 1)])], vec![]),
        state("b", vec![record(&[], "bbbbbbbbbbbb", &[at("a", 1), at("gone", 7)])], vec![]),
    ]
    .into();
    let graph = build(&at("a", 1), &states).unwrap();
    assert_eq!(titles(&graph, Kind::Version), ["a@1", "b@1", "gone@7"]);
    assert!(graph.nodes.iter().any(|node| node.gone && node.title == "gone@7"));
    assert!(svg(&graph).ends_with("</svg>\n"));
}

#[test]
fn names_cannot_break_out_of_a_picture() {
    let hostile = "x\"]; evil [label=\"<script>alert('1')</script>&\\\n\u{0}\u{1b}[31m";
    let states: States =
        [state("m", vec![record(&[(hostile, hostile)], "aaaaaaaaaaaa", &[])], vec![])].into();
    let graph = build(&at("m", 1), &states).unwrap();
    let dot = dot(&graph);
    assert!(dot.contains(r#"[label="x\"]; evil [label=\"<script>alert('1')</script>&\\   [31m""#), "{dot}");
    assert_eq!(dot.lines().count(), 3 + graph.nodes.len() + graph.edges.len() + 1);
    let svg = svg(&graph);
    assert!(!svg.contains("<script") && !svg.contains('\u{1b}') && !svg.contains('\u{0}'));
    for after in svg.split('&').skip(1) {
        let entity = after.split(';').next().unwrap_or_default();
        assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "{entity}");
    }
    assert!(!text(&graph).contains('\u{1b}'));
}

#[test]
fn a_long_history_is_cut() {
    let mut records = vec![record(&[], "aaaaaaaaaaaa", &[])];
    for number in 1..150 {
        records.push(record(&[], "aaaaaaaaaaaa", &[at("m", number)]));
    }
    let states: States = [state("m", records, vec![])].into();
    let graph = build(&at("m", 150), &states).unwrap();
    assert!(graph.cut);
    assert_eq!(titles(&graph, Kind::Version).len(), 100);
    assert!(text(&graph).contains("there is more"));
    assert!(svg(&graph).contains("There is more"));
}
