//! The language and the index: what is read is written again, and the index finds what looking at everything finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::document::{documents, fits};
use super::*;
use crate::model::{ModelName, Version};
use crate::registry::op::Op;
use crate::registry::revision::{Actor, FORMAT, Revision, sha256_hex};
use crate::registry::sample;
use crate::registry::state::ModelState;

fn now() -> DateTime<Utc> {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

fn column(text: &str) -> (usize, String) {
    let error = parse(text).unwrap_err();
    (error.column, error.reason)
}

#[test]
fn a_mistake_has_a_column_and_an_expectation() {
    for (text, at, reason) in [
        ("name", 5, "expected =, !=, <, <=, >, >=, ~ or LIKE, found the end"),
        ("name =", 7, "expected a value, found the end"),
        ("äö = 1", 1, "unknown field 'äö'"),
        ("name = 'ä' AND x", 16, "unknown field 'x'"),
        ("nmae = 1", 1, "did you mean 'name'?"),
        ("tags. = 1", 1, "unknown field 'tags.'"),
        ("(name = a", 10, "expected AND, OR or ')', found the end"),
        ("name = a)", 9, "expected AND, OR or the end, found ')'"),
        ("name = a b = c", 10, "expected AND, OR or the end, found 'b'"),
        ("name = 'a", 8, "is not closed"),
        ("name < a", 6, "compare it by =, != or ~"),
        ("metric.auc ~ 1", 12, "is a number or time"),
        ("metric.auc > high", 14, "expected a number"),
        ("created > yesterday", 11, "expected a time such as"),
        ("deleted = maybe", 11, "expected true or false"),
        ("name = $", 8, "unexpected character '$'"),
        ("NOT", 4, "expected a field, NOT or '(', found the end"),
        ("= 1", 1, "expected a field, NOT or '(', found '='"),
    ] {
        let (found, text_found) = column(text);
        assert!(found == at && text_found.contains(reason), "{text}: column {found}: {text_found}");
    }
    let deep = "(".repeat(100_000);
    assert!(column(&deep).1.contains("bytes"), "too long");
    assert!(column(&"(".repeat(1000)).1.contains("nested more than 32 deep"));
    assert!(column(&"NOT ".repeat(1000)).1.contains("nested more than 32 deep"));
    let wide = vec!["name = a"; 200].join(" OR ");
    assert!(column(&wide).1.contains("more than 128 comparisons"));
}

#[test]
fn spaces_and_colons_do_not_matter() {
    let expected = parse("tags.area = 'qna' AND name ~ 'd*'").unwrap();
    for text in [
        "tags.area=qna AND name~d*",
        "tags.area:qna and name : 'd*'",
        "  tags.area : \"qna\"\n\tAND  name LIKE d*",
        "tag.area == qna AND (name like d*)",
    ] {
        let found = parse(text).unwrap();
        let found = found.to_string().replace("name = 'd*'", "name ~ 'd*'");
        assert_eq!(found, expected.to_string(), "{text}");
    }
    assert_eq!(parse("a").unwrap_err().column, 1);
    assert_eq!(parse("").unwrap(), Query::All);
    assert_eq!(
        parse("NOT name = a AND name = b OR name = c").unwrap().to_string(),
        "(NOT name = 'a' AND name = 'b') OR name = 'c'"
    );
}

#[test]
fn patterns_match_as_they_should() {
    for (text, pattern, expected) in [
        ("digits", "dig*", true),
        ("digits", "*its", true),
        ("digits", "d?gits", true),
        ("Digits", "dIGITS", true),
        ("digits", "dig", false),
        ("", "*", true),
        ("", "?", false),
        ("abcbcd", "a*bcd", true),
        ("Ärger", "är*", true),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "*a*a*a*a*a*a*a*a*a*b", false),
    ] {
        assert_eq!(value::is_like(text, pattern), expected, "{text} {pattern}");
    }
}

/// Comparisons that mean something for [`model`]'s documents, and some that find nothing.
fn comparison() -> impl Strategy<Value = Query> {
    use Operator::*;
    let text = prop_oneof![
        Just(Field::Name),
        Just(Field::Alias),
        Just(Field::Deployment),
        Just(Field::Operator),
        Just(Field::Run),
        Just(Field::Description),
        Just(Field::GitCommit),
        Just(Field::Tag("k".into())),
        Just(Field::Tag("l m'".into())),
        Just(Field::Property("p/q".into())),
        Just(Field::Dataset("train".into())),
    ];
    let texts = (text, prop_oneof![Just(Eq), Just(Ne), Just(Like)], "[a-c*?' ]{0,2}");
    let number = prop_oneof![Just(Field::Version), Just(Field::Opset), Just(Field::Metric("auc".into()))];
    let order = || prop_oneof![Just(Eq), Just(Ne), Just(Lt), Just(Le), Just(Gt), Just(Ge)];
    let numbers =
        (number, order(), prop_oneof![Just("0.5"), Just("1"), Just("2"), Just("-0"), Just("1e300")]);
    let time = prop_oneof![Just(Field::Created), Just(Field::Updated)];
    let times =
        prop_oneof![Just("2026-06-01"), Just("2026-06-02T00:00:00Z"), Just("-7d"), Just("-0s"), Just("-20d")];
    let is = |(field, operator, value): (Field, Operator, String)| {
        Query::Is(Comparison { field, operator, value })
    };
    prop_oneof![
        texts.prop_map(is),
        numbers.prop_map(move |(field, operator, value)| is((field, operator, value.to_owned()))),
        (time, order(), times).prop_map(move |(field, operator, value)| is((
            field,
            operator,
            value.to_owned()
        ))),
        "(true|false)".prop_map(move |value| is((Field::Deleted, Eq, value))),
    ]
}

