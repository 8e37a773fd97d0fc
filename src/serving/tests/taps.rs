//! What taps see of requests, and what they may do to them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::*;
use crate::error::{Code, Coded};
use crate::infer::{
    Acknowledgement, Attention, Observation, RequestedOutput, Route, Tap, TapRefused, TapSource,
    TappedVersion,
};

/// Remembers what it saw; answers with what it was given.
#[derive(Debug, Default)]
struct Recorder {
    is_off: AtomicBool,
    is_full: AtomicBool,
    /// Panics once.
    is_broken: AtomicBool,
    skipped: AtomicUsize,
    seen: Mutex<Vec<Arc<Observation>>>,
    versions: Mutex<Vec<(TappedVersion, bool)>>,
    answer: Mutex<Option<oneshot::Receiver<bool>>>,
}

#[derive(Debug)]
struct Taps(Arc<Recorder>);

#[derive(Debug)]
struct RecordingTap(Arc<Recorder>);

impl TapSource for Taps {
    fn tap(&self, version: &TappedVersion, folder: Option<&Path>) -> Option<Arc<dyn Tap>> {
        self.0.versions.lock().push((version.clone(), folder.is_some()));
        Some(Arc::new(RecordingTap(Arc::clone(&self.0))))
    }
}

impl Tap for RecordingTap {
    fn attention(&self) -> Attention {
        match (self.0.is_off.load(Ordering::Relaxed), self.0.is_full.load(Ordering::Relaxed)) {
            (true, _) => Attention::None,
            (false, true) => Attention::Full,
            (false, false) => Attention::Open,
        }
    }

    fn skip(&self, rows: usize) {
        self.0.skipped.fetch_add(rows, Ordering::Relaxed);
    }

    fn observe(&self, observation: &Arc<Observation>) -> Option<Acknowledgement> {
        assert!(!self.0.is_broken.swap(false, Ordering::Relaxed));
        self.0.seen.lock().push(Arc::clone(observation));
        let answer = self.0.answer.lock().take()?;
        Some(Box::pin(async move {
            let is_kept = answer.await.unwrap_or(false);
            is_kept.then_some(()).ok_or_else(|| TapRefused("the disk is full".to_owned()))
        }))
    }
}

/// A house whose versions are watched.
async fn watched(files: &[(&str, &str)]) -> (House, Arc<Recorder>) {
    let house = House::open(ModelControl::Explicit, &[]).await;
    let recorder = Arc::new(Recorder::default());
    house.engine.watch(Arc::new(Taps(Arc::clone(&recorder))));
    for (path, content) in files {
        house.write(path, content);
    }
    house.load("m").await.unwrap();
    (house, recorder)
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.data().chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap())).collect()
}

#[tokio::test]
async fn taps_see_every_output_of_what_ran_and_every_failure() {
    let (house, recorder) = watched(&[("m/1/model.onnx", "10")]).await;
    let (version, has_folder) = recorder.versions.lock()[0].clone();
    assert_eq!(
        (version.id.to_string().as_str(), version.is_batched, has_folder),
        ("m version 1", true, true)
    );
    let mut classified = request("m", "", &[1.0, 2.0]);
    classified.outputs = vec![RequestedOutput { name: "y".into(), classification: 1 }];
    house.engine.infer(classified).await.unwrap();
    let mut wrong = request("m", "1", &[1.0]);
    wrong.inputs.clear();
    house.engine.infer(wrong).await.unwrap_err();
    // What reached no version was seen by nobody.
    house.ask("m", "9").await.unwrap_err();
    let seen = std::mem::take(&mut *recorder.seen.lock());
    assert_eq!(seen.len(), 2, "{seen:?}");
    let (answered, failed) = (&seen[0], &seen[1]);
    assert_eq!((answered.rows, answered.choice.route, answered.failure), (2, Route::Default, None));
    assert_eq!(numbers(answered.inputs[0].as_ref().unwrap()), [1.0, 0.0, 2.0, 0.0]);
    assert_eq!(numbers(&answered.outputs[0]), [11.0, 12.0], "the output itself, not its classes");
    assert_eq!(&*answered.id, "7");
    assert_eq!((failed.failure, failed.choice.route), (Some(Code::InvalidArgument), Route::Named));
    assert!(failed.inputs.is_empty() && failed.outputs.is_empty());
    recorder.is_off.store(true, Ordering::Relaxed);
    house.ask("m", "").await.unwrap();
    assert!(recorder.seen.lock().is_empty(), "a tap that is off is shown nothing");
}

#[tokio::test]
async fn a_tap_without_room_is_told_of_rows_only() {
    let (house, recorder) = watched(&[("m/1/model.onnx", "10")]).await;
    recorder.is_full.store(true, Ordering::Relaxed);
    house.engine.infer(request("m", "", &[1.0, 2.0])).await.unwrap();
    let mut wrong = request("m", "1", &[1.0]);
    wrong.inputs.clear();
    house.engine.infer(wrong).await.unwrap_err();
    assert_eq!(recorder.skipped.load(Ordering::Relaxed), 3);
    assert!(recorder.seen.lock().is_empty());
    recorder.is_full.store(false, Ordering::Relaxed);
    house.ask("m", "").await.unwrap();
    assert_eq!(recorder.seen.lock().len(), 1);
}

#[tokio::test]
async fn a_request_that_panics_is_counted_as_a_defect_and_leaves_nothing_behind() {
    let (house, recorder) = watched(&[("m/1/model.onnx", "10")]).await;
    recorder.is_broken.store(true, Ordering::Relaxed);
    let engine = Arc::clone(&house.engine);
    let asked = tokio::spawn(async move { engine.infer(request("m", "", &[1.0])).await });
    assert!(asked.await.unwrap_err().is_panic());
    assert_eq!(house.engine.in_flight(), 0);
    assert_eq!(house.ask("m", "").await.unwrap(), (10.0, 1));
    let counted = |outcome: &str| {
        let metrics = house.metrics();
        let counts = |line: &&str| line.starts_with("weir_requests_total") && line.contains(outcome);
        metrics
            .lines()
            .filter(counts)
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    assert_eq!((counted("\"internal\""), counted("\"cancelled\""), counted("\"ok\"")), (1, 0, 1));
}

#[tokio::test]
async fn an_answer_waits_for_its_acknowledgement_and_fails_without_it() {
    let (house, recorder) = watched(&[("m/1/model.onnx", "10")]).await;
    let (keep, answer) = oneshot::channel();
    *recorder.answer.lock() = Some(answer);
    let engine = Arc::clone(&house.engine);
    let asked = tokio::spawn(async move { engine.infer(request("m", "", &[1.0])).await });
    while recorder.seen.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!asked.is_finished(), "the answer does not leave before what was promised");
    keep.send(true).unwrap();
    assert_eq!(values(&asked.await.unwrap().unwrap()), [11.0]);

    let (keep, answer) = oneshot::channel();
    *recorder.answer.lock() = Some(answer);
    keep.send(false).unwrap();
    let error = house.ask("m", "").await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("could not be recorded"), "{error}");
    assert!(house.metrics().contains("outcome=\"unavailable\""), "{}", house.metrics());
}

#[tokio::test]
async fn versions_that_were_loaded_before_are_not_watched() {
    let house = House::open(ModelControl::None, &[("m/1/model.onnx", "10")]).await;
    let recorder = Arc::new(Recorder::default());
    house.engine.watch(Arc::new(Taps(Arc::clone(&recorder))));
    house.ask("m", "").await.unwrap();
    assert!(recorder.seen.lock().is_empty() && recorder.versions.lock().is_empty());
}
