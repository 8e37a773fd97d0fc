//! Streams over a store in memory: resumption at every event, filters, bounds.

use super::*;
use crate::registry::{Actor, Intent, Op, Store};

async fn commit(registry: &Registry, model: &str, ops: Vec<Op>) {
    let intent = Intent {
        actor: Actor { sub: "ada".to_owned(), method: "cli".to_owned() },
        reason: "test".to_owned(),
        request_id: String::new(),
        if_match: None,
    };
    let model: ModelName = model.parse().unwrap();
    registry.commit(&model, &intent, |_| Ok(ops.clone())).await.unwrap();
}

fn tag(value: &str) -> Op {
    Op::SetTag { version: None, key: "k".to_owned(), value: value.to_owned() }
}

async fn source(models: usize) -> EventSource {
    let registry = Arc::new(Registry::open(Store::memory()).await.unwrap());
    for model in 0..models {
        let create = Op::CreateModel { description: String::new() };
        commit(&registry, &format!("m{model}"), vec![create, tag("1"), tag("2")]).await;
        commit(&registry, &format!("m{model}"), vec![tag("3")]).await;
    }
    EventSource::new(registry, Duration::from_millis(10), 2)
}

async fn drain(feed: &mut EventFeed) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    while let Some(streamed) = feed.next_ready().await.unwrap() {
        let event: serde_json::Value = serde_json::from_str(&streamed.json).unwrap();
        seen.push((streamed.token, event["id"].as_str().unwrap().to_owned()));
    }
    seen
}

fn from(from: From) -> EventQuery {
    EventQuery { from, ..EventQuery::default() }
}

#[tokio::test]
async fn a_reader_goes_on_after_any_event() {
    let source = source(3).await;
    let all = drain(&mut source.open(from(From::Beginning)).await.unwrap()).await;
    assert_eq!(all.len(), 12);
    for (index, (token, _)) in all.iter().enumerate() {
        let rest = drain(&mut source.open(from(From::Token(token.clone()))).await.unwrap()).await;
        assert_eq!(rest, all[index + 1..], "after {index}");
    }
    assert!(drain(&mut source.open(from(From::Now)).await.unwrap()).await.is_empty());
}

#[tokio::test]
async fn a_reader_of_many_models_goes_on_by_time() {
    let source = source(400).await;
    let all = drain(&mut source.open(from(From::Beginning)).await.unwrap()).await;
    let token = &all.last().unwrap().0;
    assert!(token.starts_with('t') && token.len() < 64, "{token}");
    let again = drain(&mut source.open(from(From::Token(token.clone()))).await.unwrap()).await;
    assert!(again.contains(all.last().unwrap()), "the last minutes come again");
}

#[tokio::test]
async fn filters_and_bounds() {
    let source = source(2).await;
    let query = EventQuery {
        types: vec!["model.tagged".to_owned()],
        subject: "models/m1".to_owned(),
        tags: vec![("k".to_owned(), "3".to_owned())],
        from: From::Beginning,
    };
    let mut feed = source.open(query).await.unwrap();
    let ids: Vec<String> = drain(&mut feed).await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["m1/2/0"]);
    let second = source.open(EventQuery::default()).await.unwrap();
    assert!(matches!(source.open(EventQuery::default()).await, Err(EventsError::Full(2))));
    drop(second);
    for token in ["", "p", "p!", "pe30x", "t", "tyesterday", "x"] {
        let opened = source.open(from(From::Token(token.to_owned()))).await;
        assert!(matches!(opened, Err(EventsError::Invalid(_))), "{token}");
    }
}
