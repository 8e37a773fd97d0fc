//! Every way to tamper with a registry that we know of, each found and named.

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::super::client::revision_key;
use super::super::keys::{self, KeyChange};
use super::super::op::Op;
use super::super::revision::Revision;
use super::super::sample;
use super::super::sign::Signer;
use super::*;

/// A registry whose models `a` and `b` have five revisions each.
async fn registry() -> Registry {
    let registry = Registry::open(Store::memory()).await.unwrap();
    for model in ["a", "b"] {
        for rev in 1..=5 {
            commit(&registry, model, &format!("revision {rev} of {model}")).await;
        }
    }
    registry
}

async fn commit(registry: &Registry, model: &str, text: &str) {
    let plan = |state: &ModelState| {
        let set = Op::SetTag { version: None, key: "text".to_owned(), value: text.to_owned() };
        Ok(match state.created {
            None => vec![Op::CreateModel { description: text.to_owned() }],
            Some(_) => vec![set],
        })
    };
    registry.commit(&model.parse().unwrap(), &sample::intent(), plan).await.unwrap();
}

async fn run(registry: &Registry, anchors: &[Anchor]) -> VerifyReport {
    let options = VerifyOptions { anchors: anchors.to_vec(), holds: true, ..VerifyOptions::default() };
    verify(registry.store(), &options).await.unwrap()
}

/// The findings, in short.
async fn found(registry: &Registry, anchors: &[Anchor]) -> Vec<String> {
    let report = run(registry, anchors).await;
    let rev = |rev: Option<u64>| rev.map_or(String::new(), |rev| rev.to_string());
    report.findings.iter().map(|f| format!("{}@{} {}: {}", f.model, rev(f.rev), f.kind, f.problem)).collect()
}

fn one(found: &[String], expected: &str) {
    assert!(found.len() == 1 && found[0].contains(expected), "{expected:?} in {found:?}");
}

async fn read(registry: &Registry, key: &str) -> Vec<u8> {
    registry.store().get(key).await.unwrap().unwrap().to_vec()
}

async fn write(registry: &Registry, key: &str, bytes: Vec<u8>) {
    registry.store().overwrite(key, Bytes::from(bytes)).await.unwrap();
}

async fn remove(registry: &Registry, key: &str) {
    registry.store().raw().delete(&Path::from(key)).await.unwrap();
}

/// Changes a letter of the actor's name in a revision.
async fn flip(registry: &Registry, model: &str, rev: u64) {
    let key = revision_key(model, rev);
    let text = String::from_utf8(read(registry, &key).await).unwrap().replace("ada@desk", "adb@desk");
    write(registry, &key, text.into_bytes()).await;
}

#[tokio::test]
async fn a_whole_registry_is_whole() {
    let registry = registry().await;
    let anchors = anchors(&registry).await.unwrap();
    assert_eq!(anchors.len(), 2);
    commit(&registry, "a", "later").await;
    let report = run(&registry, &anchors).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.models, report.revisions, report.anchors, report.signed), (2, 11, 2, 0));
}

#[tokio::test]
async fn a_changed_revision_is_named() {
    for (rev, expected) in [
        (1, "a@1 log: it was changed: revision 2 names another hash"),
        (3, "a@3 log: it was changed: revision 4 names another hash"),
        (4, "a@4 log: it or revision 5 was changed"),
    ] {
        let registry = registry().await;
        flip(&registry, "a", rev).await;
        one(&found(&registry, &[]).await, expected);
    }
    let registry = registry().await;
    let anchors = anchors(&registry).await.unwrap();
    flip(&registry, "a", 5).await;
    assert!(found(&registry, &[]).await.is_empty(), "nothing names the hash of the last one");
    one(&found(&registry, &anchors).await, "a@5 anchor: it is not the revision that was anchored");
}

#[tokio::test]
async fn a_changed_hash_of_the_one_before_is_named() {
    let registry = registry().await;
    let key = revision_key("b", 3);
    let mut revision = Revision::parse(&read(&registry, &key).await).unwrap();
    revision.prev = "0".repeat(64);
    write(&registry, &key, revision.to_bytes().unwrap()).await;
    one(&found(&registry, &[]).await, "b@3 log: it was changed: its hash of the revision before is another");
}

#[tokio::test]
async fn garbage_and_gaps_are_named() {
    let registry = registry().await;
    write(&registry, &revision_key("a", 2), b"{}".to_vec()).await;
    remove(&registry, &revision_key("b", 2)).await;
    let found = found(&registry, &[]).await;
    assert!(found[0].starts_with("a@2 log: it is not a revision"), "{found:?}");
    assert_eq!(found[1], "b@2 log: it is missing, and revision 5 is there");
}

