//! Segments that end anywhere: what is whole is read, and nothing else.

use std::path::PathBuf;

use arrow_array::RecordBatch;
use proptest::prelude::*;

use super::super::columns::{Labels, Rows};
use super::super::privacy::Hasher;
use super::super::reason::Dropped;
use super::super::schema::Plan;
use super::super::wal::{self, Facts, Segment};
use super::*;

/// A segment of `sizes.len()` records of so many rows each, and where each record ends.
fn segment(folder: &Path, sizes: &[usize]) -> (PathBuf, Vec<(u64, u64)>) {
    let hasher = Hasher::new(&[1; 32]);
    let plan = Arc::new(Plan::new(&small(), &CaptureConfig::default(), &hasher).unwrap());
    let path = folder.join("1.wal");
    let mut segment = Segment::create(path.clone(), &wal::origin(&plan.id, 5), &plan.schema).unwrap();
    let mut rows = Rows::new(Arc::clone(&plan), hasher);
    let mut ends = vec![(segment.len(), 0)];
    for size in sizes {
        for n in 0..*size {
            rows.append(&row(&n.to_string()), Labels { id: "r", ts_us: 7, weight: 1.0 });
        }
        let batch = (*size > 0).then(|| rows.finish().unwrap());
        let mut facts =
            Facts { rows: u32::try_from(*size).unwrap(), first_us: 7, last_us: 7, ..Facts::default() };
        facts.dropped[2] = 1;
        segment.append(batch.as_ref(), &facts).unwrap();
        ends.push((segment.len(), segment.rows()));
    }
    (path, ends)
}

/// Every place of a small segment where a process may have died.
#[test]
fn a_segment_torn_at_any_byte_gives_its_whole_records() {
    let folder = tempfile::tempdir().unwrap();
    let (path, ends) = segment(folder.path(), &[2, 0, 3]);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..=whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let scan = wal::scan(&path).unwrap();
        let found = ends.iter().rev().find(|(end, _)| *end <= len as u64);
        let (good, rows) = found.copied().unwrap_or_default();
        assert_eq!((scan.good, scan.rows, scan.good + scan.torn), (good, rows, len as u64), "cut at {len}");
        assert_eq!(scan.origin.is_some(), found.is_some(), "cut at {len}");
        let told: u64 = scan.dropped.iter().sum();
        assert_eq!(told, ends.iter().filter(|(end, _)| *end <= len as u64).count().saturating_sub(1) as u64);
        if found.is_some() && len % 37 == 0 {
            let read: usize = wal::batches(&path).unwrap().1.map(|batch| batch.unwrap().num_rows()).sum();
            assert_eq!(read as u64, rows, "cut at {len}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A byte that is not what was written ends the segment where its record begins, and never panics.
    #[test]
    fn a_changed_byte_is_found(sizes in proptest::collection::vec(0usize..4, 1..4), place in 0.0f64..1.0, bit in 0u32..8) {
        let folder = tempfile::tempdir().unwrap();
        let (path, ends) = segment(folder.path(), &sizes);
        let mut bytes = std::fs::read(&path).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (place * bytes.len() as f64) as usize;
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let scan = wal::scan(&path).unwrap();
        let (good, rows) = ends.iter().rev().find(|(end, _)| *end <= at as u64).copied().unwrap_or_default();
        prop_assert_eq!((scan.good, scan.rows), (good, rows));
    }
}

#[test]
fn a_failed_append_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, ends) = segment(folder.path(), &[1]);
    let before = std::fs::read(&path).unwrap();
    let (len, rows) = ends[1];
    // As `Stream::write` does after a sync that failed.
    let hasher = Hasher::new(&[1; 32]);
    let plan = Arc::new(Plan::new(&small(), &CaptureConfig::default(), &hasher).unwrap());
    let other = folder.path().join("2.wal");
    let mut segment = Segment::create(other.clone(), &wal::origin(&plan.id, 5), &plan.schema).unwrap();
    let mut built = Rows::new(Arc::clone(&plan), hasher);
    built.append(&row("0"), Labels { id: "r", ts_us: 7, weight: 1.0 });
    let mut facts = Facts { rows: 1, first_us: 7, last_us: 7, dropped: Dropped::default() };
    facts.dropped[2] = 1;
    let batch: RecordBatch = built.finish().unwrap();
    segment.append(Some(&batch), &facts).unwrap();
    segment.append(Some(&batch), &facts).unwrap();
    segment.cut(len, rows).unwrap();
    assert_eq!((segment.len(), segment.rows()), (len, 1));
    assert_eq!(std::fs::read(&other).unwrap(), before);
}
