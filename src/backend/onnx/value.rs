//! Tensors between Weir's bytes and ONNX Runtime's values: borrowed on the way in, owned on the way out.
//!
//! A fixed-size input is not copied: the value points at the caller's bytes for the time of the run. A large output is
//! not copied either: its [`Bytes`] own the runtime's value. What this file returns is what the runtime made, never
//! what the model declared.
#![expect(unsafe_code, reason = "ort's safe values copy shapes into strings and cannot own outputs as bytes")]

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use ort::AsPointer;
use ort::memory::MemoryInfo;
use ort::session::SharedSessionInner;
use ort::sys;
use smallvec::SmallVec;

use super::super::{BackendError, Output};
use super::error::{invalid_input, invalid_output, of_run};
use crate::tensor::{DataType, Shape, StringsIter, StringsWriter};

/// A value of ONNX Runtime, released when dropped.
#[derive(Debug)]
pub(super) struct Value(NonNull<sys::OrtValue>);

// SAFETY: an `OrtValue` is plain data with a reference-counted tensor behind it; nothing in it belongs to a thread. It
// is released under the allocator's own lock, and shared access here only reads.
unsafe impl Send for Value {}
// SAFETY: as above; no method writes through a shared reference.
unsafe impl Sync for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the value is owned by `self` alone and released once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

/// An input of a run, which may point at bytes that live for `'a`.
#[derive(Debug)]
pub(super) struct InputValue<'a> {
    value: Value,
    _borrowed: PhantomData<&'a [u8]>,
}

impl InputValue<'_> {
    pub(super) fn as_ptr(&self) -> *const sys::OrtValue {
        self.value.0.as_ptr()
    }
}

impl<'a> InputValue<'a> {
    /// A tensor over `data`, without a copy. `data` must be aligned for `dtype` and fill `shape` exactly.
    pub(super) fn fixed(
        memory: &MemoryInfo<'_>,
        dtype: DataType,
        shape: &Shape,
        data: &'a [u8],
    ) -> Result<InputValue<'a>, BackendError> {
        let size = dtype.element_size().unwrap_or(0);
        let expected = shape.element_count() * size;
        if size == 0 || data.len() != expected {
            let len = data.len();
            return Err(invalid_input(format!("shape {shape} of {dtype} takes {expected} bytes, got {len}")));
        }
        if !is_aligned(data, dtype) {
            return Err(invalid_input(format!("the bytes are not aligned for {dtype}")));
        }
        if dtype == DataType::Bool && data.iter().any(|&byte| byte > 1) {
            return Err(invalid_input("a BOOL element is neither 0 nor 1".to_owned()));
        }
        let dims = wire_dims(shape);
        let mut value: *mut sys::OrtValue = ptr::null_mut();
        // SAFETY: `data` is borrowed for as long as the value lives (`PhantomData`), has the length that the shape and
        // the type take, is aligned for the type, and every bit pattern is valid for it (BOOL was checked). ONNX
        // Runtime takes a mutable pointer but does not write to the inputs of a run: its memory planner treats them as
        // allocated elsewhere and never reuses them. An output that shares this memory is copied by `into_output`.
        let status = unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                data.as_ptr().cast_mut().cast(),
                data.len(),
                dims.as_ptr(),
                dims.len(),
                element_type(dtype),
                &mut value,
            )
        };
        Ok(InputValue { value: made(status, value)?, _borrowed: PhantomData })
    }

    /// A tensor of the strings in `runs`, which are in wire form and are copied. NUL bytes are kept.
    pub(super) fn strings(shape: &Shape, runs: &[Bytes]) -> Result<InputValue<'a>, BackendError> {
        let expected = shape.element_count();
        let mut count = 0;
        for run in runs {
            let of_run =
                crate::tensor::count_strings(run).map_err(|error| invalid_input(error.to_string()))?;
            count += of_run;
        }
        if count != expected {
            return Err(invalid_input(format!(
                "shape {shape} of BYTES takes {expected} elements, got {count}"
            )));
        }
        let dims = wire_dims(shape);
        let mut allocator: *mut sys::OrtAllocator = ptr::null_mut();
        let mut value: *mut sys::OrtValue = ptr::null_mut();
        // SAFETY: the default allocator is static in ONNX Runtime and must not be released.
        let status = unsafe { (ort::api().GetAllocatorWithDefaultOptions)(&mut allocator) };
        check(status)?;
        // SAFETY: the allocator is valid, `dims` has the length that is passed. The number of elements was proved to be
        // backed by at least four received bytes each, so a claimed shape cannot allocate.
        let status = unsafe {
            (ort::api().CreateTensorAsOrtValue)(
                allocator,
                dims.as_ptr(),
                dims.len(),
                element_type(DataType::Bytes),
                &mut value,
            )
        };
        let value = made(status, value)?;
        let elements = runs.iter().flat_map(|run| StringsIter::new(run));
        for (index, element) in elements.enumerate() {
            let element = element.map_err(|error| invalid_input(error.to_string()))?;
            fill_string(&value, index, element)?;
        }
        Ok(InputValue { value, _borrowed: PhantomData })
    }
}

