//! From what a model returned to what the client asked for: selection, order and classification of outputs.

use std::sync::Arc;

use smallvec::SmallVec;

use super::error::shorten;
use super::{EngineError, Servable, classify};
use crate::backend::Output;
use crate::infer::RequestedOutput;
use crate::tensor::{DataType, Name, Tensor};

/// An output that the answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// Its place in the signature.
    index: usize,
    /// When not 0: the top so many classes instead of the values.
    classification: u32,
}

/// The outputs of an answer, in its order. Empty means all, in the model's order.
pub(super) type Selection = SmallVec<[Choice; 4]>;

/// Finds the requested outputs, before anything is run for them.
pub(super) fn select(servable: &Servable, requested: &[RequestedOutput]) -> Result<Selection, EngineError> {
    let mut selection = Selection::new();
    for output in requested {
        let (index, spec) =
            servable.signature.output(&output.name).ok_or_else(|| EngineError::UnknownOutput {
                model: servable.name.to_string(),
                output: shorten(&output.name),
                expected: names(servable),
            })?;
        if output.classification != 0 && matches!(spec.dtype, DataType::Bytes) {
            return Err(EngineError::Classification {
                output: spec.name.to_string(),
                reason: "its elements are not numbers",
            });
        }
        if selection.iter().any(|choice| choice.index == index) {
            return Err(EngineError::DuplicateOutput { output: spec.name.to_string() });
        }
        selection.push(Choice { index, classification: output.classification });
    }
    Ok(selection)
}

/// The outputs as tensors, as `selection` has them.
pub(super) fn collect(
    servable: &Servable,
    selection: &Selection,
    outputs: Vec<Output>,
) -> Result<Vec<Tensor>, EngineError> {
    if selection.is_empty() {
        return outputs
            .into_iter()
            .enumerate()
            .map(|(index, output)| tensor(servable, index, output))
            .collect();
    }
    selection
        .iter()
        .map(|choice| {
            let output = outputs.get(choice.index).cloned().ok_or_else(|| missing(servable, choice.index))?;
            let plain = tensor(servable, choice.index, output)?;
            match choice.classification {
                0 => Ok(plain),
                top => {
                    classify::classify(&plain, top, servable.max_batch_size > 0, servable.labels_of(&plain))
                }
            }
        })
        .collect()
}

/// Every output, in the model's order, for those who watch.
pub(super) fn all(servable: &Servable, outputs: &[Output]) -> Result<Vec<Tensor>, EngineError> {
    outputs.iter().enumerate().map(|(index, output)| tensor(servable, index, output.clone())).collect()
}

fn tensor(servable: &Servable, index: usize, output: Output) -> Result<Tensor, EngineError> {
    let spec = servable.signature.outputs.get(index).ok_or_else(|| missing(servable, index))?;
    Tensor::new(Name::Shared(Arc::clone(&spec.name)), output.dtype, output.shape, output.data).map_err(
        |error| EngineError::Defective {
            model: servable.name.to_string(),
            output: spec.name.to_string(),
            reason: error.to_string(),
        },
    )
}

fn missing(servable: &Servable, index: usize) -> EngineError {
    EngineError::Defective {
        model: servable.name.to_string(),
        output: servable
            .signature
            .outputs
            .get(index)
            .map_or_else(|| index.to_string(), |spec| spec.name.to_string()),
        reason: "the number of outputs is not the signature's".to_owned(),
    }
}

fn names(servable: &Servable) -> String {
    let names: Vec<&str> = servable.signature.outputs.iter().map(|spec| &*spec.name).collect();
    names.join(", ")
}