fn queries() -> impl Strategy<Value = Query> {
    comparison().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Query::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Query::Or),
            inner.prop_map(|part| Query::Not(Box::new(part))),
        ]
    })
}

/// A model whose versions say what `versions` has: a letter for most texts, a metric, and days.
fn model(name: &str, versions: &[(char, Option<f64>, i64, bool)]) -> Arc<ModelState> {
    let name: ModelName = name.parse().unwrap();
    let mut state = ModelState::new(name);
    let mut apply = |ops: Vec<Op>, time: DateTime<Utc>| {
        let revision = Revision {
            format: FORMAT,
            model: state.model.clone(),
            rev: state.rev + 1,
            prev: state.head.clone(),
            commit_id: uuid::Uuid::nil(),
            time,
            actor: Actor { sub: "a".to_owned(), method: "cli".to_owned() },
            reason: String::new(),
            request_id: String::new(),
            ops,
            sig: None,
        };
        let hash = sha256_hex(&revision.to_bytes().unwrap());
        state.apply(&revision, &hash).unwrap();
    };
    let start: DateTime<Utc> = "2026-06-01T00:00:00Z".parse().unwrap();
    let tag = Op::SetTag { version: None, key: "k".to_owned(), value: "a".to_owned() };
    apply(vec![Op::CreateModel { description: "b".to_owned() }, tag], start);
    for (at, (letter, metric, day, is_deleted)) in versions.iter().enumerate() {
        let version = Version::new(at as u64 + 1).unwrap();
        let text = letter.to_string();
        let mut record = sample::record(Vec::new());
        record.model_file = "x".to_owned();
        record.files =
            vec![crate::registry::FileRef { path: "x".to_owned(), sha256: "0".repeat(64), size: 1 }];
        record.onnx.opsets = BTreeMap::from([(String::new(), 1 + at as u64 % 3)]);
        record.onnx.operators = BTreeMap::from([(text.clone(), 1), ("b".to_owned(), 2)]);
        record.run = Some(text.clone());
        record.datasets = BTreeMap::from([("train".to_owned(), text.clone())]);
        let mut ops = vec![Op::CreateVersion { version, record: Box::new(record) }];
        let version_of = Some(version);
        if *day % 2 == 0 {
            ops.push(Op::SetTag { version: version_of, key: "k".to_owned(), value: text.clone() });
            ops.push(Op::SetAlias { alias: text.clone(), version });
        }
        let metrics = metric.iter().map(|value| ("auc".to_owned(), *value)).collect();
        ops.push(Op::Annotate { version: version_of, metrics, description: Some(text) });
        apply(ops, start + TimeDelta::days(*day));
        if *is_deleted && *day % 2 == 1 {
            apply(vec![Op::Tombstone { version: version_of }], start + TimeDelta::days(20));
        }
    }
    Arc::new(state)
}

type Versions = Vec<(char, Option<f64>, i64, bool)>;

fn versions() -> impl Strategy<Value = Versions> {
    let letter = prop_oneof![Just('a'), Just('b'), Just('c')];
    let metric = prop_oneof![Just(None), Just(Some(-0.0)), Just(Some(0.0)), Just(Some(0.5)), Just(Some(1.0))];
    proptest::collection::vec((letter, metric, 0_i64..15, any::<bool>()), 0..5)
}

/// The documents that fit, by looking at every one.
fn naive(states: &[Arc<ModelState>], query: &Query) -> Vec<Key> {
    let speaks = query.to_string().contains("deleted");
    let mut found = Vec::new();
    for state in states {
        for (key, terms) in documents(state) {
            let is_deleted =
                terms.contains(&(Field::Deleted, super::document::Term::Text("true".to_owned())));
            if fits(&terms, query, now()) && (speaks || !is_deleted) && key.version.is_some() {
                found.push(key);
            }
        }
    }
    found.sort();
    found
}

