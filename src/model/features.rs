//! The features of a model: what one row of its inputs and outputs holds, one named value each.
//!
//! Capture writes a column for each tensor and drift watches each feature; both take the names and positions from here,
//! so that a captured column, a profile and a column of training data are called the same. Pure: from a signature and the
//! names that the configuration gives, to a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Dim, Signature, TensorSpec};
use crate::tensor::DataType;

/// Most elements of a row that become features of their own; a longer row is summarised, unless its elements are named.
const ELEMENTS_MAX: usize = 128;

/// Whether a feature is taken from what a model is sent or from what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// An input; names begin with `in.`.
    Input,
    /// An output; names begin with `out.`.
    Output,
}

impl Side {
    /// What names of this side begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Side::Input => "in.",
            Side::Output => "out.",
        }
    }
}

/// How a feature's value is made of a row of its tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Derive {
    /// The row's element at this position.
    Element(usize),
    /// The mean of the row's elements.
    Mean,
    /// Their standard deviation (divided by their number).
    Std,
    /// The Euclidean norm.
    Norm,
    /// The share of elements that are 0 (numbers) or empty (strings).
    ZeroShare,
    /// The number of elements; only where it can differ.
    Length,
    /// The position of the largest element: the predicted class of scores.
    ArgMax,
    /// `-sum(p ln p) / ln(n)` of the row made a distribution, 0 to 1; for scores.
    Entropy,
    /// The difference of the two largest elements; for scores.
    Margin,
}

impl Derive {
    /// What is put behind the tensor's name.
    fn suffix(self) -> &'static str {
        match self {
            Derive::Element(_) => "",
            Derive::Mean => ".mean",
            Derive::Std => ".std",
            Derive::Norm => ".norm",
            Derive::ZeroShare => ".zero_share",
            Derive::Length => ".length",
            Derive::ArgMax => ".class",
            Derive::Entropy => ".entropy",
            Derive::Margin => ".margin",
        }
    }
}

/// How a feature's values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeatureKind {
    /// By size: quantiles, means.
    Numeric,
    /// By identity: counts of each value.
    Categorical,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// `in.` or `out.`, then the configured name, or the tensor's (with `[i]` where it has several elements and with what
    /// was derived).
    pub name: Arc<str>,
    /// Whether its tensor is an input or an output.
    pub side: Side,
    /// The tensor's position in the signature.
    pub tensor: usize,
    /// The tensor's datatype.
    pub dtype: DataType,
    /// How a row becomes the value.
    pub derive: Derive,
    /// How its values are compared, unless a baseline says otherwise.
    pub kind: FeatureKind,
}

/// The features of a signature: inputs first, each in the order of the signature and of its elements.
///
/// `names` gives, by tensor name, the names of a row's elements; a list of another length than the row is not used.
/// `is_batched` says that axis 0 is rows; otherwise a whole tensor is one row.
///
/// ```
/// use weir::model::{Dim, Signature, TensorSpec, features::features};
/// use weir::tensor::DataType;
/// let shape = |n| Some(vec![Dim::Dynamic(None), Dim::Fixed(n)]);
/// let spec = |name: &str, dtype, n| TensorSpec { name: name.into(), dtype, shape: shape(n), optional: false };
/// let signature =
///     Signature { inputs: vec![spec("x", DataType::Fp32, 2)], outputs: vec![spec("label", DataType::Int64, 1)] };
/// let names: Vec<String> =
///     features(&signature, true, &Default::default()).iter().map(|f| f.name.to_string()).collect();
/// assert_eq!(names, ["in.x[0]", "in.x[1]", "out.label"]);
/// ```
pub fn features(
    signature: &Signature,
    is_batched: bool,
    names: &BTreeMap<String, Vec<String>>,
) -> Vec<Feature> {
    let mut features = Vec::new();
    for (side, specs) in [(Side::Input, &signature.inputs), (Side::Output, &signature.outputs)] {
        for (tensor, spec) in specs.iter().enumerate() {
            of_tensor(side, tensor, spec, is_batched, names.get(&*spec.name), &mut features);
        }
    }
    features
}

