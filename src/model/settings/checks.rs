//! Whether settings agree with each other, and whether a declared signature is the model's.

use super::values::{nearest, shorten};
use super::{Node, ParsedModelConfig, SettingsError, Source, Value};
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::DataType;

/// An input or output as `config.pbtxt` declares it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeclaredTensor {
    /// Its name.
    pub name: String,
    /// Its datatype, when stated.
    pub dtype: Option<DataType>,
    /// Its dimensions, when stated: without the batch when the model is batched; -1 for any size.
    pub dims: Option<Vec<i64>>,
    /// The file that names its classes.
    pub label_file: Option<String>,
    /// Whether a `reshape` makes the stated dimensions differ from the model's.
    pub reshaped: bool,
    /// The line it stands on.
    pub line: usize,
}

/// A datatype by Triton's name, for example `TYPE_FP32`; `None` for `TYPE_INVALID`.
pub(super) fn data_type(node: &Node) -> Result<Option<DataType>, String> {
    let name = node.scalar()?;
    match name.strip_prefix("TYPE_") {
        Some("INVALID") => Ok(None),
        Some("STRING") => Ok(Some(DataType::Bytes)),
        Some(short) if short != "BYTES" && DataType::from_wire_name(short).is_some() => {
            Ok(DataType::from_wire_name(short))
        }
        _ => Err(format!("expected a datatype such as TYPE_FP32, found \"{}\"", shorten(&name))),
    }
}

/// A dimension of at least -1.
pub(super) fn dimension(node: &Node) -> Result<i64, String> {
    let text = match &node.value {
        Value::Number(text) | Value::Text(text) => text.as_str(),
        _ => "",
    };
    match text.parse::<i64>() {
        Ok(dim) if dim >= -1 => Ok(dim),
        _ => Err("expected a size, or -1 for any".to_owned()),
    }
}

impl ParsedModelConfig {
    /// Whether the settings agree with each other.
    pub(super) fn check_agreement(&self, file: &str) -> Result<(), SettingsError> {
        let queue = &self.config.queue;
        if queue.default_priority > queue.priority_levels {
            let reason = match queue.priority_levels {
                0 => "a default priority needs priority levels".to_owned(),
                levels => format!("the default priority is {}, of {levels} levels", queue.default_priority),
            };
            return Err(self.defect(file, "queue.default_priority", reason));
        }
        Ok(())
    }

    fn defect(&self, file: &str, path: &str, reason: String) -> SettingsError {
        let line = match self.source(path) {
            Source::File { line, .. } => *line,
            _ => 0,
        };
        SettingsError { file: file.to_owned(), line, reason }
    }

    /// Compares the declared inputs and outputs, and the outputs with labels, with the model's.
    ///
    /// # Errors
    /// [`SettingsError`] with the line of a tensor that the model does not have or has otherwise.
    pub fn check_signature(&self, signature: &Signature, file: &str) -> Result<(), SettingsError> {
        for (declared, specs, what) in
            [(&self.inputs, &signature.inputs, "input"), (&self.outputs, &signature.outputs, "output")]
        {
            for tensor in declared {
                self.check_tensor(tensor, specs, what).map_err(|reason| SettingsError {
                    file: file.to_owned(),
                    line: tensor.line,
                    reason,
                })?;
            }
        }
        for output in self.config.label_files.keys() {
            if signature.output(output).is_none() {
                let reason = no_such(output, &signature.outputs, "output");
                return Err(self.defect(file, "labels", reason));
            }
        }
        Ok(())
    }

    fn check_tensor(
        &self,
        declared: &DeclaredTensor,
        specs: &[TensorSpec],
        what: &str,
    ) -> Result<(), String> {
        let Some(spec) = specs.iter().find(|spec| *spec.name == *declared.name) else {
            return Err(no_such(&declared.name, specs, what));
        };
        if declared.dtype.is_some_and(|dtype| dtype != spec.dtype) {
            let dtype = declared.dtype.map_or("", DataType::as_str);
            return Err(format!(
                "{what} \"{}\" is declared {dtype}; the model has {}",
                spec.name, spec.dtype
            ));
        }
        match (&declared.dims, &spec.shape) {
            (Some(dims), Some(shape)) if !declared.reshaped && !self.fits(dims, shape) => Err(format!(
                "{what} \"{}\" is declared {dims:?}; the model has {:?}",
                spec.name,
                spec.wire_shape()
            )),
            _ => Ok(()),
        }
    }

    /// Whether declared dimensions can be those of the model, with the batch before them when the model is batched.
    fn fits(&self, dims: &[i64], shape: &[Dim]) -> bool {
        let agree = |dims: &[i64], shape: &[Dim]| {
            let pairs = dims.iter().zip(shape);
            dims.len() == shape.len()
                && pairs
                    .into_iter()
                    .all(|(dim, real)| *dim < 0 || real.is_dynamic() || *dim == real.to_wire())
        };
        let batched = shape.split_first().is_some_and(|(_, row)| agree(dims, row));
        match self.config.max_batch_size {
            Some(0) => agree(dims, shape),
            Some(_) => batched,
            None => batched || agree(dims, shape),
        }
    }
}

fn no_such(name: &str, specs: &[TensorSpec], what: &str) -> String {
    let name = shorten(name);
    match nearest(&name, specs.iter().map(|spec| &*spec.name)) {
        Some(known) => format!("the model has no {what} \"{name}\"; did you mean \"{known}\"?"),
        None => format!("the model has no {what} \"{name}\""),
    }
}