fn fill_string(value: &Value, index: usize, element: &[u8]) -> Result<(), BackendError> {
    let mut buffer = ptr::null_mut();
    // SAFETY: `value` is a string tensor that nobody else knows yet; `index` is below its element count, which
    // ONNX Runtime checks again.
    let status = unsafe {
        (ort::api().GetResizedStringTensorElementBuffer)(value.0.as_ptr(), index, element.len(), &mut buffer)
    };
    check(status)?;
    if !element.is_empty() {
        // SAFETY: the runtime has just made `buffer` exactly `element.len()` bytes long.
        unsafe { ptr::copy_nonoverlapping(element.as_ptr(), buffer.cast(), element.len()) };
    }
    Ok(())
}

/// Outputs of a run that are smaller than this are copied, which costs less than owning the value across threads and
/// returning its memory to the shared arena later.
const COPY_LEN_MAX: usize = 2048;

/// Takes over what a run wrote to its output pointer.
///
/// # Safety
/// `pointer` is null or a value that the runtime handed to the caller to release.
pub(super) unsafe fn take(pointer: *mut sys::OrtValue) -> Option<Value> {
    NonNull::new(pointer).map(Value)
}

/// The value's real type, shape and bytes. `borrowed` are the inputs' bytes: a model whose output *is* an input returns
/// the same memory, which is then copied, because it is not the runtime's to keep.
pub(super) fn into_output(
    value: Value,
    session: &Arc<SharedSessionInner>,
    borrowed: &[&[u8]],
) -> Result<Output, BackendError> {
    let (dtype, shape) = describe(&value)?;
    let Some(size) = dtype.element_size() else {
        return Ok(Output { dtype, data: read_strings(&value, shape.element_count())?, shape });
    };
    let len = shape.element_count() * size;
    if len == 0 {
        return Ok(Output { dtype, shape, data: Bytes::new() });
    }
    let data = data_pointer(&value)?;
    let owner = OutputMemory { data, len, _value: value, _session: Arc::clone(session) };
    let is_borrowed = borrowed.iter().any(|input| input.as_ptr_range().contains(&data.as_ptr().cast_const()));
    let data = if len <= COPY_LEN_MAX || is_borrowed {
        Bytes::copy_from_slice(owner.as_ref())
    } else {
        Bytes::from_owner(owner)
    };
    Ok(Output { dtype, shape, data })
}

/// Memory of an output. The session is kept because an output can be one of the model's own constants.
struct OutputMemory {
    data: NonNull<u8>,
    len: usize,
    _value: Value,
    _session: Arc<SharedSessionInner>,
}

// SAFETY: the memory belongs to `_value`, which may move between threads, and nothing writes to it any more.
unsafe impl Send for OutputMemory {}

