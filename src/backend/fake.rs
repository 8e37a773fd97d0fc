//! A backend without a runtime, for tests: scripted signatures, functions, delays, failures and panics.
//!
//! It keeps every promise of [`Backend`] that the real one keeps; `tests/it/backend_conformance.rs` asks both the same.
//! It opens no files: an artifact is known by its file name.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::{Condvar, Mutex};

use super::{
    Artifact, Backend, BackendError, Input, InputData, Instance, Interrupt, Model, OpenOptions, Output,
};
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::{DataType, Shape, count_strings};

/// What a model computes, from inputs that have been checked against its signature.
pub type Function = dyn Fn(&[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> + Send + Sync;

/// How long a run of so many rows takes.
pub type Latency = dyn Fn(usize) -> Duration + Send + Sync;

/// A scripted model.
#[derive(Clone)]
pub struct FakeModel {
    signature: Signature,
    function: Arc<Function>,
    latency: Arc<Latency>,
    concurrency_max: Option<usize>,
    pays_for_new_shapes: bool,
}

impl FakeModel {
    /// A model that computes `function` at once. To fail or panic on chosen rows, let `function` do so.
    pub fn new(
        signature: Signature,
        function: impl Fn(&[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> + Send + Sync + 'static,
    ) -> FakeModel {
        FakeModel {
            signature,
            function: Arc::new(function),
            latency: Arc::new(|_| Duration::ZERO),
            concurrency_max: None,
            pays_for_new_shapes: false,
        }
    }

    /// A model that gives its inputs back.
    pub fn identity(specs: Vec<TensorSpec>) -> FakeModel {
        let signature = Signature { inputs: specs.clone(), outputs: specs };
        FakeModel::new(signature, |inputs| inputs.iter().flatten().map(|input| Ok(copy(input))).collect())
    }

    /// A model of one FP32 input `x` and one output `y` of the same shape, `[batch, columns]`, element by element.
    pub fn elementwise(columns: usize, function: impl Fn(f32) -> f32 + Send + Sync + 'static) -> FakeModel {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            dtype: DataType::Fp32,
            shape: Some(vec![Dim::Dynamic(Some("batch".into())), Dim::Fixed(columns)]),
            optional: false,
        };
        let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        FakeModel::new(signature, move |inputs| {
            let map = |input: &Input<'_>| {
                let mut output = copy(input);
                let (elements, _) = output.data.as_chunks::<4>();
                let mapped: BytesMut =
                    elements.iter().flat_map(|e| function(f32::from_le_bytes(*e)).to_le_bytes()).collect();
                output.data = mapped.freeze();
                output
            };
            Ok(inputs.iter().flatten().map(map).collect())
        })
    }

    /// The same model, slower.
    #[must_use]
    pub fn with_latency(self, latency: impl Fn(usize) -> Duration + Send + Sync + 'static) -> FakeModel {
        FakeModel { latency: Arc::new(latency), ..self }
    }

    /// The same model, with a limit on instances that run at the same time.
    #[must_use]
    pub fn with_concurrency_max(self, concurrency_max: usize) -> FakeModel {
        FakeModel { concurrency_max: Some(concurrency_max), ..self }
    }

    /// The same model, which says that new shapes cost it.
    #[must_use]
    pub fn paying_for_new_shapes(self) -> FakeModel {
        FakeModel { pays_for_new_shapes: true, ..self }
    }
}

impl fmt::Debug for FakeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeModel").field("signature", &self.signature).finish_non_exhaustive()
    }
}

/// Opens scripted models by file name.
#[derive(Debug, Clone, Default)]
pub struct FakeBackend {
    models: HashMap<String, FakeModel>,
}

impl FakeBackend {
    /// A backend that knows no model.
    pub fn new() -> FakeBackend {
        FakeBackend::default()
    }

    /// The same backend, which opens `model` for every artifact with this file name.
    #[must_use]
    pub fn with_model(mut self, file_name: &str, model: FakeModel) -> FakeBackend {
        self.models.insert(file_name.to_owned(), model);
        self
    }
}

impl Backend for FakeBackend {
    fn open(&self, artifact: &Artifact, _options: &OpenOptions) -> Result<Arc<dyn Model>, BackendError> {
        let name = artifact.path.file_name().and_then(|name| name.to_str());
        let model = name.and_then(|name| self.models.get(name));
        let model = model.ok_or_else(|| unknown(&artifact.path))?;
        Ok(Arc::new(model.clone()))
    }
}

