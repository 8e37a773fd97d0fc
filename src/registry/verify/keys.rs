//! The log of keys.

use super::{Anchor, Finding, VerifyReport};
use crate::registry::error::StoreError;
use crate::registry::history;
use crate::registry::keys::{KeyRing, record_key};
use crate::registry::store::Store;

/// The keys that count, as far as their records are right.
pub(super) async fn walk(
    store: &Store,
    anchors: &[Anchor],
    report: &mut VerifyReport,
) -> Result<KeyRing, StoreError> {
    let anchors: Vec<&Anchor> = anchors.iter().filter(|anchor| anchor.model.is_none()).collect();
    let last = history::numbers_in(store, "keys").await?.last().copied().unwrap_or_default();
    let mut ring = KeyRing::default();
    let mut wrong = None;
    while ring.number < last {
        let number = ring.number + 1;
        let applied = match store.get(&record_key(number)).await? {
            Some(bytes) => ring.apply(&bytes),
            None => Err(format!("it is missing, and record {last} is there")),
        };
        if let Err(problem) = applied {
            wrong = Some((number, problem));
            break;
        }
        for anchor in anchors.iter().filter(|anchor| anchor.rev == number) {
            if anchor.hash == ring.head {
                report.anchors += 1;
            } else if wrong.is_none() {
                wrong = Some((number, "it is not the record that was anchored".to_owned()));
            }
        }
    }
    if wrong.is_none() && anchors.iter().any(|anchor| anchor.rev > last) {
        wrong = Some((last + 1, format!("the records end at {last}, and a later one was anchored")));
    }
    report.key_records = ring.number;
    if let Some((number, problem)) = wrong {
        report.findings.push(Finding { model: String::new(), rev: Some(number), kind: "keys", problem });
    }
    Ok(ring)
}