fn of_tensor(
    side: Side,
    tensor: usize,
    spec: &TensorSpec,
    is_batched: bool,
    names: Option<&Vec<String>>,
    features: &mut Vec<Feature>,
) {
    let elements = row_elements(spec, is_batched);
    let is_text = spec.dtype == DataType::Bytes;
    let mut push = |name: String, derive, kind| {
        let name = format!("{}{name}", side.prefix()).into();
        features.push(Feature { name, side, tensor, dtype: spec.dtype, derive, kind });
    };
    let names = names.filter(|names| Some(names.len()) == elements);
    // Rows of more than one axis are images, sequences and the like: their elements have no meaning of their own.
    let is_flat = spec.shape.as_ref().is_some_and(|dims| dims.len() <= usize::from(is_batched) + 1);
    match elements {
        Some(count) if names.is_some() || (count <= ELEMENTS_MAX && (is_flat || count == 1)) => {
            let kind = element_kind(side, spec.dtype);
            for at in 0..count {
                let name = match names {
                    Some(names) => names[at].clone(),
                    None if count == 1 => spec.name.to_string(),
                    None => format!("{}[{at}]", spec.name),
                };
                push(name, Derive::Element(at), kind);
            }
            let is_score = side == Side::Output && count > 1 && is_float(spec.dtype);
            if is_score {
                push(
                    format!("{}{}", spec.name, Derive::ArgMax.suffix()),
                    Derive::ArgMax,
                    FeatureKind::Categorical,
                );
                for derive in [Derive::Entropy, Derive::Margin] {
                    push(format!("{}{}", spec.name, derive.suffix()), derive, FeatureKind::Numeric);
                }
            }
        }
        _ => {
            let numbers: &[Derive] = if is_text { &[] } else { &[Derive::Mean, Derive::Std, Derive::Norm] };
            let length = elements.is_none().then_some(Derive::Length);
            for derive in numbers.iter().copied().chain([Derive::ZeroShare]).chain(length) {
                push(format!("{}{}", spec.name, derive.suffix()), derive, FeatureKind::Numeric);
            }
        }
    }
}

/// Elements of a row; `None` when it can differ.
pub fn row_elements(spec: &TensorSpec, is_batched: bool) -> Option<usize> {
    let dims = spec.shape.as_ref()?;
    dims.iter().skip(usize::from(is_batched)).try_fold(1usize, |product, dim| match dim {
        Dim::Fixed(size) => product.checked_mul(*size),
        Dim::Dynamic(_) => None,
    })
}

fn is_float(dtype: DataType) -> bool {
    matches!(dtype, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64)
}

/// Whole numbers that a model answers are classes; those it is sent are counts and amounts more often than codes.
fn element_kind(side: Side, dtype: DataType) -> FeatureKind {
    match dtype {
        DataType::Bool | DataType::Bytes => FeatureKind::Categorical,
        _ if side == Side::Output && !is_float(dtype) => FeatureKind::Categorical,
        _ => FeatureKind::Numeric,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dtype: DataType, dims: &[Option<usize>]) -> TensorSpec {
        let shape = dims.iter().map(|dim| dim.map_or(Dim::Dynamic(None), Dim::Fixed)).collect();
        TensorSpec { name: name.into(), dtype, shape: Some(shape), optional: false }
    }

    fn check(spec: TensorSpec, side: Side, is_batched: bool, named: &[&str], expected: &[&str]) {
        let names =
            BTreeMap::from([(spec.name.to_string(), named.iter().map(|n| (*n).to_owned()).collect())]);
        let mut signature = Signature::default();
        match side {
            Side::Input => signature.inputs.push(spec),
            Side::Output => signature.outputs.push(spec),
        }
        let found = features(&signature, is_batched, &names);
        let found: Vec<&str> = found.iter().map(|feature| &*feature.name).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_become_features() {
        use DataType::{Bytes, Fp32, Int64};
        let (any, three, one) = (None, Some(3), Some(1));
        check(spec("x", Fp32, &[any, three]), Side::Input, true, &[], &["in.x[0]", "in.x[1]", "in.x[2]"]);
        check(spec("x", Fp32, &[any, three]), Side::Input, true, &["a", "b", "c"], &["in.a", "in.b", "in.c"]);
        check(spec("x", Fp32, &[any, three]), Side::Input, true, &["a"], &["in.x[0]", "in.x[1]", "in.x[2]"]);
        check(spec("x", Fp32, &[any]), Side::Input, true, &[], &["in.x"]);
        check(spec("s", Bytes, &[any, one]), Side::Input, true, &[], &["in.s"]);
        check(spec("x", Fp32, &[three]), Side::Input, false, &[], &["in.x[0]", "in.x[1]", "in.x[2]"]);
        check(spec("label", Int64, &[any]), Side::Output, true, &[], &["out.label"]);
        let scores = ["out.p[0]", "out.p[1]", "out.p[2]", "out.p.class", "out.p.entropy", "out.p.margin"];
        check(spec("p", Fp32, &[any, three]), Side::Output, true, &[], &scores);
    }

    #[test]
    fn images_and_sequences_are_summarised() {
        let image = ["in.i.mean", "in.i.std", "in.i.norm", "in.i.zero_share"];
        check(spec("i", DataType::Uint8, &[None, Some(8), Some(8)]), Side::Input, true, &[], &image);
        let tokens = ["in.t.mean", "in.t.std", "in.t.norm", "in.t.zero_share", "in.t.length"];
        check(spec("t", DataType::Int64, &[None, None]), Side::Input, true, &[], &tokens);
        let words = ["in.w.zero_share", "in.w.length"];
        check(spec("w", DataType::Bytes, &[None, None]), Side::Input, true, &[], &words);
    }
}
