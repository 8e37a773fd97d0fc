//! Files that are models, and files that only look so.

use std::io::Cursor;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::tests::onnx_file::{self, D, attr_graph, graph, model, node, value};
use super::*;

fn facts(content: &[u8]) -> Result<ModelFacts, String> {
    read(Cursor::new(content), content.len() as u64).map_err(|defect| defect.to_string())
}

#[test]
fn facts_are_read() {
    let found = facts(&onnx_file::endless()).unwrap();
    assert_eq!(found.ir_version, 8);
    assert_eq!(found.opsets, BTreeMap::from([("ai.onnx".to_owned(), 17)]));
    assert_eq!(found.producer, "weir-tests");
    assert_eq!(found.operators, BTreeMap::from([("Identity".to_owned(), 2), ("Loop".to_owned(), 1)]));
    assert!(found.has_control_flow);
    assert_eq!((found.initializer_count, found.initializer_bytes, found.parameter_count), (1, 1, 1));
    assert_eq!(facts(&onnx_file::affine()).unwrap().parameter_count, 2);
}

fn check_refused(content: &[u8], expected: &str) {
    let error = facts(content).unwrap_err();
    assert!(error.contains(expected), "{error} should say {expected}");
}

#[test]
fn what_is_no_model_is_refused() {
    let affine = onnx_file::affine();
    check_refused(b"", "it is empty");
    check_refused(b"hello, world", "no ONNX file");
    check_refused(b"\0\0\0\0ORTM\0\0", "ORT format");
    check_refused(&onnx_file::Message::default().varint(1, 8).0, "it has no graph");
    check_refused(&affine[..affine.len() / 2], "it is cut off");
    let huge = onnx_file::tensor("w", onnx_file::FLOAT, &[1 << 40, 1 << 40], &[]);
    check_refused(&model(&[], &[], &[], &[huge]), "its tensor 'w' has more elements");
    let mut nested = graph(&[], &[], &[], &[]);
    for _ in 0..60 {
        nested = graph(&[node("If", &[], &[], &[attr_graph("then_branch", nested)])], &[], &[], &[]);
    }
    check_refused(&onnx_file::model_of(nested, 17), "nested more deeply");
}

#[test]
fn unstated_shapes_are_seen() {
    let unstated =
        onnx_file::Message::default().bytes(1, "u").bytes(2, onnx_file::tensor_type(onnx_file::FLOAT, None));
    let content =
        model(&[], &[unstated, value("s", onnx_file::FLOAT, &[]), value("d", 1, &[D::S("n")])], &[], &[]);
    assert_eq!(facts(&content).unwrap().unshaped, BTreeSet::from(["u".to_owned()]));
}

#[test]
fn external_data_stay_in_the_folder() {
    let outside = TempDir::new().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, [0; 16]).unwrap();
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("w.bin"), [0; 16]).unwrap();
    std::fs::write(at("twice"), [0; 16]).unwrap();
    std::fs::hard_link(at("twice"), at("hard")).unwrap();
    std::fs::create_dir(at("sub")).unwrap();
    std::fs::write(at("sub/w.bin"), [0; 16]).unwrap();
    std::os::unix::fs::symlink(&secret, at("link")).unwrap();
    std::os::unix::fs::symlink(outside.path(), at("dir")).unwrap();
    std::os::unix::fs::symlink("w.bin", at("near")).unwrap();
    let check = |location: &str, allowed: bool| {
        std::fs::write(at("model.onnx"), onnx_file::with_external(location)).unwrap();
        let found = check(&at("model.onnx"));
        assert_eq!(found.is_ok(), allowed, "{location}: {found:?}");
    };
    for location in ["w.bin", "./w.bin", "sub/w.bin", "near"] {
        check(location, true);
    }
    let absolute = secret.to_string_lossy().into_owned();
    let climbing = format!("../{}/secret", outside.path().file_name().unwrap().to_string_lossy());
    for location in [
        absolute.as_str(),
        climbing.as_str(),
        "sub/../../x",
        "",
        "file:///etc/passwd",
        "*/_ORT_MEM_ADDR_/*",
        "..\\x",
        "link",
        "dir/secret",
        "hard",
        "sub",
        "missing",
        "w\0.bin",
    ] {
        check(location, false);
    }
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let error = check(folder.path()).unwrap_err().to_string();
    assert_eq!(error, "model file: it is not a regular file");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(content in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(facts(&content));
    }

    #[test]
    fn damaged_models_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        for mut content in [onnx_file::endless(), onnx_file::with_external("w"), onnx_file::lstm()] {
            let index = at.index(content.len());
            content[index] = byte;
            drop(facts(&content));
            content.truncate(cut.index(content.len()));
            drop(facts(&content));
        }
    }
}
