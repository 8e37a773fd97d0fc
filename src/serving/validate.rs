//! Whether a request's tensors fit a model: names, datatypes, ranks, dimensions, rows. Pure; decoding has already
//! proved that the bytes make tensors, and nothing here looks at elements.

use std::sync::Arc;

use smallvec::SmallVec;

use super::EngineError;
use super::error::shorten;
use crate::model::{Dim, Signature, TensorSpec};
use crate::tensor::{DataType, Tensor};

/// A signature made ready for checking requests: symbolic names are numbers, so a check compares no strings.
#[derive(Debug)]
pub(super) struct Contract {
    inputs: Vec<InputRule>,
    /// How many symbolic dimensions there are; 0 is the batch when `batched`.
    symbols: usize,
    batched: bool,
    allow_empty: bool,
}

/// What one input must be.
#[derive(Debug)]
struct InputRule {
    name: Arc<str>,
    dtype: DataType,
    dims: Option<Vec<DimRule>>,
    optional: bool,
    /// For messages.
    spec: TensorSpec,
}

#[derive(Debug, Clone, Copy)]
enum DimRule {
    Fixed(usize),
    Any,
    /// The same size wherever this number stands.
    Symbol(usize),
}

/// Inputs in the order of the signature.
#[derive(Debug)]
pub(super) struct Bound {
    /// `None` for an optional input left out.
    pub(super) inputs: SmallVec<[Option<Tensor>; 2]>,
    /// Rows when the version is batched, else 1.
    pub(super) rows: usize,
}

/// The symbol of the batch axis.
const BATCH: usize = 0;

impl Contract {
    /// The rules of `signature`. A batched version has its batch on axis 0 of every input.
    pub(super) fn new(signature: &Signature, batched: bool, allow_empty: bool) -> Contract {
        let mut symbols: Vec<Arc<str>> = Vec::new();
        let offset = usize::from(batched);
        let mut rule_of = |axis: usize, dim: &Dim| match dim {
            Dim::Dynamic(_) if batched && axis == 0 => DimRule::Symbol(BATCH),
            Dim::Fixed(size) => DimRule::Fixed(*size),
            Dim::Dynamic(None) => DimRule::Any,
            Dim::Dynamic(Some(name)) => {
                let index = symbols.iter().position(|known| known == name).unwrap_or_else(|| {
                    symbols.push(Arc::clone(name));
                    symbols.len() - 1
                });
                DimRule::Symbol(offset + index)
            }
        };
        let inputs = signature
            .inputs
            .iter()
            .map(|spec| InputRule {
                name: Arc::clone(&spec.name),
                dtype: spec.dtype,
                dims: spec
                    .shape
                    .as_ref()
                    .map(|dims| dims.iter().enumerate().map(|(axis, dim)| rule_of(axis, dim)).collect()),
                optional: spec.optional,
                spec: spec.clone(),
            })
            .collect();
        Contract { inputs, symbols: offset + symbols.len(), batched, allow_empty }
    }

    /// Puts `tensors` in the order of the signature, if they fit `model`.
    pub(super) fn bind(&self, model: &str, tensors: Vec<Tensor>) -> Result<Bound, EngineError> {
        let mut inputs: SmallVec<[Option<Tensor>; 2]> = SmallVec::new();
        inputs.resize_with(self.inputs.len(), || None);
        let mut sizes: SmallVec<[Option<usize>; 8]> = SmallVec::from_elem(None, self.symbols);
        for (position, tensor) in tensors.into_iter().enumerate() {
            let index = self.index_of(position, tensor.name()).ok_or_else(|| self.unknown(model, &tensor))?;
            let rule = &self.inputs[index];
            rule.check(model, &tensor, &mut sizes)?;
            if tensor.shape().is_empty() {
                self.check_empty(rule, &tensor)?;
            }
            if inputs[index].is_some() {
                return Err(EngineError::DuplicateInput { input: tensor.name().clone() });
            }
            inputs[index] = Some(tensor);
        }
        for (rule, input) in self.inputs.iter().zip(&inputs) {
            if input.is_none() && !rule.optional {
                return Err(EngineError::MissingInput {
                    model: model.to_owned(),
                    input: rule.name.to_string(),
                });
            }
        }
        let rows = if self.batched { sizes[BATCH].unwrap_or(1) } else { 1 };
        Ok(Bound { inputs, rows })
    }

    /// Most clients send inputs in the model's order, so that place is tried first.
    fn index_of(&self, position: usize, name: &str) -> Option<usize> {
        if self.inputs.get(position).is_some_and(|rule| &*rule.name == name) {
            return Some(position);
        }
        self.inputs.iter().position(|rule| &*rule.name == name)
    }

