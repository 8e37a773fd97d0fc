//! The feed over a store in memory: order, resumption, new models, broken logs.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use super::super::op::Op;
use super::super::revision::{Actor, Intent};
use super::super::store::Store;
use super::*;

async fn registry() -> Arc<Registry> {
    Arc::new(Registry::open(Store::memory()).await.unwrap())
}

fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

async fn commit(registry: &Registry, name: &str, ops: Vec<Op>) -> u64 {
    let intent = Intent {
        actor: Actor { sub: "ada".to_owned(), method: "cli".to_owned() },
        reason: "test".to_owned(),
        request_id: String::new(),
        if_match: None,
    };
    registry.commit(&model(name), &intent, |_| Ok(ops.clone())).await.unwrap().rev
}

async fn create(registry: &Registry, name: &str) {
    commit(registry, name, vec![Op::CreateModel { description: String::new() }]).await;
}

async fn tag(registry: &Registry, name: &str, value: &str) {
    let op = Op::SetTag { version: None, key: "k".to_owned(), value: value.to_owned() };
    commit(registry, name, vec![op]).await;
}

/// The time of the next signal.
static NEXT: AtomicI64 = AtomicI64::new(1_790_000_000_000);

async fn signal(registry: &Registry, scope: &str, rev: u64) {
    let signal = Signal {
        kind: SignalKind::DeploymentReady,
        detail: serde_json::Map::new(),
        rev,
        deployment: Some("default".to_owned()),
        version: None,
        replica: Some("a".to_owned()),
        // Two signals of a test may fall into one millisecond, which would make them the same.
        time: DateTime::from_timestamp_millis(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap(),
        reason: String::new(),
    };
    signals::append(registry.store(), scope, &signal).await.unwrap();
}

/// Ids of everything that there is, and that a poll without news is empty.
async fn drain(feed: &mut Feed, limit: usize) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let events = feed.poll(limit).await.unwrap();
        if events.is_empty() {
            return ids;
        }
        ids.extend(events.into_iter().map(|event| event.event.id));
    }
}

#[tokio::test]
async fn everything_comes_once_in_the_order_of_its_log_whatever_the_limit() {
    let registry = registry().await;
    for name in ["a", "b"] {
        create(&registry, name).await;
        for value in 0..20 {
            tag(&registry, name, &value.to_string()).await;
        }
    }
    for limit in [1, 2, 3, 7, 100] {
        let mut feed = Feed::open(Arc::clone(&registry), Start::Beginning, None).await.unwrap();
        let ids = drain(&mut feed, limit).await;
        let of = |name: &str| (1..=21).map(|rev| format!("{name}/{rev}/0")).collect::<Vec<_>>();
        assert_eq!(ids, [of("a"), of("b")].concat(), "limit {limit}");
    }
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let registry = registry().await;
    create(&registry, "a").await;
    let mut feed = Feed::open(Arc::clone(&registry), Start::Now, None).await.unwrap();
    assert_eq!(drain(&mut feed, 10).await, Vec::<String>::new());
    tag(&registry, "a", "1").await;
    create(&registry, "later").await;
    assert_eq!(drain(&mut feed, 10).await, ["a/2/0", "later/1/0"]);
    let positions = feed.positions().clone();
    tag(&registry, "a", "2").await;
    tag(&registry, "later", "2").await;
    for _ in 0..2 {
        let start = Start::After(positions.clone());
        let mut feed = Feed::open(Arc::clone(&registry), start, None).await.unwrap();
        assert_eq!(drain(&mut feed, 10).await, ["a/3/0", "later/2/0"]);
    }
    let mut feed = Feed::open(Arc::clone(&registry), Start::Beginning, Some(model("later"))).await.unwrap();
    assert_eq!(drain(&mut feed, 10).await, ["later/1/0", "later/2/0"]);
    assert_eq!(drain(&mut feed, 10).await, Vec::<String>::new());
}

#[tokio::test]
async fn signals_come_after_the_revisions_they_are_about() {
    let registry = registry().await;
    create(&registry, "a").await;
    tag(&registry, "a", "1").await;
    signal(&registry, "a", 2).await;
    signal(&registry, signals::REGISTRY, 0).await;
    let mut feed = Feed::open(Arc::clone(&registry), Start::Beginning, None).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.extend(feed.poll(1).await.unwrap());
    }
    let subjects: Vec<&str> = seen.iter().map(|event| event.event.subject.as_str()).collect();
    let deployment = "models/a/deployments/default";
    let mut expected = ["models/a", "models/a", deployment, "registry"];
    if subjects[0] == "registry" {
        expected.rotate_right(1);
    }
    assert_eq!(subjects, expected);
    signal(&registry, "a", 2).await;
    assert_eq!(drain(&mut feed, 5).await.len(), 1);
}

#[tokio::test]
async fn a_broken_log_ends_its_events_and_is_reported() {
    let registry = registry().await;
    create(&registry, "bad").await;
    tag(&registry, "bad", "1").await;
    create(&registry, "good").await;
    registry.store().overwrite(&revision_key("bad", 2), Bytes::from_static(b"{}")).await.unwrap();
    for _ in 0..2 {
        let mut feed = Feed::open(Arc::clone(&registry), Start::Beginning, None).await.unwrap();
        let mut ids = drain(&mut feed, 10).await;
        ids.sort();
        ids.dedup();
        let report = "bad/2/registry.integrity.failed/-";
        // The report is written while reading, so the first reader may see it at its next look.
        assert_eq!(ids, ["bad/1/0", report, "good/1/0"]);
    }
    assert_eq!(signals::last(registry.store(), "bad").await.unwrap(), 1, "it is reported once");
}

#[tokio::test]
async fn a_time_is_a_place_to_begin() {
    let registry = registry().await;
    create(&registry, "a").await;
    tag(&registry, "a", "1").await;
    let revision = registry.store().get(&revision_key("a", 2)).await.unwrap().unwrap();
    let time = Revision::parse(&revision).unwrap().time;
    let mut feed = Feed::open(Arc::clone(&registry), Start::Time(time), None).await.unwrap();
    let ids = drain(&mut feed, 10).await;
    assert!(ids.contains(&"a/2/0".to_owned()), "{ids:?}");
    let later = time + chrono::Duration::seconds(60);
    let mut feed = Feed::open(Arc::clone(&registry), Start::Time(later), None).await.unwrap();
    assert_eq!(drain(&mut feed, 10).await, Vec::<String>::new());
}
