//! Hashes of rows: equal for rows of equal values, whatever file and batch they come from. Pure.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrowNativeTypeOp, ArrowPrimitiveType, RecordBatch, downcast_primitive_array};
use arrow_buffer::ToByteSlice;
use arrow_schema::DataType;
use sha2::{Digest, Sha256};

/// The hash of all inputs of a row and of its label.
pub(super) fn row(batch: &RecordBatch, inputs: &[usize], at: usize, label: &str) -> u128 {
    let mut hasher = Sha256::new();
    for index in inputs {
        text(&mut hasher, batch.schema_ref().field(*index).name());
        value(&mut hasher, batch.column(*index), at);
    }
    text(&mut hasher, label);
    short(hasher)
}

/// The hash of a request's row.
pub fn request(id: &str, row: u32) -> u128 {
    let mut hasher = Sha256::new();
    text(&mut hasher, id);
    hasher.update(row.to_le_bytes());
    short(hasher)
}

/// Where `text` falls between 0 and 1, always the same.
pub(super) fn share(text: &str) -> f64 {
    let digest = Sha256::digest(text.as_bytes());
    let high = digest.iter().take(4).fold(0u32, |all, byte| (all << 8) | u32::from(*byte));
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

fn short(hasher: Sha256) -> u128 {
    hasher.finalize().iter().take(16).fold(0, |all, byte| (all << 8) | u128::from(*byte))
}

fn text(hasher: &mut Sha256, text: &str) {
    bytes(hasher, text.as_bytes());
}

fn bytes(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn number<T: ArrowPrimitiveType>(hasher: &mut Sha256, value: T::Native) {
    // One zero, so that -0.0 and 0.0 are the same input.
    let value = if value.is_zero() { T::Native::ZERO } else { value };
    bytes(hasher, value.to_byte_slice());
}

fn value(hasher: &mut Sha256, array: &dyn Array, at: usize) {
    if array.is_null(at) {
        return hasher.update([0]);
    }
    hasher.update([1]);
    let list = |hasher: &mut Sha256, items: &dyn Array| {
        hasher.update((items.len() as u64).to_le_bytes());
        (0..items.len()).for_each(|at| value(hasher, items, at));
    };
    macro_rules! of_number {
        ($array:ident) => {
            one($array, hasher, at)
        };
    }
    downcast_primitive_array!(
        array => of_number!(array),
        DataType::Boolean => hasher.update([u8::from(array.as_boolean().value(at))]),
        DataType::Utf8 => text(hasher, array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => text(hasher, array.as_string::<i64>().value(at)),
        DataType::Binary => bytes(hasher, array.as_binary::<i32>().value(at)),
        DataType::LargeBinary => bytes(hasher, array.as_binary::<i64>().value(at)),
        DataType::FixedSizeList(_, _) => list(hasher, &array.as_fixed_size_list().value(at)),
        DataType::List(_) => list(hasher, &array.as_list::<i32>().value(at)),
        DataType::Struct(_) => array.as_struct().columns().iter().for_each(|column| value(hasher, column, at)),
        // Capture writes nothing else; what another program wrote is told apart by how it looks.
        _ => text(hasher, &format!("{:?}", array.slice(at, 1)))
    );
}

fn one<T: ArrowPrimitiveType>(array: &arrow_array::PrimitiveArray<T>, hasher: &mut Sha256, at: usize) {
    number::<T>(hasher, array.value(at));
}