/// Every page, one after the other.
fn pages(index: &Index, query: &Query, what: What, order: &Order, limit: usize) -> Vec<Key> {
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = index.search(query, what, order, limit, token.as_deref(), now()).unwrap();
        assert!(page.found.len() <= limit);
        found.extend(page.found);
        token = page.next;
        if token.is_none() {
            return found;
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(query in queries()) {
        prop_assert_eq!(parse(&query.to_string()), Ok(query));
    }

    #[test]
    fn no_text_harms(text in "\\PC{0,60}") {
        drop(parse(&text));
        drop(text.parse::<Order>());
    }

    #[test]
    fn no_likely_text_harms(text in "(name|tags\\.a|created|NOT|AND|OR|\\(|\\)|=|!=|<|~|'| |-7d|2026-01-01|1|\"|:){0,20}") {
        if let Ok(query) = parse(&text) {
            prop_assert_eq!(parse(&query.to_string()), Ok(query));
        }
    }

    #[test]
    fn the_index_finds_what_looking_finds(
        models in proptest::collection::vec(versions(), 1..4),
        later in versions(),
        query in queries(),
        limit in 1_usize..4,
        order in prop_oneof![Just("name"), Just("created desc"), Just("metric.auc"), Just("metric.auc desc"), Just("version desc")],
    ) {
        let mut states: Vec<Arc<ModelState>> =
            models.iter().enumerate().map(|(at, versions)| model(&format!("m{at}"), versions)).collect();
        let mut index = Index::default();
        states.iter().for_each(|state| index.update(state));
        // One changes, one goes.
        states[0] = model("m0", &later);
        index.update(&states[0]);
        let gone = model("gone", &later);
        index.update(&gone);
        index.remove(&gone.model);
        let order: Order = order.parse().unwrap();
        let expected = naive(&states, &query);
        let mut found = pages(&index, &query, What::Versions, &order, limit);
        let whole = index.search(&query, What::Versions, &order, LIMIT_MAX, None, now()).unwrap();
        prop_assert_eq!(&found, &whole.found, "pages and the whole have one order");
        found.sort();
        prop_assert_eq!(&found, &expected);
        let mut models = pages(&index, &query, What::Models, &order, limit);
        models.retain(|key| key.version.is_some());
        let mut names: Vec<ModelName> = models.into_iter().map(|key| key.model).collect();
        names.sort();
        let mut expected: Vec<ModelName> = expected.into_iter().map(|key| key.model).collect();
        expected.dedup();
        prop_assert_eq!(names, expected);
    }
}

#[test]
fn a_page_goes_on_where_the_last_one_ended_whatever_changes() {
    let mut index = Index::default();
    let one = [('a', None, 1, false)];
    for name in ["a", "c", "e"] {
        index.update(&model(name, &one));
    }
    let order = Order::default();
    let page = |index: &Index, token: Option<&str>| {
        index.search(&Query::All, What::Versions, &order, 2, token, now()).unwrap()
    };
    let names = |page: &Page| page.found.iter().map(|key| key.model.to_string()).collect::<Vec<_>>();
    let first = page(&index, None);
    assert_eq!(names(&first), ["a", "c"]);
    // What comes before the page's end is not shown again, what comes after it is found.
    index.remove(&"c".parse().unwrap());
    index.update(&model("b", &one));
    index.update(&model("d", &one));
    let second = page(&index, first.next.as_deref());
    assert_eq!(names(&second), ["d", "e"]);
    assert_eq!(second.next, None);
    for wrong in ["", "x", "e30", &"a".repeat(5000)] {
        let refused = index.search(&Query::All, What::Versions, &order, 2, Some(wrong), now());
        assert!(refused.is_err(), "{wrong}");
    }
    let other = index.search(&Query::All, What::Models, &order, 2, first.next.as_deref(), now());
    assert!(other.is_err(), "a token of another search");
}

#[test]
fn a_page_is_full_of_what_its_reader_may_see() {
    let mut index = Index::default();
    for name in ["a", "b", "c", "d"] {
        index.update(&model(name, &[('x', Some(1.0), 1, false), ('x', Some(2.0), 2, false)]));
    }
    let (query, sees) = (parse("").unwrap(), |model: &ModelName| ["b", "d"].contains(&&**model));
    let mut seen = Vec::new();
    for by in ["name", "version desc"] {
        let order: Order = by.parse().unwrap();
        let mut token: Option<String> = None;
        loop {
            let token_text = token.as_deref();
            let search = Search {
                query: &query,
                what: What::Models,
                order: &order,
                limit: 1,
                token: token_text,
                sees: &sees,
            };
            let page = index.page(&search, now()).unwrap();
            seen.extend(page.found.iter().map(|key| key.model.to_string()));
            token = page.next;
            if token.is_none() {
                break;
            }
        }
    }
    assert_eq!(seen, ["b", "d", "b", "d"]);
}
