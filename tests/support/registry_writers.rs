//! Many writers of one log, and what must be true afterwards, whatever the store did meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use weir::model::ModelName;
use weir::registry::{Actor, Intent, Op, Registry, RegistryError, RegistryOptions, Revision, Store};

pub(crate) fn model() -> ModelName {
    "contended".parse().expect("a name")
}

pub(crate) fn intent(sub: &str) -> Intent {
    let actor = Actor { sub: sub.to_owned(), method: "cli".to_owned() };
    Intent { actor, reason: "a test".to_owned(), request_id: String::new(), if_match: None }
}

pub(crate) fn options() -> RegistryOptions {
    RegistryOptions { patience: Duration::from_secs(300), ..RegistryOptions::default() }
}

/// A commit as its author knows it: revision when acknowledged, writer, sequence number.
type Known = (Option<u64>, String, u64);

/// Lets `writers`, each with a registry of its own over `store`, commit `commits` times. Checks the log that `clean`
/// holds, and returns how many commits were not acknowledged.
pub(crate) async fn contend(store: &Store, clean: &Store, writers: u64, commits: u64) -> usize {
    let first = open(clean).await;
    let ops = vec![Op::CreateModel { description: String::new() }];
    first.commit(&model(), &intent("first"), |_| Ok(ops.clone())).await.expect("the model is created");
    let tasks: Vec<_> = (0..writers).map(|w| tokio::spawn(write(store.clone(), w, commits))).collect();
    let mut known: Vec<Known> = Vec::new();
    for task in tasks {
        known.extend(task.await.expect("the writer ends"));
    }
    // What a store may still write late is written by now: wait until the log rests.
    let mut end = 0;
    loop {
        let log = log(clean).await;
        if log.len() == end {
            check(&log, &known);
            break;
        }
        end = log.len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let view = Registry::open(clean.clone()).await.expect("opens").view(&model()).await.expect("is read");
    assert_eq!(view.fault, None);
    assert_eq!(view.state.rev, end as u64);
    known.iter().filter(|(rev, _, _)| rev.is_none()).count()
}

async fn open(store: &Store) -> Registry {
    for _ in 0..20 {
        if let Ok(registry) = Registry::open_with(store.clone(), options()).await {
            return registry;
        }
    }
    panic!("the registry cannot be opened in twenty tries");
}

async fn write(store: Store, writer: u64, commits: u64) -> Vec<Known> {
    let registry = open(&store).await;
    let sub = format!("writer-{writer}");
    let mut known = Vec::new();
    for sequence in 1..=commits {
        let ops = vec![Op::SetTag { version: None, key: sub.clone(), value: sequence.to_string() }];
        match registry.commit(&model(), &intent(&sub), |_| Ok(ops.clone())).await {
            Ok(commit) => {
                assert_eq!(commit.state.tags.get(&sub), Some(&sequence.to_string()));
                known.push((Some(commit.rev), sub.clone(), sequence));
            }
            // A log that is read in parts again and again looks damaged, for that moment.
            Err(RegistryError::Store(_) | RegistryError::Log { .. }) => {
                known.push((None, sub.clone(), sequence));
            }
            Err(error) => panic!("{sub}, commit {sequence}: {error}"),
        }
    }
    known
}

/// Every revision: its author and the value that it sets.
pub(crate) async fn log(clean: &Store) -> Vec<(String, String)> {
    let mut log = Vec::new();
    let listed = clean.list(&format!("models/{}/log", model())).await.expect("a listing");
    for rev in 1..=listed.len() as u64 {
        let key = weir::registry::client::revision_key(&model(), rev);
        let bytes = clean.get(&key).await.expect("a read").expect("no number is left out");
        let revision = Revision::parse(&bytes).expect("a whole revision");
        assert_eq!(revision.rev, rev);
        let value = match revision.ops.as_slice() {
            [Op::SetTag { value, .. }] => value.clone(),
            _ => String::new(),
        };
        log.push((revision.actor.sub, value));
    }
    log
}

fn check(log: &[(String, String)], known: &[Known]) {
    let mut found: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for ((sub, value), rev) in log.iter().zip(1..) {
        let before = found.insert((sub, value), rev);
        assert_eq!(before, None, "{sub} committed {value} twice: revisions {before:?} and {rev}");
    }
    for (rev, sub, sequence) in known {
        let at = found.get(&(sub.as_str(), sequence.to_string().as_str())).copied();
        assert!(rev.is_none() || at == *rev, "{sub} {sequence}: acknowledged as {rev:?}, found at {at:?}");
    }
    let written = known.iter().filter(|(rev, _, _)| rev.is_some()).count();
    assert!(log.len() > written, "{} revisions, {written} acknowledged", log.len());
    assert!(log.len() <= known.len() + 1, "nothing is in the log that nobody wrote");
}
