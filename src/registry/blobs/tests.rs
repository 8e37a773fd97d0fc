//! What goes in comes out or is refused, on a directory and in memory.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::registry::StoreOptions;
use crate::registry::revision::sha256_hex;

/// Longer than what is sent whole, so that it goes in parts.
const LONG: usize = 40 * 1024 * 1024 + 7;

fn stores(folder: &std::path::Path) -> Vec<Store> {
    let options = StoreOptions { fsync: false, ..StoreOptions::default() };
    let local = Store::open(folder.join("registry").to_str().unwrap(), &options).unwrap();
    vec![Store::memory(), local]
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

async fn keys(store: &Store) -> Vec<String> {
    use futures_util::TryStreamExt;
    let listed: Vec<_> = store.raw().list(None).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.location.to_string()).collect()
}

#[tokio::test]
async fn files_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        for len in [0, 1, 8 * 1024 * 1024, LONG] {
            let local = folder.path().join("in.bin");
            std::fs::write(&local, content(len)).unwrap();
            let file = put_file(&store, &local, "a/b.bin").await.unwrap();
            assert_eq!(file.sha256, sha256_hex(&content(len)));
            assert_eq!(file.size, len as u64);
            assert_eq!(put_file(&store, &local, "a/b.bin").await.unwrap(), file, "again");
            let dest = folder.path().join("out/deep/out.bin");
            fetch_to(&store, &file, &dest).await.unwrap();
            assert!(std::fs::read(&dest).unwrap() == content(len), "{len} bytes");
            check(&store, &file).await.unwrap();
            assert!(exists(&store, &file).await.unwrap());
        }
        assert_eq!(keys(&store).await.len(), 4, "one blob for each content");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path().join("out/deep")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
}

#[tokio::test]
async fn what_is_not_the_content_is_never_stored() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("in.bin");
    for store in stores(folder.path()) {
        for len in [100, LONG] {
            std::fs::write(&local, content(len)).unwrap();
            let other = FileRef { path: "x".into(), sha256: sha256_hex(b"other"), size: len as u64 };
            let error = put_content(&store, &local, &other).await.unwrap_err();
            assert!(matches!(error, BlobError::Changed { .. }), "{error}");
        }
        assert!(keys(&store).await.is_empty(), "nothing that counts is left: {:?}", keys(&store).await);
    }
    let error = put_file(&Store::memory(), folder.path(), "folder").await.unwrap_err();
    assert!(matches!(error, BlobError::Local { .. }), "{error}");
}

#[tokio::test]
async fn damage_is_found_and_never_lands() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        let file = put_bytes(&store, "m.onnx", Bytes::from_static(b"hello")).await.unwrap();
        let dest = folder.path().join("dest");
        for bad in ["hellO", "hell", "hello, world"] {
            store.overwrite(&blob_key(&file.sha256), Bytes::from(bad)).await.unwrap();
            for error in [
                fetch_to(&store, &file, &dest).await.unwrap_err(),
                check(&store, &file).await.unwrap_err(),
                read_small(&store, &file, 100).await.unwrap_err(),
            ] {
                assert!(matches!(error, BlobError::Damaged { .. }), "{bad}: {error}");
            }
            assert!(!dest.exists());
        }
        let again = put_bytes(&store, "m.onnx", Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(read_small(&store, &again, 5).await.unwrap(), "hello", "another length is repaired");
        assert!(matches!(read_small(&store, &again, 4).await.unwrap_err(), BlobError::Refused(_)));
        let gone = FileRef { sha256: sha256_hex(b"gone"), ..file };
        assert!(matches!(fetch_to(&store, &gone, &dest).await.unwrap_err(), BlobError::Missing { .. }));
        assert!(matches!(check(&store, &gone).await.unwrap_err(), BlobError::Missing { .. }));
        assert!(!exists(&store, &gone).await.unwrap());
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["registry"], "no temporary file stays");
}

#[test]
fn hostile_names_are_refused() {
    for good in ["model.onnx", "a/b/c.bin", ".hidden", "ä/ö", "x.y.z", &"a".repeat(255)] {
        check_path(good).unwrap();
    }
    let long = "a".repeat(300);
    let deep = vec!["a"; 17].join("/");
    for bad in [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "./a",
        "a//b",
        "a/",
        "a\0b",
        "a\nb",
        "a\\b",
        "C:x",
        "a./b",
        "a ",
        long.as_str(),
        deep.as_str(),
    ] {
        let error = check_path(bad).unwrap_err();
        assert!(matches!(error, BlobError::Refused(_)), "{bad:?}");
        let file = FileRef { path: bad.to_owned(), sha256: sha256_hex(b""), size: 0 };
        assert!(place(std::path::Path::new("root"), &file).is_err(), "{bad:?}");
        assert!(check_files(&[file]).is_err(), "{bad:?}");
    }
}

#[test]
fn files_that_would_fall_on_each_other_are_refused() {
    let file = |path: &str| FileRef { path: path.to_owned(), sha256: sha256_hex(b""), size: 0 };
    check_files(&[file("a"), file("b/a"), file("b/c")]).unwrap();
    for bad in [["Model.onnx", "model.ONNX"], ["a", "a"], ["a", "a/b"], ["Ä", "ä"], ["x/y", "X/Y/z"]] {
        assert!(check_files(&bad.map(file)).is_err(), "{bad:?}");
    }
    for sha256 in ["", "abc", &"A".repeat(64), &"../".repeat(22), &"g".repeat(64)] {
        assert!(check_files(&[FileRef { sha256: sha256.to_owned(), ..file("a") }]).is_err(), "{sha256}");
    }
}