    fn unknown(&self, model: &str, tensor: &Tensor) -> EngineError {
        let expected: Vec<String> = self.inputs.iter().map(|rule| rule.spec.to_string()).collect();
        EngineError::UnknownInput {
            model: model.to_owned(),
            input: shorten(tensor.name()),
            expected: expected.join(", "),
        }
    }

    /// A dimension of 0 reaches the model only when the model states that 0 itself, or was seen to survive one:
    /// ONNX Runtime's kernels abort the process on some.
    fn check_empty(&self, rule: &InputRule, tensor: &Tensor) -> Result<(), EngineError> {
        let stated = |axis: usize| {
            rule.dims.as_ref().is_some_and(|dims| matches!(dims.get(axis), Some(DimRule::Fixed(0))))
        };
        let chosen = tensor.shape().dims().iter().enumerate().any(|(axis, &size)| size == 0 && !stated(axis));
        if !chosen || self.allow_empty {
            return Ok(());
        }
        Err(EngineError::EmptyRefused {
            input: tensor.name().clone(),
            actual: Box::new(tensor.shape().clone()),
            reason: "this model is not given dimensions of 0",
        })
    }
}

impl InputRule {
    fn check(
        &self,
        model: &str,
        tensor: &Tensor,
        sizes: &mut SmallVec<[Option<usize>; 8]>,
    ) -> Result<(), EngineError> {
        if tensor.dtype() != self.dtype {
            return Err(EngineError::DataType {
                model: model.to_owned(),
                input: tensor.name().clone(),
                expected: self.dtype,
                actual: tensor.dtype(),
            });
        }
        let Some(rules) = &self.dims else { return Ok(()) };
        let dims = tensor.shape().dims();
        if dims.len() != rules.len() {
            return Err(self.misshapen(model, tensor, "the number of dimensions differs"));
        }
        for (&rule, &size) in rules.iter().zip(dims) {
            match rule {
                DimRule::Any => {}
                DimRule::Fixed(expected) if expected == size => {}
                DimRule::Fixed(_) => return Err(self.misshapen(model, tensor, "a fixed dimension differs")),
                DimRule::Symbol(symbol) => match sizes[symbol].replace(size) {
                    Some(other) if other != size => {
                        return Err(self.misshapen(
                            model,
                            tensor,
                            "a dimension differs from one of the same name",
                        ));
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }

    fn misshapen(&self, model: &str, tensor: &Tensor, reason: &'static str) -> EngineError {
        let expected: Vec<String> = self
            .spec
            .shape
            .iter()
            .flatten()
            .map(|dim| match dim {
                Dim::Dynamic(Some(name)) => name.to_string(),
                dim => dim.to_wire().to_string(),
            })
            .collect();
        EngineError::Shape {
            model: model.to_owned(),
            input: tensor.name().clone(),
            expected: format!("[{}]", expected.join(",")),
            actual: Box::new(tensor.shape().clone()),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tensor::Shape;

    /// A specification such as `a FP32[N,3]`: letters are names, `?` is any size, `*` is any rank.
    fn spec(text: &str) -> TensorSpec {
        let (name, rest) = text.split_once(' ').unwrap();
        let (dtype, dims) = rest.trim_end_matches(']').split_once('[').unwrap();
        let dim = |dim: &str| match dim.parse() {
            Ok(size) => Dim::Fixed(size),
            Err(_) if dim == "?" => Dim::Dynamic(None),
            Err(_) => Dim::Dynamic(Some(dim.into())),
        };
        TensorSpec {
            name: name.trim_end_matches('~').into(),
            dtype: DataType::from_wire_name(dtype).unwrap(),
            shape: (dims != "*").then(|| dims.split(',').filter(|dim| !dim.is_empty()).map(dim).collect()),
            optional: name.ends_with('~'),
        }
    }

    /// A tensor such as `a FP32[2,3]`.
    fn tensor(text: &str) -> Tensor {
        let TensorSpec { name, dtype, shape, .. } = spec(text);
        let dims: Vec<i64> = shape.unwrap().iter().map(Dim::to_wire).collect();
        let shape = Shape::from_wire(&dims).unwrap();
        let len = shape.element_count() * dtype.element_size().unwrap_or(4);
        Tensor::new(name.into(), dtype, shape, Bytes::from(vec![0; len])).unwrap()
    }

    /// `expected` is the rows and the names in order, or a part of the error.
    fn check(batched: bool, specs: &[&str], tensors: &[&str], expected: Result<(usize, &[&str]), &str>) {
        let signature =
            Signature { inputs: specs.iter().map(|text| spec(text)).collect(), outputs: Vec::new() };
        let bound = Contract::new(&signature, batched, false)
            .bind("m", tensors.iter().map(|text| tensor(text)).collect());
        match (bound, expected) {
            (Ok(bound), Ok((rows, names))) => {
                assert_eq!(bound.rows, rows, "{specs:?} {tensors:?}");
                let order: Vec<&str> = bound
                    .inputs
                    .iter()
                    .map(|input| input.as_ref().map_or("", |t| t.name().as_str()))
                    .collect();
                assert_eq!(order, names, "{specs:?} {tensors:?}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{tensors:?}: {error}"),
            (bound, _) => unreachable!("{specs:?} {tensors:?}: {bound:?} is not {expected:?}"),
        }
    }

    #[test]
    fn inputs_are_put_in_order_and_must_be_the_models() {
        let two = &["a FP32[N,3]", "b INT64[N]"];
        check(true, two, &["b INT64[2]", "a FP32[2,3]"], Ok((2, &["a", "b"])));
        check(true, two, &["a FP32[2,3]"], Err("model 'm' needs input 'b'"));
        check(true, two, &["a FP32[2,3]", "a FP32[2,3]"], Err("input 'a' is given twice"));
        check(
            true,
            two,
            &["a FP32[2,3]", "c\n INT64[2]"],
            Err("no input 'c\\n'; it takes a FP32[-1, 3], b INT64[-1]"),
        );
        check(true, two, &["a FP64[2,3]", "b INT64[2]"], Err("input 'a' is FP64; model 'm' takes FP32"));
        check(true, two, &["a FP32[2,3]", "b INT64[3]"], Err("input 'b' has shape [3]; model 'm' takes [N]"));
        let optional = &["a FP32[N,3]", "b~ INT64[N]"];
        check(true, optional, &["a FP32[4,3]"], Ok((4, &["a", ""])));
        check(true, &["a~ FP32[N]"], &[], Ok((1, &[""])));
    }

    #[test]
    fn dimensions_must_fit() {
        check(false, &["a FP32[2,?]"], &["a FP32[2,9]"], Ok((1, &["a"])));
        check(false, &["a FP32[2,?]"], &["a FP32[3,9]"], Err("takes [2,-1]: a fixed dimension differs"));
        check(false, &["a FP32[2,?]"], &["a FP32[2]"], Err("the number of dimensions differs"));
        check(false, &["a FP32[]"], &["a FP32[]"], Ok((1, &["a"])));
        check(false, &["a FP32[]"], &["a FP32[1]"], Err("takes []: the number of dimensions differs"));
        check(false, &["a FP32[*]"], &["a FP32[5,6,7]"], Ok((1, &["a"])));
        check(false, &["a FP32[s,s]"], &["a FP32[4,4]"], Ok((1, &["a"])));
        check(false, &["a FP32[s,s]"], &["a FP32[4,5]"], Err("differs from one of the same name"));
        check(
            false,
            &["a FP32[s]", "b FP32[s]"],
            &["a FP32[4]", "b FP32[5]"],
            Err("input 'b' has shape [5]"),
        );
    }

    #[test]
    fn rows_are_those_of_every_input() {
        check(true, &["a FP32[?,2]", "b FP32[N]"], &["a FP32[3,2]", "b FP32[3]"], Ok((3, &["a", "b"])));
        check(true, &["a FP32[?,2]", "b FP32[N]"], &["a FP32[3,2]", "b FP32[4]"], Err("same name"));
        check(false, &["a FP32[?,2]", "b FP32[?]"], &["a FP32[3,2]", "b FP32[4]"], Ok((1, &["a", "b"])));
    }

    #[test]
    fn dimensions_of_0_are_the_models_own_or_refused() {
        for dtype in DataType::ALL {
            for dims in ["0,3", "2,0"] {
                let given = format!("a {dtype}[{dims}]");
                check(true, &[&format!("a {dtype}[N,?]")], &[&given], Err("not given dimensions of 0"));
                check(false, &[&format!("a {dtype}[?,?]")], &[&given], Err("not given dimensions of 0"));
                check(false, &[&format!("a {dtype}[*]")], &[&given], Err("not given dimensions of 0"));
            }
            check(false, &[&format!("a {dtype}[0,3]")], &[&format!("a {dtype}[0,3]")], Ok((1, &["a"])));
        }
        let signature = Signature { inputs: vec![spec("a FP32[N,3]")], outputs: Vec::new() };
        let bound = Contract::new(&signature, true, true).bind("m", vec![tensor("a FP32[0,3]")]).unwrap();
        assert_eq!(bound.rows, 0);
    }
}