#[tokio::test]
async fn exchanged_logs_are_named() {
    let registry = registry().await;
    for rev in 1..=5 {
        let (a, b) = (revision_key("a", rev), revision_key("b", rev));
        let (of_a, of_b) = (read(&registry, &a).await, read(&registry, &b).await);
        write(&registry, &a, of_b).await;
        write(&registry, &b, of_a).await;
    }
    let found = found(&registry, &[]).await;
    assert_eq!(found, ["a@1 log: it belongs to model 'b'", "b@1 log: it belongs to model 'a'"]);
}

#[tokio::test]
async fn a_cut_off_end_is_found_by_an_anchor_and_by_a_hint() {
    let registry = registry().await;
    let anchors = anchors(&registry).await.unwrap();
    for rev in [4, 5] {
        remove(&registry, &revision_key("a", rev)).await;
    }
    remove(&registry, "heads/a").await;
    one(
        &found(&registry, &anchors).await,
        "a@4 anchor: the log ends at revision 3, and revision 5 was anchored",
    );
    write(&registry, "heads/a", b"{\"rev\":5}".to_vec()).await;
    one(&found(&registry, &[]).await, "a@4 log: the log ends at revision 3, and there was a revision 5");
    for rev in 1..=3 {
        remove(&registry, &revision_key("a", rev)).await;
    }
    one(&found(&registry, &anchors).await, "a@1 anchor: the log ends at revision 0");
}

#[tokio::test]
async fn history_written_anew_is_found_by_anchors() {
    let registry = registry().await;
    let mut anchors = anchors(&registry).await.unwrap();
    let early = Revision::parse(&read(&registry, &revision_key("a", 2)).await).unwrap();
    let third = Revision::parse(&read(&registry, &revision_key("a", 3)).await).unwrap();
    anchors.push(Anchor { rev: 2, hash: third.prev.clone(), ..anchors[0].clone() });
    // Whoever owns the bucket writes revisions 3 to 5 anew, with a chain that fits.
    let mut prev = third.prev;
    for rev in 3..=5 {
        let forged = Revision { rev, prev, ops: vec![Op::SetPolicy { approvals: 0 }], ..early.clone() };
        let bytes = forged.to_bytes().unwrap();
        prev = super::super::revision::sha256_hex(&bytes);
        write(&registry, &revision_key("a", rev), bytes).await;
    }
    assert!(found(&registry, &[]).await.is_empty(), "the chain alone cannot know");
    one(
        &found(&registry, &anchors).await,
        "a@5 anchor: it is not the revision that was anchored: the log was written anew after revision 2",
    );
}

#[tokio::test]
async fn an_anchor_of_another_registry_is_refused() {
    let (registry, other) = (registry().await, Registry::open(Store::memory()).await.unwrap());
    commit(&other, "a", "x").await;
    let anchors = anchors(&other).await.unwrap();
    let found = found(&registry, &anchors).await;
    assert!(found.iter().any(|found| found.contains("the anchor is of registry")), "{found:?}");
}

/// A registry whose revisions from the fourth on are signed.
async fn signed() -> (Registry, Signer) {
    let registry = registry().await;
    let signer = Signer::generate().unwrap().0;
    let add = KeyChange::Add { key: signer.id().to_owned(), ed25519: signer.public().to_owned() };
    let heads = ["a", "b"].map(|model| (model.parse().unwrap(), 3)).into();
    for model in ["a", "b"] {
        let mut prev = None;
        for rev in 4..=5 {
            let key = revision_key(model, rev);
            let mut revision = Revision::parse(&read(&registry, &key).await).unwrap();
            revision.prev = prev.unwrap_or(revision.prev);
            let bytes = signer.seal(&revision.to_bytes().unwrap());
            prev = Some(super::super::revision::sha256_hex(&bytes));
            write(&registry, &key, bytes).await;
        }
    }
    keys::append(registry.store(), &sample::intent(), add, heads, None).await.unwrap();
    let store = registry.store().clone();
    (Registry::open(store).await.unwrap(), signer)
}

#[tokio::test]
async fn signatures_name_even_the_last_revision() {
    let (registry, _) = signed().await;
    let report = run(&registry, &[]).await;
    assert_eq!((&report.findings[..], report.signed, report.key_records), (&[][..], 4, 1));
    for rev in [4, 5] {
        let (registry, _) = signed().await;
        flip(&registry, "a", rev).await;
        one(&found(&registry, &[]).await, &format!("a@{rev} signature: its signature is wrong"));
    }
    let key = revision_key("a", 5);
    let mut unsigned = Revision::parse(&read(&registry, &key).await).unwrap();
    unsigned.sig = None;
    write(&registry, &key, unsigned.to_bytes().unwrap()).await;
    one(&found(&registry, &[]).await, "a@5 signature: it is not signed, and must be");
}

