//! A backend whose model files are one word: a number is what the model adds to its input, `broken` does not open, `fatal` loses the
//! device, `full` and a number finds it full until there is room.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::super::examine::{ExamineError, Examiner};
use super::super::plan::{Findings, Rows};
use super::super::settings::Settings;
use crate::backend::{
    Artifact, Backend, BackendError, DeviceFault, Input, InputData, Instance, Interrupt, Model, OpenOptions,
    Output,
};
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::{DataType, Shape};

/// Opens fake models, and counts them.
#[derive(Debug, Default)]
pub(super) struct FakeBackend {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicUsize,
    live: AtomicUsize,
    held: Mutex<bool>,
    changed: Condvar,
    has_room: AtomicBool,
}

#[derive(Debug)]
struct FakeModel {
    signature: Signature,
    added: f32,
    counts: Arc<Counts>,
}

struct FakeInstance {
    added: f32,
    counts: Arc<Counts>,
}

struct NoInterrupt;

impl FakeBackend {
    /// Models opened so far.
    pub(super) fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::SeqCst)
    }

    /// Models that are not freed.
    pub(super) fn live(&self) -> usize {
        self.counts.live.load(Ordering::SeqCst)
    }

    /// Lets models open that found the device full.
    pub(super) fn make_room(&self) {
        self.counts.has_room.store(true, Ordering::SeqCst);
    }

    /// Lets runs begin and not end, or lets them end.
    pub(super) fn hold(&self, held: bool) {
        *self.counts.held.lock() = held;
        self.counts.changed.notify_all();
    }
}

/// What every fake model takes and gives: `x` FP32 [-1,2], `y` FP32 [-1,1].
pub(super) fn signature() -> Signature {
    let spec = |name: &str, columns| TensorSpec {
        name: name.into(),
        dtype: DataType::Fp32,
        shape: Some(vec![Dim::Dynamic(Some("N".into())), Dim::Fixed(columns)]),
        optional: false,
    };
    Signature { inputs: vec![spec("x", 2)], outputs: vec![spec("y", 1)] }
}

impl Backend for FakeBackend {
    fn open(&self, artifact: &Artifact, _options: &OpenOptions) -> Result<Arc<dyn Model>, BackendError> {
        self.counts.opened.fetch_add(1, Ordering::SeqCst);
        let added = read(&artifact.path, self.counts.has_room.load(Ordering::SeqCst))?;
        self.counts.live.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FakeModel { signature: signature(), added, counts: Arc::clone(&self.counts) }))
    }
}

fn read(path: &Path, has_room: bool) -> Result<f32, BackendError> {
    let text = std::fs::read_to_string(path).map_err(|error| BackendError::Artifact(error.to_string()))?;
    if text == "fatal" {
        let fault = DeviceFault::Lost;
        return Err(BackendError::Device { fault, message: "CUDA failure 700".to_owned() });
    }
    if text.starts_with("full") && !has_room {
        let fault = DeviceFault::Full;
        return Err(BackendError::Device { fault, message: "out of memory".to_owned() });
    }
    text.trim_start_matches("full")
        .trim()
        .parse()
        .map_err(|_| BackendError::Artifact("it is not a number".to_owned()))
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.counts.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Model for FakeModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self) -> Result<Box<dyn Instance>, BackendError> {
        Ok(Box::new(FakeInstance { added: self.added, counts: Arc::clone(&self.counts) }))
    }
}

impl Instance for FakeInstance {
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> {
        let mut held = self.counts.held.lock();
        while *held {
            self.counts.changed.wait(&mut held);
        }
        drop(held);
        let Some(Some(Input { data: InputData::Fixed(data), .. })) = inputs.first() else {
            return Err(BackendError::Run { message: "no input".to_owned(), invalid_input: true });
        };
        let value = |bytes: &[u8]| bytes.first_chunk().map_or(f32::NAN, |raw| f32::from_le_bytes(*raw));
        let out: Vec<u8> =
            data.chunks_exact(8).flat_map(|row| (value(row) + self.added).to_le_bytes()).collect();
        let shape = Shape::new(&[out.len() / 4, 1]).unwrap();
        Ok(vec![Output { dtype: DataType::Fp32, shape, data: Bytes::from(out) }])
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(NoInterrupt)
    }
}

impl Interrupt for NoInterrupt {
    fn interrupt(&self, _run: u64) {}
}

/// Trusts every model.
#[derive(Debug)]
pub(super) struct FakeExaminer;

impl Examiner for FakeExaminer {
    fn examine(&self, _artifact: &Artifact, _settings: &Settings) -> Result<Findings, ExamineError> {
        Ok(Findings { rows: Rows::Independent { rows_max: 8 }, memory_bytes: 1000, ..Findings::none() })
    }

    fn warm_up(&self, _signature: &Signature, _instance: &mut dyn Instance, _rows: &[usize], _runs: usize) {}
}
