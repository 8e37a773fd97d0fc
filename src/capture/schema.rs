//! The columns of a version's rows: from its signature, the names of its features and its privacy policy. Pure.
//!
//! | a row of the tensor | the column |
//! |---|---|
//! | one element | a scalar `in.x` |
//! | several, which the configuration names | a scalar for each name |
//! | several | a fixed-size list |
//! | a number that can differ | a list |
//! | always more than [`VALUE_BYTES_MAX`] | where it is: `{sha256, bytes, uri}` |
//! | seldom more | null, and where it is in a column beside, `in.x.large` |

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit};
use sha2::{Digest, Sha256};

use super::large::{OVERFLOW, logged_fields};
use super::privacy::{Hasher, Policy, hex};
use super::settings::CaptureError;
use super::values::Values;
use crate::infer::TappedVersion;
use crate::model::features::{Side, row_elements};
use crate::model::monitoring::{CaptureConfig, Privacy};
use crate::model::{ModelId, TensorSpec};
use crate::tensor::DataType;

/// Most bytes of one row of one tensor that are written as values.
pub(super) const VALUE_BYTES_MAX: usize = 1 << 20;

/// The version of this layout, in the metadata of every file.
pub(super) const FORMAT: &str = "1";

/// How a row of a tensor becomes a column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The element at this position.
    Scalar(usize),
    /// All of them, always so many.
    Fixed(usize),
    /// All of them.
    List,
    /// Their hash and size, and where they are.
    Reference,
    /// The same for rows that are too large for the column before it; null for others.
    Overflow,
}

impl Form {
    /// Whether the column has large values.
    pub(super) fn is_large(self) -> bool {
        matches!(self, Form::Reference | Form::Overflow)
    }
}

/// One column of a tensor.
#[derive(Debug, Clone)]
pub(super) struct ColumnPlan {
    pub(super) side: Side,
    /// The tensor's position in the signature.
    pub(super) tensor: usize,
    pub(super) dtype: DataType,
    /// Elements of a row, when they are always as many.
    pub(super) elements: Option<usize>,
    pub(super) form: Form,
    pub(super) policy: Policy,
    /// Whether rows that are too large for it stand in a column beside it.
    pub(super) overflows: bool,
}

/// How the rows of a version are written, until its configuration changes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) id: ModelId,
    /// The schema with the files' metadata.
    pub(super) schema: SchemaRef,
    /// Headers of requests: the columns after the first [`FIXED`].
    pub(super) attributes: Vec<(Arc<str>, Policy)>,
    /// The columns after those.
    pub(super) columns: Vec<ColumnPlan>,
}

/// Columns that every file has, before those of the headers and of the tensors.
pub(super) const FIXED: usize = 13;

fn fixed_fields() -> Vec<Field> {
    let of = |name: &str, kind| Field::new(name, kind, false);
    vec![
        of("request_id", ArrowType::Utf8),
        of("row", ArrowType::UInt32),
        of("ts_us", ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        of("model_version", ArrowType::UInt64),
        Field::new("alias_rev", ArrowType::UInt64, true),
        of("route", ArrowType::Utf8),
        of("protocol", ArrowType::Utf8),
        of("status", ArrowType::Utf8),
        of("latency_us", ArrowType::UInt64),
        of("queue_us", ArrowType::UInt64),
        of("batch_size", ArrowType::UInt32),
        of("sample_weight", ArrowType::Float64),
        Field::new("key_hash", ArrowType::Utf8, true),
    ]
}

impl Plan {
    /// The plan for `version` under `config`.
    ///
    /// # Errors
    /// [`CaptureError::Invalid`] when a mask is no regular expression.
    pub(super) fn new(
        version: &TappedVersion,
        config: &CaptureConfig,
        hasher: &Hasher,
    ) -> Result<Plan, CaptureError> {
        let mut building = Building {
            version,
            config,
            hasher,
            names: BTreeSet::new(),
            fields: fixed_fields(),
            columns: Vec::new(),
        };
        let attributes = building.attributes()?;
        let signature = &version.signature;
        for (side, specs) in [(Side::Input, &signature.inputs), (Side::Output, &signature.outputs)] {
            for (tensor, spec) in specs.iter().enumerate() {
                building.add(side, tensor, spec)?;
            }
        }
        let policy: Vec<String> =
            config.privacy.iter().map(|(name, policy)| format!("{name}={policy}")).collect();
        let mut metadata = HashMap::from([
            ("weir.format".to_owned(), FORMAT.to_owned()),
            ("weir.model".to_owned(), version.id.name.to_string()),
            ("weir.version".to_owned(), version.id.version.to_string()),
            ("weir.signature".to_owned(), signature_hash(version)),
            ("weir.privacy".to_owned(), policy.join("\n")),
            ("weir.writer".to_owned(), format!("weir {}", env!("CARGO_PKG_VERSION"))),
        ]);
        metadata.extend(version.digest.iter().map(|digest| ("weir.digest".to_owned(), digest.clone())));
        let schema = Arc::new(Schema::new_with_metadata(building.fields, metadata));
        Ok(Plan { id: version.id.clone(), schema, attributes, columns: building.columns })
    }
}

/// SHA-256 over names, datatypes and shapes.
fn signature_hash(version: &TappedVersion) -> String {
    let mut digest = Sha256::new();
    for (side, specs) in [("in", &version.signature.inputs), ("out", &version.signature.outputs)] {
        for spec in specs {
            digest.update(format!("{side} {spec}\n"));
        }
    }
    hex(&digest.finalize())
}

struct Building<'a> {
    version: &'a TappedVersion,
    config: &'a CaptureConfig,
    hasher: &'a Hasher,
    names: BTreeSet<String>,
    fields: Vec<Field>,
    columns: Vec<ColumnPlan>,
}