impl AsRef<[u8]> for OutputMemory {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `data` points at `len` initialized bytes on the CPU (`data_pointer`, and the real shape times the
        // size of an element), which live as long as `_value` and are not written to after the run.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

fn data_pointer(value: &Value) -> Result<NonNull<u8>, BackendError> {
    let mut memory: *const sys::OrtMemoryInfo = ptr::null();
    // SAFETY: the value is alive; the description belongs to it.
    check(unsafe { (ort::api().GetTensorMemoryInfo)(value.0.as_ptr(), &mut memory) })?;
    // Read as the integer that it is in C: a device that this version of ort does not know must not become an enum.
    let mut device: i32 = 0;
    // SAFETY: `memory` was returned above; the enum is 32 bits wide in C and in ort.
    unsafe { (ort::api().MemoryInfoGetDeviceType)(memory, (&raw mut device).cast()) };
    if device != sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU as i32 {
        return Err(invalid_output("an output stayed on the device".to_owned()));
    }
    let mut data = ptr::null_mut();
    // SAFETY: the value is alive and is a tensor of a fixed-size type (`describe`).
    check(unsafe { (ort::api().GetTensorMutableData)(value.0.as_ptr(), &mut data) })?;
    NonNull::new(data.cast()).ok_or_else(|| invalid_output("an output has no memory".to_owned()))
}

fn describe(value: &Value) -> Result<(DataType, Shape), BackendError> {
    // An integer for the same reason as the device above.
    let mut element: i32 = 0;
    let mut dims: *const i64 = ptr::null();
    let mut rank = 0;
    // SAFETY: the value is alive; the enum is 32 bits wide; `dims` points into the value and is read before it goes.
    let status = unsafe {
        (ort::api().GetTensorElementTypeAndShapeDataReference)(
            value.0.as_ptr(),
            (&raw mut element).cast(),
            &mut dims,
            &mut rank,
        )
    };
    check(status)?;
    let dtype = ELEMENT_TYPES
        .into_iter()
        .find(|&dtype| element_type(dtype) as i32 == element)
        .ok_or_else(|| invalid_output(format!("an output has the element type {element}")))?;
    // SAFETY: the runtime returned `rank` dimensions at `dims`; for a scalar the pointer may be null.
    let dims = if rank == 0 { &[] } else { unsafe { slice::from_raw_parts(dims, rank) } };
    let shape =
        Shape::from_wire(dims).map_err(|error| invalid_output(format!("an output's shape: {error}")))?;
    Ok((dtype, shape))
}

/// Strings of `value` in wire form.
fn read_strings(value: &Value, count: usize) -> Result<Bytes, BackendError> {
    if count == 0 {
        return Ok(Bytes::new());
    }
    let mut len = 0;
    // SAFETY: the value is alive and is a string tensor; the runtime checks that again.
    check(unsafe { (ort::api().GetStringTensorDataLength)(value.0.as_ptr(), &mut len) })?;
    let mut content = vec![0u8; len];
    let mut offsets = vec![0usize; count];
    // SAFETY: both buffers have the lengths that are passed.
    let status = unsafe {
        (ort::api().GetStringTensorContent)(
            value.0.as_ptr(),
            content.as_mut_ptr().cast(),
            len,
            offsets.as_mut_ptr(),
            count,
        )
    };
    check(status)?;
    let mut writer = StringsWriter::new();
    for (index, &start) in offsets.iter().enumerate() {
        let end = offsets.get(index + 1).copied().unwrap_or(len);
        let element = content
            .get(start..end)
            .ok_or_else(|| invalid_output("an output's strings are inconsistent".to_owned()))?;
        writer.push(element).map_err(|error| invalid_output(error.to_string()))?;
    }
    Ok(writer.finish())
}

/// Whether `data` may be read as elements of `dtype`.
pub(super) fn is_aligned(data: &[u8], dtype: DataType) -> bool {
    // The size of every fixed-size datatype is its alignment. No element needs none.
    data.is_empty() || data.as_ptr().addr().is_multiple_of(dtype.element_size().unwrap_or(1))
}

/// The datatypes, the most frequent outputs first.
const ELEMENT_TYPES: [DataType; 14] = [
    DataType::Fp32,
    DataType::Int64,
    DataType::Fp16,
    DataType::Bytes,
    DataType::Int32,
    DataType::Uint8,
    DataType::Fp64,
    DataType::Bool,
    DataType::Int8,
    DataType::Bf16,
    DataType::Uint16,
    DataType::Uint32,
    DataType::Uint64,
    DataType::Int16,
];

fn element_type(dtype: DataType) -> sys::ONNXTensorElementDataType {
    use sys::ONNXTensorElementDataType as E;
    match dtype {
        DataType::Bool => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DataType::Uint8 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DataType::Uint16 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DataType::Uint32 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DataType::Uint64 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DataType::Int8 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DataType::Int16 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DataType::Int32 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DataType::Int64 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DataType::Fp16 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DataType::Bf16 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DataType::Fp32 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DataType::Fp64 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DataType::Bytes => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}

/// A shape's dimensions as C has them. They fit: a shape's element count fits `isize`.
fn wire_dims(shape: &Shape) -> SmallVec<[i64; 8]> {
    shape.dims().iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect()
}

fn check(status: sys::OrtStatusPtr) -> Result<(), BackendError> {
    // SAFETY: the status was just returned by the runtime and is looked at once.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| of_run(&error))
}

fn made(status: sys::OrtStatusPtr, value: *mut sys::OrtValue) -> Result<Value, BackendError> {
    check(status)?;
    NonNull::new(value).map(Value).ok_or_else(|| invalid_output("the runtime made no value".to_owned()))
}