fn unknown(path: &Path) -> BackendError {
    BackendError::Artifact(format!("there is no fake model {:?}", path.file_name().unwrap_or_default()))
}

impl Model for FakeModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self) -> Result<Box<dyn Instance>, BackendError> {
        Ok(Box::new(FakeInstance { model: self.clone(), clockwork: Arc::new(Clockwork::default()) }))
    }

    fn concurrency_max(&self) -> Option<usize> {
        self.concurrency_max
    }

    fn pays_for_new_shapes(&self) -> bool {
        self.pays_for_new_shapes
    }
}

struct FakeInstance {
    model: FakeModel,
    clockwork: Arc<Clockwork>,
}

impl Instance for FakeInstance {
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> {
        check_inputs(&self.model.signature, inputs)?;
        let rows = inputs.iter().flatten().next().and_then(|input| input.shape.rows()).unwrap_or(1);
        self.clockwork.begin();
        // Ends the run even when the function panics.
        let _running = Running(&self.clockwork);
        self.clockwork.wait((self.model.latency)(rows))?;
        (self.model.function)(inputs)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.clockwork) as Arc<dyn Interrupt>
    }
}

/// Which run is under way, and whether it is to stop.
#[derive(Debug, Default)]
struct Clockwork {
    state: Mutex<State>,
    interrupted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    number: u64,
    running: bool,
    stop: bool,
}

struct Running<'a>(&'a Clockwork);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running = false;
        state.stop = false;
    }
}

impl Clockwork {
    fn begin(&self) {
        let mut state = self.state.lock();
        state.number += 1;
        state.running = true;
    }

    fn wait(&self, latency: Duration) -> Result<(), BackendError> {
        let deadline = Instant::now().checked_add(latency);
        let mut state = self.state.lock();
        while !state.stop {
            match deadline {
                Some(deadline) if Instant::now() >= deadline => return Ok(()),
                Some(deadline) => drop(self.interrupted.wait_until(&mut state, deadline)),
                // Longer than the clock can say: for ever.
                None => self.interrupted.wait(&mut state),
            }
        }
        Err(BackendError::Interrupted)
    }
}

impl Interrupt for Clockwork {
    fn interrupt(&self, run: u64) {
        let mut state = self.state.lock();
        if state.running && state.number == run {
            state.stop = true;
            self.interrupted.notify_all();
        }
    }
}

fn check_inputs(signature: &Signature, inputs: &[Option<Input<'_>>]) -> Result<(), BackendError> {
    let refuse = |message: String| Err(BackendError::Run { message, invalid_input: true });
    if inputs.len() != signature.inputs.len() {
        return refuse(format!("the model takes {} inputs, got {}", signature.inputs.len(), inputs.len()));
    }
    for (spec, input) in signature.inputs.iter().zip(inputs) {
        let Some(input) = input else {
            if spec.optional {
                continue;
            }
            return refuse(format!("input '{}': it is missing", spec.name));
        };
        if input.dtype != spec.dtype || !fits(spec, input.shape) {
            let (dtype, shape) = (input.dtype, input.shape);
            return refuse(format!("input '{}': takes {spec}, got {dtype}{shape}", spec.name));
        }
        if !is_filled(input) {
            return refuse(format!("input '{}': its bytes do not fill {}", spec.name, input.shape));
        }
    }
    Ok(())
}

fn fits(spec: &TensorSpec, shape: &Shape) -> bool {
    let Some(dims) = &spec.shape else { return true };
    let matches = |(dim, size): (&Dim, &usize)| match dim {
        Dim::Fixed(fixed) => fixed == size,
        Dim::Dynamic(_) => true,
    };
    dims.len() == shape.rank() && dims.iter().zip(shape.dims()).all(matches)
}

fn is_filled(input: &Input<'_>) -> bool {
    let count = input.shape.element_count();
    match (input.data, input.dtype.element_size()) {
        (InputData::Fixed(data), Some(size)) => data.len() == count * size,
        (InputData::Strings(runs), None) => {
            let counted: Result<Vec<usize>, _> = runs.iter().map(|run| count_strings(run)).collect();
            counted.is_ok_and(|counts| counts.iter().sum::<usize>() == count)
        }
        _ => false,
    }
}

/// The input as an output of its own memory.
fn copy(input: &Input<'_>) -> Output {
    let data = match input.data {
        InputData::Fixed(data) => Bytes::copy_from_slice(data),
        InputData::Strings(runs) => runs.iter().flatten().copied().collect::<BytesMut>().freeze(),
    };
    Output { dtype: input.dtype, shape: input.shape.clone(), data }
}