impl Building<'_> {
    /// Adds a column for each header.
    fn attributes(&mut self) -> Result<Vec<(Arc<str>, Policy)>, CaptureError> {
        let mut attributes = Vec::new();
        for header in &self.config.attributes {
            let name = format!("attr.{header}");
            attributes.push((Arc::clone(header), self.policy(&[&name], DataType::Bytes)?));
            self.fields.push(Field::new(name, ArrowType::Utf8, true));
        }
        Ok(attributes)
    }

    fn add(&mut self, side: Side, tensor: usize, spec: &TensorSpec) -> Result<(), CaptureError> {
        let elements = row_elements(spec, self.version.is_batched);
        let own = format!("{}{}", side.prefix(), spec.name);
        let named = self.version.config.monitoring.feature_names.get(&*spec.name);
        if let Some(names) = named.filter(|names| Some(names.len()) == elements) {
            for (at, name) in names.iter().enumerate() {
                let name = format!("{}{name}", side.prefix());
                let policy = self.policy(&[&name, &own], spec.dtype)?;
                let form = Form::Scalar(at);
                let column =
                    ColumnPlan { side, tensor, dtype: spec.dtype, elements, form, policy, overflows: false };
                self.push_with_overflow(name, column);
            }
            return Ok(());
        }
        let bytes = elements.unwrap_or(0).saturating_mul(spec.dtype.element_size().unwrap_or(1));
        let form = match elements {
            Some(1) => Form::Scalar(0),
            Some(_) if bytes > VALUE_BYTES_MAX => Form::Reference,
            None | Some(0) => Form::List,
            Some(count) => Form::Fixed(count),
        };
        let policy = self.policy(&[&own], spec.dtype)?;
        let column = ColumnPlan { side, tensor, dtype: spec.dtype, elements, form, policy, overflows: false };
        self.push_with_overflow(own, column);
        Ok(())
    }

    /// Adds a column and, where a row of it may be too large and is to be kept as it is, one for such rows.
    fn push_with_overflow(&mut self, name: String, mut column: ColumnPlan) {
        let may_be_large = column.form == Form::List || column.dtype == DataType::Bytes;
        column.overflows = may_be_large && !column.form.is_large() && matches!(column.policy, Policy::Keep);
        let beside = column.overflows.then(|| {
            let (form, policy) = (Form::Overflow, Policy::Keep);
            (format!("{name}{OVERFLOW}"), ColumnPlan { form, policy, overflows: false, ..column.clone() })
        });
        self.push(name, column);
        if let Some((name, column)) = beside {
            self.push(name, column);
        }
    }

    /// The policy under the first of `names` that has one; text without one is hashed.
    fn policy(&self, names: &[&str], dtype: DataType) -> Result<Policy, CaptureError> {
        let given = names.iter().find_map(|name| self.config.privacy.get(*name));
        let default = if dtype == DataType::Bytes { Privacy::Hmac } else { Privacy::Keep };
        Policy::new(given.unwrap_or(&default), self.hasher)
    }

    /// Adds a column. A name that is taken gets a number, because readers want names that differ.
    fn push(&mut self, name: String, column: ColumnPlan) {
        let mut unique = name.clone();
        let mut number = 2;
        while !self.names.insert(unique.clone()) {
            unique = format!("{name}#{number}");
            number += 1;
        }
        let values = Values::new(column.dtype, &column.policy).arrow_type();
        let item = || Arc::new(Field::new("item", values.clone(), false));
        let kind = match column.form {
            Form::Scalar(_) => values,
            // More elements than an i32 counts are more than VALUE_BYTES_MAX.
            Form::Fixed(count) => ArrowType::FixedSizeList(item(), i32::try_from(count).unwrap_or(i32::MAX)),
            Form::List => ArrowType::List(item()),
            Form::Reference | Form::Overflow => ArrowType::Struct(logged_fields()),
        };
        self.fields.push(Field::new(unique, kind, true));
        self.columns.push(column);
    }
}
