//! The outbox with given times: order in a subject, holding back, cursors, and a simulation with crashes.

use serde_json::Map;

use super::*;
use crate::registry::feed::{Log, Positions};

fn event(scope: &str, number: u64, subject: &str) -> FeedEvent {
    let event = CloudEvent {
        specversion: "1.0".to_owned(),
        id: format!("{scope}/{number}/0"),
        source: "s".to_owned(),
        kind: "io.weir.x".to_owned(),
        subject: subject.to_owned(),
        time: String::new(),
        datacontenttype: String::new(),
        sequence: format!("{number:020}"),
        data: Map::new(),
    };
    let place = Place::Log { scope: scope.to_owned(), log: Log::Revisions, number, op: 0 };
    FeedEvent { event, place }
}

fn ids(outbox: &mut Outbox, now_ms: i64) -> Vec<String> {
    std::iter::from_fn(|| outbox.due(now_ms)).map(|due| due.event.id.clone()).collect()
}

#[test]
fn a_subject_is_in_order_and_holds_back_only_itself() {
    let mut outbox = Outbox::new(&Cursor::at(Positions::new()));
    for (number, subject) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
        outbox.take(event("m", number, subject), true, 0);
    }
    assert_eq!(ids(&mut outbox, 0), ["m/1/0", "m/2/0"]);
    assert_eq!(ids(&mut outbox, 0), Vec::<String>::new(), "both lanes are busy");
    outbox.retry("a", Duration::from_secs(10), 0);
    outbox.finish("b", 0);
    assert_eq!(ids(&mut outbox, 9_999), ["m/4/0"]);
    outbox.finish("b", 0);
    assert_eq!(outbox.next_ms(), Some(10_000));
    let due = outbox.due(10_000).unwrap();
    assert_eq!((due.event.id.as_str(), due.attempt, due.first_ms), ("m/1/0", 2, 0));
    outbox.finish("a", 10_000);
    assert_eq!(ids(&mut outbox, 10_000), ["m/3/0"]);
    outbox.finish("a", 10_000);
    assert!(outbox.is_empty() && outbox.next_ms().is_none());
    assert_eq!(outbox.cursor().taken["m"].rev, 4);
    assert!(outbox.cursor().pending.is_empty());
}

#[test]
fn a_cursor_brings_back_what_was_pending_and_nothing_else() {
    let mut outbox = Outbox::new(&Cursor::at(Positions::new()));
    for (number, subject) in [(1, "a"), (2, "b"), (3, "a")] {
        outbox.take(event("m", number, subject), number != 2, 0);
    }
    assert_eq!(ids(&mut outbox, 5), ["m/1/0"]);
    outbox.retry("a", Duration::from_secs(10), 5);
    let cursor = outbox.cursor();
    let text = serde_json::to_string(&cursor).unwrap();
    let cursor: Cursor = serde_json::from_str(&text).unwrap();
    assert_eq!(cursor.resume()["m"].rev, 0);
    let mut outbox = Outbox::new(&cursor);
    assert_eq!(outbox.cursor(), cursor, "before anything came again nothing is lost");
    for number in 1..=4 {
        let subject = if number == 2 { "b" } else { "a" };
        outbox.take(event("m", number, subject), true, 20);
    }
    assert_eq!(outbox.len(), 3, "the second was left out, the fourth is new");
    assert_eq!(ids(&mut outbox, 10_004), Vec::<String>::new(), "it still waits");
    let due = outbox.due(10_005).unwrap();
    assert_eq!((due.attempt, due.first_ms), (2, 5));
}

#[test]
fn requests_are_not_in_the_cursor() {
    let mut outbox = Outbox::new(&Cursor::at(Positions::new()));
    let mut again = event("m", 1, "a");
    again.place = Place::Request { key: "k".to_owned() };
    outbox.take(again, true, 0);
    assert!(outbox.holds_request("k") && !outbox.holds_request("l"));
    assert_eq!(outbox.cursor(), Cursor::at(Positions::new()));
    assert!(outbox.due(0).is_some());
    outbox.finish("a", 0);
    assert!(!outbox.holds_request("k") && outbox.is_empty());
}

/// A small random number generator, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A log of `total` events over some subjects; a deliverer that crashes at random and goes on from its last written
/// cursor; a receiver that fails at random. Every event arrives, and in each subject the first arrivals are in order.
fn simulate(seed: u64) {
    let mut random = Random(seed);
    let total = 60;
    let subjects: Vec<String> = (0..=total).map(|_| format!("s{}", random.below(5))).collect();
    let mut written = Cursor::at(Positions::new());
    let mut received: Vec<u64> = Vec::new();
    let mut now = 0i64;
    let mut rounds = 0;
    while received.iter().collect::<BTreeSet<_>>().len() < total || rounds < 3 {
        rounds += 1;
        assert!(rounds < 500, "seed {seed}: it does not end");
        let mut outbox = Outbox::new(&written);
        let mut next = written.resume().get("m").map_or(0, |position| position.rev) + 1;
        for _ in 0..random.below(200) {
            now += 1000;
            match random.below(4) {
                0 if next <= total as u64 => {
                    outbox.take(event("m", next, &subjects[usize::try_from(next).unwrap()]), true, now);
                    next += 1;
                }
                1 => written = outbox.cursor(),
                _ => {
                    if let Some(due) = outbox.due(now) {
                        let Place::Log { number, .. } = due.place else { continue };
                        if random.below(3) == 0 {
                            outbox.retry(&due.subject, Duration::from_secs(random.below(20)), now);
                        } else {
                            received.push(number);
                            outbox.finish(&due.subject, now);
                        }
                    }
                }
            }
        }
    }
    let mut first = BTreeSet::new();
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for number in received {
        if first.insert(number) {
            let last = newest.entry(&subjects[usize::try_from(number).unwrap()]).or_default();
            assert!(number > *last, "seed {seed}: {number} came after {last}");
            *last = number;
        }
    }
    assert_eq!(first.len(), total, "seed {seed}");
}

#[test]
fn crashes_and_failures_lose_nothing_and_keep_the_order() {
    for seed in 1..=300 {
        simulate(seed);
    }
}
