//! One model's log from its first revision to its last.

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use serde::Deserialize;

use super::{Anchor, Finding, Walk};
use crate::model::ModelName;
use crate::registry::client::revision_key;
use crate::registry::error::{FoldError, StoreError};
use crate::registry::history;
use crate::registry::keys::KeyRing;
use crate::registry::revision::{NO_PREVIOUS, Revision, sha256_hex};
use crate::registry::snapshot::{parse_snapshot, snapshot_key};
use crate::registry::state::ModelState;
use crate::registry::store::Store;

/// What is wrong with a log, and from which revision on.
struct Wrong {
    rev: u64,
    kind: &'static str,
    problem: String,
}

impl Wrong {
    fn log(rev: u64, problem: impl Into<String>) -> Wrong {
        Wrong { rev, kind: "log", problem: problem.into() }
    }
}

pub(super) async fn walk(
    store: &Store,
    ring: &KeyRing,
    model: ModelName,
    anchors: &[Anchor],
) -> Result<Walk, StoreError> {
    let mut anchors: Vec<&Anchor> =
        anchors.iter().filter(|anchor| anchor.model.as_ref() == Some(&model)).collect();
    anchors.sort_by_key(|anchor| anchor.rev);
    let last = history::numbers(store, &model).await?.last().copied().unwrap_or_default();
    let snapshots = history::numbers_in(store, &format!("models/{model}/snap")).await?;
    let state = ModelState::new(model.clone());
    let mut walk = Walk { state, signed: 0, snapshots: 0, anchors: 0, findings: Vec::new() };
    let mut files = std::pin::pin!(history::files(store, &model, 1, last));
    let mut wrong = None;
    while let Some((rev, bytes)) = files.try_next().await? {
        let found = match bytes {
            None => Err(Wrong::log(rev, format!("it is missing, and revision {last} is there"))),
            Some(bytes) => step(store, ring, &mut walk, &bytes, &anchors).await?,
        };
        if let Err(found) = found {
            wrong = Some(found);
            break;
        }
        if snapshots.contains(&rev) {
            check_snapshot(store, &mut walk).await?;
        }
    }
    if wrong.is_none() {
        wrong = end(store, &model, last, &anchors).await?;
    }
    if let Some(Wrong { rev, kind, problem }) = wrong {
        walk.findings.push(Finding { model: model.to_string(), rev: Some(rev), kind, problem });
    }
    Ok(walk)
}

/// One revision more.
async fn step(
    store: &Store,
    ring: &KeyRing,
    walk: &mut Walk,
    bytes: &Bytes,
    anchors: &[&Anchor],
) -> Result<Result<(), Wrong>, StoreError> {
    let state = &mut walk.state;
    let rev = state.rev + 1;
    let hash = sha256_hex(bytes);
    let revision = match Revision::parse(bytes) {
        Ok(revision) => revision,
        Err(error) => return Ok(Err(Wrong::log(rev, error.to_string()))),
    };
    if revision.model != state.model {
        return Ok(Err(Wrong::log(rev, format!("it belongs to model '{}'", revision.model))));
    }
    if let Err(error) = ring.check(&revision, bytes) {
        return Ok(Err(Wrong { rev, kind: "signature", problem: error.to_string() }));
    }
    if revision.rev == rev && revision.prev != state.head {
        return blame(store, state, &hash).await.map(Err);
    }
    if let Err(error) = state.apply(&revision, &hash) {
        let problem = match error {
            FoldError::Broken { reason, .. } => reason,
            other => other.to_string(),
        };
        return Ok(Err(Wrong::log(rev, problem)));
    }
    for anchor in anchors.iter().filter(|anchor| anchor.rev == rev) {
        if anchor.hash != hash {
            let kept = anchors.iter().map(|anchor| anchor.rev).take_while(|other| *other < rev).last();
            let since = kept.map_or(String::new(), |kept| format!(" after revision {kept}"));
            let problem =
                format!("it is not the revision that was anchored: the log was written anew{since}");
            return Ok(Err(Wrong { rev, kind: "anchor", problem }));
        }
        walk.anchors += 1;
    }
    walk.signed += u64::from(ring.is_required() && revision.sig.is_some());
    Ok(Ok(()))
}

/// Compares the snapshot after the last revision with what the log says.
async fn check_snapshot(store: &Store, walk: &mut Walk) -> Result<(), StoreError> {
    let Some(bytes) = store.get(&snapshot_key(&walk.state.model, walk.state.rev)).await? else {
        return Ok(());
    };
    let problem = match parse_snapshot(&bytes) {
        Ok(state) if state == walk.state => {
            walk.snapshots += 1;
            return Ok(());
        }
        Ok(_) => "its snapshot says something else than the log".to_owned(),
        Err(problem) => format!("its snapshot cannot be used: {problem}"),
    };
    let (model, rev) = (walk.state.model.to_string(), Some(walk.state.rev));
    walk.findings.push(Finding { model, rev, kind: "snapshot", problem });
    Ok(())
}

/// Which of two revisions is wrong, when the second, whose hash is `hash`, does not name the first's: the second, unless
/// the third vouches for it.
async fn blame(store: &Store, state: &ModelState, hash: &str) -> Result<Wrong, StoreError> {
    let (first, second) = (state.rev, state.rev + 1);
    if state.head == NO_PREVIOUS {
        return Ok(Wrong::log(second, "it is the first, and names another before it"));
    }
    let third = store.get(&revision_key(&state.model, second + 1)).await?;
    let Some(third) = third else {
        let problem = format!("it or revision {second} was changed: their hashes do not agree");
        return Ok(Wrong::log(first, problem));
    };
    let vouched = Revision::parse(&third).is_ok_and(|third| third.prev == hash);
    Ok(match vouched {
        true => Wrong::log(first, format!("it was changed: revision {second} names another hash")),
        false => Wrong::log(second, "it was changed: its hash of the revision before is another"),
    })
}

#[derive(Deserialize)]
struct Hint {
    rev: u64,
}

/// What says that the log was longer than `last`.
async fn end(
    store: &Store,
    model: &ModelName,
    last: u64,
    anchors: &[&Anchor],
) -> Result<Option<Wrong>, StoreError> {
    if let Some(anchor) = anchors.iter().find(|anchor| anchor.rev > last) {
        let problem = format!(
            "the log ends at revision {last}, and revision {} was anchored: its end was cut off",
            anchor.rev
        );
        return Ok(Some(Wrong { rev: last + 1, kind: "anchor", problem }));
    }
    let key = Path::from(format!("heads/{model}"));
    let hint = store.get(key.as_ref()).await?.and_then(|bytes| serde_json::from_slice::<Hint>(&bytes).ok());
    // A writer may have been faster than the listing; then the revision is there by now.
    let Some(hint) = hint.filter(|hint| hint.rev > last) else { return Ok(None) };
    if store.get(&revision_key(model, last + 1)).await?.is_some() {
        return Ok(None);
    }
    let problem = format!(
        "the log ends at revision {last}, and there was a revision {}: its end was cut off",
        hint.rev
    );
    Ok(Some(Wrong::log(last + 1, problem)))
}
