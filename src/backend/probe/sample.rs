//! The sample run: inputs and the outputs that a model gave for them, for a later comparison of what another process,
//! build or machine makes of the same model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{BackendError, Input, InputData, Instance, Output};
use super::compare::element_difference;
use super::synthetic::Made;
use crate::model::Signature;
use crate::tensor::{AlignedBuffer, DataType, Shape, Tensor};

/// The most bytes of inputs and outputs together. Longer ones are not worth keeping with every version.
const SAMPLE_BYTES_MAX: usize = 2 << 20;

/// Which sample is run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum SampleRun {
    /// None.
    #[default]
    None,
    /// The first made-up inputs that the model accepts.
    MadeUp,
    /// These inputs.
    Given(SampleTensors),
}

/// What the sample run gave.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum SampleOutcome {
    /// It was not asked for.
    #[default]
    NotAsked,
    /// Inputs and the outputs for them.
    Done {
        /// What the model was given.
        inputs: SampleTensors,
        /// What it gave.
        outputs: SampleTensors,
    },
    /// There is none, for this reason.
    Missing(String),
}

/// Tensors that can travel between parent and child.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<WireTensor>", into = "Vec<WireTensor>")]
pub struct SampleTensors(pub Vec<Tensor>);

#[derive(Debug, Serialize, Deserialize)]
struct WireTensor {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    data: String,
}

impl From<SampleTensors> for Vec<WireTensor> {
    fn from(tensors: SampleTensors) -> Vec<WireTensor> {
        let wire = |tensor: &Tensor| WireTensor {
            name: tensor.name().to_string(),
            datatype: tensor.dtype().as_str().to_owned(),
            shape: tensor.shape().dims().to_vec(),
            data: BASE64.encode(tensor.data()),
        };
        tensors.0.iter().map(wire).collect()
    }
}

impl TryFrom<Vec<WireTensor>> for SampleTensors {
    type Error = String;

    fn try_from(wire: Vec<WireTensor>) -> Result<SampleTensors, String> {
        let tensor = |wire: WireTensor| {
            let dtype = DataType::from_wire_name(&wire.datatype).ok_or("unknown datatype")?;
            let shape = Shape::new(&wire.shape).map_err(|error| error.to_string())?;
            let data = BASE64.decode(wire.data).map_err(|error| error.to_string())?;
            Tensor::new(wire.name.into(), dtype, shape, Bytes::from(data)).map_err(|error| error.to_string())
        };
        wire.into_iter().map(tensor).collect::<Result<_, _>>().map(SampleTensors)
    }
}

/// Runs `instance` on `inputs` twice, because a model that gives two answers has no golden one.
pub(super) fn run_given(
    signature: &Signature,
    instance: &mut dyn Instance,
    inputs: &SampleTensors,
    tolerance: f64,
) -> SampleOutcome {
    let held = match hold(signature, &inputs.0) {
        Ok(held) => held,
        Err(why) => return SampleOutcome::Missing(why),
    };
    finish(signature, instance, &views(&held), inputs.clone(), tolerance)
}

/// What `instance` gives for `inputs`: every output, in the order of the signature.
///
/// # Errors
/// Why it gives nothing, in a line.
pub fn run_sample(
    signature: &Signature,
    instance: &mut dyn Instance,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, String> {
    let held = hold(signature, inputs)?;
    let outputs = instance.run(&views(&held)).map_err(|error| format!("the model refused it: {error}"))?;
    let outputs = signature.outputs.iter().zip(outputs).map(|(spec, output)| tensor(&spec.name, &output));
    outputs.collect::<Option<_>>().ok_or_else(|| "an output is shorter than its shape".to_owned())
}

/// `inputs` in the order of the signature, in memory that a runtime can read.
fn hold(signature: &Signature, inputs: &[Tensor]) -> Result<Vec<Option<Held>>, String> {
    let mut held = Vec::new();
    for spec in &signature.inputs {
        let given = inputs.iter().find(|tensor| **tensor.name() == *spec.name);
        if given.is_none() && !spec.optional {
            return Err(format!("the sample has no input '{}'", spec.name));
        }
        held.push(given.map(Held::new));
    }
    match inputs.iter().find(|tensor| signature.input(tensor.name()).is_none()) {
        Some(tensor) => Err(format!("the model has no input '{}'", tensor.name().escape_debug())),
        None => Ok(held),
    }
}

fn views(held: &[Option<Held>]) -> Vec<Option<Input<'_>>> {
    held.iter().map(|held| held.as_ref().map(Held::as_input)).collect()
}