#[tokio::test]
async fn a_stranger_cannot_add_a_key_or_take_the_keys_away() {
    let (registry, _) = signed().await;
    let anchors = anchors(&registry).await.unwrap();
    let own = Signer::generate().unwrap().0;
    let first: keys::KeyRecord =
        serde_json::from_slice(&read(&registry, &keys::record_key(1)).await).unwrap();
    let prev = super::super::revision::sha256_hex(&read(&registry, &keys::record_key(1)).await);
    let change = KeyChange::Add { key: own.id().to_owned(), ed25519: own.public().to_owned() };
    let forged = keys::KeyRecord { number: 2, prev, change, ..first };
    let bytes = own.seal(&serde_json::to_vec(&forged).unwrap());
    write(&registry, &keys::record_key(2), bytes).await;
    one(&found(&registry, &[]).await, "@2 keys: it is signed by a key that does not count");
    remove(&registry, &keys::record_key(2)).await;
    remove(&registry, &keys::record_key(1)).await;
    one(&found(&registry, &anchors).await, "@1 keys: the records end at 0, and a later one was anchored");
}

#[tokio::test]
async fn an_old_copy_is_found_by_an_anchor() {
    let registry = registry().await;
    let mut copy = Vec::new();
    let listed: Vec<_> = registry.store().raw().list(None).try_collect().await.unwrap();
    for meta in listed {
        let key = meta.location.to_string();
        copy.push((key.clone(), read(&registry, &key).await));
    }
    commit(&registry, "b", "later").await;
    commit(&registry, "b", "still later").await;
    let anchors = anchors(&registry).await.unwrap();
    let restored = Store::memory();
    for (key, bytes) in copy {
        restored.create(&key, Bytes::from(bytes)).await.unwrap();
    }
    let restored = Registry::open(restored).await.unwrap();
    assert!(found(&restored, &[]).await.is_empty(), "a copy is whole in itself");
    one(
        &found(&restored, &anchors).await,
        "b@6 anchor: the log ends at revision 5, and revision 7 was anchored",
    );
}

/// What the registry in the same store is, read by a program that has just started.
async fn fresh(registry: &Registry) -> Registry {
    Registry::open(registry.store().clone()).await.unwrap()
}

#[tokio::test]
async fn the_last_verified_state_is_served() {
    let (registry, signer) = signed().await;
    let name: ModelName = "a".parse().unwrap();
    assert_eq!(registry.view(&name).await.unwrap().state.rev, 5);
    let error = registry.commit(&name, &sample::intent(), |_| Ok(vec![Op::SetPolicy { approvals: 1 }])).await;
    assert!(error.unwrap_err().to_string().contains("must be signed"), "nobody without a key breaks the log");
    let options = super::super::RegistryOptions { signer: Some(signer.into()), ..Default::default() };
    let writer = Registry::open_with(registry.store().clone(), options).await.unwrap();
    commit(&writer, "a", "signed").await;
    commit(&writer, "a", "signed, too").await;
    assert_eq!(registry.view(&name).await.unwrap().state.rev, 7);
    let report = run(&registry, &[]).await;
    assert_eq!((&report.findings[..], report.signed), (&[][..], 6));

    flip(&registry, "a", 7).await;
    let view = registry.view(&name).await.unwrap();
    assert_eq!((view.state.rev, view.fault.is_none()), (7, true), "what was verified stays in use");
    let view = fresh(&registry).await.view(&name).await.unwrap();
    assert_eq!(view.state.rev, 6, "a program that starts stops before it");
    assert!(matches!(&view.fault.unwrap().source, super::super::FoldError::Signature(_)));
    one(&found(&registry, &[]).await, "a@7 signature: its signature is wrong");
}

#[tokio::test]
async fn a_forged_snapshot_is_named_and_where_signatures_count_not_used() {
    use super::super::snapshot::{snapshot_bytes, snapshot_key};
    let registry = registry().await;
    for rev in 6..=10 {
        commit(&registry, "a", &format!("revision {rev}")).await;
    }
    let name: ModelName = "a".parse().unwrap();
    assert_eq!(run(&registry, &[]).await.snapshots, 1);
    let mut forged = (*registry.state(&name).await.unwrap()).clone();
    forged.description = "forged".to_owned();
    write(&registry, &snapshot_key("a", 10), snapshot_bytes(&forged).unwrap()).await;
    one(&found(&registry, &[]).await, "a@10 snapshot: its snapshot says something else than the log");
    let signer = Signer::generate().unwrap().0;
    let add = KeyChange::Add { key: signer.id().to_owned(), ed25519: signer.public().to_owned() };
    let heads = ["a", "b"].map(|model| (model.parse().unwrap(), 10)).into();
    keys::append(registry.store(), &sample::intent(), add, heads, None).await.unwrap();
    assert_ne!(fresh(&registry).await.state(&name).await.unwrap().description, "forged");
}
