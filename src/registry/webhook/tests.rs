//! Subscriptions, cursors and dead letters over a store in memory.

use super::cursor::Cursor;
use super::dead::DeadLetter;
use super::*;
use crate::registry::cloudevent::CloudEvent;
use crate::registry::feed::{Position, Positions};

fn subscription(name: &str) -> Subscription {
    Subscription {
        format: FORMAT,
        name: name.to_owned(),
        url: "https://hooks.example.com/weir".to_owned(),
        filter: Filter::default(),
        secrets: vec!["ci".to_owned()],
        handshake: false,
        actor: Actor { sub: "ada".to_owned(), method: "cli".to_owned() },
        time: DateTime::default(),
        stopped: None,
        removed: false,
    }
}

#[tokio::test]
async fn the_newest_form_counts_and_writers_see_each_other() {
    let store = Store::memory();
    let mut ci = subscription("ci");
    assert_eq!(write(&store, 0, &ci).await.unwrap(), 1);
    assert!(matches!(write(&store, 0, &ci).await, Err(RegistryError::Refused(Refusal::Exists(_)))));
    for number in 1..20 {
        assert_eq!(write(&store, number, &ci).await.unwrap(), number + 1);
    }
    assert!(files(&store, "events/ci").await.unwrap().len() <= 5, "old forms are removed");
    write(&store, 0, &subscription("other")).await.unwrap();
    let names: Vec<String> = list(&store).await.unwrap().into_iter().map(|(_, s)| s.name).collect();
    assert_eq!(names, ["ci", "other"]);
    ci.removed = true;
    write(&store, 20, &ci).await.unwrap();
    assert_eq!(find(&store, "ci").await.unwrap(), None);
    assert_eq!(last_number(&store, "ci").await.unwrap(), 21);
    assert_eq!(list(&store).await.unwrap().len(), 1);
}

#[test]
fn what_cannot_be_used_is_refused() {
    let check = |change: &dyn Fn(&mut Subscription), ok: bool| {
        let mut ci = subscription("ci");
        change(&mut ci);
        assert_eq!(ci.check().is_ok(), ok, "{ci:?}");
    };
    check(&|_| {}, true);
    check(&|s| s.name = "../x".to_owned(), false);
    check(&|s| s.name = "_lease".to_owned(), false);
    check(&|s| s.url = "file:///etc/passwd".to_owned(), false);
    check(&|s| s.url = "https://a:b@example.com/".to_owned(), false);
    check(&|s| s.secrets = vec!["../../etc/passwd".to_owned()], false);
    check(&|s| s.secrets = vec!["a".to_owned(), "b".to_owned()], true);
    check(&|s| s.secrets = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], false);
    check(&|s| s.filter.types = vec!["*".to_owned(); 33], false);
    check(&|s| s.filter.subject = "x".repeat(513), false);
}

#[tokio::test]
async fn two_deliverers_cannot_both_move_the_cursor() {
    let store = Store::memory();
    assert_eq!(cursor::read(&store, "ci").await.unwrap(), (0, Cursor::at(Positions::new())));
    let at = |rev| Cursor::at(Positions::from([("m".to_owned(), Position { rev, signal: 0 })]));
    assert!(cursor::write(&store, "ci", 1, &at(1)).await.unwrap());
    assert!(cursor::write(&store, "ci", 1, &at(1)).await.unwrap(), "the same bytes are one's own");
    assert!(!cursor::write(&store, "ci", 1, &at(2)).await.unwrap());
    for number in 2..30 {
        assert!(cursor::write(&store, "ci", number, &at(number)).await.unwrap());
    }
    assert_eq!(cursor::read(&store, "ci").await.unwrap(), (29, at(29)));
    assert!(files(&store, "events/ci").await.unwrap().len() <= 5);
}

#[tokio::test]
async fn dead_letters_and_requests_are_kept_in_order() {
    let store = Store::memory();
    let event = |id: &str| CloudEvent {
        specversion: "1.0".to_owned(),
        id: id.to_owned(),
        source: "s".to_owned(),
        kind: "k".to_owned(),
        subject: "x".to_owned(),
        time: String::new(),
        datacontenttype: String::new(),
        sequence: String::new(),
        data: Default::default(),
    };
    for id in ["a", "a", "b"] {
        let letter =
            DeadLetter { event: event(id), reason: "r".to_owned(), attempts: 1, time: DateTime::default() };
        dead::bury(&store, "ci", &letter).await.unwrap();
    }
    let letters = dead::letters(&store, "ci").await.unwrap();
    assert_eq!(letters.len(), 2);
    for (order, id) in ["z", "y", "x"].into_iter().enumerate() {
        dead::request(&store, "ci", &format!("{order:04}"), &event(id)).await.unwrap();
    }
    let mut ids = String::new();
    for key in dead::requests(&store, "ci").await.unwrap() {
        ids.push_str(&dead::requested(&store, "ci", &key).await.unwrap().unwrap().id);
        dead::discard(&store, &key).await.unwrap();
    }
    assert_eq!(ids, "zyx");
    dead::discard(&store, &letters[0].0).await.unwrap();
    assert_eq!(dead::letters(&store, "ci").await.unwrap().len(), 1);
    assert!(dead::requests(&store, "ci").await.unwrap().is_empty());
}