/// The same on inputs that were made up for it.
pub(super) fn run_made(
    signature: &Signature,
    instance: &mut dyn Instance,
    made: &[Made],
    tolerance: f64,
) -> SampleOutcome {
    let views: Vec<Option<Input<'_>>> = made.iter().map(|made| Some(made.as_input())).collect();
    let names = signature.inputs.iter().map(|spec| &*spec.name);
    let inputs: Option<Vec<Tensor>> =
        names.zip(&views).map(|(name, view)| copy(name, view.as_ref())).collect();
    match inputs {
        Some(inputs) => finish(signature, instance, &views, SampleTensors(inputs), tolerance),
        None => SampleOutcome::Missing("its made-up inputs are no tensors".to_owned()),
    }
}

fn finish(
    signature: &Signature,
    instance: &mut dyn Instance,
    views: &[Option<Input<'_>>],
    inputs: SampleTensors,
    tolerance: f64,
) -> SampleOutcome {
    let refused = |error: BackendError| SampleOutcome::Missing(format!("the model refused it: {error}"));
    let (first, second) = match (instance.run(views), instance.run(views)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return refused(error),
    };
    let bytes = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.data().len()).sum::<usize>();
    let outputs = signature.outputs.iter().zip(first).map(|(spec, output)| tensor(&spec.name, &output));
    let Some(outputs) = outputs.collect::<Option<Vec<Tensor>>>() else {
        return SampleOutcome::Missing("an output is shorter than its shape".to_owned());
    };
    if bytes(&inputs.0).saturating_add(bytes(&outputs)) > SAMPLE_BYTES_MAX {
        return SampleOutcome::Missing(format!(
            "inputs and outputs are longer than {SAMPLE_BYTES_MAX} bytes"
        ));
    }
    for (output, again) in outputs.iter().zip(&second) {
        let same_shape = *output.shape() == again.shape && output.dtype() == again.dtype;
        let difference = element_difference(output.dtype(), output.data(), &again.data, tolerance);
        if !same_shape || difference.is_some() {
            return SampleOutcome::Missing("the same inputs gave two answers".to_owned());
        }
    }
    SampleOutcome::Done { inputs, outputs: SampleTensors(outputs) }
}

fn copy(name: &str, view: Option<&Input<'_>>) -> Option<Tensor> {
    let view = view?;
    let data = match view.data {
        InputData::Fixed(bytes) => Bytes::copy_from_slice(bytes),
        InputData::Strings(runs) => runs.concat().into(),
    };
    Tensor::new(name.to_owned().into(), view.dtype, view.shape.clone(), data).ok()
}

fn tensor(name: &str, output: &Output) -> Option<Tensor> {
    Tensor::new(name.to_owned().into(), output.dtype, output.shape.clone(), output.data.clone()).ok()
}

/// An input in memory that a runtime can read.
struct Held {
    dtype: DataType,
    shape: Shape,
    fixed: AlignedBuffer,
    strings: [Bytes; 1],
}

impl Held {
    fn new(tensor: &Tensor) -> Held {
        let mut fixed = AlignedBuffer::new();
        let mut strings = [Bytes::new()];
        match tensor.dtype() {
            DataType::Bytes => strings = [tensor.data().clone()],
            _ => fixed.extend_from_slice(tensor.data()),
        }
        Held { dtype: tensor.dtype(), shape: tensor.shape().clone(), fixed, strings }
    }

    fn as_input(&self) -> Input<'_> {
        let data = match self.dtype {
            DataType::Bytes => InputData::Strings(&self.strings),
            _ => InputData::Fixed(self.fixed.as_slice()),
        };
        Input { dtype: self.dtype, shape: &self.shape, data }
    }
}