#[test]
fn keys_and_hashes_are_each_others_inverse() {
    let sha256 = sha256_hex(b"x");
    assert_eq!(sha256_of_key(&blob_key(&sha256)).as_deref(), Some(sha256.as_str()));
    for other in ["blobs/sha256/ab", "blobs/sha256/ab/cd", "models/m/log/1.json", "blobs/sha256/ab/../cd"] {
        assert_eq!(sha256_of_key(other), None);
    }
}

fn intent_key(id: &str) -> String {
    format!("{INTENTS}/{id}.json")
}

async fn announce(store: &Store, id: &str, sweep_ms: u64, file: &FileRef) {
    let intent = Intent { sweep_ms, blobs: [file.sha256.clone()].into() };
    store.create(&intent_key(id), serde_json::to_vec(&intent).unwrap().into()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn touching_waits_for_the_collection_and_uploads_again() {
    let store = Store::memory();
    let bytes = Bytes::from_static(b"weights");
    let file = put_bytes(&store, "w", bytes.clone()).await.unwrap();
    announce(&store, "one", 30_000, &file).await;
    let touching = tokio::spawn({
        let (store, file) = (store.clone(), file.clone());
        async move { touch(&store, &[(file, Content::Bytes(bytes))]).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!touching.is_finished(), "the intent names its blob");
    store.raw().delete(&Path::from(blob_key(&file.sha256))).await.unwrap();
    store.raw().delete(&Path::from(intent_key("one"))).await.unwrap();
    touching.await.unwrap().unwrap();
    check(&store, &file).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_nobody_removes_counts_for_a_while_only() {
    let store = Store::memory();
    let file = put_bytes(&store, "w", Bytes::from_static(b"weights")).await.unwrap();
    let other = put_bytes(&store, "w", Bytes::from_static(b"others")).await.unwrap();
    announce(&store, "dead", 20_000, &file).await;
    let start = tokio::time::Instant::now();
    assert!(settle(&store, std::slice::from_ref(&other)).await.unwrap().is_empty());
    assert_eq!(start.elapsed(), Duration::ZERO, "it names another blob");
    assert!(settle(&store, std::slice::from_ref(&file)).await.unwrap().is_empty());
    assert!(start.elapsed() > Duration::from_secs(40), "twice what it promised");
    store.create(&intent_key("garbage"), Bytes::from_static(b"{")).await.unwrap();
    let start = tokio::time::Instant::now();
    settle(&store, std::slice::from_ref(&other)).await.unwrap();
    assert!(start.elapsed() > SWEEP_MAX, "what cannot be read may name anything");
}

#[tokio::test]
async fn the_same_file_from_many_at_once_is_one_blob() {
    let folder = tempfile::tempdir().unwrap();
    let local = Arc::new(folder.path().join("in.bin"));
    std::fs::write(&*local, content(LONG)).unwrap();
    for store in stores(folder.path()) {
        let puts = (0..4).map(|_| {
            let (store, local) = (store.clone(), Arc::clone(&local));
            tokio::spawn(async move { put_file(&store, &local, "f").await.unwrap() })
        });
        let mut files = Vec::new();
        for put in puts.collect::<Vec<_>>() {
            files.push(put.await.unwrap());
        }
        check(&store, &files[0]).await.unwrap();
        assert_eq!(keys(&store).await.len(), 1);
    }
}

/// Everything that a reader gets, and how it ended.
async fn pieces(store: &Store, file: &FileRef) -> (Vec<u8>, Option<BlobError>) {
    let mut pieces = read_pieces(store, file).await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = pieces.recv().await {
        match piece {
            Ok(piece) => read.extend_from_slice(&piece),
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

#[tokio::test]
async fn what_is_passed_on_is_never_whole_and_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        for len in [0, 1, 512 * 1024, 512 * 1024 + 1, 3_000_000] {
            let file = put_bytes(&store, "m.onnx", content(len).into()).await.unwrap();
            let (read, error) = pieces(&store, &file).await;
            assert!(error.is_none() && read == content(len), "{len}: {error:?}");
            if len == 0 {
                continue;
            }
            let mut wrong = content(len);
            wrong[0] ^= 1;
            store.overwrite(&blob_key(&file.sha256), wrong.into()).await.unwrap();
            let (read, error) = pieces(&store, &file).await;
            assert!(matches!(error, Some(BlobError::Damaged { .. })), "{len}: {error:?}");
            assert!(read.len() < len, "{len} bytes were passed on");
            store.overwrite(&blob_key(&file.sha256), Bytes::from_static(b"short")).await.unwrap();
            assert!(matches!(read_pieces(&store, &file).await, Err(BlobError::Damaged { .. })));
        }
        let missing = FileRef { path: "m".into(), sha256: sha256_hex(b"missing"), size: 7 };
        assert!(matches!(read_pieces(&store, &missing).await, Err(BlobError::Missing { .. })));
    }
}
